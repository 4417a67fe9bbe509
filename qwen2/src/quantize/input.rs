//! What is quantised: metadata, and tensors by name. A GGUF file is one; whatever else gives the same under GGUF's
//! names can be quantised too.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::gguf::{Gguf, TensorType, Value, ValueType, shown};
use crate::model::Rows;

/// What is known of a tensor before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name in GGUF.
    pub name: String,
    /// How its elements are stored.
    pub kind: TensorType,
    /// Number of dimensions.
    pub rank: usize,
    /// Number of rows; 1 of a vector.
    pub rows: usize,
    /// Elements of a row; at least 1.
    pub cols: usize,
}

impl Described {
    /// The layer that it belongs to, if it does.
    pub(super) fn layer(&self) -> Option<u64> {
        let number = self.name.strip_prefix("blk.")?.split_once('.')?.0;
        number.parse().ok()
    }
}

/// A model that can be quantised.
pub trait Input {
    /// The metadata, by key.
    fn metadata(&self) -> &BTreeMap<String, Value>;

    /// How the value of `key` is to be stored; `None`: in the usual way.
    fn value_type(&self, key: &str) -> Option<ValueType> {
        let _ = key;
        None
    }

    /// All tensors, in any order.
    fn tensors(&self) -> Vec<Described>;

    /// The rows of the tensor `name`, of the shape and format that [`Input::tensors`] says.
    ///
    /// # Errors
    /// It is missing.
    fn rows(&self, name: &str) -> Result<Box<dyn Rows + '_>, Error>;
}

impl Input for Gguf {
    fn metadata(&self) -> &BTreeMap<String, Value> {
        Gguf::metadata(self)
    }

    fn value_type(&self, key: &str) -> Option<ValueType> {
        Gguf::value_type(self, key)
    }

    fn tensors(&self) -> Vec<Described> {
        let describe = |tensor: &crate::gguf::TensorInfo| Described {
            name: tensor.name.clone(),
            kind: tensor.kind,
            rank: tensor.rank,
            rows: tensor.rows,
            cols: tensor.cols,
        };
        Gguf::tensors(self).iter().map(describe).collect()
    }

    fn rows(&self, name: &str) -> Result<Box<dyn Rows + '_>, Error> {
        Ok(Box::new(self.tensor(name).ok_or_else(|| Error::MissingTensor(shown(name)))?))
    }
}

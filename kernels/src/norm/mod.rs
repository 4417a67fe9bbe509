//! Row normalisation: RMS norm and layer norm, one row a call.
//!
//! The generic bodies and their edges are in `body.rs`, the SVE loops in `sve.rs`, the registered
//! unrolls in `list.rs`. Rows are never split over threads here.

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use body::{Layer, Rms};
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::registry::Meta;
use body::{LayerBody, RmsBody};

/// A handle to an RMS norm kernel: y = x / √(mean(x²) + ε) · weight.
#[derive(Clone, Copy)]
pub struct RmsNorm {
    meta: &'static Meta,
    body: &'static dyn RmsBody,
}

/// A handle to a layer norm kernel: y = (x − mean) / √(variance + ε) · weight + bias.
#[derive(Clone, Copy)]
pub struct LayerNorm {
    meta: &'static Meta,
    body: &'static dyn LayerBody,
}

impl RmsNorm {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Normalises one row. An empty row stays empty.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn run(&self, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        assert!(x.len() == y.len() && x.len() == weight.len(), "row, weight and output differ in length");
        self.body.row(x, weight, eps, y);
    }
}

impl LayerNorm {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Normalises one row. An empty row stays empty.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn run(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        assert!(x.len() == y.len() && x.len() == weight.len() && x.len() == bias.len(), "row, weight, bias and output differ in length");
        self.body.row(x, weight, bias, eps, y);
    }
}

impl core::fmt::Debug for RmsNorm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("RmsNorm").field(&self.meta.name).finish()
    }
}

impl core::fmt::Debug for LayerNorm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("LayerNorm").field(&self.meta.name).finish()
    }
}

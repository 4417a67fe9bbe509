//! Which tensor of a Qwen2 model gets which type: llama.cpp's rules (`src/llama-quant.cpp`), as far as they concern that
//! architecture and these targets. This knows names and shapes; it sees no numbers.
//!
//! One thing is otherwise: vectors become F32 whatever they were, as in every file that a converter has written.
//! llama.cpp leaves them as they are, which only matters for files that it has not made.

use std::fmt;
use std::str::FromStr;

use super::input::Described;
use crate::error::Error;
use crate::gguf::{TensorType, shown};

/// The list of targets: variant, name, number in `general.file_type`, type of most tensors, description.
macro_rules! targets {
    ($($target:ident $name:literal $file_type:literal $kind:ident $doc:literal;)+) => {
        /// What a model is quantised to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Target {
            $(#[doc = $doc] $target,)+
        }

        impl Target {
            /// Every target, in the order of the list.
            pub const ALL: &'static [Target] = &[$(Self::$target),+];

            /// Its name, as it stands on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$target => $name),+ }
            }

            /// Its number in `general.file_type`.
            pub const fn file_type(self) -> u64 {
                match self { $(Self::$target => $file_type),+ }
            }

            /// The type of most tensors.
            pub const fn kind(self) -> TensorType {
                match self { $(Self::$target => TensorType::$kind),+ }
            }
        }
    };
}

targets! {
    Q8_0 "q8_0" 7 Q8_0 "Q8_0.";
    Q4_0 "q4_0" 2 Q4_0 "Q4_0; the head in Q6_K unless pure.";
    Q4_1 "q4_1" 3 Q4_1 "Q4_1; the head in Q6_K unless pure.";
    Q5_0 "q5_0" 8 Q5_0 "Q5_0; the head in Q6_K unless pure.";
    Q5_1 "q5_1" 9 Q5_1 "Q5_1; the head in Q6_K unless pure.";
    Q4KM "q4_k_m" 15 Q4K "Q4_K; the head, and values and down projections of half of the layers, in Q6_K unless pure.";
    Q6K "q6_k" 18 Q6K "Q6_K.";
    F16 "f16" 1 F16 "Halves.";
    Bf16 "bf16" 32 Bf16 "The upper halves of F32.";
    F32 "f32" 0 F32 "F32.";
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name in any case.
impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|target| target.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|target| target.name().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| format!("'{text}' is nothing to quantise to; known are {}", known()))
    }
}

/// What a tensor becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The type that it gets.
    pub kind: TensorType,
    /// The type that it was to get; another one if its rows are no whole blocks of that.
    pub wanted: TensorType,
}

/// What each of the tensors, which are in llama.cpp's order, becomes in a model of so many layers.
///
/// # Errors
/// [`Error::Unquantisable`]: a tensor would have to become another type than it is and is quantised already, or its rows
/// fit no type.
pub fn choose(tensors: &[Described], (target, pure): (Target, bool), layers: u64) -> Result<Vec<Choice>, Error> {
    let mut mixture = Mixture {
        target,
        tied: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
        layers,
        value_count: tensors.iter().filter(|tensor| is_value(&tensor.name)).count() as u64,
        values: 0,
        downs: 0,
    };
    let choose = |tensor: &Described| {
        let choice = if !is_quantised(tensor) {
            let kind = if tensor.rank < 2 { TensorType::F32 } else { tensor.kind };
            Choice { kind, wanted: kind }
        } else if !target.kind().format().is_blocks() {
            Choice { kind: target.kind(), wanted: target.kind() }
        } else {
            let wanted = if pure { target.kind() } else { mixture.next(tensor) };
            Choice { kind: fitting(tensor, wanted)?, wanted }
        };
        if tensor.kind != choice.kind && tensor.kind.format().is_blocks() {
            let why = format!("it is {} already, and would lose twice; take the model in F32, F16 or BF16", tensor.kind);
            return Err(Error::Unquantisable { name: shown(&tensor.name), why });
        }
        Ok(choice)
    };
    tensors.iter().map(choose).collect()
}

/// Whether a tensor is quantised at all: matrices of weights, but for norms.
fn is_quantised(tensor: &Described) -> bool {
    tensor.rank > 1 && tensor.rows > 1 && tensor.name.ends_with("weight") && !tensor.name.contains("_norm.weight")
}

/// The projection to values, also as a part of the one to all three.
fn is_value(name: &str) -> bool {
    name.contains("attn_v.weight") || name.contains("attn_qkv.weight")
}

/// Types of tensors that are quantised, one after another: some matter more than others, and some layers.
struct Mixture {
    target: Target,
    /// The embeddings are the head too.
    tied: bool,
    layers: u64,
    value_count: u64,
    /// Projections to values so far.
    values: u64,
    /// Down projections so far.
    downs: u64,
}

impl Mixture {
    /// The type of the next tensor.
    fn next(&mut self, tensor: &Described) -> TensorType {
        let usual = self.target.kind();
        let name = tensor.name.as_str();
        if name == "output.weight" || (self.tied && name == "token_embd.weight") {
            let fits = tensor.cols.is_multiple_of(usual.block_elements());
            return if fits && usual != TensorType::Q8_0 { TensorType::Q6K } else { TensorType::Q8_0 };
        }
        let more = if is_value(name) {
            self.values += 1;
            matters_more(self.values - 1, self.value_count)
        } else if name.contains("ffn_down") {
            self.downs += 1;
            matters_more(self.downs - 1, self.layers)
        } else {
            false
        };
        if more && self.target == Target::Q4KM { TensorType::Q6K } else { usual }
    }
}

/// The first and the last eighth of the layers, and every third between.
fn matters_more(layer: u64, layers: u64) -> bool {
    let first = layers / 8;
    layer < first || layer >= 7 * layers / 8 || (layer - first) % 3 == 2
}

/// `wanted`, or what is nearest to it in blocks that the rows of `tensor` consist of.
fn fitting(tensor: &Described, wanted: TensorType) -> Result<TensorType, Error> {
    let fits = |kind: TensorType| tensor.cols.is_multiple_of(kind.block_elements());
    if fits(wanted) {
        return Ok(wanted);
    }
    let smaller = match wanted {
        TensorType::Q4K => TensorType::Q5_0,
        TensorType::Q5K => TensorType::Q5_1,
        TensorType::Q6K => TensorType::Q8_0,
        _ => {
            let why = format!("rows of {} elements are no whole blocks of {wanted}, and there are no smaller ones", tensor.cols);
            return Err(Error::Unquantisable { name: shown(&tensor.name), why });
        }
    };
    Ok(if fits(smaller) { smaller } else { TensorType::F16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(name: &str, rows: usize, cols: usize) -> Described {
        Described { name: name.to_owned(), kind: TensorType::F16, rank: 2, rows, cols }
    }

    fn one(tensor: Described, target: Target, pure: bool) -> Result<Choice, Error> {
        Ok(choose(&[tensor], (target, pure), 24)?[0])
    }

    #[test]
    fn rows_that_do_not_fit_get_smaller_blocks_or_none() {
        let kind = |cols, target, pure| one(matrix("blk.3.ffn_up.weight", 8, cols), target, pure).map(|choice| choice.kind).ok();
        assert_eq!(kind(512, Target::Q4KM, false), Some(TensorType::Q4K));
        assert_eq!(kind(896, Target::Q4KM, false), Some(TensorType::Q5_0));
        assert_eq!(kind(896, Target::Q6K, true), Some(TensorType::Q8_0));
        assert_eq!(kind(100, Target::Q6K, false), Some(TensorType::F16));
        assert_eq!(kind(896, Target::Q8_0, false), Some(TensorType::Q8_0));
        assert_eq!(kind(100, Target::Q8_0, false), None);
        assert_eq!(kind(100, Target::Bf16, false), Some(TensorType::Bf16));
    }

    #[test]
    fn the_head_has_more_bits() {
        let kind = |cols, target, pure| one(matrix("token_embd.weight", 99, cols), target, pure).map(|choice| choice.kind).ok();
        assert_eq!(kind(512, Target::Q4_0, false), Some(TensorType::Q6K));
        assert_eq!(kind(896, Target::Q4_0, false), Some(TensorType::Q8_0));
        assert_eq!(kind(896, Target::Q4KM, false), Some(TensorType::Q8_0));
        assert_eq!(kind(896, Target::Q4KM, true), Some(TensorType::Q5_0));
        assert_eq!(kind(512, Target::Q4_0, true), Some(TensorType::Q4_0));
        let both = [matrix("output.weight", 99, 512), matrix("token_embd.weight", 99, 512)];
        let kinds: Vec<_> = choose(&both, (Target::Q4_0, false), 24).unwrap().iter().map(|choice| choice.kind).collect();
        assert_eq!(kinds, [TensorType::Q6K, TensorType::Q4_0]);
    }

    #[test]
    fn some_layers_matter_more() {
        let more: Vec<u64> = (0..24).filter(|layer| matters_more(*layer, 24)).collect();
        assert_eq!(more, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
        assert_eq!((0..4).filter(|layer| matters_more(*layer, 4)).collect::<Vec<_>>(), [2, 3]);
        assert!(matters_more(0, 0));
    }

    #[test]
    fn what_is_no_matrix_of_weights_stays() {
        let stays = |tensor: Described| one(tensor.clone(), Target::Q4_0, true).unwrap().kind == tensor.kind;
        assert!(stays(matrix("blk.0.attn_norm.weight", 4, 64)));
        assert!(stays(matrix("blk.0.attn_q.bias", 4, 64)));
        assert!(stays(matrix("blk.0.attn_q.weight", 1, 64)));
        assert!(!stays(matrix("blk.0.attn_q.weight", 2, 64)));
        let vector = Described { rank: 1, ..matrix("blk.0.attn_q.bias", 1, 64) };
        assert_eq!(one(vector, Target::Q4_0, true).unwrap().kind, TensorType::F32);
    }

    #[test]
    fn what_is_quantised_is_not_quantised_again() {
        let quantised = Described { kind: TensorType::Q8_0, ..matrix("blk.0.attn_q.weight", 2, 64) };
        assert!(one(quantised.clone(), Target::Q8_0, true).is_ok());
        assert!(matches!(one(quantised.clone(), Target::Q4_0, true), Err(Error::Unquantisable { .. })));
        assert!(matches!(one(quantised, Target::F16, true), Err(Error::Unquantisable { .. })));
    }

    #[test]
    fn names_are_understood() {
        for target in Target::ALL {
            assert_eq!(target.name().to_uppercase().parse(), Ok(*target));
        }
        assert!("q4_k".parse::<Target>().unwrap_err().contains("q4_k_m"));
    }
}

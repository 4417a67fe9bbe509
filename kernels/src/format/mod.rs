//! Data formats: one file per format with its layout and its scalar reference, and one list of them.
//!
//! A block format stores many weights with a common scale, as GGUF files do; what kernels need to know
//! of one is [`Block`]. Nothing here is fast.

use core::fmt;

pub mod bf16;
mod block;
pub mod f16;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;

pub use block::{Block, SPAN};

use crate::gemm::product::Product;

/// The list of formats: variant of [`Format`], name, kind with a type, description. Of a `plain` format
/// the type is the product that a matrix of it is the right operand of; of a `block` format it is the
/// module with its `Block`, and kernels for all of their tiles follow. A `rows` format is the block format
/// of that module multiplied by rows of A that have one scale each, an accuracy class of its own: weights
/// are the same and packed alike, numbers are not.
///
/// `with_formats!([path::of::a::macro] arguments…)` gives the list to a macro, behind the arguments.
#[macro_export]
macro_rules! with_formats {
    ([$($m:tt)*] $($arguments:tt)*) => {
        $($m)*! { $($arguments)*
            F32 "f32" plain Single "IEEE 754 binary32.";
            F16 "f16" plain Half "IEEE 754 binary16.";
            Bf16 "bf16" plain BFloat "The upper half of binary32.";
            F16Weights "f16w" plain HalfWeights "f16 weights for rows of f32.";
            Bf16Weights "bf16w" plain BFloatWeights "bf16 weights for rows of f32.";
            Bf16Rounded "bf16r" plain BFloatRounded "bf16 weights for rows of f32, which are rounded to bf16.";
            S8 "s8" plain Byte "Signed bytes.";
            Q8_0 "q8_0" block q8_0 "Blocks of 32 signed bytes with a scale.";
            Q4_0 "q4_0" block q4_0 "Blocks of 32 times 4 bits with a scale.";
            Q4_1 "q4_1" block q4_1 "Blocks of 32 times 4 bits with a scale and a minimum.";
            Q5_0 "q5_0" block q5_0 "Blocks of 32 times 5 bits with a scale.";
            Q5_1 "q5_1" block q5_1 "Blocks of 32 times 5 bits with a scale and a minimum.";
            Q4K "q4_k" block q4_k "Blocks of 256 times 4 bits, each 32 with a scale and a minimum.";
            Q5K "q5_k" block q5_k "Blocks of 256 times 5 bits, each 32 with a scale and a minimum.";
            Q6K "q6_k" block q6_k "Blocks of 256 times 6 bits, each 16 with a scale.";
            Q8_0Rows "q8_0-rows" rows q8_0 "As q8_0, with one scale for each row of activations.";
            Q4_0Rows "q4_0-rows" rows q4_0 "As q4_0, with one scale for each row of activations.";
            Q4_1Rows "q4_1-rows" rows q4_1 "As q4_1, with one scale for each row of activations.";
            Q5_0Rows "q5_0-rows" rows q5_0 "As q5_0, with one scale for each row of activations.";
            Q5_1Rows "q5_1-rows" rows q5_1 "As q5_1, with one scale for each row of activations.";
            Q4KRows "q4_k-rows" rows q4_k "As q4_k, with one scale for each row of activations.";
            Q5KRows "q5_k-rows" rows q5_k "As q5_k, with one scale for each row of activations.";
            Q6KRows "q6_k-rows" rows q6_k "As q6_k, with one scale for each row of activations.";
        }
    };
}

macro_rules! is_blocks {
    (plain) => {
        false
    };
    ($kind:ident) => {
        true
    };
}

macro_rules! define_formats {
    ($($format:ident $name:literal $kind:ident $type:ident $doc:literal;)+) => {
        /// How the elements that a kernel consumes are stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Format {
            $(#[doc = $doc] $format,)+
        }

        impl Format {
            /// Every format, in the order of the list.
            pub const ALL: &'static [Format] = &[$(Format::$format),+];

            /// Its name as it stands in kernel names and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Format::$format => $name),+ }
            }

            /// Whether it stores weights in blocks with scales.
            pub const fn is_blocks(self) -> bool {
                match self { $(Format::$format => is_blocks!($kind)),+ }
            }

            /// The format whose multiply-adds its products consist of: bytes for blocks, since activations
            /// are quantised for them.
            pub const fn arithmetic(self) -> Format {
                match self {
                    Format::F16Weights | Format::Bf16Weights => Format::F32,
                    Format::Bf16Rounded => Format::Bf16,
                    blocks if blocks.is_blocks() => Format::S8,
                    plain => plain,
                }
            }

            /// The format in which files store such weights.
            pub const fn stored(self) -> Format {
                match self {
                    Format::F16Weights => Format::F16,
                    Format::Bf16Weights | Format::Bf16Rounded => Format::Bf16,
                    same => same,
                }
            }

            /// Weights that are stored together: 1 unless it [is of blocks](Format::is_blocks).
            pub const fn depth(self) -> usize {
                match self { $(Format::$format => <$crate::product_of!($kind $type) as Product>::B_DEPTH),+ }
            }

            /// Bytes of as many weights.
            pub const fn bytes(self) -> usize {
                match self { $(Format::$format => size_of::<<$crate::product_of!($kind $type) as Product>::B>()),+ }
            }

            /// Whether all of some stored weights are finite. Bytes that make no whole element do not count.
            pub fn is_finite(self, weights: &[u8]) -> bool {
                match self { $(Format::$format => all_finite::<$crate::product_of!($kind $type)>(weights)),+ }
            }
        }
    };
}
with_formats!([define_formats]);

fn all_finite<P: Product>(weights: &[u8]) -> bool {
    // Without a way out of the middle, so that plain formats are looked through in vectors.
    weights.chunks(CHUNK * size_of::<P::B>()).all(|chunk| {
        let elements = chunk.chunks_exact(size_of::<P::B>()).map(bytemuck::pod_read_unaligned::<P::B>);
        elements.fold(true, |finite, element| finite & P::is_finite(&element))
    })
}

/// Elements that are looked at before it is asked whether one was not finite.
const CHUNK: usize = 256;

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

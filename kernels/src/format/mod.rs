//! Data formats: one file per format with its layout and its scalar reference, and one list of them.
//!
//! A block format stores many weights with a common scale, as GGUF files do; what kernels need to know
//! of one is [`Block`]. Nothing here is fast.

use core::fmt;

mod block;
pub mod f16;
pub mod q8_0;

pub use block::{Block, SPAN};

/// The list of formats: variant of [`Format`], name, kind with a type, description. Of a `plain` format
/// the type is the product that a matrix of it is the right operand of; of a `block` format it is the
/// module with its `Block`, and kernels for all of their tiles follow.
///
/// `with_formats!([path::of::a::macro] arguments…)` gives the list to a macro, behind the arguments.
#[macro_export]
macro_rules! with_formats {
    ([$($m:tt)*] $($arguments:tt)*) => {
        $($m)*! { $($arguments)*
            F32 "f32" plain Single "IEEE 754 binary32.";
            F16 "f16" plain Half "IEEE 754 binary16.";
            Bf16 "bf16" plain BFloat "The upper half of binary32.";
            S8 "s8" plain Byte "Signed bytes.";
            Q8_0 "q8_0" block q8_0 "Blocks of 32 signed bytes with a scale.";
        }
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
        }
    };
}
with_formats!([define_formats]);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

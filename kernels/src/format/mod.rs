//! Data formats: one file per format with its layout and its scalar reference.

use core::fmt;

pub mod f16;

/// How the elements that a kernel consumes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// Signed bytes.
    S8,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Format] = &[Format::F32, Format::F16, Format::Bf16, Format::S8];

    /// Its name as it stands in kernel names and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::S8 => "s8",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

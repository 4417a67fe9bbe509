//! What the user told a program to do without: [`VARIABLE`], the same for every program of the project and for the
//! programs that they start.

use kiln_kernels::isa::{self, IsaId};
use std::fmt;

/// The environment variable: names of instruction sets, separated by commas. One that is named takes those that
/// extend it along.
pub const VARIABLE: &str = "KILN_WITHOUT";

/// Hides what [`VARIABLE`] names from all later detection in this process: call it first.
///
/// # Errors
/// If a name is unknown or the instruction set cannot be left out.
pub fn from_environment() -> Result<(), Refused> {
    let Some(names) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let names = names.to_string_lossy();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let refuse = |why: String| Refused { name: name.to_owned(), why };
        let isa: IsaId = name.parse().map_err(|e: isa::UnknownIsa| refuse(e.to_string()))?;
        isa::hide(isa).map_err(|e| refuse(e.to_string()))?;
    }
    Ok(())
}

/// A name that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    name: String,
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VARIABLE}: '{}': {}", self.name, self.why)
    }
}
impl std::error::Error for Refused {}

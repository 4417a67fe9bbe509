//! The kernels that this binary was built with, and choosing among them: see [`qwen2_baked`].

pub use qwen2_baked::*;

use crate::error::Error;

/// The kernels of the profile called `name`, or the best ones for this CPU.
///
/// # Errors
/// [`Error::Profile`] when there is no such profile in this binary or this CPU cannot run it.
pub fn select(name: Option<&str>) -> Result<Ops, Error> {
    qwen2_baked::select(name).map_err(Error::Profile)
}

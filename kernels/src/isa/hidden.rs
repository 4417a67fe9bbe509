//! Instruction sets that this process leaves alone although the CPU has them: what a lesser CPU would run
//! can be tested and timed on the one at hand.
//!
//! It only ever takes away. Handles made before stay as good as they were.

use super::IsaId;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// One bit for each of [`IsaId::ALL`].
static HIDDEN: AtomicU32 = AtomicU32::new(0);
const _: () = assert!(IsaId::ALL.len() <= 32);

const fn bit(isa: IsaId) -> u32 {
    1 << isa as u32
}

/// From now on [`super::Isa::detect`] makes no token of `isa` in this process, nor of an instruction set that extends it.
///
/// # Errors
/// For the instruction set that runs everywhere: the others fall back to it.
pub fn hide(isa: IsaId) -> Result<(), Needed> {
    if isa.arch() == "any" {
        return Err(Needed(isa));
    }
    HIDDEN.fetch_or(bit(isa), Ordering::Relaxed);
    Ok(())
}

pub(super) fn is_hidden(isa: IsaId) -> bool {
    HIDDEN.load(Ordering::Relaxed) & bit(isa) != 0
}

/// That instruction set cannot be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed(IsaId);

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be left out: all else falls back to it", self.0)
    }
}
impl core::error::Error for Needed {}

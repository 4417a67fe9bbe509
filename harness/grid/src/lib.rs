//! The conformance grid between guard pages. Its loops are compiled here, once, for every kernel that there is: the laboratory and
//! its tests only call them. It never times anything.

mod arena;

pub use arena::{Buffer, Guarded};

use kiln_kernels::conformance::{self, Outcome};
use kiln_kernels::registry::Entry;

/// Runs the grid of a kernel; `None` when this CPU cannot run it. One that reads or writes beside its operands dies of SIGSEGV, or
/// panics.
pub fn run(entry: &Entry) -> Option<Outcome> {
    conformance::run(entry, &Guarded::default())
}

//! What the kernels in this binary were compiled with.

/// Compiler, optimisation level, flags and target.
pub const COMPILER: &str = concat!(env!("KILN_COMPILER"), ", ", env!("KILN_FLAGS"));

//! What every figure carries besides its numbers: the compiler, and when it was taken.

use std::time::SystemTime;

/// Compiler, optimisation level, flags and target of the kernels in this binary.
pub const COMPILER: &str = env!("KILN_COMPILER");

/// The time, RFC 3339 in UTC, to the second.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

//! Arm Performance Libraries, in the build with threads.

use super::Peer;
use super::cblas::{self, Description, Threads, Version};
use kiln_kernels::format::Format;

/// Arm Performance Libraries with 32-bit integers and OpenMP.
pub(super) const PEER: Peer = Peer {
    name: "armpl",
    formats: &[Format::F32],
    ops: &[],
    install: "Arm's installer of Arm Performance Libraries, and its lib folder in LD_LIBRARY_PATH",
    open: |_| cblas::open(&LIBRARY),
};

const LIBRARY: Description = Description {
    files: &["libarmpl_lp64_mp.so", "libarmpl_mp.so"],
    // The library has no function of its own: this is found in the OpenMP runtime that it brings.
    threads: Threads::Int(c"omp_set_num_threads"),
    version: Version::None,
};

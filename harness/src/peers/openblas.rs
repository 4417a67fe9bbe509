//! OpenBLAS. Its threads spin for a tenth of a second after a call before they sleep.
//!
//! A release that is older than the CPU falls back to older kernels, and says so in its version; what
//! `OPENBLAS_CORETYPE` asks for is taken.

use super::Peer;
use super::cblas::{self, Description, Threads, Version};
use kiln_kernels::format::Format;

/// OpenBLAS, by its C interface.
pub(super) const PEER: Peer = Peer {
    name: "openblas",
    formats: &[Format::F32],
    ops: &[],
    install: "apt-get install libopenblas0-pthread",
    open: |_| cblas::open(&LIBRARY),
};

const LIBRARY: Description = Description {
    files: &["libopenblas.so.0", "libopenblas.so"],
    threads: Threads::Int(c"openblas_set_num_threads"),
    version: Version::Text(c"openblas_get_config"),
};

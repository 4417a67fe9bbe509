//! BLIS. It starts its threads anew for each call, and they wait for one another by spinning. Where the
//! system puts two of them on one CPU a small product takes many times as long, with or without us.
//!
//! A release that is older than the CPU falls back to plain C, and says so in its version; what
//! `BLIS_ARCH_TYPE` asks for is taken.

use super::Peer;
use super::cblas::{self, Description, Threads, Version};
use kiln_kernels::format::Format;

/// BLIS, by its CBLAS layer.
pub(super) const PEER: Peer =
    Peer { name: "blis", formats: &[Format::F32], ops: &[], install: "apt-get install libblis4-pthread", open: |_| cblas::open(&LIBRARY) };

const LIBRARY: Description = Description {
    files: &["libblis.so.4", "libblis-mt.so.4", "libblis.so.5", "libblis.so.3", "libblis.so"],
    threads: Threads::Long(c"bli_thread_set_num_threads"),
    version: Version::WithKernels {
        name: "BLIS",
        version: c"bli_info_get_version_str",
        id: c"bli_arch_query_id",
        kernels: c"bli_arch_string",
    },
};

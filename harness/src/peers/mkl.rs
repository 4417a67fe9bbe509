//! Intel's oneMKL, by its single dynamic library.

use super::Peer;
use super::cblas::{self, Description, Threads, Version};
use kiln_kernels::format::Format;

/// oneMKL with its default layers: 32-bit integers, OpenMP threads.
pub(super) const PEER: Peer = Peer {
    name: "mkl",
    formats: &[Format::F32],
    ops: &[],
    install: "apt-get install libmkl-rt (Debian's non-free), or pip install mkl and its lib folder in LD_LIBRARY_PATH",
    open: |_| cblas::open(&LIBRARY),
};

const LIBRARY: Description = Description {
    files: &["libmkl_rt.so.3", "libmkl_rt.so.2", "libmkl_rt.so.1", "libmkl_rt.so"],
    // The name in lower case is Fortran's, which takes a pointer.
    threads: Threads::Int(c"MKL_Set_Num_Threads"),
    version: Version::Buffer(c"MKL_Get_Version_String"),
};

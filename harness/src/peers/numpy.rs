//! NumPy: operations on rows as its users write them, on one thread.

use super::{Peer, python};
use kiln_kernels::registry::Op;

/// NumPy's functions of arrays. Its products are those of a BLAS, which is a peer itself.
pub(super) const PEER: Peer = Peer {
    name: "numpy",
    formats: &[],
    ops: &[Op::F16ToF32, Op::F32ToF16, Op::RmsNorm, Op::LayerNorm, Op::AddRmsNorm, Op::SiluMul, Op::Softmax, Op::ArgMax],
    install: "pip install numpy (KILN_PYTHON names another python3)",
    open: |task| python::open("numpy", python::script!("numpy.py"), task),
};

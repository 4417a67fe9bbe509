//! PyTorch, and so oneDNN (and oneMKL on x86-64): a linear layer in f32 and bf16, `torch._int_mm` in bytes,
//! `scaled_dot_product_attention`, and operations on rows as its users write them. It has none on blocks of weights.

use super::{Peer, System, Task, python};
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;

/// PyTorch's linear layer and its functions of rows.
pub(super) const PEER: Peer = Peer {
    name: "torch",
    formats: &[Format::F32, Format::Bf16, Format::S8],
    ops: &[
        Op::F16ToF32,
        Op::F32ToF16,
        Op::Bf16ToF32,
        Op::F32ToBf16,
        Op::RmsNorm,
        Op::LayerNorm,
        Op::AddRmsNorm,
        Op::Rope,
        Op::SiluMul,
        Op::Softmax,
        Op::ArgMax,
        Op::TopK,
        Op::Attention,
        Op::AttentionDecode,
    ],
    install: "pip install torch (KILN_PYTHON names another python3)",
    open,
};

fn open(task: Task) -> anyhow::Result<Box<dyn System>> {
    let has = task.op == Op::Gemm || task.op.is_rows() || !task.format.is_blocks();
    anyhow::ensure!(has, "PyTorch has no cache of {}", task.format);
    python::open("torch", python::script!("torch.py"), task)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attention_operands, operands, verified};
    use super::*;

    #[test]
    fn every_format_gives_the_oracles_answer_where_torch_is_installed() {
        for format in PEER.formats {
            let task = Task { op: Op::Gemm, format: *format };
            let Ok(mut system) = python::open("torch", python::script!("torch.py"), task) else {
                eprintln!("skipped: {}", PEER.install);
                return;
            };
            for threads in [1, 2] {
                // torch._int_mm wants more than 16 rows, and multiples of 8 elsewhere.
                let mut operands = operands("33x48x64", threads, *format);
                let worst = verified(system.as_mut(), &mut operands, *format);
                assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{format}: {worst:?}");
                assert!(system.sample(&mut operands, 2).is_ok_and(|ns| ns > 0.0));
            }
        }
    }

    #[test]
    fn attention_gives_the_oracles_answer_where_torch_is_installed() {
        for format in [Format::F32, Format::F16, Format::Bf16] {
            for (op, shape) in [(Op::Attention, "5x40x6x2x32"), (Op::AttentionDecode, "1x33x6x2x32")] {
                let Ok(mut system) = (PEER.open)(Task { op, format }) else {
                    eprintln!("skipped: {}", PEER.install);
                    return;
                };
                let mut operands = attention_operands(op, shape, format);
                let worst = verified(system.as_mut(), &mut operands, format);
                assert!(worst.as_ref().is_ok_and(|w| *w <= 1.0), "{op}, {format}: {worst:?}");
                assert!(system.sample(&mut operands, 2).is_ok_and(|ns| ns > 0.0));
            }
        }
        let refused = (PEER.open)(Task { op: Op::Attention, format: Format::Q8_0 }).err().map(|e| e.to_string());
        assert!(refused.is_some_and(|why| why.contains("no cache of q8_0")));
    }
}

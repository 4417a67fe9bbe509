//! PyTorch, and so oneDNN (and oneMKL on x86-64), in a child process: a linear layer in f32 and bf16,
//! `torch._int_mm` in bytes. The child times its own calls; Python's share of a call, a microsecond or
//! two, is part of it, as it is for whoever uses PyTorch.

use super::child::Child;
use super::{Peer, System};
use crate::measure::operands::Operands;
use crate::space::Shape;
use anyhow::Context;
use kiln_kernels::format::Format;
use std::process::Command;
use std::time::Duration;

/// PyTorch's linear layer.
pub(super) const PEER: Peer = Peer {
    name: "torch",
    formats: &[Format::F32, Format::Bf16, Format::S8],
    install: "pip install torch (KILN_PYTHON names another python3)",
    open,
};

/// What the child runs.
const SCRIPT: &str = include_str!("torch.py");
/// The interpreter, if it is not to be `python3`.
const PYTHON: &str = "KILN_PYTHON";
/// For starting, and for what does not multiply; a cold disk may hold the library.
const PATIENCE: Duration = Duration::from_secs(120);
/// Whoever makes fewer operations in a second hangs.
const SLOWEST: f64 = 1e9;

struct Torch {
    child: Child,
    version: String,
    format: Format,
    /// Operations of a call.
    flops: f64,
}

fn open(format: Format) -> anyhow::Result<Box<dyn System>> {
    let mut command = Command::new(std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into()));
    command.args(["-c", SCRIPT]);
    let mut child = Child::start(PEER.name, command)?;
    let version = child.answer("start", PATIENCE)?;
    Ok(Box::new(Torch { child, version, format, flops: 0.0 }))
}

impl Torch {
    /// How long so many calls may take.
    fn patience(&self, calls: usize) -> Duration {
        PATIENCE + Duration::from_secs_f64(self.flops * calls as f64 / SLOWEST)
    }
}

impl System for Torch {
    fn version(&self) -> Option<String> {
        Some(self.version.clone())
    }

    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        let problem = operands.inputs.problem;
        let Shape::Product { m, n, k } = problem.shape else { anyhow::bail!("it multiplies matrices alone") };
        self.flops = problem.shape.flops().unwrap_or_default();
        let bytes: Vec<u8> =
            [operands.inputs.left_values(0), operands.inputs.weights()].iter().flat_map(|f| bytemuck::cast_slice(f)).copied().collect();
        let question = format!("prepare {} {m} {n} {k} {}", self.format, problem.threads);
        self.child.ask(&question, &bytes, PATIENCE).map(drop)
    }

    fn sample(&mut self, _: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let answer = self.child.ask(&format!("run {calls}"), b"", self.patience(calls))?;
        let ns: f64 = number(&answer)?;
        anyhow::ensure!(ns > 0.0 && ns.is_finite(), "torch says that {calls} calls took {answer} ns");
        Ok(ns / calls.max(1) as f64)
    }

    fn elements(&mut self, _: &mut Operands, at: &[(usize, usize)]) -> anyhow::Result<Vec<f64>> {
        let places: Vec<_> = at.iter().map(|(i, j)| format!(" {i},{j}")).collect();
        let answer = self.child.ask(&format!("elements{}", places.concat()), b"", self.patience(1))?;
        answer.split_whitespace().map(number).collect()
    }
}

fn number(text: &str) -> anyhow::Result<f64> {
    text.trim().parse().with_context(|| format!("torch answered with '{text}' instead of a number"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{operands, verified};
    use super::*;

    #[test]
    fn every_format_gives_the_oracles_answer_where_torch_is_installed() {
        for format in PEER.formats {
            let Ok(mut system) = open(*format) else {
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
    fn an_answer_that_is_no_number_is_an_error() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo ok fake 1; read line; echo ok soon; cat"]);
        let mut child = Child::start(PEER.name, command).expect("a shell");
        let version = child.answer("start", PATIENCE).expect("an answer");
        let mut torch = Torch { child, version, format: Format::F32, flops: 0.0 };
        let error = torch.sample(&mut operands("8x8x8", 1, Format::F32), 1).expect_err("no number").to_string();
        assert!(error.contains("'soon' instead of a number"), "{error}");
    }
}

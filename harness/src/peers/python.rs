//! A library of Python, in a child process. The child times its own calls; Python's share of a call, a microsecond or
//! two, is part of it, as it is for whoever uses the library. Operands go to it as bytes, and of its answers the
//! rows that are compared come back as bytes.

use super::child::Child;
use super::{System, Task};
use crate::measure::operands::Operands;
use crate::measure::spot;
use crate::space::{Problem, Shape};
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_kernels::row::{Access, Element, Extent, Operand};
use std::process::Command;
use std::time::Duration;

/// A script, behind what all of them have in common.
macro_rules! script {
    ($file:literal) => {
        concat!(include_str!("python.py"), "\n\n", include_str!($file))
    };
}
pub(super) use script;

/// The interpreter, if it is not to be `python3`.
const PYTHON: &str = "KILN_PYTHON";
/// For starting, and for what computes nothing; a cold disk may hold the library.
const PATIENCE: Duration = Duration::from_secs(120);
/// Whoever makes fewer operations in a second hangs.
const SLOWEST_FLOPS: f64 = 1e9;
/// Whoever moves fewer bytes in a second hangs.
const SLOWEST_BYTES: f64 = 1e7;
/// A library may round where our kernels do not, and approximate by other functions.
const LEEWAY: f64 = 4.0;
/// The operand of attention that is its result.
const RESULT: usize = 3;
/// Elements of an answer that are asked for at a time: a line of them is not to be too long.
const PIECE: usize = 4096;

struct Python {
    name: &'static str,
    child: Child,
    version: String,
    format: Format,
    /// The longest that a call may take.
    slowest: Duration,
}

/// Starts the interpreter with a script.
///
/// # Errors
/// If there is none, or it has no such library.
pub(super) fn open(name: &'static str, script: &str, task: Task) -> anyhow::Result<Box<dyn System>> {
    let mut command = Command::new(std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into()));
    command.args(["-c", script]);
    Ok(Box::new(start(name, command, task.format)?))
}

fn start(name: &'static str, command: Command, format: Format) -> anyhow::Result<Python> {
    let mut child = Child::start(name, command)?;
    let version = child.answer("start", PATIENCE)?;
    Ok(Python { name, child, version, format, slowest: Duration::ZERO })
}

impl Python {
    /// How long so many calls may take.
    fn patience(&self, calls: usize) -> Duration {
        PATIENCE + self.slowest.mul_f64(calls as f64)
    }

    fn prepare_product(&mut self, operands: &Operands, (m, n, k): (usize, usize, usize)) -> anyhow::Result<()> {
        let inputs = &operands.inputs;
        let bytes: Vec<u8> = [inputs.left_values(0), inputs.weights()].iter().flat_map(|f| bytemuck::cast_slice(f)).copied().collect();
        self.child.ask(&format!("prepare {} {m} {n} {k} {}", self.format, inputs.problem.threads), &bytes, PATIENCE).map(drop)
    }

    /// Sends all operands of all sets, one at a time.
    fn prepare_rows(&mut self, operands: &Operands, (rows, cols): (usize, usize)) -> anyhow::Result<()> {
        let problem = operands.inputs.problem;
        let all = described(&problem);
        self.child.ask(&format!("rows {} {} {}", problem.op, problem.threads, operands.inputs.sets.len()), b"", PATIENCE)?;
        for (input, output) in operands.inputs.sets.iter().zip(&operands.outputs) {
            let (mut read, mut written) = (input.rows.iter(), output.rows.iter());
            for operand in &all {
                let buffer = if operand.access == Access::Read { read.next() } else { written.next() };
                let bytes = buffer.map(|b| &b.get()[..operand.bytes(rows, cols)]).unwrap_or_default();
                let count = if operand.extent == Extent::Shared { 1 } else { rows };
                let question = format!("operand {} {} {count} {}", access(operand.access), element(operand)?, operand.width(cols));
                self.child.ask(&question, bytes, PATIENCE)?;
            }
        }
        self.child.ask("ready", b"", PATIENCE).map(drop)
    }

    /// Sends queries, keys and values of all sets.
    fn prepare_attention(&mut self, operands: &Operands, kv_heads: usize, dim: usize) -> anyhow::Result<()> {
        let problem = operands.inputs.problem;
        let Shape::Attention { tokens, context, heads, .. } = problem.shape else { return Ok(()) };
        let sets = operands.inputs.sets.len();
        self.child.ask(&format!("rows attention {} {sets} {kv_heads}", problem.threads), b"", PATIENCE)?;
        let cache = Operand::read(problem.format);
        let name = element(&cache)?;
        for (index, set) in operands.inputs.sets.iter().enumerate() {
            let kv = operands.inputs.kv(index).context("a cache")?;
            let queries = set.rows.first().map(|q| &q.get()[..4 * tokens * heads * dim]).unwrap_or_default();
            self.child.ask(&format!("operand read f32 {tokens} {}", heads * dim), queries, PATIENCE)?;
            let each = || (0..kv_heads).flat_map(|head| (0..context).map(move |position| (head, position)));
            for which in 0..2 {
                let mut bytes = vec![0; kv_heads * context * cache.row_bytes(dim)];
                for ((head, position), row) in each().zip(bytes.chunks_exact_mut(cache.row_bytes(dim))) {
                    let (key, value) = kv.token(head, position);
                    cache.encode(if which == 0 { &key } else { &value }, row);
                }
                self.child.ask(&format!("operand read {name} {} {dim}", kv_heads * context), &bytes, PATIENCE)?;
            }
            // The result.
            self.child.ask(&format!("operand write f32 {tokens} {}", heads * dim), &vec![0; 4 * tokens * heads * dim], PATIENCE)?;
        }
        self.child.ask("ready", b"", PATIENCE).map(drop)
    }

    /// Fetches a row of an operand after a call.
    fn row(&mut self, index: usize, row: usize, element: usize, to: &mut [u8]) -> anyhow::Result<()> {
        for (turn, to) in to.chunks_mut(PIECE * element.max(1)).enumerate() {
            let count = to.len() / element;
            let answer = self.child.ask(&format!("piece {index} {row} {} {count}", turn * PIECE), b"", PATIENCE)?;
            let bytes = hex(answer.trim()).filter(|b| b.len() == to.len());
            to.copy_from_slice(&bytes.with_context(|| format!("{} answered with other than {} bytes", self.name, to.len()))?);
        }
        Ok(())
    }
}

impl System for Python {
    fn version(&self) -> Option<String> {
        Some(self.version.clone())
    }

    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn leeway(&self, problem: &Problem) -> f64 {
        // Attention to a narrow cache is computed in its format.
        match problem.format {
            _ if problem.op.is_rows() => LEEWAY,
            Format::F16 => LEEWAY * f64::from(1 << 13),
            Format::Bf16 => LEEWAY * f64::from(1 << 16),
            _ => LEEWAY,
        }
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        let problem = operands.inputs.problem;
        let seconds = problem.shape.flops().map_or_else(|| problem.bytes() / SLOWEST_BYTES, |flops| flops / SLOWEST_FLOPS);
        self.slowest = Duration::from_secs_f64(seconds);
        match problem.shape {
            Shape::Product { m, n, k } => self.prepare_product(operands, (m, n, k)),
            Shape::Rows { rows, cols } => self.prepare_rows(operands, (rows, cols)),
            Shape::Attention { kv_heads, dim, .. } => self.prepare_attention(operands, kv_heads, dim),
        }
    }

    fn sample(&mut self, _: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let answer = self.child.ask(&format!("run {calls}"), b"", self.patience(calls))?;
        let ns: f64 = number(self.name, &answer)?;
        anyhow::ensure!(ns > 0.0 && ns.is_finite(), "{} says that {calls} calls took {answer} ns", self.name);
        Ok(ns / calls.max(1) as f64)
    }

    fn elements(&mut self, _: &mut Operands, at: &[(usize, usize)]) -> anyhow::Result<Vec<f64>> {
        let places: Vec<_> = at.iter().map(|(i, j)| format!(" {i},{j}")).collect();
        let answer = self.child.ask(&format!("elements{}", places.concat()), b"", self.patience(1))?;
        answer.split_whitespace().map(|text| number(self.name, text)).collect()
    }

    fn rows(&mut self, operands: &mut Operands) -> anyhow::Result<()> {
        let problem = operands.inputs.problem;
        self.child.ask("answer", b"", self.patience(1))?;
        if let Shape::Attention { tokens, heads, dim, .. } = problem.shape {
            let bytes = size_of::<f32>() * heads * dim;
            for (token, _) in spot::heads_of(tokens, heads) {
                let to = &mut operands.outputs[0].rows[0].get_mut()[token * bytes..][..bytes];
                self.row(RESULT, token, size_of::<f32>(), to)?;
            }
        }
        let Shape::Rows { rows, cols } = problem.shape else { return Ok(()) };
        let all = described(&problem);
        for row in spot::rows_of(rows) {
            let written = all.iter().enumerate().filter(|(_, o)| o.access != Access::Read);
            for ((index, operand), buffer) in written.zip(&mut operands.outputs[0].rows) {
                let bytes = operand.row_bytes(cols);
                let to = &mut buffer.get_mut()[row * bytes..][..bytes];
                self.row(index, row, bytes / operand.width(cols).max(1), to)?;
            }
            if let (Op::TopK, [values, at]) = (problem.op, operands.outputs[0].rows.as_mut_slice()) {
                let count = all[1].width(cols);
                let x: &[f32] = bytemuck::cast_slice(operands.inputs.sets[0].rows[0].get());
                let values: &[f32] = bytemuck::cast_slice(values.get());
                let at: &mut [u32] = bytemuck::cast_slice_mut(at.get_mut());
                first_of_equals(&x[row * cols..][..cols], &values[row * count..][..count], &mut at[row * count..][..count]);
            }
        }
        Ok(())
    }
}

fn described(problem: &Problem) -> Vec<Operand> {
    problem.op.operands(problem.format).unwrap_or_default()
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Update => "update",
    }
}

fn element(operand: &Operand) -> anyhow::Result<&'static str> {
    match operand.element {
        Element::Index => Ok("u32"),
        Element::Of(format) if format.is_blocks() => anyhow::bail!("it knows no {format}"),
        Element::Of(format) => Ok(format.name()),
    }
}

/// Of equal elements a library may tell any, and in any order, where ours tells the first: positions that are right so
/// far are replaced by those.
fn first_of_equals(x: &[f32], values: &[f32], at: &mut [u32]) {
    let mut done = 0;
    for run in values.chunk_by(|a, b| a == b) {
        let mine = &mut at[done..done + run.len()];
        done += run.len();
        let mut sorted = mine.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let right = sorted.len() == run.len() && sorted.iter().all(|i| x.get(*i as usize) == Some(&run[0]));
        if right {
            let first = (0u32..).zip(x).filter(|(_, x)| **x == run[0]);
            mine.iter_mut().zip(first).for_each(|(at, (i, _))| *at = i);
        }
    }
}

/// The bytes that pairs of hexadecimal digits stand for.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn number(name: &str, text: &str) -> anyhow::Result<f64> {
    text.trim().parse().with_context(|| format!("{name} answered with '{text}' instead of a number"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{operands, row_operands};
    use super::*;

    fn fake(script: &str) -> Python {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        start("torch", command, Format::F32).expect("a shell that answers")
    }

    #[test]
    fn an_answer_that_is_no_number_is_an_error() {
        let mut torch = fake("echo ok fake 1; read line; echo ok soon; cat");
        let error = torch.sample(&mut operands("8x8x8", 1, Format::F32), 1).expect_err("no number").to_string();
        assert!(error.contains("'soon' instead of a number"), "{error}");
    }

    #[test]
    fn a_row_that_is_too_short_is_an_error() {
        let mut torch = fake("echo ok fake 1; read line; echo ok; read line; echo ok 0011; cat");
        let error = torch.rows(&mut row_operands(Op::RmsNorm, "2x8", 1)).expect_err("no row").to_string();
        assert!(error.contains("other than 32 bytes"), "{error}");
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!((hex("00ff1A"), hex("")), (Some(vec![0, 255, 26]), Some(vec![])));
        assert_eq!((hex("0"), hex("0g")), (None, None));
    }

    #[test]
    fn positions_of_equal_elements_become_the_first_unless_they_are_wrong() {
        let x = [2.0, 5.0, 2.0, 7.0, 2.0];
        let settled = |mut at: [u32; 4]| {
            first_of_equals(&x, &[7.0, 5.0, 2.0, 2.0], &mut at);
            at
        };
        assert_eq!(settled([3, 1, 4, 2]), [3, 1, 0, 2]);
        assert_eq!(settled([3, 1, 4, 4]), [3, 1, 4, 4]);
        assert_eq!(settled([1, 3, 9, 0]), [1, 3, 9, 0]);
    }
}

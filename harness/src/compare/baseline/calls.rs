//! The counted program's side: it makes a kernel ready, verifies it, and makes as many calls as it is told to, on its first
//! thread and with as little else as can be. It reads no clock.

use super::{Wanted, build};
use crate::filter;
use crate::guard;
use crate::machine::Machine;
use crate::measure::operands::Operands;
use crate::measure::runner::Runner;
use crate::peers::{Choice, Kiln, Task};
use crate::space::{Shape, Temperature};
use crate::store::Config;
use crate::sweep::room;
use anyhow::Context;
use kiln_kernels::registry::Op;
use kiln_profiles::schema::BlockSizes;
use serde::{Deserialize, Serialize};

/// The hidden command, which takes the number of calls, and on stdin a [`Request`].
pub const COMMAND: &str = "count-calls";

/// What to call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The operation's name.
    pub op: String,
    /// The name of its operands' format.
    pub format: String,
    /// The extents.
    pub shape: Shape,
    /// A kernel instead of the one that the profile says.
    pub kernel: Option<String>,
    /// Its block sizes.
    pub blocking: Option<BlockSizes>,
}

/// What was called, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The key of the machine as the program sees it.
    pub machine: String,
    /// The compiler's version.
    pub compiler: String,
    /// Its flags.
    pub flags: String,
    /// What was run.
    pub config: Config,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// It was called.
    Called(Box<Answer>),
    /// It gave a wrong answer, and was not called again.
    Wrong(String),
}

/// Makes the calls.
///
/// # Errors
/// If there is no such kernel here, or memory cannot be had.
pub fn run(request: &Request, calls: usize) -> anyhow::Result<Outcome> {
    let Request { op, format, shape, kernel, blocking } = request;
    let op: Op = op.parse().map_err(|_| anyhow::anyhow!("this build does not know the operation {op}"))?;
    let task = Task { op, format: filter::format(format).map_err(anyhow::Error::msg)? };
    let choice = Choice { kernel: kernel.clone(), blocking: *blocking, ..Choice::default() };
    let wanted = Wanted { task, at: vec![(*shape, 1)], operands: Temperature::Hot, choice };
    let machine = Machine::detect();
    let problem = wanted.problems(room(&machine))?.into_iter().next().context("no problem")?;
    let (candidate, _) = Kiln::new(task, wanted.choice, &machine)?.candidate(*shape)?;
    let name = candidate.entry.meta.name;
    let mut operands = Operands::new(&problem, room(&machine), shape.size() as u64)?;
    let mut runner = Runner::new(&candidate, &operands)?;
    let right = guard::watch(name, || {
        let right = runner.verify(&mut operands);
        if right.is_ok() {
            (0..calls).for_each(|_| runner.call(&mut operands));
        }
        right
    });
    if let Err(why) = right {
        return Ok(Outcome::Wrong(format!("{name}: {why}")));
    }
    let (compiler, flags) = build();
    let config = Config::new(&problem, &candidate);
    Ok(Outcome::Called(Box::new(Answer { machine: machine.key().into(), compiler: compiler.into(), flags: flags.into(), config })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_called_is_what_was_asked_for() {
        let scalar = kiln_kernels::registry::all().find(|e| e.meta.op == Op::Gemm && e.meta.name.contains("f32_scalar")).expect("a kernel");
        let request = Request {
            op: "gemm".into(),
            format: "f32".into(),
            shape: "5x9x7".parse().expect("a shape"),
            kernel: Some(scalar.meta.name.into()),
            blocking: Some(kiln_kernels::gemm::Blocking::new(4, 8, 8).into()),
        };
        let Outcome::Called(answer) = run(&request, 2).expect("an outcome") else { panic!("a wrong answer") };
        let blocking = answer.config.blocking.map(BlockSizes::from);
        assert_eq!((answer.config.kernel.as_str(), blocking, answer.config.packed), (scalar.meta.name, request.blocking, true));
        let unknown = Request { op: "juggle".into(), ..request };
        assert!(run(&unknown, 1).unwrap_err().to_string().contains("juggle"));
    }
}

//! Comparing configurations in fresh processes, as a sweep compares its finalists, for commands that are asked to. It stores
//! nothing.

use crate::machine::others::Watch;
use crate::machine::{Machine, lock};
use crate::measure::apart::{self, Bench, Job};
use crate::measure::clock::Effort;
use crate::measure::comparison::compare;
use crate::measure::statistics::Ratio;
use crate::progress::Progress;
use crate::space::Problem;
use crate::store::Config;
use crate::sweep::room;

/// What is compared at a problem.
pub(super) struct Question<'a> {
    pub problem: &'a Problem,
    /// Two configurations each: the time of the first over that of the second is asked for.
    pub pairs: Vec<(&'a Config, &'a Config)>,
}

/// The ratios of each question in its order, and what to remark on the machine meanwhile.
///
/// # Errors
/// If this machine is none to time on, or a comparison fails.
pub(super) fn compared(machine: &Machine, effort: &Effort, questions: &[Question]) -> anyhow::Result<(Vec<Vec<Ratio>>, Option<String>)> {
    machine.allow_timing(&questions.iter().map(|q| q.problem.threads).collect::<Vec<_>>())?;
    let _machine = lock::machine(|note| eprintln!("note: {note}"))?;
    let mut bench = Bench::new(Some(&apart::this_program()?));
    let to_do: usize = questions.iter().map(|q| q.pairs.len()).sum();
    let (progress, watch) = (Progress::new(to_do as u64, "comparing"), Watch::start());
    let mut all = Vec::new();
    for (seed, Question { problem, pairs }) in questions.iter().enumerate() {
        progress.at(format!("{} {}", problem.op, problem.shape));
        let mut ratios = Vec::new();
        for (one, other) in pairs {
            let job = Job::new(((*one).clone(), (*other).clone()), effort, 0, room(machine), seed as u64);
            ratios.push(compare(&mut bench, &job, (effort, effort.pairs))?.map_err(anyhow::Error::msg)?.ratio);
            progress.advance(1);
        }
        all.push(ratios);
    }
    Ok((all, watch.and_then(|watch| watch.remark())))
}

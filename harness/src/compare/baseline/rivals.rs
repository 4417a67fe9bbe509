//! An older kiln beside this one, in turn: A B B A, B A A B, each turn a process of its own. Whatever rises or falls meanwhile
//! cancels, so that this shows smaller differences than a baseline whose session is over.

use super::clock::{self, Pairs, Session};
use super::judge::{self, Judged, Judgement};
use super::{Baseline, Row, Wanted, baseline, build};
use crate::machine::Machine;
use crate::measure::apart::Bench;
use crate::measure::clock::Effort;
use crate::measure::statistics::{median, signed_rank_ratio};
use crate::progress::Progress;
use crate::ranking;
use crate::store::Config;
use anyhow::{Context, anyhow};
use std::path::Path;

/// Quadruples of processes at each problem, so that chance alone seldom has all of them agree.
const QUADRUPLES: usize = 6;
/// Pairs of samples in each process.
const PAIRS: usize = 3;

/// What both took at one problem.
#[derive(Default)]
struct Rounds {
    now: Vec<Pairs>,
    before: Vec<Pairs>,
    /// Means of a quadruple: now, before.
    means: Vec<(f64, f64)>,
}

/// Runs both in turn and judges; `recorded` says which kernels the older one ran, which otherwise are those of now.
///
/// # Errors
/// Bad input, or a program that is no kiln; [`crate::compare::Failed`] for a kernel that is wrong.
pub fn judge(
    wanted: &Wanted,
    older: &Path,
    recorded: Option<&Baseline>,
    machine: &Machine,
    effort: &Effort,
) -> anyhow::Result<(Judgement, Baseline)> {
    let session = Session::new(wanted, machine, effort)?;
    let progress = Progress::new((session.configs.len() * QUADRUPLES) as u64, "running both in turn");
    let (mut rows_now, mut rows_before, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    for config in &session.configs {
        progress.at(format!("{}, {} thread(s)", config.shape, config.threads));
        let was = recorded.and_then(|b| b.row(config.shape, config.threads)).map_or(config, |row| &row.config);
        let rounds = play(&session, (config, was), older, effort, || progress.advance(1))?;
        let (now, before) = (clock::row(config, &rounds.now)?, clock::row(was, &rounds.before)?);
        judged.push(verdict(&now, &before, &rounds.means)?);
        rows_now.push(now);
        rows_before.push(before);
    }
    drop(progress);
    let now = baseline(machine.key(), build(), None, rows_now);
    let before = baseline(machine.key(), (&format!("that of {}", older.display()), "as it was built"), None, rows_before);
    session.remark(&now);
    Ok((judge::judgement(&before, &now, judged, true)?, now))
}

fn verdict(now: &Row, before: &Row, means: &[(f64, f64)]) -> anyhow::Result<Judged> {
    let ratio = signed_rank_ratio(means).context("no samples")?;
    let band = now.figures.noise_floor().max(before.figures.noise_floor()).max(ranking::BAND);
    Ok(Judged::by(now, before, ratio, band))
}

fn play(
    session: &Session,
    (now, before): (&Config, &Config),
    older: &Path,
    effort: &Effort,
    mut progress: impl FnMut(),
) -> anyhow::Result<Rounds> {
    let mut rounds = Rounds::default();
    let (mut ours, mut theirs) = (Bench::new(Some(&session.program)), Bench::new(Some(older)));
    for quadruple in 0..QUADRUPLES {
        let mut sums = [0.0; 2];
        let order = if quadruple % 2 == 0 { [0, 1, 1, 0] } else { [1, 0, 0, 1] };
        for (turn, side) in order.into_iter().enumerate() {
            let (bench, config, all) = match side {
                0 => (&mut ours, now, &mut rounds.now),
                _ => (&mut theirs, before, &mut rounds.before),
            };
            let seed = (quadruple * order.len() + turn) as u64;
            let pairs = clock::process(bench, config, (effort, PAIRS), (session.room, seed));
            // What is wrong with the older one is no failure of this one.
            let pairs = if side == 0 { pairs? } else { pairs.map_err(|why| anyhow!("the older kiln {}: {why:#}", older.display()))? };
            sums[side] += median(&pairs.iter().map(|(a, b)| (a + b) / 2.0).collect::<Vec<_>>()).context("no samples")?;
            all.push(pairs);
        }
        rounds.means.push((sums[0] / 2.0, sums[1] / 2.0));
        progress();
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::super::judge::Verdict;
    use super::super::tests::timed;
    use super::*;

    #[test]
    fn all_quadruples_must_agree() {
        let (now, before) = (timed("8x8x8", 1100.0).rows.remove(0), timed("8x8x8", 1000.0).rows.remove(0));
        let of = |ratios: &[f64]| verdict(&now, &before, &ratios.iter().map(|r| (*r, 1.0)).collect::<Vec<_>>()).expect("judged").verdict;
        assert_eq!(of(&[1.1, 1.11, 1.09, 1.1, 1.1, 1.1]), Verdict::Slower);
        assert_eq!(of(&[1.1, 1.11, 1.09, 1.1, 1.1, 1.01]), Verdict::Same);
        assert_eq!(of(&[0.9, 0.91, 0.9, 0.9, 0.9, 0.92]), Verdict::Faster);
        assert!(verdict(&now, &before, &[]).is_err());
    }
}

//! Taking turns: every system is sampled twice in each round, once on the way there and once on the
//! way back, and each round begins with another one. With two systems that is A B B A, B A A B: what
//! drifts steadily cancels in the mean of a system's two samples, and nobody is always the first.

use super::quiet::Quiet;
use crate::measure::clock::{self, Effort};
use crate::measure::operands::Operands;
use crate::peers::System;
use std::time::{Duration, Instant};

/// Fewer rounds than this say nothing.
const FEWEST: usize = 6;
/// A problem's samples take about this many sample lengths, unless the fewest rounds need more.
const PATIENCE: u32 = 5000;
/// Before each of its samples a system makes calls for this long that nobody times: its threads wake up,
/// the scheduler spreads them, its operands come back into the caches. Shorter, and threads that slept
/// meanwhile show in the sample.
const WAKE: Duration = Duration::from_millis(8);
/// Calls from this length on have no need of that.
const LONG: Duration = Duration::from_millis(32);

/// The order of the first half of a round; the second half is its reverse.
fn order(systems: usize, round: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..systems).map(move |i| (i + round) % systems)
}

/// A system at its turn, with the number of calls of a sample.
pub(super) struct Player<'a> {
    system: &'a mut dyn System,
    calls: usize,
    /// Nanoseconds of one, roughly.
    ns: f64,
}

impl<'a> Player<'a> {
    /// Warms a system up and sees how many calls a sample of it needs.
    pub(super) fn new(system: &'a mut dyn System, operands: &mut Operands, effort: &Effort) -> anyhow::Result<Player<'a>> {
        let mut ns = 0.0;
        let calls = clock::warm_up_by(effort.warm_up, effort.sample, |calls| {
            ns = system.sample(operands, calls)?;
            Ok::<_, anyhow::Error>(ns)
        })?;
        Ok(Player { system, calls, ns })
    }

    /// Its two kinds of calls: those that wake it up, and those that count.
    fn sample(&mut self, operands: &mut Operands) -> anyhow::Result<f64> {
        if self.ns < LONG.as_nanos() as f64 {
            let calls = (WAKE.as_nanos() as f64 / self.ns.max(1.0)).ceil();
            self.system.sample(operands, calls as usize)?;
        }
        self.system.sample(operands, self.calls)
    }
}

/// What came of all rounds.
pub(super) struct Rounds {
    /// For each system, nanoseconds per call in each round: the mean of its two samples.
    pub ns: Vec<Vec<f64>>,
    /// How often a system was still busy when the next one's turn came.
    pub restless: usize,
}

/// A player failed.
pub(super) struct Interrupted {
    pub player: usize,
    pub why: anyhow::Error,
}

/// Lets everyone take turns until the effort's rounds are done or time is up; `progress` hears which
/// share is done.
pub(super) fn play(
    players: &mut [Player],
    operands: &mut Operands,
    effort: &Effort,
    mut progress: impl FnMut(f64),
) -> Result<Rounds, Interrupted> {
    let quiet = Quiet::new(players.iter().filter_map(|p| p.system.process()));
    let mut rounds = Rounds { ns: vec![Vec::new(); players.len()], restless: 0 };
    let (began, longest) = (Instant::now(), effort.sample * PATIENCE);
    let fewest = FEWEST.min(effort.pairs);
    for round in 0..effort.pairs {
        if round >= fewest && began.elapsed() > longest {
            break;
        }
        let mut sums = vec![0.0; players.len()];
        for index in order(players.len(), round).chain(order(players.len(), round).rev()) {
            rounds.restless += usize::from(!quiet.wait());
            sums[index] += players[index].sample(operands).map_err(|why| Interrupted { player: index, why })?;
        }
        rounds.ns.iter_mut().zip(&sums).for_each(|(ns, sum)| ns.push(sum / 2.0));
        let time = began.elapsed().as_secs_f64() / longest.as_secs_f64();
        let count = (round + 1) as f64;
        progress(f64::min((count / effort.pairs as f64).max(time), count / fewest as f64).min(1.0));
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_first_in_turn_and_the_way_back_is_the_way_there() {
        assert_eq!(order(3, 0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(order(3, 1).chain(order(3, 1).rev()).collect::<Vec<_>>(), [1, 2, 0, 0, 2, 1]);
        let two: Vec<_> = (0..2).flat_map(|r| order(2, r).chain(order(2, r).rev())).collect();
        assert_eq!(two, [0, 1, 1, 0, 1, 0, 0, 1]);
    }
}

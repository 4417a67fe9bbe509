//! Timing a loop on several pinned threads at once until its rate no longer climbs, then sampling it.
//!
//! For limits of the machine alone: kernels are compared elsewhere, in pairs and with intervals. Work
//! is counted between the moment the threads are let go and the moment the last one is done, so an
//! unlucky thread lowers the figure and never raises it.

use core_affinity::CoreId;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long to warm up and to sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Length of one sample.
    pub slice: Duration,
    /// Warm-up ends no earlier than this…
    pub warm_up: Duration,
    /// …and no later than this, plateau or not.
    pub warm_up_limit: Duration,
    /// Samples after the warm-up, at least 1.
    pub samples: usize,
}

impl Plan {
    /// For figures that are kept.
    pub const FULL: Plan = Plan {
        slice: Duration::from_millis(20),
        warm_up: Duration::from_millis(60),
        warm_up_limit: Duration::from_millis(600),
        samples: 9,
    };

    /// For a first look.
    pub const QUICK: Plan =
        Plan { slice: Duration::from_millis(8), warm_up: Duration::from_millis(16), warm_up_limit: Duration::from_millis(120), samples: 5 };
}

/// A rate, by the median of its samples, with their full range as the spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Units per second.
    pub median: f64,
    /// The lowest sample.
    pub low: f64,
    /// The highest sample.
    pub high: f64,
    /// How many there were.
    pub samples: usize,
    /// Whether the rate had settled before sampling began.
    pub settled: bool,
}

impl Figure {
    fn new(mut rates: Vec<f64>, settled: bool) -> Option<Figure> {
        rates.sort_by(f64::total_cmp);
        let (low, high) = (*rates.first()?, *rates.last()?);
        let middle = rates.len() / 2;
        let median = if rates.len() % 2 == 1 { rates[middle] } else { (rates[middle - 1] + rates[middle]) / 2.0 };
        Some(Figure { median, low, high, samples: rates.len(), settled })
    }

    /// The range of the samples over their median: 0 is perfectly steady.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

/// Whether the last rates of a warm-up lie within 2 % of one another.
fn settled(rates: &[f64]) -> bool {
    const LAST: usize = 3;
    let Some(last) = rates.len().checked_sub(LAST).map(|from| &rates[from..]) else { return false };
    let high = last.iter().copied().fold(f64::MIN, f64::max);
    let low = last.iter().copied().fold(f64::MAX, f64::min);
    high - low <= 0.02 * high
}

/// The CPUs this process may be pinned to, in order; empty if the system does not tell. They are those of the
/// thread that asks first, which must not be pinned itself: the others' answer would be the CPU they are on.
pub fn cpus() -> &'static [CoreId] {
    static CPUS: OnceLock<Vec<CoreId>> = OnceLock::new();
    CPUS.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default())
}

/// One thread's share of a slice: from when to when it ran, and how much work it did.
type Share = (Instant, Instant, f64);

/// Runs `threads` workers at once, each pinned to its own CPU, and returns their joint rate in units
/// of work per second.
///
/// `make(thread)` builds a worker on the thread it will run on, so that its memory is touched there
/// first; a worker is told how many rounds to do and returns the work in them. Threads beyond the CPUs
/// that may be pinned to run unpinned. `None` if no time passed or a worker did no work.
pub fn rate<W: FnMut(usize) -> f64>(threads: usize, plan: &Plan, make: impl Fn(usize) -> W + Sync) -> Option<Figure> {
    let threads = threads.max(1);
    let cpus = cpus();
    let gate = Barrier::new(threads + 1);
    let done = AtomicBool::new(false);
    let shares: Mutex<Vec<Share>> = Mutex::new(Vec::with_capacity(threads));

    std::thread::scope(|scope| {
        for index in 0..threads {
            let (make, gate, done, shares, cpu) = (&make, &gate, &done, &shares, cpus.get(index).copied());
            scope.spawn(move || {
                if let Some(cpu) = cpu {
                    core_affinity::set_for_current(cpu);
                }
                let mut worker = make(index);
                let rounds = rounds_per_chunk(&mut worker);
                loop {
                    gate.wait();
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let start = Instant::now();
                    let mut work = 0.0;
                    while start.elapsed() < plan.slice {
                        work += worker(rounds);
                    }
                    let share = (start, Instant::now(), work);
                    shares.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(share);
                    gate.wait();
                }
            });
        }

        let slice = || {
            gate.wait();
            gate.wait();
            joint_rate(&mut shares.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
        };
        let began = Instant::now();
        let mut warm = Vec::new();
        let plateau = loop {
            warm.push(slice());
            let elapsed = began.elapsed();
            if elapsed >= plan.warm_up && settled(&warm) {
                break true;
            }
            if elapsed >= plan.warm_up_limit {
                break false;
            }
        };
        let rates: Vec<f64> = (0..plan.samples.max(1)).map(|_| slice()).collect();
        done.store(true, Ordering::Release);
        gate.wait();
        Figure::new(rates, plateau).filter(|figure| figure.low > 0.0 && figure.high.is_finite())
    })
}

/// How many rounds take about a quarter of a millisecond: enough that reading the clock costs nothing.
fn rounds_per_chunk(worker: &mut impl FnMut(usize) -> f64) -> usize {
    let mut rounds = 1;
    loop {
        let start = Instant::now();
        worker(rounds);
        if start.elapsed() >= Duration::from_micros(250) || rounds >= 1 << 40 {
            return rounds;
        }
        rounds *= 2;
    }
}

/// All work over the time from the first start to the last end; empties `shares`.
fn joint_rate(shares: &mut Vec<Share>) -> f64 {
    let first = shares.iter().map(|share| share.0).min();
    let last = shares.iter().map(|share| share.1).max();
    let work: f64 = shares.drain(..).map(|share| share.2).sum();
    match (first, last) {
        (Some(first), Some(last)) => work / (last - first).as_secs_f64(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_range_are_right() {
        let figure = Figure::new(vec![3.0, 1.0, 2.0, 10.0], true).expect("a figure");
        assert_eq!((figure.low, figure.median, figure.high, figure.samples), (1.0, 2.5, 10.0, 4));
        assert_eq!(Figure::new(Vec::new(), true), None);
    }

    #[test]
    fn a_rate_settles_only_when_it_stands_still() {
        assert!(!settled(&[1.0, 1.0]));
        assert!(!settled(&[1.0, 2.0, 3.0]));
        assert!(settled(&[1.0, 3.0, 3.01, 3.02]));
    }

    #[test]
    fn work_of_all_threads_is_summed() {
        let plan = Plan { slice: Duration::from_millis(1), warm_up: Duration::ZERO, ..Plan::QUICK };
        let idle = |_thread: usize| {
            |rounds: usize| {
                std::thread::sleep(Duration::from_micros(300));
                rounds as f64
            }
        };
        let figure = rate(2, &plan, idle).expect("a rate");
        assert!(figure.low > 0.0 && figure.low <= figure.median && figure.median <= figure.high);
        assert_eq!(figure.samples, plan.samples);
        assert_eq!(
            rate(1, &plan, |_| |_| {
                std::thread::sleep(Duration::from_micros(300));
                0.0
            }),
            None
        );
    }
}

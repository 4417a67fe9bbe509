//! Moving as many bytes as an operation on rows must, as a system among the others: what the machine allows it, in the
//! same rounds and with the same threads. It computes nothing, on memory of its own.
//!
//! At each problem the fastest of three ways is taken: the ordinary copy, a copy by stores past the caches (both read
//! one half of the bytes and write the other), and filling. Beside what only reads, such as attention of one token, that is
//! reading.

use super::{Peer, System};
use crate::measure::operands::{Buffer, Operands};
use crate::measure::statistics::Random;
use crate::measure::{clock, runner};
use crate::space;
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::isa::stream;
use kiln_kernels::registry::Op;
use kiln_kernels::team::{Team, Workers};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The limit of whatever bytes are.
pub(super) const PEER: Peer = Peer {
    name: "copy",
    formats: &[],
    ops: &BOUND_BY_BYTES,
    install: "nothing: it is compiled in",
    open: |_| Ok(Box::new(Copy { ready: None })),
};

/// The operations that are.
const BOUND_BY_BYTES: [Op; Op::ALL.len() - 2] = {
    let (mut ops, mut found, mut next) = ([Op::RmsNorm; Op::ALL.len() - 2], 0, 0);
    while next < Op::ALL.len() {
        if space::is_counted_in_bytes(Op::ALL[next]) {
            ops[found] = Op::ALL[next];
            found += 1;
        }
        next += 1;
    }
    ops
};

/// A sample of each way lasts so long, when one is chosen.
const SAMPLE: Duration = Duration::from_millis(4);
/// Samples of each way, of which the best counts.
const SAMPLES: usize = 7;
/// Elements of a cache line: threads share none.
const LINE: usize = 16;

/// Copies.
struct Copy {
    ready: Option<Ready>,
}

struct Ready {
    mover: Mover,
    pool: rayon::ThreadPool,
}

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Copy,
    Stream,
    Fill,
    /// Where nothing to speak of is written.
    Read,
}

impl Way {
    /// The ways to do as much as an operation does.
    fn for_op(op: Op) -> &'static [Way] {
        if op == Op::AttentionDecode { &[Way::Read] } else { &[Way::Copy, Way::Stream, Way::Fill] }
    }

    fn name(self) -> &'static str {
        match self {
            Way::Copy => "copy",
            Way::Stream => "streaming copy",
            Way::Fill => "fill",
            Way::Read => "read",
        }
    }
}

struct Mover {
    way: Way,
    team: Arc<Team>,
    /// Of each set one half that is read and one that is written; filling writes both.
    sets: Vec<[Buffer<f32>; 2]>,
    /// The set whose turn it is.
    next: usize,
}

impl Mover {
    fn new(bytes: usize, sets: usize, threads: usize) -> anyhow::Result<Mover> {
        let random = &mut Random::new(bytes as u64);
        let len = bytes.div_ceil(2 * size_of::<f32>());
        let mut set = || -> anyhow::Result<[Buffer<f32>; 2]> {
            let mut halves = [Buffer::new(len, random)?, Buffer::new(len, random)?];
            // Touched here, so that no timed call meets a page for the first time.
            halves.iter_mut().for_each(|half| half.get_mut().fill(1.0));
            Ok(halves)
        };
        let sets = (0..sets).map(|_| set()).collect::<Result<_, _>>()?;
        Ok(Mover { way: Way::Copy, team: runner::team(threads)?, sets, next: 0 })
    }

    /// Moves the bytes of the next set.
    fn call(&mut self) {
        let (way, threads) = (self.way, self.team.count());
        let set = self.next;
        self.next = (set + 1) % self.sets.len();
        let [from, to] = &mut self.sets[set];
        let (from, to) = (from.get_mut(), to.get_mut());
        if threads == 1 {
            return way.work(from, to);
        }
        let share = from.len().div_ceil(threads).next_multiple_of(LINE).max(1);
        let shares: Vec<_> = from.chunks_mut(share).zip(to.chunks_mut(share)).map(Mutex::new).collect();
        self.team.share(shares.len(), &|thread| {
            let (from, to) = &mut *shares[thread].lock().unwrap_or_else(PoisonError::into_inner);
            way.work(from, to);
        });
    }

    /// Takes the way whose best sample is the best.
    fn choose(&mut self, ways: &[Way]) {
        let mut best = vec![f64::INFINITY; ways.len()];
        let mut warm_up = |way: &Way| {
            self.way = *way;
            clock::warm_up(SAMPLE, SAMPLE, || self.call())
        };
        let calls: Vec<usize> = ways.iter().map(&mut warm_up).collect();
        for _ in 0..SAMPLES {
            for (index, way) in ways.iter().enumerate() {
                self.way = *way;
                // The way before left the caches to itself.
                self.call();
                best[index] = best[index].min(clock::sample(calls[index], || self.call()));
            }
        }
        let fastest = ways.iter().zip(best).min_by(|a, b| a.1.total_cmp(&b.1));
        self.way = fastest.map_or(Way::Copy, |(way, _)| *way);
    }

    /// Whether each way leaves in the next set what it ought to.
    fn is_right(&mut self) -> bool {
        let chosen = self.way;
        let right = [Way::Copy, Way::Stream, Way::Fill, Way::Read].into_iter().all(|way| {
            self.way = way;
            let set = self.next;
            let [from, to] = &mut self.sets[set];
            from.get_mut().iter_mut().zip(1u32..).for_each(|(x, i)| *x = f32::from_bits(i));
            to.get_mut().fill(f32::NAN);
            self.call();
            let [from, to] = &self.sets[set];
            (1u32..).zip(from.get().iter().zip(to.get())).all(|(i, (from, to))| match way {
                Way::Fill => *from == FILLED && *to == FILLED,
                Way::Copy | Way::Stream => from.to_bits() == i && to.to_bits() == i,
                Way::Read => from.to_bits() == i && to.is_nan(),
            })
        });
        self.way = chosen;
        right
    }
}

/// What filling leaves.
const FILLED: f32 = 0.0;

impl Way {
    fn work(self, from: &mut [f32], to: &mut [f32]) {
        match self {
            Way::Copy => to.copy_from_slice(black_box(from)),
            Way::Stream => stream::copy(black_box(from), to),
            Way::Fill => {
                black_box(&mut *from).fill(FILLED);
                to.fill(FILLED);
            }
            Way::Read => {
                black_box(stream::read(black_box(from), 1) ^ stream::read(to, 1));
            }
        }
        black_box(to);
    }
}

impl System for Copy {
    fn version(&self) -> Option<String> {
        self.ready.as_ref().map(|r| r.mover.way.name().into())
    }

    fn is_limit(&self) -> bool {
        true
    }

    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        // Those of the problem before make room first.
        self.ready = None;
        let problem = operands.inputs.problem;
        let mut mover = Mover::new(problem.bytes() as usize, operands.inputs.sets.len(), problem.threads)?;
        let pool = runner::pinned()?;
        pool.install(|| mover.choose(Way::for_op(problem.op)));
        self.ready = Some(Ready { mover, pool });
        Ok(())
    }

    fn sample(&mut self, _: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let Ready { mover, pool } = self.ready.as_mut().context("it was not made ready")?;
        Ok(pool.install(|| clock::sample(calls, || mover.call())))
    }

    fn error(&mut self, _: &mut Operands, _: Format) -> anyhow::Result<f64> {
        let Ready { mover, pool } = self.ready.as_mut().context("it was not made ready")?;
        anyhow::ensure!(pool.install(|| mover.is_right()), "what was copied is not what was there");
        Ok(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::row_operands;
    use super::*;

    #[test]
    fn every_way_moves_all_bytes_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            for bytes in [8, 100, 4096, 100_000] {
                let mut mover = Mover::new(bytes, 2, threads).expect("memory");
                assert!((0..3).all(|_| mover.is_right()), "{bytes} bytes, {threads} threads");
                assert!(mover.sets.iter().all(|halves| halves.iter().all(|h| h.get().len() == bytes.div_ceil(8))));
            }
        }
    }

    #[test]
    fn it_says_which_way_it_took_and_that_it_is_a_limit() {
        let mut copy = Copy { ready: None };
        assert!(copy.version().is_none() && copy.is_limit());
        let mut operands = row_operands(Op::Quantise, "3x64", 2);
        assert!(copy.sample(&mut operands, 1).is_err());
        copy.prepare(&operands).expect("memory");
        assert!(copy.version().is_some_and(|v| Way::for_op(Op::Quantise).iter().any(|w| w.name() == v)));
        assert!(copy.error(&mut operands, Op::Quantise.format()).is_ok_and(|e| e == 0.0));
        assert!(copy.sample(&mut operands, 5).is_ok_and(|ns| ns > 0.0));
    }
}

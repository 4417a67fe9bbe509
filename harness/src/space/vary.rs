//! The candidates that one kernel makes at a problem: with what is computed for it, and with one parameter
//! at a time that differs from that, so that their number is bounded.

use super::{Candidate, Problem, Shape, effective};
use kiln_kernels::gemm::{Blocking, Caches, Order, Split};
use kiln_kernels::registry::{Entry, Kernel};
use kiln_kernels::team::DEFAULT_SPIN;

/// Which blockings are tried for each tile, and which splits and wait policies on several threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Blockings {
    /// The blocking computed from cache sizes, the split computed for the shape, the usual wait policy.
    Analytical,
    /// Those, and with KC or MC halved or doubled, or the other order of loops; on several threads also every other split, and other
    /// wait policies.
    Near,
}

/// The wait policies that are tried on several threads, as turns of a spin loop before a thread sleeps: none,
/// the usual number, and ten times as many.
pub const SPINS: [u32; 3] = [0, DEFAULT_SPIN, 10 * DEFAULT_SPIN];

/// The candidates of a kernel. Blockings that come to the same at the shape are there once.
pub(super) fn vary(
    entry: &'static Entry,
    kernel: Kernel,
    problem: &Problem,
    which: Blockings,
    caches: Caches,
    default: bool,
) -> Vec<Candidate> {
    let (Kernel::Gemm(gemm), Shape::Product { m, n, .. }) = (kernel, problem.shape) else {
        return vec![Candidate { default, ..Candidate::usual(entry, kernel) }];
    };
    let geometry = gemm.geometry();
    let tile = (geometry.mr, geometry.nr);
    let blocking = gemm.blocking(caches);
    let several = problem.threads > 1;
    let split = several.then(|| Split::analytical(problem.threads, geometry, m, n, problem.packed));
    let spin = several.then_some(DEFAULT_SPIN);
    let base = Candidate { tile, blocking: Some(blocking), split, spin, default, ..Candidate::usual(entry, kernel) };
    let mut all = vec![base];
    if which == Blockings::Analytical {
        return all;
    }
    let other = Candidate { varied: true, default: false, ..base };
    let mut seen = vec![effective(blocking.into(), problem.shape, tile)];
    // With one strip or one panel there is no order.
    if m > geometry.mr && n > geometry.nr {
        all.push(Candidate { blocking: Some(Blocking { order: Order::Strips, ..blocking }), ..other });
    }
    for (up, down) in [(2, 1), (1, 2)] {
        let kc = Blocking { kc: (blocking.kc * up / down).max(8), ..blocking };
        let mc = Blocking { mc: (blocking.mc * up / down).next_multiple_of(tile.0), ..blocking };
        for blocking in [kc, mc] {
            let comes_to = effective(blocking.into(), problem.shape, tile);
            if !seen.contains(&comes_to) {
                seen.push(comes_to);
                all.push(Candidate { blocking: Some(blocking), ..other });
            }
        }
    }
    if several {
        let splits = Split::all(problem.threads).filter(|s| Some(*s) != split);
        all.extend(splits.map(|split| Candidate { split: Some(split), split_varied: true, ..other }));
        let spins = SPINS.iter().filter(|s| Some(**s) != spin);
        all.extend(spins.map(|spin| Candidate { spin: Some(*spin), ..other }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::{Temperature, all_candidates};
    use super::*;
    use kiln_kernels::registry::{self, Op};
    use std::collections::{BTreeMap, BTreeSet};

    const CACHES: Caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 16 << 20 };

    fn all(op: Op, shape: &str, threads: usize, blockings: Blockings) -> Vec<Candidate> {
        let shape = shape.parse().expect("a shape");
        let problem = Problem { op, format: op.format(), shape, packed: false, threads, operands: Temperature::Hot };
        all_candidates(&problem, &registry::all().collect::<Vec<_>>(), blockings, CACHES).expect("candidates")
    }

    #[test]
    fn on_several_threads_each_kernel_has_every_split_and_spin_and_the_default_is_there_once() {
        for (threads, shape) in [(2, "512x512x512"), (2, "1x4096x896"), (6, "512x512x512"), (64, "2048x2048x64")] {
            let all = all(Op::Gemm, shape, threads, Blockings::Near);
            assert_eq!(all.iter().filter(|c| c.default).count(), 1);
            assert!(all[0].default && all[0].spin == Some(DEFAULT_SPIN));
            let mut kernels: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
            all.iter().for_each(|c| kernels.entry(c.entry.meta.name).or_default().push(c));
            for (name, mine) in kernels {
                let base = mine.iter().filter(|c| !c.varied).collect::<Vec<_>>();
                assert_eq!(base.len(), 1, "{name}");
                let base = base[0];
                let split = |c: &&&Candidate| c.blocking == base.blocking && c.spin == base.spin;
                let splits: Vec<Split> = mine.iter().filter(split).filter_map(|c| c.split).collect();
                assert_eq!(splits.len(), splits.iter().collect::<BTreeSet<_>>().len(), "{name} has a split twice");
                assert_eq!(splits.iter().copied().collect::<BTreeSet<_>>(), Split::all(threads).collect(), "{name}");
                let spin = |c: &&&Candidate| c.blocking == base.blocking && c.split == base.split;
                let spins: BTreeSet<u32> = mine.iter().filter(spin).filter_map(|c| c.spin).collect();
                assert_eq!(spins, SPINS.into(), "{name}");
                // The base with four other blockings and the other order of loops, the other splits and the other spins.
                let most = 6 + (splits.len() - 1) + (SPINS.len() - 1);
                assert!(mine.len() <= most, "{name} has {} candidates", mine.len());
            }
        }
    }

    #[test]
    fn one_thread_and_rows_have_neither_splits_nor_spins() {
        for (op, shape, threads) in [(Op::Gemm, "512x512x512", 1), (Op::RmsNorm, "128x896", 1), (Op::RmsNorm, "128x896", 2)] {
            assert!(all(op, shape, threads, Blockings::Near).iter().all(|c| c.split.is_none() && c.spin.is_none()), "{op} {threads}");
        }
    }

    #[test]
    fn without_variation_each_kernel_is_there_once() {
        for threads in [1, 2] {
            let all = all(Op::Gemm, "512x512x512", threads, Blockings::Analytical);
            let names: BTreeSet<&str> = all.iter().map(|c| c.entry.meta.name).collect();
            assert!(all.len() == names.len() && all.iter().all(|c| !c.varied));
        }
    }
}

//! How the candidates of a problem stand to one another, for searches that go from one to its neighbours: the value
//! of each of their parameters, and which are variations of which.
//!
//! It is told by configurations, as stores have them, so that what was searched once can be searched again without the
//! machine.

use super::Problem;
use crate::filter::by_name;
use crate::search::Landscape;
use crate::store::{Blocks, Config, Record};
use kiln_kernels::registry::Meta;
use kiln_kernels::team::DEFAULT_SPIN;
use std::collections::{BTreeMap, BTreeSet};

/// The landscape of configurations of one problem.
pub fn of(configs: &[Config]) -> Landscape {
    let bases = bases(configs);
    let metas: Vec<Option<&Meta>> = configs.iter().map(|c| by_name(&c.kernel).ok().map(|e| e.meta)).collect();
    // A parameter of some kernels is 0 of the others.
    let names: BTreeSet<&str> = metas.iter().flatten().flat_map(|m| m.params.iter().map(|p| p.0)).collect();
    let raw: Vec<Vec<String>> = configs
        .iter()
        .zip(&metas)
        .map(|(config, meta)| {
            let base = bases.get(config.kernel.as_str()).map_or(config, |at| &configs[*at]);
            let kind = meta.and_then(|m| m.rust_type.split("::<").next()).unwrap_or(&config.kernel);
            let mut values = vec![config.isa.clone(), kind.to_owned()];
            values.extend(names.iter().map(|name| format!("{:08}", meta.and_then(|m| m.param(name)).unwrap_or(0))));
            values.extend(variation(config, base));
            values
        })
        .collect();
    let axes = raw.first().map_or(0, Vec::len);
    let ranks: Vec<BTreeMap<&str, usize>> = (0..axes)
        .map(|axis| {
            let values: BTreeSet<&str> = raw.iter().map(|r| r[axis].as_str()).collect();
            values.into_iter().enumerate().map(|(rank, value)| (value, rank)).collect()
        })
        .collect();
    let places = raw.iter().map(|values| values.iter().zip(&ranks).map(|(value, ranks)| ranks[value.as_str()]).collect()).collect();
    let parent = |(at, config): (usize, &Config)| bases.get(config.kernel.as_str()).copied().filter(|base| *base != at);
    Landscape {
        places,
        parents: configs.iter().enumerate().map(parent).collect(),
        predicted: vec![None; configs.len()],
        hopeless: vec![false; configs.len()],
    }
}

/// How kernels did at one problem.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The problem.
    problem: Problem,
    /// The least time of each kernel that was measured, over the least of all.
    kernels: BTreeMap<String, f64>,
}

impl Pace {
    /// That of a problem's results that have a cost.
    pub fn of_results<'a>(problem: Problem, results: impl Iterator<Item = &'a Record>) -> Pace {
        Pace::of(problem, results.filter_map(|record| Some((record.config.kernel.as_str(), record.cost()?))))
    }

    /// That of results of a problem: of each the kernel and its time, in any unit.
    pub fn of<'a>(problem: Problem, times: impl Iterator<Item = (&'a str, f64)>) -> Pace {
        let mut kernels: BTreeMap<String, f64> = BTreeMap::new();
        for (kernel, time) in times {
            let least = kernels.entry(kernel.to_owned()).or_insert(time);
            *least = least.min(time);
        }
        let best = kernels.values().copied().fold(f64::INFINITY, f64::min);
        kernels.values_mut().for_each(|time| *time /= best);
        Pace { problem, kernels }
    }
}

/// What took so many times the best at a smaller problem will hardly be the best at a larger one.
const TOO_SLOW: f64 = 1.5;

/// Which of a problem's configurations are of kernels that were too slow at the largest smaller problem of the same class that
/// they were measured at. That is no proof: it is for searches that save time by not looking.
pub fn hopeless(configs: &[Config], paces: &[Pace]) -> Vec<bool> {
    let Some(problem) = configs.first().and_then(Config::problem) else { return Vec::new() };
    let mut smaller: Vec<&Pace> =
        paces.iter().filter(|pace| pace.problem.is_of_class(&problem) && pace.problem.cost() < problem.cost()).collect();
    smaller.sort_by(|a, b| b.problem.cost().total_cmp(&a.problem.cost()));
    let is_hopeless =
        |config: &Config| smaller.iter().find_map(|pace| pace.kernels.get(&config.kernel)).is_some_and(|pace| *pace > TOO_SLOW);
    configs.iter().map(is_hopeless).collect()
}

/// How a configuration differs from its kernel's own, a value for each thing that can.
fn variation(config: &Config, base: &Config) -> [String; 5] {
    let Blocks(kc, mc, _, order) = config.blocking.unwrap_or(Blocks(1, 1, 1, Default::default()));
    let Blocks(own_kc, own_mc, ..) = base.blocking.unwrap_or(Blocks(1, 1, 1, Default::default()));
    let times = |size: usize, own: usize| format!("{:.1}", size as f64 / own.max(1) as f64);
    let split = config.split.filter(|_| config.split_varied).map_or(String::new(), |split| split.to_string());
    [times(kc, own_kc), times(mc, own_mc), format!("{order:?}"), split, format!("{:08}", config.spin.unwrap_or(DEFAULT_SPIN))]
}

/// The configuration of each kernel that its others are variations of: each of those differs in one thing, so it has the
/// KC and the MC that most have, with whatever else is computed or usual.
fn bases(configs: &[Config]) -> BTreeMap<&str, usize> {
    let mut of_kernel: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    configs.iter().enumerate().for_each(|(at, config)| of_kernel.entry(&config.kernel).or_default().push(at));
    let base = |mine: &Vec<usize>| {
        let usual = |of: &dyn Fn(Blocks) -> usize| {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            mine.iter().filter_map(|at| configs[*at].blocking).for_each(|b| *counts.entry(of(b)).or_default() += 1);
            let most = counts.values().copied().max().unwrap_or(0);
            // As many have each where nothing else varies: its own, half of it and twice as much, or without the last.
            let sizes: Vec<usize> = counts.into_iter().filter(|(_, count)| *count == most).map(|(size, _)| size).collect();
            sizes.get(sizes.len() / 2).copied()
        };
        let (kc, mc) = (usual(&|b| b.0), usual(&|b| b.1));
        let oddities = |at: &usize| {
            let c = &configs[*at];
            let order = c.blocking.is_some_and(|b| b.3 != Default::default());
            let spin = c.spin.is_some_and(|s| s != DEFAULT_SPIN);
            let sizes = c.blocking.map_or(0, |b| usize::from(Some(b.0) != kc) + usize::from(Some(b.1) != mc));
            sizes + usize::from(order) + usize::from(c.split_varied) + usize::from(spin)
        };
        mine.iter().copied().min_by_key(oddities)
    };
    of_kernel.iter().filter_map(|(kernel, mine)| Some((*kernel, base(mine)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Blockings, Problem, Temperature, all_candidates};
    use super::*;
    use kiln_kernels::gemm::Caches;
    use kiln_kernels::registry::{self, Op};

    #[test]
    fn variations_have_their_kernels_own_configuration_as_parent_and_no_two_stand_at_one_place() {
        for (op, shape, threads) in [(Op::Gemm, "512x512x512", 2), (Op::Gemm, "1x1024x896", 1), (Op::RmsNorm, "128x896", 1)] {
            let shape = shape.parse().expect("a shape");
            let problem = Problem { op, format: op.format(), shape, packed: true, threads, operands: Temperature::Hot };
            let caches = Caches { l1: 32 << 10, l2: 1 << 20, l3: 16 << 20 };
            let entries: Vec<_> = registry::all().collect();
            let candidates = all_candidates(&problem, &entries, Blockings::Near, caches).expect("candidates");
            let configs: Vec<Config> = candidates.iter().map(|c| Config::new(&problem, c)).collect();
            let landscape = of(&configs);
            for (at, candidate) in candidates.iter().enumerate() {
                match landscape.parents[at] {
                    Some(parent) => {
                        assert!(candidate.varied && !candidates[parent].varied, "{}", configs[at].label());
                        assert_eq!(candidates[parent].entry.meta.name, candidate.entry.meta.name);
                    }
                    None => assert!(!candidate.varied, "{} is no variation", configs[at].label()),
                }
            }
            let places: BTreeSet<_> = landscape.places.iter().collect();
            assert_eq!(places.len(), configs.len(), "{op} at {shape}");
        }
    }

    #[test]
    fn what_was_too_slow_at_the_largest_smaller_problem_of_the_class_is_so() {
        let config = |kernel: &str, shape: &str| crate::store::tests::record(kernel, shape, &[1.0]).config;
        let pace =
            |shape: &str, times: &[(&'static str, f64)]| Pace::of(config("a", shape).problem().expect("a problem"), times.iter().copied());
        let paces = [
            pace("128x64x64", &[("a", 10.0), ("b", 10.0), ("c", 30.0), ("c", 14.0), ("d", 21.0)]),
            // Better in a larger one, and worse.
            pace("256x64x64", &[("a", 10.0), ("b", 25.0), ("d", 12.0)]),
            // Larger than the problem, and of another class.
            pace("1024x64x64", &[("a", 90.0), ("e", 10.0)]),
            pace("1x64x64", &[("a", 90.0), ("e", 10.0)]),
        ];
        let configs = ["a", "b", "c", "d", "e"].map(|kernel| config(kernel, "512x64x64"));
        assert_eq!(hopeless(&configs, &paces), [false, true, false, false, false]);
    }
}

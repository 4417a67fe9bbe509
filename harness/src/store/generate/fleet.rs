//! Machines that never were, the problems that they sweep, and how long each of their kernels takes: all of it drawn from a
//! seed, with the kernels of this build.

use super::GENERATED;
use crate::measure::statistics::Random;
use crate::space::{Problem, SPINS, Shape, Temperature};
use crate::store::{Blocks, Config};
use kiln_kernels::format::Format;
use kiln_kernels::registry::{self, Meta, Op};
use kiln_kernels::team::DEFAULT_SPIN;
use kiln_profiles::schema::Parts;
use std::collections::BTreeMap;

/// Of so many kernels on a machine one has changed since.
const STALE: u64 = 16;
/// Of so many candidates one gives wrong answers.
const INVALID: u64 = 128;

/// A machine of the fleet.
#[derive(Debug)]
pub(super) struct Machine {
    pub key: String,
    pub arch: &'static str,
    /// Operations or bytes per nanosecond of one thread at best.
    speed: f64,
}

/// One way to solve a problem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub meta: &'static Meta,
    pub fingerprint: u64,
    pub tile: (usize, usize),
    pub blocking: Option<Blocks>,
    pub split: Option<Parts>,
    pub split_varied: bool,
    pub spin: Option<u32>,
    pub default: bool,
    pub invalid: bool,
    /// Nanoseconds that a call takes.
    pub ns: f64,
}

/// Kernels by operation and format.
pub(super) type Kernels = BTreeMap<(Op, Format), Vec<&'static Meta>>;

/// The machine of that number.
pub(super) fn machine(index: usize, seed: u64) -> Machine {
    let arch = if index % 3 == 2 { "aarch64" } else { "x86_64" };
    let speed = 10.0 + (mixed(&[seed, index as u64]) % 1000) as f64 / 10.0;
    Machine { key: format!("{GENERATED}/{arch}/machine-{index:03}/l1d32K-l21M-l332M"), arch, speed }
}

/// The kernels of an architecture.
pub(super) fn kernels(arch: &str) -> Kernels {
    let mut kernels = Kernels::new();
    for meta in registry::all().map(|e| e.meta).filter(|m| m.isa.arch() == arch || m.isa.arch() == "any") {
        kernels.entry((meta.op, meta.format)).or_default().push(meta);
    }
    kernels
}

/// The problem of that number: two of three are products. No two of the first millions are alike.
pub(super) fn problem(index: u64, kernels: &Kernels) -> Problem {
    let i = index as usize;
    let (products, others): (Vec<_>, Vec<_>) = kernels.keys().partition(|(op, _)| *op == Op::Gemm);
    let (op, format) = if i % 3 == 2 { others[i / 3 % others.len()] } else { products[(i - i / 3) % products.len()] };
    let cube = i.is_multiple_of(6) && i < 6 * 64;
    let shape = match op {
        Op::Gemm if cube => Shape::Product { m: 64 * (1 + i / 6), n: 64 * (1 + i / 6), k: 64 * (1 + i / 6) },
        Op::Gemm => Shape::Product { m: [1, 4, 16, 128, 512][i % 5], n: 64 * (1 + i / 5 % 96), k: 64 * (1 + i / 480 % 16_384) },
        Op::Attention => Shape::Attention { tokens: 64, context: 64 + i % 1_000_000, heads: 14, kv_heads: 2, dim: 64 },
        Op::AttentionDecode => Shape::Attention { tokens: 1, context: 64 + i % 1_000_000, heads: 14, kv_heads: 2, dim: 64 },
        _ => Shape::Rows { rows: [1, 4, 32, 128][i % 4] + 128 * (i / 65_536 % 1024), cols: 64 * (1 + i / 4 % 16_384) },
    };
    let packed = op == Op::Gemm && !cube;
    Problem { op, format, shape, packed, threads: [1, 2, 4, 8][i / 3 % 4], operands: Temperature::usual(shape.class(), packed) }
}

/// What a sweep of a problem would run, each with its time. Every kernel is there, some in several ways.
pub(super) fn candidates(problem: &Problem, kernels: &[&'static Meta], machine: &Machine, random: &mut Random) -> Vec<Candidate> {
    let at_best = problem.cost() / (machine.speed * (problem.threads as f64).powf(0.8)) + 20.0;
    let default = random.below(kernels.len());
    let mut all = Vec::new();
    for (i, &meta) in kernels.iter().enumerate() {
        let drawn = mixed(&[mixed_text(meta.name), mixed_text(&machine.key)]);
        let (mr, nr) = (meta.param("MR").unwrap_or(0), 16 * meta.param("NV").unwrap_or(0));
        let product = problem.op == Op::Gemm;
        let several = product && problem.threads > 1;
        let base = Candidate {
            meta,
            fingerprint: if drawn.is_multiple_of(STALE) { !meta.fingerprint } else { meta.fingerprint },
            tile: if product { (mr, nr) } else { (0, 0) },
            blocking: product.then_some(Blocks(256, mr.max(1) * 32, 8192, Default::default())),
            split: several.then_some(Parts { rows: 1, cols: problem.threads }),
            split_varied: false,
            spin: several.then_some(DEFAULT_SPIN),
            default: i == default,
            invalid: i != default && random.bits().is_multiple_of(INVALID),
            ns: at_best * (1.0 + (drawn >> 8 & 0xfff) as f64 / 1600.0) * (1.0 + f64::from(random.unit()) / 20.0),
        };
        all.push(base);
        let mut vary = |change: fn(&mut Candidate)| {
            let mut other = Candidate { default: false, ns: base.ns * (1.03 + f64::from(random.unit()) / 20.0), ..base };
            change(&mut other);
            all.push(other);
        };
        if product && drawn >> 32 & 1 == 0 {
            vary(|c| c.blocking = c.blocking.map(|Blocks(kc, mc, nc, order)| Blocks(kc / 2, mc, nc, order)));
        }
        if several && drawn >> 33 & 1 == 0 {
            vary(|c| {
                c.split = c.split.map(|s| Parts { rows: s.cols, cols: s.rows });
                c.split_varied = true;
            });
        }
        if several && drawn >> 34 & 1 == 0 {
            vary(|c| c.spin = Some(SPINS[0]));
        }
    }
    all
}

impl Candidate {
    /// What running it on a problem is.
    pub(super) fn config(&self, problem: &Problem) -> Config {
        Config {
            kernel: self.meta.name.into(),
            fingerprint: format!("{:016x}", self.fingerprint),
            op: self.meta.op.name().into(),
            format: self.meta.format.name().into(),
            isa: self.meta.isa.name().into(),
            shape: problem.shape,
            threads: problem.threads,
            tile: self.tile,
            blocking: self.blocking,
            split: self.split,
            split_varied: self.split_varied,
            spin: self.spin,
            packed: problem.packed,
            operands: problem.operands,
        }
    }
}

/// Numbers as one, of which every bit depends on each.
pub(super) fn mixed(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |all, n| Random::new(all ^ n).bits())
}

/// A text as a number.
pub(super) fn mixed_text(text: &str) -> u64 {
    text.bytes().fold(0, |all, b| Random::new(all ^ u64::from(b)).bits())
}

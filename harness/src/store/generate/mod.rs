//! Stores of any size for trying out what reads them: a fleet of machines that never were, each of which swept problem
//! after problem. Kernels and fingerprints are those of this build, so that what ranks results has work to do.
//!
//! They cannot be taken for measurements: compiler and flags are [`GENERATED`], the keys of the machines begin with it, so that
//! no profile is ever baked from them, and their tier is `predicted`.

mod line;

use super::{Blocks, Config};
use crate::measure::statistics::Random;
use crate::progress::Progress;
use crate::space::{Problem, SPINS, Shape, Temperature};
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::registry::{self, Meta, Op};
use kiln_kernels::team::DEFAULT_SPIN;
use kiln_profiles::schema::Parts;
use line::{Line, Place};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What results that were generated have for a compiler, and what the keys of their machines begin with.
pub const GENERATED: &str = "generated";

/// The clock of the fleet begins on the first day of 2020.
const BEGINNING: Duration = Duration::from_secs(1_577_836_800);
/// Seconds that a machine sweeps a problem for.
const OF_A_PROBLEM: u64 = 60;
/// Of so many kernels on a machine one has changed since.
const STALE: u64 = 16;
/// Of so many candidates one gives wrong answers.
const INVALID: u64 = 128;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes; the last line may reach beyond.
    pub bytes: u64,
    /// What everything is drawn from.
    pub seed: u64,
    /// Machines, 1 or more.
    pub machines: usize,
    /// Lines that end where a crash tore them, evenly spread.
    pub torn: u64,
    /// Lines of other programs and other schemas, evenly spread.
    pub foreign: u64,
}

/// What was generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Generated {
    /// Bytes of the file.
    pub bytes: u64,
    /// Results that can be read.
    pub results: u64,
    /// Of them those of kernels as they are not in this build.
    pub stale: u64,
    /// Of them comparisons in pairs.
    pub paired: u64,
    /// Of them wrong answers.
    pub invalid: u64,
    /// Problems, each on one machine, the last one perhaps in part.
    pub problems: u64,
    /// Torn lines.
    pub torn: u64,
    /// Foreign lines.
    pub foreign: u64,
}

/// Writes a store that was not there; the same for the same options and the same build.
///
/// # Errors
/// If the file is there, or cannot be written.
pub fn generate(path: &Path, options: &Options) -> anyhow::Result<Generated> {
    let cannot = || format!("cannot write {}: a store is only generated where no file is", path.display());
    let file = OpenOptions::new().write(true).create_new(true).open(path).with_context(cannot)?;
    let progress = Progress::new(options.bytes >> 20, "generating, MB");
    let mut out = Out { file: BufWriter::with_capacity(1 << 20, file), options, done: Generated::default(), progress, last: Vec::new() };
    sweeps(&mut out).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(out.done)
}

/// A machine of the fleet.
#[derive(Debug)]
struct Machine {
    key: String,
    arch: &'static str,
    /// Operations or bytes per nanosecond of one thread at best.
    speed: f64,
}

/// One way to solve a problem.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    meta: &'static Meta,
    fingerprint: u64,
    tile: (usize, usize),
    blocking: Option<Blocks>,
    split: Option<Parts>,
    split_varied: bool,
    spin: Option<u32>,
    default: bool,
    invalid: bool,
    /// Nanoseconds that a call takes.
    ns: f64,
}

/// Kernels by operation and format.
type Kernels = BTreeMap<(Op, Format), Vec<&'static Meta>>;

fn sweeps(out: &mut Out) -> std::io::Result<()> {
    let seed = out.options.seed;
    let fleet: Vec<Machine> = (0..out.options.machines.max(1)).map(|i| machine(i, seed)).collect();
    let kernels: BTreeMap<&str, Kernels> = ["x86_64", "aarch64"].map(|arch| (arch, kernels(arch))).into();
    let mut line = Line::default();
    for index in 0.. {
        for machine in &fleet {
            let kernels = &kernels[machine.arch];
            let problem = problem(index, kernels);
            let mut random = Random::new(mixed(&[seed, index, mixed_text(&machine.key)]));
            let candidates = candidates(&problem, &kernels[&(problem.op, problem.format)], machine, &mut random);
            let at = SystemTime::UNIX_EPOCH + BEGINNING + Duration::from_secs(index * OF_A_PROBLEM);
            let (shape, time) = (problem.shape.to_string(), humantime::format_rfc3339_seconds(at).to_string());
            let place = Place { machine, problem: &problem, shape: &shape, time: &time, seed };
            out.done.problems += 1;
            if !sweep(out, &mut line, &place, &candidates, &mut random)? {
                return out.finish();
            }
        }
    }
    Ok(())
}

/// What a sweep leaves of a problem: every candidate by itself, then the best ones in pairs. Whether there is room for more.
fn sweep(out: &mut Out, line: &mut Line, place: &Place, candidates: &[Candidate], random: &mut Random) -> std::io::Result<bool> {
    let mut ranked: Vec<&Candidate> = candidates.iter().filter(|c| !c.invalid).collect();
    ranked.sort_by(|a, b| a.ns.total_cmp(&b.ns));
    let best = ranked.first().copied();
    for candidate in candidates {
        let result = match best {
            Some(best) if !candidate.invalid => line::Result::Timed { dropped: candidate.ns > 2.0 * best.ns && !candidate.default },
            _ => line::Result::Invalid,
        };
        line.write(place, candidate, result, random);
        out.done.invalid += u64::from(matches!(result, line::Result::Invalid));
        if !out.result(&line.text, candidate)? {
            return Ok(false);
        }
    }
    let default = ranked.iter().copied().find(|c| c.default);
    let rivals = ranked.iter().skip(1).take(3).map(|c| (*c, best, "best"));
    let against_default = best.filter(|b| !b.default).map(|b| (b, default, "default"));
    for (one, other, role) in rivals.chain(against_default) {
        let Some(other) = other else { continue };
        let label = other.config(place.problem).label();
        line.write(place, one, line::Result::Paired { against: &label, role, ns: other.ns }, random);
        out.done.paired += 1;
        if !out.result(&line.text, one)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn machine(index: usize, seed: u64) -> Machine {
    let arch = if index % 3 == 2 { "aarch64" } else { "x86_64" };
    let speed = 10.0 + (mixed(&[seed, index as u64]) % 1000) as f64 / 10.0;
    Machine { key: format!("{GENERATED}/{arch}/machine-{index:03}/l1d32K-l21M-l332M"), arch, speed }
}

fn kernels(arch: &str) -> Kernels {
    let mut kernels = Kernels::new();
    for meta in registry::all().map(|e| e.meta).filter(|m| m.isa.arch() == arch || m.isa.arch() == "any") {
        kernels.entry((meta.op, meta.format)).or_default().push(meta);
    }
    kernels
}

/// The problem of that number: two of three are products. No two of the first millions are alike.
fn problem(index: u64, kernels: &Kernels) -> Problem {
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

fn candidates(problem: &Problem, kernels: &[&'static Meta], machine: &Machine, random: &mut Random) -> Vec<Candidate> {
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
    fn config(&self, problem: &Problem) -> Config {
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
fn mixed(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |all, n| Random::new(all ^ n).bits())
}

fn mixed_text(text: &str) -> u64 {
    text.bytes().fold(0, |all, b| Random::new(all ^ u64::from(b)).bits())
}

/// The file that is written, with the lines in it that are no results.
struct Out<'a> {
    file: BufWriter<std::fs::File>,
    options: &'a Options,
    done: Generated,
    progress: Progress,
    /// The last result, which torn lines are a beginning of.
    last: Vec<u8>,
}

impl Out<'_> {
    /// Writes a result. Whether there is room for more.
    fn result(&mut self, line: &[u8], candidate: &Candidate) -> std::io::Result<bool> {
        self.raw(line)?;
        self.done.results += 1;
        self.done.stale += u64::from(candidate.fingerprint != candidate.meta.fingerprint);
        let due = |lines: u64, done: &Generated| {
            let share = u128::from(lines + 1) * u128::from(done.bytes) / u128::from(self.options.bytes.max(1));
            u64::try_from(share).unwrap_or(u64::MAX).min(lines)
        };
        let (torn, foreign) = (due(self.options.torn, &self.done), due(self.options.foreign, &self.done));
        if self.done.torn < torn || self.done.foreign < foreign {
            self.last.clear();
            self.last.extend_from_slice(line);
            self.broken(torn, foreign)?;
        }
        Ok(self.done.bytes < self.options.bytes)
    }

    /// Writes lines that are no results until there are so many.
    fn broken(&mut self, torn: u64, foreign: u64) -> std::io::Result<()> {
        let last = std::mem::take(&mut self.last);
        while self.done.torn < torn {
            let drawn = mixed(&[self.options.seed, self.done.torn]) as usize;
            let whole = last.len().saturating_sub(2).max(1);
            self.raw(&[&last[..1 + drawn % whole], &b"\n"[..]].concat())?;
            self.done.torn += 1;
        }
        while self.done.foreign < foreign {
            let other_schema = String::from_utf8_lossy(&last).replacen(r#"{"schema":1,"#, r#"{"schema":99,"#, 1);
            let lines: [&[u8]; 5] = [
                other_schema.as_bytes(),
                b"{\"name\":\"memcpy/4096\",\"iterations\":1000,\"real_time\":61.5}\n",
                b"test bench_gemm ... bench:      12,345 ns/iter (+/- 67)\n",
                b"[1, 2, 3]\n",
                b"\xff\xfe\x00 not UTF-8\n",
            ];
            self.raw(lines[(self.done.foreign % 5) as usize])?;
            self.done.foreign += 1;
        }
        self.last = last;
        Ok(())
    }

    fn raw(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.file.write_all(line)?;
        let before = self.done.bytes >> 20;
        self.done.bytes += line.len() as u64;
        if self.done.bytes >> 20 > before {
            self.progress.advance((self.done.bytes >> 20) - before);
        }
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, each_problem, read, scan};
    use super::*;
    use crate::ranking::{self, Current};
    use crate::store::Limits;

    const SMALL: Options = Options { bytes: 2_000_000, seed: 7, machines: 3, torn: 11, foreign: 13 };

    fn made(options: &Options) -> (tempfile::TempDir, std::path::PathBuf, Generated) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("store.jsonl");
        let generated = generate(&path, options).expect("generated");
        (dir, path, generated)
    }

    #[test]
    fn lines_are_what_serialising_their_records_gives_and_marked() {
        let (_dir, path, generated) = made(&SMALL);
        let (mut keys, mut stale, mut kinds) = (std::collections::HashSet::new(), 0, [0; 3]);
        let current = Current::of_this_build();
        let scanned = scan(&path, |record, line| {
            assert_eq!(serde_json::to_string(&record).expect("JSON"), String::from_utf8_lossy(line));
            assert!(record.machine.starts_with("generated/") && record.compiler == GENERATED && record.tier.name() == "predicted");
            assert!(keys.insert(record.key().hashed()), "twice: {:?}", record.key());
            stale += u64::from(!current.has(&record));
            kinds[match record.outcome {
                Outcome::Timed { .. } => 0,
                Outcome::Paired { .. } => 1,
                Outcome::Invalid { .. } => 2,
            }] += 1;
            Ok(())
        });
        let unreadable = scanned.expect("scanned").unreadable.count as u64;
        assert_eq!((unreadable, generated.torn, generated.foreign), (24, 11, 13));
        assert_eq!(generated.bytes, std::fs::metadata(&path).expect("a file").len());
        assert!((SMALL.bytes..SMALL.bytes + 40_000).contains(&generated.bytes));
        assert_eq!((kinds[0] + kinds[1] + kinds[2], kinds[1], kinds[2]), (generated.results, generated.paired, generated.invalid));
        assert!(kinds.iter().all(|n| *n > 0) && stale == generated.stale && 0 < stale && stale < generated.results / 4);
    }

    #[test]
    fn the_same_seed_gives_the_same_store_and_another_one_another() {
        let text = |seed: u64| {
            let (_dir, path, _) = made(&Options { seed, bytes: 100_000, ..SMALL });
            std::fs::read(path).expect("a store")
        };
        assert!(text(1) == text(1) && text(1) != text(2));
    }

    #[test]
    fn problems_have_a_default_a_winner_and_comparisons() {
        let (_dir, path, generated) = made(&Options { torn: 0, foreign: 0, ..SMALL });
        let limits = Limits { of_a_problem: 1000, problems: 1000, bytes: 64 << 20 };
        let mut gains = 0;
        let walked = each_problem(
            &path,
            &limits,
            |_| true,
            |problem, records| {
                let standing = ranking::standing(problem, &records.iter().collect::<Vec<_>>()).expect("timed results");
                gains += u64::from(standing.gain.is_some_and(|g| g.paired));
                Ok(())
            },
        );
        assert_eq!(walked.expect("walked").problems, generated.problems);
        assert!(gains > generated.problems / 2, "{gains} of {}", generated.problems);
    }

    #[test]
    fn nothing_is_written_over() {
        let (_dir, path, _) = made(&Options { bytes: 1000, ..SMALL });
        let before = read(&path).expect("contents").records;
        assert!(generate(&path, &SMALL).is_err_and(|e| e.to_string().contains("no file is")));
        assert_eq!(read(&path).expect("contents").records, before);
    }
}

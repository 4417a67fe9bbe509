//! Stores of any size for trying out what reads them: a fleet of machines that never were, each of which swept problem
//! after problem. Kernels and fingerprints are those of this build, so that what ranks results has work to do.
//!
//! They cannot be taken for measurements: compiler and flags are [`GENERATED`], the keys of the machines begin with it, so that
//! no profile is ever baked from them, and their tier is `predicted`.

mod fleet;
mod line;

use crate::measure::statistics::Random;
use crate::progress::Progress;
use anyhow::Context;
use fleet::{Candidate, Kernels, Machine, candidates, kernels, machine, mixed, mixed_text, problem};
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
        let (mut keys, mut stale, mut kinds) = (std::collections::HashSet::new(), 0, [0; 4]);
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
                Outcome::Predicted { .. } => 3,
            }] += 1;
            Ok(())
        });
        let unreadable = scanned.expect("scanned").unreadable.count as u64;
        assert_eq!((unreadable, generated.torn, generated.foreign), (24, 11, 13));
        assert_eq!(generated.bytes, std::fs::metadata(&path).expect("a file").len());
        assert!((SMALL.bytes..SMALL.bytes + 40_000).contains(&generated.bytes));
        assert_eq!((kinds[0] + kinds[1] + kinds[2], kinds[1], kinds[2]), (generated.results, generated.paired, generated.invalid));
        assert!(
            kinds[..3].iter().all(|n| *n > 0) && kinds[3] == 0 && stale == generated.stale && 0 < stale && stale < generated.results / 4
        );
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

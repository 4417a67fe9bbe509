//! `kiln replay`: what each way of searching would have found in an exhaustive sweep, and in how much of its time.

use super::{Table, emit, emit_json};
use crate::filter::{self, Filter};
use crate::measure::clock::Effort;
use crate::measure::statistics::median;
use crate::model::Predictor;
use crate::progress::Progress;
use crate::ranking::Current;
use crate::replay::{self, Recorded, Replayed};
use crate::search::Strategy;
use crate::space::Problem;
use crate::store::{self, Limits, Record};
use anyhow::ensure;
use kiln_kernels::format::Format;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Compares strategies of searching on an exhaustive sweep's results, without measuring anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln sweep gemm --shapes 256..1024 --strategy exhaustive --store all.jsonl\n  \
kiln replay --store all.jsonl\n  kiln replay --store all.jsonl --strategy halving,random --seeds 50 --json")]
pub struct Args {
    /// The exhaustive sweep's store
    #[arg(long, default_value = super::STORE)]
    store: PathBuf,
    /// Strategies, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    strategy: Vec<Strategy>,
    /// Operations, separated by commas [default: all in the store]
    #[arg(long, value_delimiter = ',')]
    op: Vec<Op>,
    /// Formats, separated by commas [default: all in the store]
    #[arg(long, value_delimiter = ',', value_parser = filter::format)]
    format: Vec<Format>,
    /// The CPU that the results are of, by the name of its profile, for the strategy model [default: this one]
    #[arg(long, value_name = "NAME")]
    cpu: Option<String>,
    /// Times that each sweep is played, each with another seed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What is kept of a store at a time: of a problem more results than any has candidates.
const LIMITS: Limits = Limits { of_a_problem: 1 << 15, problems: usize::MAX, bytes: 256 << 20 };

/// Candidates that are held at most, so that their problems are replayed together: half a kilobyte each.
const TOGETHER: usize = 1 << 19;

/// Prints a line for each strategy.
///
/// # Errors
/// If the store cannot be read, or holds no problem that was searched exhaustively.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let (current, stale, problems) = (Current::of_this_build(), Cell::new(0), RefCell::new(BTreeSet::new()));
    let wanted = |record: &Record| {
        if !Recorded::is_made_of(record) || !args.wants(record) {
            return false;
        }
        let is_current = current.has(record);
        stale.set(stale.get() + u64::from(!is_current));
        if is_current && let Some(problem) = record.config.problem() {
            problems.borrow_mut().insert((problem, record.machine.clone()));
        }
        is_current
    };
    let mut replaying = Replaying::new(args)?;
    let (mut left, mut progress) = (0, None);
    let walked = store::each_problem(&args.store, &LIMITS, wanted, |problem, records| {
        let progress = progress.get_or_insert_with(|| Progress::new(problems.borrow().len() as u64, "replaying"));
        let machine = records.first().map(|record| record.machine.clone()).unwrap_or_default();
        match Recorded::new(problem, records) {
            Some(recorded) => replaying.take(recorded, machine, progress)?,
            None => {
                left += 1;
                progress.advance(1);
            }
        }
        Ok(())
    })?;
    if let Some(progress) = &progress {
        replaying.replay(progress)?;
    }
    drop(progress);
    let beyond = format!("{} results are beyond the fastest {} of their problem, and are left out", walked.left, LIMITS.of_a_problem);
    let notes = [
        walked.unreadable.complaint(&args.store),
        (stale.get() > 0).then(|| format!("{} results are of kernels that have changed since, and are left aside", stale.get())),
        (walked.left > 0).then_some(beyond),
    ];
    notes.iter().flatten().for_each(|note| eprintln!("note: {note}"));
    let Replaying { problems, strategies, .. } = replaying;
    ensure!(
        !problems.is_empty(),
        "{} has no problem with a full result for every candidate: make one with kiln sweep --strategy exhaustive",
        args.store.display()
    );
    if args.json {
        let rows = strategies.iter().map(|(strategy, replayed)| {
            let each = problems.iter().zip(replayed).map(|((of, candidates), replayed)| {
                json!({
                    "op": of.op.name(), "format": of.format.name(), "shape": of.shape.to_string(),
                    "threads": of.threads, "candidates": candidates, "replayed": replayed,
                })
            });
            json!({ "strategy": strategy.name(), "overall": overall(replayed), "problems": each.collect::<Vec<_>>() })
        });
        return emit_json(&json!({ "tier": "measured", "seeds": args.seeds, "left": left, "rows": rows.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(["strategy", "regret", "worst regret", "of the time", "of the candidates"]);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for (_, replayed) in &strategies {
        let o = overall(replayed);
        table.row([o.strategy, &percent(o.regret), &percent(o.worst_regret), &percent(o.share_of_time), &percent(o.share_of_candidates)]);
    }
    let candidates: usize = problems.iter().map(|p| p.1).sum();
    emit(&format!(
        "{table}\n{} problems, {candidates} candidates, {} seeds; medians over problems, and the worst of all; {left} problems were not searched \
         exhaustively; replayed from results of the tier measured",
        problems.len(),
        args.seeds
    ))
}

impl Args {
    /// Whether a result is of an operation and a format that were asked for.
    fn wants(&self, Record { config, .. }: &Record) -> bool {
        (self.op.is_empty() || self.op.iter().any(|op| op.name() == config.op))
            && (self.format.is_empty() || self.format.iter().any(|format| format.name() == config.format))
    }
}

/// Replays the problems of one operation and format of a machine together, as they are swept, unless there are so many that they take too
/// much memory.
struct Replaying<'a> {
    args: &'a Args,
    /// The CPU that predictions are for; `None`: this one.
    cpu: Option<kiln_profiles::machine::Machine>,
    predictors: BTreeMap<(Op, Format), Predictor>,
    /// Those that are to be replayed together, by machine.
    pending: BTreeMap<(String, Op, Format), Vec<Recorded>>,
    /// Each problem, and how many candidates it has.
    problems: Vec<(Problem, usize)>,
    /// What each strategy did at each of them.
    strategies: Vec<(Strategy, Vec<Replayed>)>,
}

impl<'a> Replaying<'a> {
    fn new(args: &'a Args) -> anyhow::Result<Replaying<'a>> {
        let strategies = if args.strategy.is_empty() { &Strategy::ALL[..] } else { &args.strategy };
        Ok(Replaying {
            args,
            cpu: args.cpu.as_deref().map(|cpu| lookup::machine(lookup::default_root(), cpu)).transpose()?,
            predictors: BTreeMap::new(),
            pending: BTreeMap::new(),
            problems: Vec::new(),
            strategies: strategies.iter().map(|strategy| (*strategy, Vec::new())).collect(),
        })
    }

    /// Takes one more problem.
    fn take(&mut self, mut recorded: Recorded, machine: String, progress: &Progress) -> anyhow::Result<()> {
        let Problem { op, format, .. } = recorded.problem;
        if self.strategies.iter().any(|s| s.0 == Strategy::Model) {
            match self.predictor(op, format, progress) {
                Ok(predictor) => recorded.predict(predictor),
                Err(error) => {
                    ensure!(self.args.strategy.is_empty(), error);
                    progress.note(&format!("the strategy model is left out: {error:#}"));
                    self.strategies.retain(|s| s.0 != Strategy::Model);
                }
            }
        }
        self.pending.entry((machine, op, format)).or_default().push(recorded);
        let held: usize = self.pending.values().flatten().map(Recorded::count).sum();
        if held > TOGETHER { self.replay(progress) } else { Ok(()) }
    }

    /// Replays what was taken.
    fn replay(&mut self, progress: &Progress) -> anyhow::Result<()> {
        for ((_, op, format), mut together) in std::mem::take(&mut self.pending) {
            together.sort_by(|a, b| a.problem.cost().total_cmp(&b.problem.cost()));
            for (strategy, replayed) in &mut self.strategies {
                progress.at(format!("{} {op} {format}", strategy.name()));
                replayed.extend(replay::run(&together, *strategy, &Effort::FULL, self.args.seeds)?);
            }
            self.problems.extend(together.iter().map(|recorded| (recorded.problem, recorded.count())));
            progress.advance(together.len() as u64);
        }
        Ok(())
    }

    /// What predicts the kernels of an operation and format, which is made once.
    fn predictor(&mut self, op: Op, format: Format, progress: &Progress) -> anyhow::Result<&Predictor> {
        Ok(match self.predictors.entry((op, format)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(none) => {
                let filter = Filter { op: vec![op], format: vec![format], ..Filter::default() };
                let at = |kernel: &str| progress.at(format!("predicting {kernel}"));
                none.insert(match &self.cpu {
                    Some(cpu) => Predictor::new(cpu, &std::env::current_exe()?, &filter, at)?,
                    None => Predictor::here(&filter, at)?,
                })
            }
        })
    }
}

/// Medians over problems; the worst regret of all.
fn overall(replayed: &[Replayed]) -> Replayed {
    let middle = |of: &dyn Fn(&Replayed) -> f64| median(&replayed.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0);
    Replayed {
        strategy: replayed.first().map_or("", |r| r.strategy),
        regret: middle(&|r| r.regret),
        worst_regret: replayed.iter().map(|r| r.worst_regret).fold(0.0, f64::max),
        share_of_time: middle(&|r| r.share_of_time),
        share_of_candidates: middle(&|r| r.share_of_candidates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn the_problems_of_each_machine_are_replayed_together_in_whatever_order_they_come() {
        let recorded = |shape: &str, count: u32| {
            let all = (0..count).map(|at| {
                let ns = 1e6 * (1.0 + f64::from(at * 7 % 60) / 30.0);
                let mut record = record(&format!("kernel_{at:03}"), shape, &[ns; 5]);
                record.default = at == 0;
                record
            });
            let all: Vec<Record> = all.collect();
            Recorded::new(all[0].config.problem().expect("a problem"), all).expect("an exhaustive search")
        };
        let (strategy, seeds) = (vec![Strategy::Random], 3);
        let args = Args { store: PathBuf::new(), strategy, op: Vec::new(), format: Vec::new(), cpu: None, seeds, json: false };
        let progress = Progress::new(4, "replaying");
        let mut replaying = Replaying::new(&args).expect("strategies");
        for (shape, count) in [("512x64x64", 59), ("256x64x64", 60)] {
            for machine in ["one", "two"] {
                replaying.take(recorded(shape, count), machine.into(), &progress).expect("a problem");
            }
        }
        replaying.replay(&progress).expect("a replay");
        let together = [recorded("256x64x64", 60), recorded("512x64x64", 59)];
        let once = replay::run(&together, Strategy::Random, &Effort::FULL, seeds).expect("a replay");
        assert_eq!(replaying.strategies[0].1, [once.clone(), once].concat());
    }
}

//! What lasts from problem to problem of a sweep: the store and what is in it, the bench, the noise floor, what was verified;
//! and comparisons, each of which is run in fresh processes.

use super::{COMPILER, FLAGS, Group, Options};
use crate::bake::decide;
use crate::machine::Machine;
use crate::machine::others::Watch;
use crate::measure::apart::{Bench, Job, Reply, Request};
use crate::measure::clock::Effort;
use crate::measure::comparison::{Comparison, compare};
use crate::measure::noise;
use crate::measure::operands::Room;
use crate::model::Predictor;
use crate::progress::Progress;
use crate::store::{self, Config, Outcome, Record, SCHEMA, Store, Thoroughness};
use kiln_profiles::schema::Tier;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Times that the noise floor is measured where it is too high: the last counts.
const TRIES: usize = 3;

/// Times that winners of classes are asked for: each answer may make another one the winner.
const ROUNDS: usize = 8;

/// What lasts from group to group.
pub(super) struct Session<'a> {
    pub options: &'a Options,
    machine: &'a Machine,
    pub room: Room,
    store: Store,
    /// Where everything is measured.
    pub bench: Bench,
    /// Those of the store that need not be measured again, and those of this sweep.
    pub records: Vec<Record>,
    /// The conformance grid's word on each kernel: worst error, or what is wrong.
    verified: HashMap<String, Result<f64, String>>,
    pub noise_floor: Option<f64>,
    /// It is higher than results should be recorded with.
    forced: bool,
    pub stored: usize,
    pub unmeasured: usize,
    pub passed_over: usize,
    /// What was tried because it did well elsewhere.
    pub tried: HashSet<Config>,
    pub progress: Progress,
    /// What the search is ordered by, if it goes by model.
    pub predictor: Option<Predictor>,
}

impl<'a> Session<'a> {
    /// One that has measured nothing yet.
    pub(super) fn new(
        options: &'a Options,
        machine: &'a Machine,
        room: Room,
        (store, records): (Store, Vec<Record>),
        (progress, predictor): (Progress, Option<Predictor>),
    ) -> Session<'a> {
        Session {
            options,
            machine,
            room,
            store,
            bench: Bench::new(options.program.as_deref()),
            records,
            verified: HashMap::new(),
            noise_floor: None,
            forced: false,
            stored: 0,
            unmeasured: 0,
            passed_over: 0,
            tried: HashSet::new(),
            progress,
            predictor,
        }
    }

    /// Compares what may be chosen for each class of shapes with the default wherever no pairs have, as long as `may_go_on` says of the
    /// time that the next comparison takes at least; what they show may make another one the best.
    ///
    /// # Errors
    /// Those of a comparison.
    pub(super) fn settle(&mut self, groups: &[Group], may_go_on: impl Fn(Duration) -> bool) -> anyhow::Result<()> {
        let effort = self.options.effort;
        for _ in 0..ROUNDS {
            let open = decide(&self.counting())?.open;
            if open.is_empty() {
                break;
            }
            self.progress.at(format!("{} comparisons over classes of shapes", open.len()));
            for (one, other) in open {
                let Some(group) = one.problem().and_then(|problem| groups.iter().find(|g| g.problem == problem)) else { continue };
                if self.is_wrong(&one) || self.is_wrong(&other) {
                    continue;
                }
                let least = effort.place() * effort.pairs as u32;
                if !may_go_on(least) {
                    return Ok(());
                }
                let patience = if may_go_on(least + effort.patience) { effort.patience } else { Duration::ZERO };
                self.pair(group, (&one, &other), "class", (effort.pairs, patience))?;
            }
        }
        Ok(())
    }

    /// Compares two configurations of a problem in about so many pairs, and in more for as long as there is patience if they
    /// are not precise enough; and stores the result.
    ///
    /// # Errors
    /// If the machine is too noisy, or a comparison fails.
    pub(super) fn pair(
        &mut self,
        group: &Group,
        (one, other): (&Config, &Config),
        role: &str,
        (count, patience): (usize, Duration),
    ) -> anyhow::Result<()> {
        self.noise(group)?;
        let effort = Effort { patience, ..self.options.effort };
        let job = Job::new((one.clone(), other.clone()), &effort, 0, self.room, self.records.len() as u64);
        let Comparison { pairs, processes, .. } = match compare(&mut self.bench, &job, (&effort, count))? {
            Ok(compared) => compared,
            Err(why) => return self.blame(group, [one, other], &why),
        };
        let Some(outcome) = Outcome::paired(other.label(), role, &pairs, processes) else { return Ok(()) };
        // As it was verified when it was timed.
        let timed = self.records.iter().find(|r| r.config == *one && r.verification_error.is_some());
        let (default, error) = timed.map_or((false, None), |r| (r.default, r.verification_error));
        self.keep(one.clone(), default, error, outcome.with(other))
    }

    /// Measures the noise floor, if that was not done.
    ///
    /// # Errors
    /// If it is so high that results would be worthless, unless they are wanted all the same.
    pub(super) fn noise(&mut self, group: &Group) -> anyhow::Result<()> {
        if self.noise_floor.is_some() {
            return Ok(());
        }
        let (watch, limit) = (Watch::start(), self.options.effort.noisy);
        let mut noise = f64::INFINITY;
        for _ in 0..TRIES {
            // Without a valid candidate there is nothing to record but that.
            let Some(now) = self.against_itself(group)? else { return Ok(()) };
            // Not the least: what is judged and stored is what the machine is like now.
            noise = now;
            if noise <= limit {
                break;
            }
        }
        let meanwhile = watch.and_then(|w| w.remark()).map(|remark| format!(" ({remark})")).unwrap_or_default();
        self.forced = noise > limit;
        anyhow::ensure!(
            !self.forced || self.options.force,
            "this machine is too noisy to record results: a kernel differs from itself by {:.1} %, more than {:.0} %{meanwhile}; stop what \
             else runs and try again, or record all the same with --force, which marks them",
            100.0 * noise,
            100.0 * limit
        );
        self.progress
            .note(&format!("noise floor of this session: {:.2} %; smaller differences cannot be told from none{meanwhile}", noise * 100.0));
        self.noise_floor = Some(noise);
        Ok(())
    }

    /// What a comparison of a candidate with itself shows: of the first that is valid, if one is.
    fn against_itself(&mut self, group: &Group) -> anyhow::Result<Option<f64>> {
        let effort = self.options.effort;
        for candidate in &group.candidates {
            let config = Config::new(&group.problem, candidate);
            let job = Job::new((config.clone(), config), &effort, effort.pairs, self.room, 1);
            self.bench.renew();
            let pairs = self.bench.pairs(Job { warm_up_ns: effort.session_warm_up.as_nanos() as u64, ..job })?;
            self.bench.renew();
            if let Some(noise) = pairs.ok().and_then(|pairs| noise::of_pairs(&pairs)) {
                return Ok(Some(noise));
            }
        }
        Ok(None)
    }

    /// The conformance grid's word on a kernel, which is asked for once.
    ///
    /// # Errors
    /// If the bench cannot be started.
    pub(super) fn verified(&mut self, kernel: &str) -> anyhow::Result<Result<f64, String>> {
        if let Some(known) = self.verified.get(kernel) {
            return Ok(known.clone());
        }
        let word = match self.bench.ask(&Request::Grid(kernel.into()))? {
            Reply::Grid(worst) => Ok(worst),
            Reply::Invalid(why) => Err(why),
            other => anyhow::bail!("a bench was asked for the grid and said {other:?}"),
        };
        self.verified.insert(kernel.into(), word.clone());
        Ok(word)
    }

    /// The results that [count](store::counting) of those that this sweep goes by.
    pub(super) fn counting(&self) -> Vec<&Record> {
        store::counting(self.records.iter().collect())
    }

    /// Stores a result, unless it is there already.
    pub(super) fn keep(&mut self, config: Config, default: bool, verification_error: Option<f64>, outcome: Outcome) -> anyhow::Result<()> {
        let memory = &self.machine.system.memory;
        let record = Record {
            schema: SCHEMA,
            time: store::now(),
            machine: self.machine.key().into(),
            compiler: COMPILER.into(),
            flags: FLAGS.into(),
            tier: Tier::Measured,
            config,
            default,
            page_bytes: memory.page,
            huge_pages: memory.transparent_huge_pages.clone(),
            noise_floor: self.noise_floor.unwrap_or(1.0),
            forced: self.forced,
            effort: Some(Thoroughness::of(&self.options.effort)),
            verification_error,
            outcome,
        };
        if !self.store.has(&record.key()) {
            self.store.append(&record)?;
            self.stored += 1;
        }
        self.records.push(record);
        Ok(())
    }
}

//! Measuring in processes of its own. A candidate that crashes takes its process with it and nothing else; and where code and
//! memory happen to lie in one process is part of what is timed there (Mytkowicz et al., "Producing wrong data without
//! doing anything obviously wrong!", ASPLOS 2009), so what is to decide is timed in several.
//!
//! The parent writes a [`Request`] a line to the child's input and reads a [`Reply`] a line from its output; the child is this
//! program. Where there is no program to start, all happens in this process.

use super::bench::{Workbench, candidate};
use super::clock::{self, Effort, QUADRUPLE};
use super::operands::{self, Operands, Room};
use super::pairing::{Calls, abba_for};
use super::runner::{self, Runner};
use super::statistics::Random;
use crate::check::{self, Status};
use crate::filter;
use crate::space::{self, Blockings, Candidate, Problem, Shape, Temperature};
use crate::store::Config;
use anyhow::{Context, bail, ensure};
use kiln_kernels::gemm::Caches;
use kiln_kernels::registry::{self, Op};
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The hidden command that serves requests.
pub const COMMAND: &str = "serve-bench";

/// A process that has said nothing for this long, beyond what the work itself may take, hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a process takes at most to end once its output is closed, core dump and all.
const ENDING: Duration = Duration::from_secs(10);

/// A sample of a comparison need last no longer: the shorter, the closer in time are the two that are compared.
const SHORT: Duration = Duration::from_micros(500);

/// Operations, or bytes, in a second of the slowest code that is waited for.
const SLOWEST: f64 = 1e8;

/// This program as it runs, also when another one has been built in its place meanwhile: what is measured must be what is said.
///
/// # Errors
/// If the system does not say.
pub fn this_program() -> std::io::Result<PathBuf> {
    let running = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    if running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// What a bench is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Whether a kernel is right over the conformance grid.
    Grid(String),
    /// Samples of a configuration.
    Samples(Sampling),
    /// A comparison.
    Pairs(Box<Job>),
    /// Every candidate at a problem, where the bench is.
    Candidates(Listing),
}

/// What a bench says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The worst error on the grid, as a fraction of its tolerance.
    Grid(f64),
    /// Nanoseconds per call, and the error of the verification.
    Samples(Vec<f64>, f64),
    /// Nanoseconds per call of the one and the other.
    Pairs(Vec<(f64, f64)>),
    /// Configurations, and whether each is what an untuned build would run.
    Candidates(Vec<(Config, bool)>),
    /// The candidate is not valid: it gave a wrong answer, or the process died of it.
    Invalid(String),
    /// It could not be measured, for which the candidate is not to blame.
    Failed(String),
}

/// A problem whose candidates are asked for, by the names of its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The operation.
    pub op: String,
    /// The format of the operands.
    pub format: String,
    /// The shape.
    pub shape: Shape,
    /// Weights are packed before.
    pub packed: bool,
    /// Threads.
    pub threads: usize,
    /// Hot or cold operands.
    pub operands: Temperature,
    /// Whether blockings are varied.
    pub near: bool,
    /// Bytes of the caches that blockings are for: first, second and last level.
    pub caches: (usize, usize, usize),
}

/// Which samples to take. The first request for a problem makes its operands, which stay as long as there is room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// What is timed.
    pub config: Config,
    /// How many samples.
    pub count: usize,
    /// Nanoseconds that a sample lasts at least, and those of the warm-up.
    pub times_ns: (u64, u64),
    /// Bytes of the last cache, and of memory that operands may take.
    pub room: (usize, usize),
    /// What places of operands and their values are drawn from.
    pub seed: u64,
}

/// Two ways to solve a problem, to be compared in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The one; its problem is that of both.
    pub one: Config,
    /// The other.
    pub other: Config,
    /// Places in memory that both are put to, one after another; each gives a pair. An older kiln, which a
    /// baseline may be measured by, knows them by that name.
    #[serde(rename = "pairs")]
    pub places: usize,
    /// Nanoseconds that a sample lasts at least, where it has one call; the quadruples of a place take four times that.
    pub sample_ns: u64,
    /// Nanoseconds of the warm-up of each.
    pub warm_up_ns: u64,
    /// Bytes of the last cache, and of memory that operands may take.
    pub room: (usize, usize),
    /// What places of operands and their values are drawn from.
    pub seed: u64,
    /// Nanoseconds that the one waits after each call: a difference of known size.
    #[serde(default)]
    pub delay_ns: u64,
}

fn ns(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl Sampling {
    /// `count` samples of that effort.
    pub fn new(config: &Config, count: usize, effort: &Effort, room: Room, seed: u64) -> Sampling {
        let times_ns = (ns(effort.sample), ns(effort.warm_up));
        Sampling { config: config.clone(), count, times_ns, room: (room.last_cache, room.memory), seed }
    }
}

impl Job {
    /// A job of that effort.
    pub fn new((one, other): (Config, Config), effort: &Effort, places: usize, room: Room, seed: u64) -> Job {
        let room = (room.last_cache, room.memory);
        Job { one, other, places, sample_ns: ns(effort.sample), warm_up_ns: ns(effort.warm_up), room, seed, delay_ns: 0 }
    }

    /// Does it here: nanoseconds per call of the one and the other, or why one of them is not valid.
    ///
    /// # Errors
    /// If a configuration is of no kernel that runs here, or memory cannot be had.
    pub fn run(&self) -> anyhow::Result<Result<Vec<(f64, f64)>, String>> {
        let problem = self.one.problem().context("this build does not know the operation")?;
        ensure!(self.other.problem() == Some(problem), "the two solve different problems");
        let (one, other) = (candidate(&self.one)?, candidate(&self.other)?);
        let room = Room { last_cache: self.room.0, memory: self.room.1 };
        let (sample, warm_up) = (Duration::from_nanos(self.sample_ns), Duration::from_nanos(self.warm_up_ns));
        runner::pinned()?.install(|| {
            let (mut operands, mut random) = (Operands::new(&problem, room, self.seed)?, Random::new(self.seed));
            let mut pairs = Vec::with_capacity(self.places);
            for place in 0..self.places {
                // Who is given his place first takes turns, and so does who is called first, from process to process too: either
                // makes a difference by itself. Of four places in a row every combination has one.
                let turn = place as u64 + self.seed;
                let swapped = !turn.is_multiple_of(2);
                let mut ready = |candidate: &Candidate| -> anyhow::Result<Result<(Runner, usize), String>> {
                    let mut runner = Runner::placed(candidate, &operands, &mut random)?;
                    if place == 0
                        && let Err(why) = runner.verify(&mut operands)
                    {
                        return Ok(Err(format!("{}: {why}", candidate.entry.meta.name)));
                    }
                    let time = if place == 0 { warm_up } else { Duration::ZERO };
                    let calls = clock::warm_up(time, sample.min(SHORT), || runner.call(&mut operands));
                    Ok(Ok((runner, calls)))
                };
                let (first, second) = if swapped { (&other, &one) } else { (&one, &other) };
                let (first, second) = match (ready(first)?, ready(second)?) {
                    (Ok(first), Ok(second)) => (first, second),
                    (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
                };
                let (mut one, mut other) = if swapped { (second, first) } else { (first, second) };
                let cell = RefCell::new(&mut operands);
                let call = |runner: &mut Runner| runner.call(&mut cell.borrow_mut());
                let settle = clock::sample(1, || call(if swapped { &mut other.0 } else { &mut one.0 })) < sample.as_nanos() as f64;
                let calls = Calls { a: one.1, b: other.1, settle };
                let slowed = || {
                    call(&mut one.0);
                    wait(self.delay_ns);
                };
                pairs.push(abba_for(sample * QUADRUPLE, (turn / 2) as usize, calls, slowed, || call(&mut other.0)));
            }
            Ok(Ok(pairs))
        })
    }
}

/// Keeps this core busy for so many nanoseconds; none take no time.
fn wait(ns: u64) {
    if ns > 0 {
        let (began, time) = (Instant::now(), Duration::from_nanos(ns));
        while began.elapsed() < time {}
    }
}

impl Request {
    /// How long its answer may take.
    fn patience(&self) -> Duration {
        let cost = |config: &Config, calls: usize| {
            let cost = config.problem().map_or(0.0, |problem| problem.cost());
            Duration::try_from_secs_f64(cost * calls as f64 / SLOWEST).unwrap_or(Duration::MAX)
        };
        PATIENCE.saturating_add(match self {
            Request::Grid(_) | Request::Candidates(_) => Duration::ZERO,
            Request::Samples(s) => cost(&s.config, s.count + 8),
            Request::Pairs(job) => cost(&job.one, 12 * job.places + 16),
        })
    }

    /// What is to be said of a process that died of it.
    fn subject(&self) -> String {
        match self {
            Request::Grid(kernel) => format!("verifying {kernel}"),
            Request::Candidates(listing) => format!("listing candidates at {}", listing.shape),
            Request::Samples(s) => format!("timing {}", s.config.label()),
            Request::Pairs(job) => format!("comparing {} with {}", job.one.label(), job.other.label()),
        }
    }
}

/// Bytes of operands that are kept for problems that may come again.
const KEPT: usize = 512 << 20;

/// Where requests are answered in this process.
#[derive(Default)]
struct Here {
    /// Benches of problems, each with what its operands were drawn from and their bytes; the one that was used last is at the end.
    benches: Vec<(Workbench, u64, usize)>,
    /// Where all of them time.
    pool: Option<Arc<ThreadPool>>,
}

impl Here {
    fn answer(&mut self, request: &Request) -> Reply {
        let answer = match request {
            Request::Grid(kernel) => grid(kernel),
            Request::Candidates(listing) => candidates(listing),
            Request::Samples(sampling) => self.samples(sampling),
            Request::Pairs(job) => job.run().map(|pairs| pairs.map_or_else(Reply::Invalid, Reply::Pairs)),
        };
        answer.unwrap_or_else(|error| Reply::Failed(format!("{error:#}")))
    }

    fn samples(&mut self, sampling: &Sampling) -> anyhow::Result<Reply> {
        let Sampling { config, count, times_ns, room: (last_cache, memory), seed } = sampling;
        let problem = config.problem().context("this build does not know the operation")?;
        let room = Room { last_cache: *last_cache, memory: *memory };
        let found = self.benches.iter().position(|(bench, of, _)| *bench.problem() == problem && of == seed);
        let bench = match found {
            Some(at) => self.benches.remove(at),
            None => {
                let bytes = operands::bytes(&problem, room);
                self.make_room(bytes, KEPT.min(*memory));
                let pool = match &self.pool {
                    Some(pool) => Arc::clone(pool),
                    None => Arc::clone(self.pool.insert(Arc::new(runner::pinned()?))),
                };
                (Workbench::new(&problem, room, *seed, pool)?, *seed, bytes)
            }
        };
        self.benches.push(bench);
        let (bench, ..) = self.benches.last_mut().context("a bench that was just put there")?;
        let (sample, warm_up) = (Duration::from_nanos(times_ns.0), Duration::from_nanos(times_ns.1));
        Ok(bench.samples(config, *count, (warm_up, sample))?.map_or_else(Reply::Invalid, |(samples, error)| Reply::Samples(samples, error)))
    }

    /// Lets go of the benches that were not used for longest, until there is room for so many bytes more within a limit, or none is left.
    fn make_room(&mut self, bytes: usize, limit: usize) {
        while !self.benches.is_empty() && self.benches.iter().map(|bench| bench.2).sum::<usize>() + bytes > limit {
            self.benches.remove(0);
        }
    }
}

fn grid(kernel: &str) -> anyhow::Result<Reply> {
    Ok(match check::kernel(filter::by_name(kernel)?) {
        Status::Passed { worst, .. } => Reply::Grid(worst),
        Status::Failed { first, .. } => Reply::Invalid(first),
        Status::Skipped => Reply::Invalid("this CPU cannot run it".into()),
    })
}

fn candidates(listing: &Listing) -> anyhow::Result<Reply> {
    let Listing { shape, packed, threads, operands, near, caches: (l1, l2, l3), .. } = *listing;
    let (op, format) = (listing.op.parse::<Op>()?, filter::format(&listing.format).map_err(anyhow::Error::msg)?);
    let problem = Problem { op, format, shape, packed, threads, operands };
    let blockings = if near { Blockings::Near } else { Blockings::Analytical };
    let (all, _) = space::candidates(&problem, &registry::all().collect::<Vec<_>>(), blockings, Caches { l1, l2, l3 })?;
    Ok(Reply::Candidates(all.iter().map(|c| (Config::new(&problem, c), c.default)).collect()))
}

/// The child's side: answers every request on stdin until there are no more.
///
/// # Errors
/// If a line is no request, or stdout is gone.
pub fn serve() -> anyhow::Result<()> {
    let mut here = Here::default();
    for line in std::io::stdin().lines() {
        let request: Request = serde_json::from_str(&line?)
            .map_err(|e| anyhow::anyhow!("this command is for kiln itself; on stdin there is no request: {e}"))?;
        let reply = serde_json::to_string(&here.answer(&request))?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{reply}").and_then(|()| out.flush()).context("nobody reads the reply")?;
    }
    Ok(())
}

/// Where candidates are measured, one request at a time.
#[derive(Default)]
pub struct Bench {
    /// What is started, by a program and its arguments before the hidden command; empty: this process does it.
    command: Vec<OsString>,
    process: Option<Process>,
    here: Here,
}

/// A child that serves requests.
struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    replies: Receiver<String>,
    /// The last word of its own on stderr, when it has ended.
    word: Option<JoinHandle<Option<String>>>,
}

/// How a process ended before it replied.
struct End {
    how: String,
    /// By a signal that a fault of its own does not send, or because it was given up.
    from_outside: bool,
}

impl Bench {
    /// One in processes of `program`, which is this one; or in this process.
    pub fn new(program: Option<&Path>) -> Bench {
        Bench::started_by(program.iter().map(OsString::from).collect())
    }

    /// One in processes that a command starts: an emulator with its arguments, and a program of this source for it.
    pub fn started_by(command: Vec<OsString>) -> Bench {
        Bench { command, ..Bench::default() }
    }

    /// Ends its process, so that the next request has a fresh one, and lets go of memory.
    pub fn renew(&mut self) {
        (self.process, self.here) = (None, Here::default());
    }

    /// The answer to a request. That of one that kills its process, or never ends, is [`Reply::Invalid`].
    ///
    /// # Errors
    /// If there can be no such process, or what could not be measured for reasons of its own.
    pub fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let reply = match self.command.split_first() {
            None => self.here.answer(request),
            Some((program, args)) => self.ask_apart((program.clone(), args.to_vec()), request)?,
        };
        match reply {
            Reply::Failed(why) => bail!("{}: {why}", request.subject()),
            reply => Ok(reply),
        }
    }

    /// The answer of a process. One that was ended from outside, or hangs, gets a second chance: that is not the candidate's
    /// doing unless it happens again.
    fn ask_apart(&mut self, (program, args): (OsString, Vec<OsString>), request: &Request) -> anyhow::Result<Reply> {
        let mut chances = 2;
        loop {
            chances -= 1;
            let mut process = match self.process.take() {
                Some(process) => process,
                None => Process::start(&program, &args)?,
            };
            match process.ask(request)? {
                Ok(reply) => {
                    self.process = Some(process);
                    return Ok(reply);
                }
                Err(End { from_outside: true, .. }) if chances > 0 => {}
                Err(End { how, .. }) => return Ok(Reply::Invalid(format!("the process that was {} {how}", request.subject()))),
            }
        }
    }

    /// Whether requests go to a process of its own.
    pub fn is_apart(&self) -> bool {
        !self.command.is_empty()
    }

    /// Pairs of a job, or why one of the two is not valid.
    ///
    /// # Errors
    /// Those of [`Bench::ask`].
    pub fn pairs(&mut self, job: Job) -> anyhow::Result<Result<Vec<(f64, f64)>, String>> {
        match self.ask(&Request::Pairs(Box::new(job)))? {
            Reply::Pairs(pairs) => Ok(Ok(pairs)),
            Reply::Invalid(why) => Ok(Err(why)),
            other => bail!("a bench was asked for pairs and said {other:?}"),
        }
    }
}

impl Process {
    fn start(program: &OsStr, args: &[OsString]) -> anyhow::Result<Process> {
        let cannot = || format!("cannot run {} {COMMAND}", program.display());
        let (input, output, errors) = (Stdio::piped(), Stdio::piped(), Stdio::piped());
        let mut child =
            Command::new(program).args(args).arg(COMMAND).stdin(input).stdout(output).stderr(errors).spawn().with_context(cannot)?;
        let (requests, output) = (child.stdin.take(), child.stdout.take().with_context(cannot)?);
        let (sender, replies) = channel();
        // Reading in a thread of its own, so that a process that hangs can be given up.
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        let errors = child.stderr.take().with_context(cannot)?;
        // So is what it says beside, which would fill up and stop it.
        let word = std::thread::spawn(move || {
            let lines = BufReader::new(errors).split(b'\n').map_while(Result::ok);
            let own = |line: Vec<u8>| String::from_utf8_lossy(&line).strip_prefix("kiln: ").map(str::to_owned);
            lines.filter_map(own).last()
        });
        Ok(Process { child, requests, replies, word: Some(word) })
    }

    /// Its reply, or how it ended.
    fn ask(&mut self, request: &Request) -> anyhow::Result<Result<Reply, End>> {
        let line = serde_json::to_string(request)? + "\n";
        // A process that is gone is found by its silence.
        let _ = self.requests.as_mut().map(|r| r.write_all(line.as_bytes()).and_then(|()| r.flush()));
        match self.replies.recv_timeout(request.patience()) {
            Ok(line) => Ok(Ok(serde_json::from_str(&line).with_context(|| format!("a bench said what is no reply: {line}"))?)),
            Err(RecvTimeoutError::Timeout) => {
                let waited = humantime::format_duration(Duration::from_secs(request.patience().as_secs()));
                Ok(Err(End { how: format!("said nothing for {waited}"), from_outside: true }))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Err(self.end()?)),
        }
    }

    fn end(&mut self) -> anyhow::Result<End> {
        self.requests = None;
        // Its output is closed before it has ended; one that goes on all the same is of no more use.
        let closed = Instant::now();
        while self.child.try_wait()?.is_none() && closed.elapsed() < ENDING {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let status = self.child.wait()?;
        let how = match status.signal() {
            Some(signal) => format!("died of {}", signal_hook::low_level::signal_name(signal).unwrap_or("a signal")),
            None => format!("ended with {status}"),
        };
        let word = self.word.take().and_then(|word| word.join().ok().flatten());
        let from_outside = status.signal().is_some_and(|s| [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&s));
        Ok(End { how: word.map_or(how.clone(), |word| format!("{how}: {word}")), from_outside })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without requests it ends by itself; one that is at work need not finish.
        self.requests = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{all_candidates, caches};

    fn configs() -> (Vec<Candidate>, Vec<Config>) {
        let shape = "24x32x40".parse().expect("a shape");
        let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: true, threads: 1, operands: Temperature::Hot };
        let caches = caches(&crate::machine::Machine::detect());
        let all = all_candidates(&problem, &registry::all().collect::<Vec<_>>(), Blockings::Near, caches).expect("candidates");
        let configs = all.iter().map(|c| Config::new(&problem, c)).collect();
        (all, configs)
    }

    const ROOM: Room = Room { last_cache: 1 << 20, memory: 1 << 30 };

    #[test]
    fn a_job_survives_the_way_to_another_process_and_gives_as_many_pairs_as_it_asks_for() {
        let (all, configs) = configs();
        let last = all.len() - 1;
        for at in [0, last] {
            assert_eq!(candidate(&configs[at]).expect("a candidate").blocking, all[at].blocking);
        }
        let job = Job::new((configs[0].clone(), configs[last].clone()), &Effort::QUICK, 3, ROOM, 7);
        let sent: Request =
            serde_json::from_slice(&serde_json::to_vec(&Request::Pairs(Box::new(job.clone()))).expect("JSON")).expect("a request");
        assert_eq!(sent, Request::Pairs(Box::new(job.clone())));
        let pairs = Bench::new(None).pairs(job.clone()).expect("an answer").expect("pairs");
        assert!(pairs.len() == 3 && pairs.iter().all(|(a, b)| *a > 0.0 && *b > 0.0), "{pairs:?}");
        let other = Config { shape: "8x8x8".parse().expect("a shape"), ..job.other.clone() };
        assert!(Bench::new(None).pairs(Job { other, ..job }).unwrap_err().to_string().contains("different problems"));
    }

    #[test]
    fn benches_of_problems_stay_while_there_is_room_and_the_oldest_goes_first() {
        let (_, configs) = configs();
        let at = |shape: &str| Config { shape: shape.parse().expect("a shape"), ..configs[0].clone() };
        let mut here = Here::default();
        let mut ask = |shape: &str, room: Room| {
            let reply = here.answer(&Request::Samples(Sampling::new(&at(shape), 1, &Effort::QUICK, room, 1)));
            assert!(matches!(reply, Reply::Samples(..)), "{reply:?}");
            here.benches.iter().map(|bench| bench.0.problem().shape.to_string()).collect::<Vec<_>>()
        };
        ask("24x32x40", ROOM);
        ask("16x32x40", ROOM);
        assert_eq!(ask("24x32x40", ROOM), ["16x32x40", "24x32x40"], "it was used again");
        let bytes = operands::bytes(&at("24x32x40").problem().expect("a problem"), ROOM);
        let little = Room { memory: 2 * bytes, ..ROOM };
        assert_eq!(ask("8x32x40", little), ["24x32x40", "8x32x40"]);
    }

    #[test]
    fn a_bench_gives_the_samples_that_it_is_asked_for() {
        let (_, configs) = configs();
        let mut bench = Bench::new(None);
        for (config, count) in [(&configs[0], 2), (&configs[0], 3), (&configs[1], 1)] {
            match bench.ask(&Request::Samples(Sampling::new(config, count, &Effort::QUICK, ROOM, 1))).expect("an answer") {
                Reply::Samples(samples, error) => assert!(samples.len() == count && (0.0..=1.0).contains(&error)),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(bench.ask(&Request::Grid(configs[0].kernel.clone())), Ok(Reply::Grid(worst)) if worst <= 1.0));
    }

    #[test]
    fn a_program_that_dies_is_a_candidate_that_is_not_valid() {
        let request = Request::Grid("anything".into());
        for (program, end) in [("false", "ended with"), ("true", "ended with")] {
            let reply = Bench::new(Some(Path::new(program))).ask(&request).expect("an answer");
            assert!(matches!(&reply, Reply::Invalid(why) if why.contains("verifying anything") && why.contains(end)), "{reply:?}");
        }
        assert!(Bench::new(Some(Path::new("no-such-program"))).ask(&request).is_err());
    }
}

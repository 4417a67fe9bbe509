//! Where a program spends its time: stack samples of a child process, or of one that already runs.
//!
//! The kernel's CPU clock interrupts the sampled threads at a fixed frequency and walks their frame
//! pointers; nothing is added to the program and no PMU is needed. Programs built without frame
//! pointers give broken stacks, which are counted and not hidden. Symbols are read from the ELF files
//! in this process, after the program has ended: no other program is ever started for that.

mod collect;
mod perf;
mod space;
mod symbols;

use collect::Collector;
use perf::Rings;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How to sample.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples per second of CPU time, on each CPU. A prime keeps step with nothing.
    pub frequency: u32,
    /// When to stop; a child process is killed then. `None`: when the program ends.
    pub duration: Option<Duration>,
    /// Stops sampling early when it becomes true, as if the duration were over.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for Options {
    fn default() -> Self {
        Options { frequency: 997, duration: None, stop: None }
    }
}

/// The samples of one program.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Profile {
    /// How often each stack was seen: `process;outermost;…;innermost`.
    pub folded: BTreeMap<String, u64>,
    /// Samples per second of CPU time that were asked for.
    pub frequency: u32,
    /// Samples taken: the sum of `folded`.
    pub samples: u64,
    /// Samples that the kernel had to throw away because nobody fetched them in time.
    pub lost: u64,
    /// Samples in which some frame lies in no known file: the walk went astray.
    pub astray: u64,
    /// Samples whose innermost frame lies in a file that has no name for it.
    pub unnamed: u64,
    /// Whether time spent in the kernel is among the samples (as the frame `[kernel]`).
    pub with_kernel: bool,
    /// Wall-clock seconds from start to end.
    pub seconds: f64,
    /// How the sampled child ended. `None` if it was killed at the end of the duration, or was not a child.
    #[serde(skip)]
    pub outcome: Option<ExitStatus>,
}

impl Profile {
    /// The share of samples with a frame that is unknown: astray, or without a name where the time was
    /// spent. 0 to 1; `None` without samples.
    pub fn unknown_share(&self) -> Option<f64> {
        (self.samples > 0).then(|| (self.astray + self.unnamed) as f64 / self.samples as f64)
    }

    /// The stacks as text: one line each, the stack and how often it was seen.
    pub fn folded_text(&self) -> String {
        self.folded.iter().map(|(stack, count)| format!("{stack} {count}\n")).collect()
    }

    /// How the samples were taken and what is wrong with them, on one line.
    pub fn describe(&self) -> String {
        let share = |count: u64| 100.0 * count as f64 / self.samples.max(1) as f64;
        format!(
            "CPU clock at {} Hz for {:.1} s, frame pointers, {}; {} lost, {:.1} % astray, {:.1} % unnamed",
            self.frequency,
            self.seconds,
            if self.with_kernel { "kernel included" } else { "user code alone" },
            self.lost,
            share(self.astray),
            share(self.unnamed),
        )
    }
}

/// Why there are no samples.
#[derive(Debug, thiserror::Error)]
pub enum SamplingError {
    /// The kernel does not let this user sample.
    #[error(
        "the kernel refuses to sample (perf_event_paranoid is {}): run as root, or grant CAP_PERFMON, or set \
         kernel.perf_event_paranoid to 2 or less; in a container, allow perf_event_open",
        paranoid_text()
    )]
    Refused,
    /// There is nothing to sample with.
    #[error("perf events are not available here ({0}): sampling needs a Linux kernel with them, not an emulated one")]
    NotAvailable(String),
    /// Too often.
    #[error("{asked} samples per second are not possible: choose 1 to {limit} (kernel.perf_event_max_sample_rate)")]
    Frequency {
        /// What was asked for.
        asked: u32,
        /// The kernel's limit.
        limit: u32,
    },
    /// The program could not be started.
    #[error("cannot start {program}: {why}")]
    Start {
        /// Which one.
        program: String,
        /// Why.
        why: io::Error,
    },
    /// There is no such process, or not for this user.
    #[error("cannot sample process {pid}: {why}")]
    Process {
        /// Which one.
        pid: u32,
        /// Why.
        why: io::Error,
    },
    /// The kernel failed in another way.
    #[error("sampling failed: {0}")]
    Failed(io::Error),
}

fn paranoid_text() -> String {
    crate::counters::paranoid().map_or_else(|| "unknown".into(), |level| level.to_string())
}

/// Whether this process may sample its children; the error says why not.
///
/// # Errors
/// [`SamplingError::Refused`] or [`SamplingError::NotAvailable`].
pub fn permitted() -> Result<(), SamplingError> {
    Rings::for_children(Options::default().frequency).map(drop)
}

/// How often the rings are emptied. At any usual frequency they hold many times as much.
const FETCH: Duration = Duration::from_millis(20);

/// Runs `command` to its end and samples it, its threads and its descendants.
///
/// # Errors
/// When sampling is refused or not available (then the command is not started), or when the command
/// cannot be started. That the command fails is not an error: see [`Profile::outcome`].
pub fn sample_command(command: &mut Command, options: &Options) -> Result<Profile, SamplingError> {
    check_frequency(options.frequency)?;
    // The rings belong to this thread and are switched off; the child inherits them and its exec switches
    // them on, so nothing of this process is ever sampled.
    let mut rings = Rings::for_children(options.frequency)?;
    let start = Instant::now();
    let mut child =
        command.spawn().map_err(|why| SamplingError::Start { program: command.get_program().to_string_lossy().into_owned(), why })?;
    let mut collector = Collector::default();
    let outcome = loop {
        rings.fetch(&mut collector);
        if let Some(status) = child.try_wait().map_err(SamplingError::Failed)? {
            break Some(status);
        }
        if over(start, options) {
            // It may have ended just now: then there is nothing to kill, and its status is as good.
            let _ = child.kill();
            child.wait().map_err(SamplingError::Failed)?;
            break None;
        }
        std::thread::sleep(FETCH);
    };
    rings.fetch(&mut collector);
    Ok(finish(collector, &rings, start, options, outcome))
}

/// Samples the threads of process `pid` until it ends or the duration is over. Threads that it makes
/// meanwhile are found within a few hundredths of a second; processes it starts are not followed.
///
/// # Errors
/// When sampling is refused or not available, or there is no such process.
pub fn sample_process(pid: u32, options: &Options) -> Result<Profile, SamplingError> {
    check_frequency(options.frequency)?;
    let no_process = |why| SamplingError::Process { pid, why };
    let folder = Path::new("/proc").join(pid.to_string());
    let maps = std::fs::read_to_string(folder.join("maps")).map_err(no_process)?;
    let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
    let mut collector = Collector::default();
    collector.already_running(pid, name.trim(), &maps);

    let mut rings = Rings::default();
    let start = Instant::now();
    loop {
        let threads = threads_of(&folder);
        if threads.is_empty() {
            break;
        }
        rings.follow(&threads, options.frequency)?;
        rings.fetch(&mut collector);
        if over(start, options) {
            break;
        }
        std::thread::sleep(FETCH);
    }
    rings.fetch(&mut collector);
    Ok(finish(collector, &rings, start, options, None))
}

fn finish(collector: Collector, rings: &Rings, start: Instant, options: &Options, outcome: Option<ExitStatus>) -> Profile {
    let seconds = start.elapsed().as_secs_f64();
    let profile = collector.finish();
    Profile { frequency: options.frequency, with_kernel: rings.with_kernel(), seconds, outcome, ..profile }
}

fn over(start: Instant, options: &Options) -> bool {
    options.duration.is_some_and(|limit| start.elapsed() >= limit) || options.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// The threads of a process by its folder in `/proc`; empty once it has ended.
fn threads_of(folder: &Path) -> Vec<i32> {
    // A process that has ended but was not waited for still has a folder; its state, the first field
    // after the name in parentheses, is Z or X.
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    if stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with(['Z', 'X'])) {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(folder.join("task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn check_frequency(asked: u32) -> Result<(), SamplingError> {
    let limit = std::fs::read_to_string("/proc/sys/kernel/perf_event_max_sample_rate")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(100_000);
    if asked == 0 || asked > limit { Err(SamplingError::Frequency { asked, limit }) } else { Ok(()) }
}

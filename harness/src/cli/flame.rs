//! `kiln flame`: samples a command or a running process and draws where its time went; or draws the
//! difference of two earlier recordings.
//!
//! Files go to one folder; their paths to stdout, everything else to stderr.

use super::{emit, emit_json};
use crate::sampling::{self, Options, Profile};
use anyhow::{Context, bail};
use kiln_reports::firefox::{self, About};
use kiln_reports::{Flame, Folded, Tier};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sample a command or a process and draw a flame graph.
///
/// Stacks are taken on the kernel's CPU clock by frame pointers: build what you sample with
/// `-C force-frame-pointers=yes`, as this project does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kiln flame -- qwen2 run -p 'A vector is' -n 64\n  \
    kiln flame --pid 4711 --duration 10s --out lab\n  \
    kiln flame --diff before.folded after.folded")]
pub struct Args {
    /// Samples per second of CPU time
    #[arg(long, value_name = "HZ", default_value_t = 997, value_parser = clap::value_parser!(u32).range(1..))]
    freq: u32,

    /// Sample a process that already runs, until it ends, the duration is over, or ctrl-C
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    pid: Option<u32>,

    /// Stop after this time (10s, 2m); a command that still runs is killed
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Draw the difference between two folded files instead of sampling
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["pid", "duration", "command"])]
    diff: Option<Vec<PathBuf>>,

    /// Folder to write to; it is made if it is not there
    #[arg(long, value_name = "DIR", default_value = "lab")]
    out: PathBuf,

    /// Write folded stacks (without one of these three flags: all three)
    #[arg(long)]
    folded: bool,

    /// Write an SVG
    #[arg(long)]
    svg: bool,

    /// Write JSON for the Firefox profiler
    #[arg(long, conflicts_with = "diff")]
    firefox: bool,

    /// Print a summary as one JSON document; the command's own output then goes to stderr
    #[arg(long)]
    json: bool,

    /// The command to run and sample, after `--`
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What was written, for `--json`.
#[derive(serde::Serialize)]
struct Summary<'a> {
    title: &'a str,
    tier: Tier,
    frequency: u32,
    samples: u64,
    lost: u64,
    astray: u64,
    unnamed: u64,
    unknown_share: Option<f64>,
    with_kernel: bool,
    seconds: f64,
    exit: Option<i32>,
    files: Vec<PathBuf>,
}

/// Runs the command; 0 done, 1 no samples or the sampled command failed.
///
/// # Errors
/// Bad arguments, sampling not permitted, nothing to start, files that cannot be read or written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    if let Some(pair) = &args.diff {
        return difference(&pair[0], &pair[1], args);
    }
    if args.pid.is_none() && args.command.is_empty() {
        bail!("nothing to sample: give a command after `--`, or --pid, or --diff");
    }
    // Before the command runs, so that its time is not wasted.
    prepare(&args.out)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (title, profile) = sample(args)?;
    if profile.samples == 0 {
        eprintln!("kiln: no samples: {title} used less than a tick of the CPU; raise --freq or let it run longer");
        return Ok(1);
    }
    eprintln!("{} samples, {}", profile.samples, profile.describe());

    let folded = profile.folded_text();
    let stacks = Folded::parse(&folded)?;
    let all = !(args.folded || args.svg || args.firefox);
    let mut files = Vec::new();
    if all || args.svg {
        let how = Some(profile.describe());
        let flame = Flame { title: title.clone(), folded: folded.clone(), before: None, how, tier: Tier::Measured };
        files.push(write(&args.out, "flame.svg", &flame.svg()?)?);
    }
    if all || args.folded {
        files.push(write(&args.out, "flame.folded", &folded)?);
    }
    if all || args.firefox {
        let about = About {
            product: title.clone(),
            thread: "all threads".into(),
            interval_ms: 1000.0 / f64::from(args.freq),
            start_ms: started.as_secs_f64() * 1000.0,
        };
        files.push(write(&args.out, "flame.firefox.json", &firefox::profile(&stacks, &about)?)?);
    }

    let failed = profile.outcome.filter(|status| !status.success());
    if let Some(status) = failed {
        eprintln!("kiln: {title} {}", ended(status));
    }
    if args.json {
        emit_json(&Summary {
            title: &title,
            tier: Tier::Measured,
            frequency: profile.frequency,
            samples: profile.samples,
            lost: profile.lost,
            astray: profile.astray,
            unnamed: profile.unnamed,
            unknown_share: profile.unknown_share(),
            with_kernel: profile.with_kernel,
            seconds: profile.seconds,
            exit: profile.outcome.and_then(|status| status.code()),
            files,
        })?;
    } else {
        print_paths(&files)?;
    }
    Ok(i32::from(failed.is_some()))
}

/// Samples what the arguments name, and says what that was.
fn sample(args: &Args) -> anyhow::Result<(String, Profile)> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // Ctrl-C reaches a sampled command by itself; here it must only not end us before the graph is drawn.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted)).context("cannot catch ctrl-C")?;
    let mut options = Options { frequency: args.freq, duration: args.duration, stop: None };
    if let Some(pid) = args.pid {
        options.stop = Some(interrupted);
        return Ok((format!("process {pid}"), sampling::sample_process(pid, &options)?));
    }
    let Some((program, arguments)) = args.command.split_first() else { bail!("nothing to sample") };
    let mut command = Command::new(program);
    command.args(arguments);
    if args.json {
        command.stdout(Stdio::from(io::stderr()));
    }
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    let title = shorten(&words.join(" "));
    Ok((title, sampling::sample_command(&mut command, &options)?))
}

/// Draws `before` against `after`.
fn difference(before: &Path, after: &Path, args: &Args) -> anyhow::Result<i32> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Folded::parse(&text).with_context(|| format!("{}", path.display()))?;
        anyhow::Ok(text)
    };
    let (old, new) = (read(before)?, read(after)?);
    prepare(&args.out)?;
    let flame = Flame {
        title: shorten(&format!("{} against {}", after.display(), before.display())),
        folded: new,
        before: Some(old),
        how: None,
        tier: Tier::Measured,
    };
    let file = write(&args.out, "flame-diff.svg", &flame.svg()?)?;
    if args.json {
        return emit_json(&serde_json::json!({ "title": flame.title, "files": [file] }));
    }
    print_paths(&[file])
}

fn prepare(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn print_paths(files: &[PathBuf]) -> anyhow::Result<i32> {
    let paths: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    emit(&paths.join("\n"))
}

/// A heading that fits.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 90;
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_cut_between_characters() {
        assert_eq!(shorten("a\nb"), "a b");
        assert_eq!(shorten(&"é".repeat(91)).chars().count(), 91);
        assert_eq!(shorten(&"é".repeat(90)), "é".repeat(90));
    }

    #[test]
    fn endings_are_told_apart() {
        assert_eq!(ended(ExitStatus::from_raw(3 << 8)), "failed with exit status 3");
        assert_eq!(ended(ExitStatus::from_raw(9)), "was ended by signal 9");
    }
}

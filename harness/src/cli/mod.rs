//! The command line: one file a command, each with its `Args` and a `run` that returns the exit status.
//!
//! Exit status: 0 done, 1 the work found a failure, 2 bad input, with one line on stderr. Results go to
//! stdout, everything else to stderr; with `--json` stdout is one JSON document.

mod bake;
mod build;
mod calibrate;
mod check;
mod compare;
mod count_calls;
mod flame;
mod fresh;
mod lab;
mod list;
mod model;
mod probe;
mod profile;
mod replay;
mod report;
mod serve_bench;
mod stability;
mod store;
mod sweep;
mod table;

pub(crate) use table::Table;

use clap::Parser;
use kiln_profiles::without;
use std::io::Write;
use std::process::ExitCode;

/// The store that commands use when none is given.
pub(crate) const STORE: &str = "kiln-results.jsonl";

/// A laboratory for CPU kernels: it sweeps them, measures them so that the result can be trusted,
/// shows where the time goes, and bakes the winners into a Qwen2 inference binary.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    after_help = "Exit status: 0 done, 1 the work found a failure, 2 bad input.\n\
                  Every command has its own --help with examples.\n\n\
                  KILN_WITHOUT=avx512,… in the environment: as if this CPU lacked those instruction sets\n\
                  (and all that extend them), also for the programs that are started."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Probe(probe::Args),
    Flame(flame::Args),
    List(list::Args),
    Check(check::Args),
    Calibrate(calibrate::Args),
    Stability(stability::Args),
    Sweep(sweep::Args),
    Replay(replay::Args),
    Store(store::Args),
    Profile(profile::Args),
    Compare(compare::Args),
    Bake(bake::Args),
    Build(build::Args),
    Report(report::Args),
    Model(model::Args),
    Lab(lab::Args),
    #[command(hide = true)]
    CountCalls(count_calls::Args),
    #[command(hide = true)]
    ServeBench,
}

/// Parses the arguments of this process and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let status = without::from_environment().map_err(anyhow::Error::from).and_then(|()| run(&cli.command));
    match status {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(2)),
        Err(error) => {
            eprintln!("kiln: {}", one_line(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<i32> {
    match command {
        Command::Probe(args) => probe::run(args),
        Command::Flame(args) => flame::run(args),
        Command::List(args) => list::run(args),
        Command::Check(args) => check::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Stability(args) => stability::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Store(args) => store::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Compare(args) => compare::run(args),
        Command::CountCalls(args) => count_calls::run(args),
        Command::Bake(args) => bake::run(args),
        Command::Report(args) => report::run(args),
        Command::Build(args) => build::run(args),
        Command::Model(args) => model::run(args),
        Command::Lab(args) => lab::run(args),
        Command::ServeBench => serve_bench::run(),
    }
}

/// Help and version as they are; a wrong command line on one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let what = text.split("\nUsage:").next().unwrap_or(&text);
    let what = what.split("\nFor more information").next().unwrap_or(what);
    eprintln!("kiln: {} (--help shows how)", one_line(what.trim_start_matches("error: ")));
    ExitCode::from(2)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Prints a text and a line end on stdout. A reader that has gone away is no error.
///
/// # Errors
/// If stdout cannot be written for another reason.
pub(crate) fn emit(text: &str) -> anyhow::Result<i32> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(anyhow::anyhow!("cannot write to stdout: {e}")),
        _ => Ok(0),
    }
}

/// Prints one JSON document on stdout.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn emit_json(value: &impl serde::Serialize) -> anyhow::Result<i32> {
    emit(&serde_json::to_string_pretty(value)?)
}

//! Instructions for baselines: those of one call, counted by valgrind's callgrind or by qemu, where clocks cannot be trusted.
//!
//! The program runs twice, and the second time makes more calls: the difference is theirs alone. It reads no clock, and
//! instructions say nothing of cycles: a figure of the tier `counted`.

use super::calls::{Answer, COMMAND, Request};
use super::judge::same_code_path;
use super::{Baseline, Figures, Row, Wanted, baseline};
use crate::compare::Failed;
use crate::peers::{self, Choice};
use crate::progress::Progress;
use crate::space::{Problem, Shape};
use anyhow::{Context, bail, ensure};
use object::Object;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Counter {
    /// valgrind's callgrind: programs of this machine, without AVX-512.
    Callgrind,
    /// qemu's user-mode emulator: programs of any architecture.
    Qemu,
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counter::Callgrind => "callgrind",
            Counter::Qemu => "qemu",
        })
    }
}

/// The plugin that has qemu count.
const PLUGIN: &str = include_str!("../../../../scripts/count-instructions.c");

/// Calls whose instructions are counted come to about this many operations or bytes: what two starts of the program do not
/// have in common is little beside them.
const ENOUGH: f64 = 1e7;

/// Programs run under a counter.
struct Counting {
    counter: Counter,
    program: PathBuf,
    /// Its architecture, as tools spell it.
    arch: &'static str,
    /// What the counters write.
    folder: tempfile::TempDir,
}

impl Counting {
    /// Looks at the program, and has qemu's plugin compiled.
    fn new(counter: Counter, program: Option<&Path>) -> anyhow::Result<Counting> {
        let program = program.map_or_else(std::env::current_exe, |p| Ok(p.to_owned()))?;
        let arch = architecture(&program)?;
        let folder = tempfile::tempdir().context("cannot make a folder for what is counted")?;
        let counting = Counting { counter, program, arch, folder };
        match counter {
            Counter::Callgrind => ensure!(
                arch == std::env::consts::ARCH,
                "{} is for {arch}, and callgrind runs programs of this machine alone: ask for --counts qemu",
                counting.program.display()
            ),
            Counter::Qemu => counting.compile()?,
        }
        Ok(counting)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self) -> anyhow::Result<()> {
        std::fs::write(self.file("count.c"), PLUGIN)?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let arguments = ["-shared", "-fPIC", "-O2", "-o"].map(str::to_owned);
        let out = Command::new(&compiler).args(arguments).arg(self.file("count.so")).arg(self.file("count.c")).output();
        let out =
            out.with_context(|| format!("cannot run {}: counting with qemu takes a C compiler (apt-get install gcc)", compiler.display()))?;
        ensure!(out.status.success(), "{} cannot compile qemu's plugin: {}", compiler.display(), last_line(&out.stderr));
        Ok(())
    }

    /// The program under its counter, with the arguments that it begins with.
    fn command(&self) -> (String, Command) {
        match self.counter {
            Counter::Callgrind => {
                let mut command = Command::new("valgrind");
                let path = |option: &str, name: &str| format!("--{option}={}", self.file(name).display());
                command.arg("--tool=callgrind").args([path("callgrind-out-file", "counts"), path("log-file", "log")]);
                ("valgrind".into(), command)
            }
            Counter::Qemu => {
                let name = format!("qemu-{}", self.arch);
                let mut command = Command::new(&name);
                // Where Debian's cross compilers keep the libraries of other architectures.
                let root = PathBuf::from(format!("/usr/{}-linux-gnu", self.arch));
                if self.arch != std::env::consts::ARCH && std::env::var_os("QEMU_LD_PREFIX").is_none() && root.is_dir() {
                    command.arg("-L").arg(&root).arg("-E").arg(format!("LD_LIBRARY_PATH={}", root.join("lib").display()));
                }
                command.arg("-plugin").arg(self.file("count.so"));
                (name, command)
            }
        }
    }

    /// All instructions of the program making so many calls, and what it says it called.
    fn run(&self, request: &Request, calls: usize) -> anyhow::Result<Result<(u64, Answer), String>> {
        let (name, mut command) = self.command();
        command.arg(&self.program).arg(COMMAND).arg(calls.to_string());
        let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let package = if self.counter == Counter::Callgrind { "valgrind" } else { "qemu-user" };
                bail!("{name} is not here, which --counts {} takes: apt-get install {package}", self.counter)
            }
            child => child.with_context(|| format!("cannot run {name}"))?,
        };
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it reads says why.
            let _ = stdin.write_all(&serde_json::to_vec(request)?);
        }
        let out = child.wait_with_output().with_context(|| format!("cannot run {name}"))?;
        match out.status.code() {
            Some(0) => {}
            Some(1) => return Ok(Err(last_line(&out.stderr))),
            _ => bail!("{}", self.complaint(&name, &out)),
        }
        let answer = serde_json::from_slice(&out.stdout)
            .with_context(|| format!("{} under {name} said what is no answer: is it a kiln of today?", self.program.display()))?;
        let counted = match self.counter {
            Counter::Callgrind => std::fs::read_to_string(self.file("counts")).ok().and_then(|text| summary(&text)),
            Counter::Qemu => plugin(&String::from_utf8_lossy(&out.stderr)),
        };
        Ok(Ok((counted.with_context(|| format!("{name} says nothing of how many instructions there were"))?, answer)))
    }

    /// Why the program failed.
    fn complaint(&self, name: &str, out: &Output) -> String {
        let said = last_line(&out.stderr);
        let hint = if self.counter == Counter::Callgrind && said.contains("does not have") {
            "; valgrind knows no AVX-512: name a kernel of another instruction set with --kernel, or leave --kernel out"
        } else {
            ""
        };
        format!("{} under {name} ended with {}: {said}{hint}", self.program.display(), out.status)
    }

    /// The instructions of one call.
    fn count(&self, request: &Request, calls: usize) -> anyhow::Result<Result<(Row, Answer), String>> {
        let few = match self.run(request, 1)? {
            Ok((few, _)) => few,
            Err(why) => return Ok(Err(why)),
        };
        let (many, answer) = match self.run(request, 1 + calls)? {
            Ok(both) => both,
            Err(why) => return Ok(Err(why)),
        };
        ensure!(many > few, "{} calls took no more instructions than 1: {many} and {few} were counted", 1 + calls);
        let figures = Figures::Counted { instructions: ((many - few) as f64 / calls as f64 * 10.0).round() / 10.0, calls };
        Ok(Ok((Row { config: answer.config.clone(), figures }, answer)))
    }
}

/// Counts; where `before` is of another machine, what it ran is counted here too if this one would run something else.
///
/// # Errors
/// Bad input, or a counter that is not here; [`Failed`] for a kernel that is wrong.
pub fn count(wanted: &Wanted, before: Option<&Baseline>, counter: Counter, program: Option<&Path>) -> anyhow::Result<Baseline> {
    for (shape, threads) in &wanted.at {
        ensure!(
            *threads == 1,
            "instructions are counted on 1 thread: those that threads spend waiting for each other say nothing ({shape} asks for {threads})"
        );
    }
    let counting = Counting::new(counter, program)?;
    // What the other machine has room for is for the program to say.
    let problems = wanted.problems(crate::measure::operands::Room { last_cache: 0, memory: usize::MAX })?;
    let progress = Progress::new(problems.len() as u64, "counting");
    let (mut rows, mut seen) = (Vec::new(), None);
    for problem in &problems {
        progress.at(problem.shape.to_string());
        let calls = calls(problem);
        let request = request(wanted, problem.shape, &wanted.choice);
        let wrong = |why| Failed { system: peers::NAME, shape: problem.shape, threads: 1, why };
        let (mut row, answer) = counting.count(&request, calls)?.map_err(wrong)?;
        let was = before.filter(|b| b.machine != answer.machine).and_then(|b| b.row(problem.shape, 1));
        if let Some(was) = was.filter(|was| wanted.choice.kernel.is_none() && !same_code_path(&was.config, &row.config)) {
            let choice =
                Choice { kernel: Some(was.config.kernel.clone()), blocking: was.config.blocking.map(Into::into), ..Choice::default() };
            match counting.count(&self::request(wanted, problem.shape, &choice), calls) {
                Ok(counted) => row = counted.map_err(wrong)?.0,
                Err(why) => progress.note(&format!("note: {} of the baseline is not to be had here: {why:#}", was.config.label())),
            }
        }
        rows.push(row);
        seen = Some(answer);
        progress.advance(1);
    }
    let Answer { machine, compiler, flags, .. } = seen.context("no shape given")?;
    Ok(baseline(&machine, (&compiler, &flags), Some(counter), rows))
}

fn request(wanted: &Wanted, shape: Shape, choice: &Choice) -> Request {
    let (op, format) = (wanted.task.op.name().into(), wanted.task.format.name().into());
    Request { op, format, shape, kernel: choice.kernel.clone(), blocking: choice.blocking }
}

/// How many calls to count.
fn calls(problem: &Problem) -> usize {
    ((ENOUGH / problem.cost().max(1.0)).ceil() as usize).clamp(2, 20_000)
}

/// The architecture of a program, as Rust and qemu spell it.
fn architecture(program: &Path) -> anyhow::Result<&'static str> {
    let cannot = || format!("cannot read the program {}", program.display());
    let file = std::fs::File::open(program).with_context(cannot)?;
    let reader = object::read::ReadCache::new(file);
    let file = object::File::parse(&reader).with_context(cannot)?;
    match file.architecture() {
        object::Architecture::X86_64 => Ok("x86_64"),
        object::Architecture::Aarch64 => Ok("aarch64"),
        other => bail!("{} is for {other:?}, and kiln is for x86_64 and aarch64", program.display()),
    }
}

/// The number in callgrind's file.
fn summary(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: "))?.trim().parse().ok())
}

/// The number that the plugin prints.
fn plugin(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.strip_prefix("instructions ")?.trim().parse().ok())
}

/// The last line that a program said, without its name.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let said = text.lines().rev().map(str::trim).find(|l| !l.is_empty() && !l.starts_with("instructions "));
    said.map_or("nothing more".into(), |l| l.trim_start_matches("kiln: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counters_say_is_read() {
        assert_eq!(summary("version: 1\nevents: Ir\nsummary: 123456\n\nfn=(0)\n0 12\n"), Some(123_456));
        assert_eq!(summary("events: Ir\nfn=(0)\n0 12\ntotals: 99\n"), Some(99));
        assert_eq!((summary("events: Ir\n"), summary("summary: many")), (None, None));
        assert_eq!(plugin("note: a thing\ninstructions 42\n"), Some(42));
        assert_eq!((plugin(""), plugin("instructions none")), (None, None));
        assert_eq!((last_line(b"kiln: wrong\n\ninstructions 7\n"), last_line(b"")), ("wrong".into(), "nothing more".into()));
    }

    #[test]
    fn a_program_says_what_it_is_for() {
        let this = std::env::current_exe().expect("a program");
        assert_eq!(architecture(&this).expect("an architecture"), std::env::consts::ARCH);
        assert!(architecture(Path::new("Cargo.toml")).is_err() && architecture(Path::new("no-such-program")).is_err());
    }

    #[test]
    fn small_problems_are_called_more_often() {
        let of = |shape: &str| {
            let task = crate::peers::Task { op: kiln_kernels::registry::Op::Gemm, format: kiln_kernels::format::Format::F32 };
            calls(&super::super::problem(task, (shape.parse().expect("a shape"), 1), crate::space::Temperature::Hot))
        };
        assert_eq!((of("1x1x1"), of("100x100x100"), of("1024x1024x1024")), (20_000, 5, 2));
    }
}

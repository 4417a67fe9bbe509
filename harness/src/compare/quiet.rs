//! Waiting until whoever was timed last is at rest.
//!
//! The threads of some libraries spin for a while after a call, in case of another one soon. Their
//! policy is not ours to change: it is part of their speed. So each system is given the time that it
//! needs to fall asleep before the next one's turn. The states of threads tell; their CPU clocks would
//! not, since those of a thread that runs go on by whole ticks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The pause between looks.
const PAUSE: Duration = Duration::from_micros(200);
/// How many looks in a row must find all threads asleep: one may fall between two spins.
const LOOKS: usize = 3;
/// Whoever is not at rest by then never is.
const LONGEST: Duration = Duration::from_millis(500);

/// The threads of this process and of others.
#[derive(Debug)]
pub(super) struct Quiet {
    /// A folder of threads for each process.
    processes: Vec<PathBuf>,
}

impl Quiet {
    /// Watches this process and those.
    pub(super) fn new(others: impl Iterator<Item = u32>) -> Quiet {
        let threads = |process: String| PathBuf::from(format!("/proc/{process}/task"));
        Quiet { processes: [threads("self".into())].into_iter().chain(others.map(|id| threads(id.to_string()))).collect() }
    }

    /// Returns once all threads but the one that calls are asleep, and whether they came to it at all.
    pub(super) fn wait(&self) -> bool {
        let began = Instant::now();
        let mut calm = 0;
        while calm < LOOKS && began.elapsed() < LONGEST {
            std::thread::sleep(PAUSE);
            calm = if self.at_rest() { calm + 1 } else { 0 };
        }
        calm == LOOKS
    }

    /// Whether no thread but the one that calls runs or waits for a CPU. A process that is gone has none.
    fn at_rest(&self) -> bool {
        let me = rustix::thread::gettid().as_raw_nonzero().to_string();
        let threads = self.processes.iter().filter_map(|process| std::fs::read_dir(process).ok()).flatten().flatten();
        threads.filter(|t| t.file_name().to_string_lossy() != me).all(|t| {
            let stat = std::fs::read_to_string(t.path().join("stat")).unwrap_or_default();
            // The name, in brackets, may hold anything; the state follows the last of them.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| !rest.starts_with('R'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_that_spins_is_seen_and_one_that_sleeps_is_at_rest() {
        let child = |script: &str| Command::new("sh").args(["-c", script]).stdout(Stdio::null()).spawn().expect("a shell");
        for (script, rests) in [("while :; do :; done", false), ("exec sleep 60", true)] {
            let mut process = child(script);
            // Other tests of this process are at work: only the child is looked at here.
            let quiet = Quiet { processes: Quiet::new([process.id()].into_iter()).processes.split_off(1) };
            std::thread::sleep(Duration::from_millis(300));
            let found = quiet.wait();
            process.kill().and_then(|()| process.wait()).expect("an end");
            assert_eq!(found, rests, "{script}");
        }
    }
}

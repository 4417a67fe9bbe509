//! A system in a process of its own, spoken to in lock step: one line and perhaps bytes go down its
//! standard input, one line comes back from its standard output.
//!
//! An answer begins with `ok` or with `error`. A child that ends, says anything else or says nothing
//! for too long is an error, never a wait without end. At the end of its input a child is to end.

use anyhow::Context;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A longer answer is none.
const LONGEST: u64 = 1 << 16;
/// What is kept of the last words on standard error.
const LAST_WORDS: usize = 200;
/// A child has this long to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running child.
pub(super) struct Child {
    name: &'static str,
    process: process::Child,
    /// What is yet to be written; without it the child's input ends.
    questions: Option<Sender<Vec<u8>>>,
    answers: Receiver<String>,
    /// The last line of its standard error.
    last_words: Arc<Mutex<String>>,
    /// It did not keep to the protocol, so it is not waited for.
    broken: bool,
}

impl Child {
    /// Starts a child.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub(super) fn start(name: &'static str, mut command: Command) -> anyhow::Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let (questions, to_write) = mpsc::channel::<Vec<u8>>();
        let (heard, answers) = mpsc::channel();
        let last_words = Arc::new(Mutex::new(String::new()));
        // A thread for each pipe, so that no child can block this process: they sleep unless one speaks.
        if let Some(mut input) = process.stdin.take() {
            std::thread::spawn(move || to_write.iter().try_for_each(|bytes| input.write_all(&bytes).and_then(|()| input.flush())));
        }
        if let Some(output) = process.stdout.take() {
            std::thread::spawn(move || each_line(output, |line| heard.send(line).is_ok()));
        }
        if let Some(errors) = process.stderr.take() {
            let last_words = last_words.clone();
            std::thread::spawn(move || {
                each_line(errors, |line| {
                    if !line.is_empty() {
                        let line = line.chars().take(LAST_WORDS).collect();
                        *last_words.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = line;
                    }
                    true
                });
            });
        }
        Ok(Child { name, process, questions: Some(questions), answers, last_words, broken: false })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a line and then `bytes`, and returns what follows `ok` in the answer.
    ///
    /// # Errors
    /// If the child answers with an error, or with nothing that is an answer, or not within `limit`.
    pub(super) fn ask(&mut self, question: &str, bytes: &[u8], limit: Duration) -> anyhow::Result<String> {
        let line = [question.as_bytes(), b"\n", bytes].concat();
        // Should the child be gone, the answer that does not come will say so.
        let _ = self.questions.as_ref().map(|q| q.send(line));
        self.answer(question, limit)
    }

    /// Waits for the answer to what was asked, or for the first one after the start.
    ///
    /// # Errors
    /// As [`Child::ask`].
    pub(super) fn answer(&mut self, question: &str, limit: Duration) -> anyhow::Result<String> {
        let (name, question) = (self.name, question.split(' ').next().unwrap_or_default());
        let line = match self.answers.recv_timeout(limit) {
            Ok(line) => line,
            Err(why) => {
                self.broken = true;
                match why {
                    RecvTimeoutError::Timeout => anyhow::bail!("{name} did not answer '{question}' within {limit:.0?}"),
                    RecvTimeoutError::Disconnected => anyhow::bail!("{name} ended at '{question}'{}", self.obituary()),
                }
            }
        };
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            ("error", why) => anyhow::bail!("{name} refuses '{question}': {why}"),
            _ => {
                self.broken = true;
                let line: String = line.chars().take(LAST_WORDS).collect();
                anyhow::bail!("{name} answered '{question}' with '{line}', which is no answer")
            }
        }
    }

    /// How it ended and what it said last.
    fn obituary(&mut self) -> String {
        let status = self.end().map_or(String::new(), |s| format!(" with {s}"));
        // Its last line may still be on the way.
        std::thread::sleep(Duration::from_millis(20));
        let words = self.last_words.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if words.is_empty() { status } else { format!("{status}: {words}") }
    }

    /// Lets it end, or makes it.
    fn end(&mut self) -> Option<process::ExitStatus> {
        self.questions = None;
        let began = Instant::now();
        let patience = if self.broken { Duration::from_millis(100) } else { FAREWELL };
        while began.elapsed() < patience {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        let _ = self.process.kill();
        self.process.wait().ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Hands on each line without its end, until there are none or `hear` has enough.
fn each_line(pipe: impl Read, mut hear: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if !hear(String::from_utf8_lossy(&line).trim().to_owned()) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::start("fake", command).expect("a shell")
    }

    const SOON: Duration = Duration::from_secs(20);

    fn refusal(script: &str, limit: Duration) -> String {
        child(script).ask("run 3", b"", limit).expect_err(script).to_string()
    }

    #[test]
    fn questions_and_answers_go_in_lock_step_and_the_end_is_clean() {
        let mut echo = child("while read line; do echo \"ok $line\"; done");
        assert_eq!(echo.ask("run 3", b"", SOON).expect("an answer"), "run 3");
        assert_eq!(echo.ask("prepare", b"more\n", SOON).expect("an answer"), "prepare");
        assert_eq!(echo.answer("prepare", SOON).expect("an answer"), "more");
        assert!(echo.end().is_some_and(|status| status.success()));
    }

    #[test]
    fn whoever_breaks_the_protocol_is_named_with_the_reason() {
        let error = refusal("read line; echo 'no memory' >&2; exit 3", SOON);
        assert!(error.contains("fake ended at 'run'") && error.contains("3: no memory"), "{error}");
        let error = refusal("read line; echo '<html>'; sleep 60", SOON);
        assert!(error.contains("'<html>', which is no answer"), "{error}");
        let error = refusal("read line; head -c 200000 /dev/zero; sleep 60", SOON);
        assert!(error.contains("no answer") && error.len() < 400, "{error}");
        assert_eq!(refusal("read line; echo 'error too large'; cat", SOON), "fake refuses 'run': too large");
    }

    #[test]
    fn one_that_hangs_is_given_up_even_if_it_reads_nothing() {
        let began = Instant::now();
        let error = refusal("exec sleep 60", Duration::from_millis(50));
        assert!(error.contains("did not answer 'run' within"), "{error}");
        let large = vec![0; 1 << 20];
        assert!(child("exec sleep 60").ask("prepare", &large, Duration::from_millis(50)).is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = Child::start("fake", Command::new("/nonexistent/python3")).err().map(|e| format!("{e:#}"));
        assert!(error.is_some_and(|e| e.contains("cannot run /nonexistent/python3")));
    }
}

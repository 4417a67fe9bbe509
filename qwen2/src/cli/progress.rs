//! Progress bars: on stderr, only when it is a terminal, and only for work that has already taken two seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// A bar that appears when it is worth it and is gone when dropped.
pub(super) struct Progress {
    what: String,
    start: Instant,
    bar: Option<ProgressBar>,
    terminal: bool,
}

impl Progress {
    /// Progress of `what`.
    pub(super) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), start: Instant::now(), bar: None, terminal: std::io::stderr().is_terminal() }
    }

    /// `done` of `total` steps are over.
    pub(super) fn set(&mut self, done: u64, total: u64) {
        if !self.terminal || self.start.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_message(self.what.clone());
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {percent}% ({eta})") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_elapsed(self.start.elapsed())
        });
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

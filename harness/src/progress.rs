//! Progress on a terminal: a bar with the time that is left, for work that takes longer than a moment.
//! Away from a terminal nothing is drawn.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A bar that appears when the work turns out to be long.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    /// A bar for `total` steps of `what`.
    pub fn new(total: u64, what: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_prefix(what.to_owned());
        Progress { bar, terminal: std::io::stderr().is_terminal() }
    }

    /// Says what is being done now.
    pub fn at(&self, message: impl Into<String>) {
        if self.terminal {
            self.bar.set_message(message.into());
            self.show();
        }
    }

    /// Counts `steps` as done.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
        self.show();
    }

    /// There are so many steps more than was thought.
    pub fn more(&self, steps: u64) {
        self.bar.inc_length(steps);
    }

    /// Prints a line on stderr without disturbing the bar.
    pub fn note(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    fn show(&self) {
        if self.terminal && self.bar.is_hidden() && self.bar.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! Turns measurements into pictures and one self-contained HTML page.
//!
//! Plain serde structs go in, strings (SVG, JSON, HTML) or a file come out. The crate knows nothing of
//! kernels, profiles or the harness, measures nothing, decides no winner and never reads the clock: every
//! number it prints was handed to it, together with the [`Tier`] that says where it came from.
//!
//! | Module | Input | Output |
//! |---|---|---|
//! | [`gflops`] | series of (size, median, interval), measured peaks | SVG, log2 size axis |
//! | [`roofline`] | peaks, bandwidths, (intensity, rate) points | SVG, log-log |
//! | [`scatter`] | pairs of times | SVG, log-log |
//! | [`heatmap`] | (rows, columns label, rate) cells of one shape | SVG |
//! | [`flame`] | folded stacks, one or two sets | interactive SVG |
//! | [`firefox`] | folded stacks | Firefox profiler JSON |
//! | [`page`] | all of the above and tables | HTML |

mod canvas;
pub mod firefox;
pub mod flame;
pub mod folded;
pub mod gflops;
pub mod heatmap;
pub mod page;
mod render;
pub mod roofline;
mod scale;
pub mod scatter;
mod text;

pub use flame::Flame;
pub use folded::Folded;
pub use gflops::GflopsPlot;
pub use heatmap::Heatmap;
pub use page::Page;
pub use roofline::Roofline;
pub use scatter::Scatter;

use serde::{Deserialize, Serialize};

/// Where a figure comes from. Figures of different tiers are never ranked against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// By wall clock or hardware counter on the machine the page describes.
    Measured,
    /// Instructions counted under emulation or by an instrumenting tool.
    Counted,
    /// By a static model of the processor.
    Predicted,
}

impl Tier {
    /// The lower-case name, as it is printed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Measured => "measured",
            Tier::Counted => "counted",
            Tier::Predicted => "predicted",
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Tier {
    type Err = ReportError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "measured" => Ok(Tier::Measured),
            "counted" => Ok(Tier::Counted),
            "predicted" => Ok(Tier::Predicted),
            _ => Err(ReportError::Value(format!("unknown tier '{}': expected measured, counted or predicted", text::clean(s)))),
        }
    }
}

/// Why a picture or page could not be made. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// There is nothing to draw.
    #[error("nothing to draw: {0}")]
    Empty(String),
    /// A value that no plot can place: not finite, not positive on a log axis, an unknown name.
    #[error("{0}")]
    Value(String),
    /// A line of folded stacks that cannot be read; lines count from 1.
    #[error("folded stacks, line {line}: {why}")]
    Folded {
        /// The line's number.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The drawing back end refused.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// The page template failed.
    #[error("cannot fill the page template: {0}")]
    Template(#[from] minijinja::Error),
    /// The JSON could not be written.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file's path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

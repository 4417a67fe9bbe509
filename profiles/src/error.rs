//! What can be wrong with a profile, each in one line that says what to do.

use std::path::PathBuf;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No profile has that name.
    #[error("unknown profile '{name}'; known are {known}, or give the path of a tuned.toml")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A profile cannot be baked as it stands.
    #[error("profile '{profile}': {message}")]
    Unfit {
        /// Which one.
        profile: String,
        /// What is missing or contradictory.
        message: String,
    },
}

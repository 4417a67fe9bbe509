//! The deployment build: `qwen2` with given profiles, by cargo, as a user would build it.

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to build.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Profiles by name or path, best first.
    pub profiles: &'a [String],
    /// Rust's name of the target; `None`: this machine.
    pub target: Option<&'a str>,
}

/// The root of the project's sources: from the working directory upwards, else where this binary was
/// built.
///
/// # Errors
/// If there is none.
pub fn workspace() -> anyhow::Result<PathBuf> {
    let is_root = |dir: &Path| dir.join("qwen2/Cargo.toml").is_file() && dir.join("profiles").is_dir();
    let here = std::env::current_dir().context("the working directory cannot be read")?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let found = here.ancestors().chain(built).find(|dir| is_root(dir));
    found.map(Path::to_path_buf).context("Kiln's sources are not here: run this inside of a checkout")
}

/// Builds `qwen2` and returns the path of the binary, which the next build replaces.
///
/// Cargo's own progress goes to stderr.
///
/// # Errors
/// If a profile is unknown or unfit, or cargo fails.
pub fn qwen2(request: &Request) -> anyhow::Result<PathBuf> {
    ensure!(!request.profiles.is_empty(), "no profile given");
    let root = workspace()?;
    let mut named = Vec::new();
    for profile in request.profiles {
        // Relative paths are relative to where the user is, not to where the build script runs; names are of the profiles beside
        // the sources, where `kiln bake` writes them, which need not be those that this binary was built of.
        let (_, path) = kiln_profiles::lookup::tuned(&root.join("profiles"), profile)?;
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        named.push(path.to_str().context("a profile's path is not Unicode")?.to_owned());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--package", "qwen2", "--message-format=json-render-diagnostics"]);
    cargo.current_dir(&root).env("KILN_PROFILE", named.join(",")).stdout(Stdio::piped()).stdin(Stdio::null());
    if let Some(target) = request.target {
        cargo.args(["--target", target]);
    }
    let out = cargo.spawn().and_then(|child| child.wait_with_output()).context("cannot run cargo")?;
    if !out.status.success() {
        bail!("cargo could not build qwen2 with {}; its messages are above", request.profiles.join(", "));
    }
    let binary = String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|m| m["target"]["name"] == "qwen2")
        .find_map(|m| m["executable"].as_str().map(PathBuf::from));
    binary.context("cargo built qwen2 but did not say where")
}

//! Turns tuned profiles into `baked.rs`: the kernels that this build of the engine will have.
//!
//! `KILN_PROFILE` names them, by name or by path, several separated by commas. Without it they are those of the
//! machine that builds, when there is a profile of it that it can run and it builds for itself; else the generic ones of the target.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use kiln_profiles::codegen::{Source, generate};
use kiln_profiles::machine::Machine;
use kiln_profiles::schema::Variant;
use kiln_profiles::{cpu, lookup};

fn main() -> ExitCode {
    match bake() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: KILN_PROFILE: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bake() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=KILN_PROFILE");
    println!("cargo::rerun-if-changed=build.rs");
    let root = lookup::default_root();
    let target = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut sources = Vec::new();
    for name in names(root, &target)? {
        let (tuned, path) = lookup::tuned(root, &name)?;
        println!("cargo::rerun-if-changed={}", path.display());
        // A profile given by path is of a CPU of the project when it carries the name of one.
        let machine = lookup::machine(root, &tuned.cpu).ok();
        sources.push(Source { tuned, machine });
    }
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("baked.rs"), generate(&sources, &target)?)?;
    Ok(())
}

/// The profiles to bake.
fn names(root: &Path, target: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let asked = env::var("KILN_PROFILE").unwrap_or_default();
    let asked: Vec<String> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if !asked.is_empty() {
        return Ok(asked);
    }
    // The build script runs on the machine that builds: its own architecture is that machine's.
    let own = if target == env::consts::ARCH { cpu::here() } else { None };
    let known = own.map(|cpu| lookup::recognise(root, &cpu)).transpose()?.flatten();
    // One that is described but was not tuned yet builds too: how else would it be? And so does one that goes by the same name
    // and lacks what the profile's kernels need, as what a host says to its guests may be another CPU's name.
    let is_tuned = |machine: &Machine| {
        let path = root.join(&machine.name).join(lookup::TUNED);
        println!("cargo::rerun-if-changed={}", path.display());
        let runs = || lookup::tuned(root, &machine.name).map_or(true, |(tuned, _)| tuned.variants.iter().any(Variant::runs_here));
        path.is_file() && runs()
    };
    Ok(vec![known.filter(is_tuned).map_or_else(|| lookup::generic(target), |machine| machine.name)])
}

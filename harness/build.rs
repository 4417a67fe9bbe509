//! Captures with what this binary is compiled, and the versions of the crates that kernels are compared
//! with: results carry both.

use std::process::Command;

fn main() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = var("RUSTC");
    let version = Command::new(&rustc).arg("-V").output().ok().and_then(|o| String::from_utf8(o.stdout).ok());
    let flags = var("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ");
    println!("cargo:rustc-env=KILN_COMPILER={}", version.as_deref().unwrap_or("rustc, version not known").trim());
    println!("cargo:rustc-env=KILN_FLAGS=opt-level={} {} {}", var("OPT_LEVEL"), flags, var("TARGET"));
    let lock = std::fs::read_to_string("../Cargo.lock").unwrap_or_default();
    for (name, variable) in [("gemm", "KILN_PEER_GEMM"), ("matrixmultiply", "KILN_PEER_MATRIXMULTIPLY")] {
        println!("cargo:rustc-env={variable}={name} {}", locked(&lock, name).unwrap_or("of unknown version"));
    }
    println!("cargo:rerun-if-changed=../Cargo.lock");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
}

/// The version of a crate in a `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

//! Captures with what this binary is compiled: results carry it.

use std::process::Command;

fn main() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = var("RUSTC");
    let version = Command::new(&rustc).arg("-V").output().ok().and_then(|o| String::from_utf8(o.stdout).ok());
    let flags = var("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ");
    println!("cargo:rustc-env=KILN_COMPILER={}", version.as_deref().unwrap_or("rustc, version not known").trim());
    println!("cargo:rustc-env=KILN_FLAGS=opt-level={} {} {}", var("OPT_LEVEL"), flags, var("TARGET"));
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
}

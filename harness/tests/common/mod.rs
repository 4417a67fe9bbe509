//! Running the `kiln` binary as a user would.

use std::path::Path;
use std::process::{Command, Output};

/// The binary with these arguments, in a folder.
pub fn kiln(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(args).current_dir(folder);
    command
}

/// Runs it and returns exit status, stdout and stderr.
pub fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = kiln(folder, args).output().expect("kiln runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit status"), text(stdout), text(stderr))
}

/// Whether timing makes sense here: not under an emulator, where sweeps are refused.
#[allow(dead_code, reason = "some tests time nothing")]
pub fn can_time() -> bool {
    kiln::machine::Machine::detect().system.emulator.is_none()
}

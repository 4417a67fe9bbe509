//! The program as tests run it, and what must hold of its answers.

use assert_cmd::Command;
use serde_json::Value;

/// The program with arguments, to be given up after ten minutes.
pub fn qwen2(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("qwen2").unwrap();
    command.args(args).timeout(std::time::Duration::from_secs(600));
    command
}

/// The one JSON document that a command answers with.
pub fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Bad input is told in one line that says `part`, before anything is answered.
#[track_caller]
pub fn refused(command: &mut Command, part: &str) {
    assert!(told(command, part).is_empty());
}

/// Bad input is told in one line that says `part`; what was answered before it.
#[track_caller]
pub fn told(command: &mut Command, part: &str) -> Vec<u8> {
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(part), "'{errors}' does not say '{part}'");
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    output.stdout
}

//! Sampling from outside: a busy child process shows up under its function's name, and where the kernel
//! refuses, the error says what to do. The child is this test binary itself, asked to run one test.

use kiln::sampling::{self, Options, Profile, SamplingError};
use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Set in the child, so that its busy test is busy there alone: how often it calls the inner function.
const BUSY: &str = "KILN_TEST_BUSY_CALLS";
/// Some hundred milliseconds of CPU time.
const A_WHILE: u64 = 3_000;
/// Longer than any test waits.
const FOREVER: u64 = u64::MAX;

#[inline(never)]
fn kiln_busy_innermost(rounds: u64) -> u64 {
    (0..rounds).fold(0, |sum, i| black_box(sum ^ i.wrapping_mul(31)))
}

#[inline(never)]
fn kiln_busy_outermost(calls: u64) -> u64 {
    let sum = (0..calls).fold(0, |sum, _| black_box(sum ^ kiln_busy_innermost(100_000)));
    // Work after the call keeps this frame on the stack.
    black_box(sum)
}

#[test]
fn busy_in_the_child_alone() {
    if let Some(calls) = std::env::var(BUSY).ok().and_then(|text| text.parse().ok()) {
        black_box(kiln_busy_outermost(calls));
    }
}

fn busy_child(calls: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test's path"));
    command.args(["--exact", "busy_in_the_child_alone", "--test-threads=1"]).env(BUSY, calls.to_string());
    command.stdout(Stdio::null());
    command
}

/// Whether sampling works here. If not, the reason must be one a reader can act on.
fn permitted() -> bool {
    match sampling::permitted() {
        Ok(()) => true,
        Err(error) => {
            let text = error.to_string();
            println!("skipped: {text}");
            match error {
                SamplingError::Refused => assert!(text.contains("perf_event_paranoid") && text.contains("CAP_PERFMON"), "{text}"),
                SamplingError::NotAvailable(_) => assert!(text.contains("not available"), "{text}"),
                other => panic!("not a clear reason: {other}"),
            }
            assert!(!text.contains('\n'), "{text}");
            false
        }
    }
}

fn samples_of(profile: &Profile, function: &str) -> u64 {
    profile.folded.iter().filter(|(stack, _)| stack.contains(function)).map(|(_, count)| count).sum()
}

#[test]
fn a_busy_child_shows_its_functions_in_order() {
    if !permitted() {
        assert!(sampling::sample_command(&mut busy_child(1), &Options::default()).is_err());
        return;
    }
    let profile = sampling::sample_command(&mut busy_child(A_WHILE), &Options::default()).expect("samples");
    assert!(profile.outcome.is_some_and(|status| status.success()));
    assert_eq!(profile.samples, profile.folded.values().sum::<u64>());
    assert!(profile.samples > 0, "{profile:?}");
    let inside = samples_of(&profile, "kiln_busy_innermost");
    assert!(inside * 2 > profile.samples, "{inside} of {} samples: {:#?}", profile.samples, profile.folded);
    let in_order = profile.folded.keys().any(|stack| {
        let frames: Vec<_> = stack.split(';').collect();
        let at = |name: &str| frames.iter().position(|frame| frame.contains(name));
        at("kiln_busy_outermost").is_some() && at("kiln_busy_outermost") < at("kiln_busy_innermost")
    });
    assert!(in_order, "{:#?}", profile.folded);
}

#[test]
fn grandchildren_are_sampled_and_keep_their_names() {
    if !permitted() {
        return;
    }
    // The shell starts a program of its own; both are seen, each under its name.
    let mut command = Command::new("sh");
    command.arg("-c").arg("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; \"$0\" \"$@\"; exit 3");
    let child = busy_child(A_WHILE);
    command.arg(child.get_program()).args(child.get_args()).env(BUSY, A_WHILE.to_string()).stdout(Stdio::null());
    let profile = sampling::sample_command(&mut command, &Options::default()).expect("samples");
    assert_eq!(profile.outcome.and_then(|status| status.code()), Some(3));
    assert!(samples_of(&profile, "kiln_busy_innermost") > 0, "{:#?}", profile.folded);
    let of_the_shell = profile.folded.keys().filter(|stack| stack.starts_with("sh;")).count();
    assert!(of_the_shell > 0, "{:#?}", profile.folded);
}

/// Ends and waits for a child even if the test fails.
struct Guard(Child);
impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_process_can_be_sampled_for_a_while() {
    if !permitted() {
        return;
    }
    let child = Guard(busy_child(FOREVER).spawn().expect("a child"));
    // One that runs already: until its libraries are there it has no symbols.
    std::thread::sleep(Duration::from_millis(300));
    let options = Options { duration: Some(Duration::from_millis(500)), ..Options::default() };
    let profile = sampling::sample_process(child.0.id(), &options).expect("samples");
    assert!(samples_of(&profile, "kiln_busy_innermost") > 0, "{:#?}", profile.folded);
    assert_eq!(profile.outcome, None);
}

#[test]
fn a_command_is_killed_when_its_time_is_over() {
    if !permitted() {
        return;
    }
    let options = Options { duration: Some(Duration::from_millis(200)), ..Options::default() };
    let profile = sampling::sample_command(&mut busy_child(FOREVER), &options).expect("samples");
    assert_eq!(profile.outcome, None, "it ended by itself");
}

#[test]
fn what_cannot_be_sampled_is_a_clear_error() {
    let too_often = Options { frequency: u32::MAX, ..Options::default() };
    let error = sampling::sample_command(&mut busy_child(1), &too_often).expect_err("an error").to_string();
    assert!(error.contains("4294967295") && error.contains("choose 1 to"), "{error}");
    if !permitted() {
        return;
    }
    let mut missing = Command::new("/no/such/program");
    let error = sampling::sample_command(&mut missing, &Options::default()).expect_err("an error").to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    let error = sampling::sample_process(u32::MAX, &Options::default()).expect_err("an error").to_string();
    assert!(error.contains("4294967295"), "{error}");
}

fn kiln(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln")).args(arguments).output().expect("kiln runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_writes_three_files_and_a_difference() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("deep/lab");
    let out_text = out.to_str().expect("a path");
    let loop_of = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo heard";
    let (code, stdout, stderr) = kiln(&["flame", "--json", "--out", out_text, "--", "sh", "-c", loop_of]);
    if !permitted() {
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        return;
    }
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("heard"), "{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stdout).expect("one JSON document");
    assert!(summary["samples"].as_u64() > Some(0), "{summary}");
    for (name, start) in [("flame.svg", "<svg"), ("flame.folded", "sh;"), ("flame.firefox.json", "{")] {
        let text = std::fs::read_to_string(out.join(name)).expect(name);
        assert!(text.trim_start().starts_with(start), "{name}: {}", &text[..text.len().min(80)]);
    }
    let folded = out.join("flame.folded");
    let folded = folded.to_str().expect("a path");
    let (code, stdout, stderr) = kiln(&["flame", "--out", out_text, "--diff", folded, folded]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.trim().ends_with("flame-diff.svg"), "{stdout}");
    let (code, _, stderr) = kiln(&[
        "flame",
        "--out",
        out_text,
        "--folded",
        "--",
        "sh",
        "-c",
        "exec sh -c 'i=0; while [ $i -lt 90000 ]; do i=$((i+1)); done; exit 7'",
    ]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("exit status 7"), "{stderr}");
}

#[test]
fn bad_command_lines_are_one_line_and_exit_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "main;a notanumber\n").expect("file");
    let file = file.to_str().expect("a path");
    for (arguments, part) in [
        (vec!["flame"], "nothing to sample"),
        (vec!["flame", "--freq", "0", "--", "true"], "--freq"),
        (vec!["flame", "--duration", "soon", "--", "true"], "--duration"),
        (vec!["flame", "--pid", "1", "--", "true"], "--pid"),
        (vec!["flame", "--diff", "/no/such/a", "/no/such/b"], "/no/such/a"),
        (vec!["flame", "--diff", file, file], "line 1"),
        (vec!["flame", "--out", file, "--", "true"], file),
    ] {
        let (code, stdout, stderr) = kiln(&arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(part), "{arguments:?}: {stderr}");
    }
}

#[test]
fn probe_prints_one_document_with_the_same_key_each_time() {
    let probe = || {
        let (code, stdout, stderr) = kiln(&["probe", "--json", "--no-measure"]);
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).expect("one JSON document")
    };
    let (first, second) = (probe(), probe());
    let key = first["machine"]["key"].as_str().expect("a key");
    assert!(key.starts_with(std::env::consts::ARCH), "{key}");
    assert_eq!(second["machine"]["key"].as_str(), Some(key));
    assert_eq!(first["limits"]["status"], "not_available");
    let counting = first["counters"]["counting"].as_object().expect("a list of events");
    for (event, availability) in counting {
        let status = availability["status"].as_str();
        assert!(matches!(status, Some("available" | "not_available")), "{event}: {availability}");
    }
}

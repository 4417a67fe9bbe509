//! A sweep that is killed at any moment loses no finished result, repeats none, and leaves nothing behind that goes on.

mod common;

use common::{can_time, kiln, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The lines that were finished, as they are, and the records in them.
fn finished(path: &Path) -> (String, Vec<Value>) {
    let bytes = fs::read(path).unwrap_or_default();
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let text = String::from_utf8(bytes[..end].to_vec()).expect("UTF-8");
    // A line that a kill tore apart stays in the file, ended by the next run.
    let records = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    (text, records)
}

/// What must not occur twice.
fn keys(records: &[Value]) -> Vec<String> {
    let fields = ["kernel", "fingerprint", "shape", "threads", "blocking", "packed", "operands", "against", "role"];
    records.iter().map(|r| fields.map(|f| r[f].to_string()).join(" ")).collect()
}

#[test]
fn ten_kills_lose_nothing_and_repeat_nothing() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let shapes: Vec<String> = (0..60).map(|i| format!("1x{}", 64 + i)).collect();
    let args = ["sweep", "rms_norm", "--shapes", &shapes.join(","), "--quick", "--force", "--strategy", "exhaustive", "--store", "s.jsonl"];
    let path = dir.path().join("s.jsonl");
    let mut random = kiln::measure::statistics::Random::new(u64::from(std::process::id()));
    let mut before = String::new();
    for turn in 0..10 {
        let delay = Duration::from_millis(150 + random.below(750) as u64);
        let mut child = kiln(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kiln runs");
        // Every other turn it gets as far as to store something, however slow this machine is just now.
        let stored = || fs::metadata(&path).map_or(0, |m| m.len());
        let (started, had) = (Instant::now(), stored());
        let at_work = |child: &mut std::process::Child| child.try_wait().is_ok_and(|status| status.is_none());
        while turn % 2 == 1 && stored() == had && started.elapsed() < Duration::from_secs(60) && at_work(&mut child) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(delay);
        child.kill().expect("killed");
        child.wait().expect("gone");
        let (text, records) = finished(&path);
        assert!(text.starts_with(&before), "kill {turn} after {delay:?}: something stored was lost");
        let keys = keys(&records);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "kill {turn} after {delay:?}: a result was repeated");
        before = text;
    }
    assert!(!before.is_empty(), "every kill came before the first result");
    let (code, _, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    let (text, records) = finished(&path);
    assert!(text.starts_with(&before));
    let all = keys(&records);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a result was repeated");
    let timed: BTreeSet<(String, String)> =
        records.iter().filter(|r| r["result"] == "timed").map(|r| (r["shape"].to_string(), r["kernel"].to_string())).collect();
    let kernels: BTreeSet<&String> = timed.iter().map(|t| &t.1).collect();
    assert_eq!(timed.len(), kernels.len() * shapes.len(), "a candidate was left out");
    let (code, _, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    assert_eq!(finished(&path).0, text, "a finished sweep measured again");
}

/// The state of a process and who started it; `None` if it is gone.
fn process(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next().filter(|state| *state != 'Z')?;
    Some((state, fields.next()?.parse().ok()?))
}

/// Whether a process has written anything: a bench that has answered is past its start, where it asks to end with its parent.
fn has_answered(pid: u32) -> bool {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    io.lines().filter_map(|line| line.strip_prefix("wchar: ")).any(|written| written != "0")
}

/// The bench that a process has just now, if it has answered.
fn bench_of(parent: u32) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let serves = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"serve-bench\0"));
    pids.filter(|pid| process(*pid).is_some_and(|(_, of)| of == parent)).find(|pid| serves(pid) && has_answered(*pid))
}

#[test]
fn the_bench_of_a_sweep_that_is_killed_ends_with_it() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let args = ["sweep", "rms_norm", "--shapes", "1x64,2x64,4x64", "--force", "--strategy", "exhaustive", "--store", "s.jsonl"];
    let mut sweep = kiln(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kiln runs");
    let began = Instant::now();
    let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
    let bench = loop {
        assert!(began.elapsed() < Duration::from_secs(120) && sweep.try_wait().is_ok_and(|s| s.is_none()), "it never had a bench");
        pause(5);
        let Some(bench) = bench_of(sweep.id()) else { continue };
        // One that stands still cannot find out by itself that nobody listens to it any more.
        assert!(Command::new("kill").args(["-STOP", &bench.to_string()]).status().is_ok());
        pause(50);
        if process(bench) == Some(('T', sweep.id())) {
            break bench;
        }
    };
    sweep.kill().expect("killed");
    sweep.wait().expect("gone");
    let killed = Instant::now();
    while process(bench).is_some() {
        assert!(killed.elapsed() < Duration::from_secs(30), "process {bench} is still there");
        pause(5);
    }
}

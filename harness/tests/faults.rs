//! What a sweep survives: candidates that crash or give wrong numbers, a disk that is full, a store that cannot be
//! written, and a clock that steps back. The sweep goes on where it can; what was stored is never lost.

mod common;

use common::{can_time, kiln, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const SWEEP: [&str; 9] = ["sweep", "rms_norm", "--shapes", "4x128,4x192", "--quick", "--force", "--strategy", "exhaustive", "--store"];

fn sweep<'a>(store: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    SWEEP.iter().copied().chain([store]).chain(more.iter().copied()).collect()
}

fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a store");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn kernels(records: &[Value], result: &str) -> BTreeSet<String> {
    records.iter().filter(|r| r["result"] == result).map(|r| r["kernel"].as_str().expect("a kernel").to_owned()).collect()
}

#[test]
fn candidates_that_crash_or_are_wrong_are_recorded_as_invalid_and_the_others_are_measured() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (code, _, err) = run(dir.path(), &sweep("whole.jsonl", &[]));
    assert_eq!(code, 0, "{err}");
    let all: Vec<String> = kernels(&records(&dir.path().join("whole.jsonl")), "timed").into_iter().collect();
    // One of each, as far as there are kernels beside one that is sound; the first may be the default.
    let faults = ["sigill", "sigsegv", "wrong", "panic"];
    let broken: Vec<(&String, &str)> = all.iter().zip(faults).take(all.len() - 1).collect();
    assert!(!broken.is_empty(), "there is one kernel alone: {all:?}");
    let fault = broken.iter().map(|(kernel, fault)| format!("{kernel}:{fault}")).collect::<Vec<_>>().join(",");
    let out = kiln(dir.path(), &sweep("broken.jsonl", &["--json"])).env("KILN_FAULT", fault).output().expect("kiln runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "a candidate that is not valid is a failure that was found: {err}");
    let found = records(&dir.path().join("broken.jsonl"));
    let sound: BTreeSet<String> = all.iter().skip(broken.len()).cloned().collect();
    assert_eq!(kernels(&found, "timed"), sound, "{err}");
    for (kernel, fault) in broken {
        let reasons: Vec<&str> = found.iter().filter(|r| r["kernel"] == **kernel).filter_map(|r| r["reason"].as_str()).collect();
        let says = match fault {
            "sigill" => "SIGILL",
            "sigsegv" => "SIGSEGV",
            "panic" => "broken on purpose",
            _ => "",
        };
        assert!(reasons.len() == 2 && reasons.iter().all(|r| !r.is_empty() && r.contains(says)), "{kernel}:{fault}: {reasons:?}");
    }
    let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(document["invalid"].as_array().map(Vec::len), Some(found.iter().filter(|r| r["result"] == "invalid").count()));
    let (code, _, err) = run(dir.path(), &sweep("broken.jsonl", &[]));
    assert_eq!(code, 1, "what is not valid stays so: {err}");
    assert_eq!(
        records(&dir.path().join("broken.jsonl")).iter().filter(|r| r["result"] == "invalid").count(),
        2 * (all.len() - sound.len())
    );
}

#[test]
fn a_candidate_that_crashes_or_is_wrong_only_when_it_is_compared_does_not_win() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.jsonl");
    for fault in ["sigsegv", "wrong"] {
        let _ = fs::remove_file(&path);
        let (code, _, err) = run(dir.path(), &sweep("s.jsonl", &[]));
        assert_eq!(code, 0, "{err}");
        // All were timed by themselves; what is left to do is to compare the fastest, of which one is not what it seemed.
        let before = records(&path);
        let pair = before.iter().find(|r| r["result"] == "paired" && r["shape"] == "4x128").expect("two are compared");
        // Whichever of the two is not the default: labels of kernels on rows are their names.
        let broken = if pair["default"] == true { pair["against"].clone() } else { pair["kernel"].clone() };
        let lines = before.iter().filter(|r| r["result"] != "paired").map(|r| r.to_string() + "\n");
        fs::write(&path, lines.collect::<String>()).expect("written");
        let fault = format!("{}:{fault}", broken.as_str().expect("a kernel"));
        let out = kiln(dir.path(), &sweep("s.jsonl", &["--json"])).env("KILN_FAULT", &fault).output().expect("kiln runs");
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{fault}: {err}");
        let found = records(&path);
        let of_it = |result: &str| found.iter().filter(|r| r["result"] == result && r["kernel"] == broken && r["shape"] == "4x128").count();
        assert_eq!((of_it("timed"), of_it("invalid"), of_it("paired")), (1, 1, 0), "{fault}: {err}");
        let wrong: BTreeSet<String> = kernels(&found, "invalid");
        assert_eq!(wrong, BTreeSet::from([broken.as_str().expect("a kernel").to_owned()]), "{fault}: another one was blamed: {err}");
        let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let row = document["rows"].as_array().and_then(|rows| rows.iter().find(|r| r["shape"] == "4x128")).expect("a row");
        let timed = before.iter().filter(|r| r["result"] == "timed" && r["shape"] == "4x128").count();
        assert!(row["winner"]["kernel"] != broken && row["best"]["kernel"] != broken, "{fault}: {row}");
        assert_eq!(row["candidates"].as_u64(), Some(timed as u64 - 1), "{fault}: {row}");
        // Everyone who reads the store afterwards sees the same.
        let (code, out, err) = run(dir.path(), &["store", "query", "--best", "--json", "s.jsonl"]);
        assert!(code == 0 && out.contains("4x128"), "{err}");
        let best: Value = serde_json::from_str(&out).expect("JSON");
        let row = best["rows"].as_array().and_then(|rows| rows.iter().find(|r| r["shape"] == "4x128")).expect("a row");
        assert!(row["timed"].as_u64() == Some(timed as u64 - 1) && row["fastest"]["config"]["kernel"] != broken, "{fault}: {row}");
    }
}

#[test]
fn a_full_sweep_measures_again_what_a_quick_one_did_and_its_results_count() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.jsonl");
    let args: Vec<&str> = sweep("s.jsonl", &["--json"]).into_iter().map(|a| if a == "4x128,4x192" { "4x128" } else { a }).collect();
    let (code, _, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    let quick = records(&path);
    let full: Vec<&str> = args.iter().copied().filter(|a| *a != "--quick").collect();
    let (code, out, err) = run(dir.path(), &full);
    assert_eq!(code, 0, "{err}");
    let all = records(&path);
    assert_eq!(all[..quick.len()], quick, "what was measured is lost");
    let kernels = |effort: &str| kernels(&all.iter().filter(|r| r["effort"] == effort).cloned().collect::<Vec<_>>(), "timed");
    assert!(!kernels("quick").is_empty() && kernels("quick") == kernels("full"), "{err}");
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((document["resumed"].as_u64(), document["rows"][0]["candidates"].as_u64()), (Some(0), Some(kernels("full").len() as u64)));
    // A quick look takes what is better than what it would measure.
    let (code, out, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    let timed = |records: &[Value]| records.iter().filter(|r| r["result"] == "timed").count();
    assert_eq!(timed(&records(&path)), timed(&all), "{out}");
}

#[test]
fn a_full_disk_ends_a_sweep_with_a_word_and_loses_nothing() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.jsonl");
    // A limit on a file's size fails a write as a full disk does, in the middle of a line.
    let program = env!("CARGO_BIN_EXE_kiln");
    let script = format!("trap '' XFSZ; ulimit -f 4; exec {program} {}", sweep("s.jsonl", &[]).join(" "));
    let out = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().expect("a shell");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert!(err.lines().last().is_some_and(|l| l.starts_with("kiln: cannot write the store s.jsonl")), "{err}");
    let before = records(&path);
    assert!(!before.is_empty(), "nothing was stored before the disk was full");
    let (code, _, err) = run(dir.path(), &sweep("s.jsonl", &[]));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains(&format!("resumed: {} results already there", before.len())), "{err}");
    assert_eq!(records(&path)[..before.len()], before);
}

#[test]
fn a_store_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    // Nobody, not even root, makes files there.
    let (code, out, err) = run(dir.path(), &sweep("/proc/kiln.jsonl", &[]));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.lines().count() == 1 && err.contains("cannot write the store /proc/kiln.jsonl"), "{err}");
}

#[test]
fn results_of_the_future_count_as_much_as_others_when_the_clock_has_stepped_back() {
    if !can_time() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.jsonl");
    let half: Vec<&str> = sweep("s.jsonl", &[]).into_iter().map(|a| if a == "4x128,4x192" { "4x128" } else { a }).collect();
    let (code, _, err) = run(dir.path(), &half);
    assert_eq!(code, 0, "{err}");
    let mut before = records(&path);
    before.iter_mut().for_each(|r| r["time"] = "2099-01-01T00:00:00Z".into());
    fs::write(&path, before.iter().map(|r| r.to_string() + "\n").collect::<String>()).expect("written");
    let (code, out, err) = run(dir.path(), &sweep("s.jsonl", &["--json"]));
    assert_eq!(code, 0, "{err}");
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["resumed"], before.len());
    let all = records(&path);
    assert!(all.len() > before.len() && all[..before.len()] == before);
    assert_eq!(document["rows"].as_array().map(Vec::len), Some(2), "{document}");
}

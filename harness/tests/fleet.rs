//! Parts of a sweep, as the machines of a fleet run them: they have no problem in common, all problems together, the same
//! whenever they are asked for, and their merged stores are what one machine would have measured.

mod common;

use common::{can_time, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Problems out of order, some of the same size, with a shape and a number of threads given twice.
const SWEEP: [&str; 10] =
    ["sweep", "rms_norm", "--shapes", "4x64,1x64,2x128,1x256,1x64", "--threads", "1,1", "--quick", "--force", "--strategy", "exhaustive"];
const PROBLEMS: usize = 4;

/// Runs that sweep with more arguments; its document.
fn sweep(dir: &Path, more: &[&str]) -> Value {
    let (code, out, err) = run(dir, &[&SWEEP[..], more, &["--json"]].concat());
    assert_eq!(code, 0, "{more:?}: {err}");
    serde_json::from_str(&out).expect("one JSON document")
}

/// The problems that a sweep was of, sorted.
fn problems(document: &Value) -> Vec<String> {
    let rows = document["rows"].as_array().expect("rows").iter();
    let fields = ["op", "shape", "threads", "packed", "operands"];
    let mut problems: Vec<String> = rows.map(|r| fields.map(|field| r[field].to_string()).join(" ")).collect();
    problems.sort();
    problems
}

/// What was timed, without the figures, once for each time that it is in the store.
fn timed(store: &Path) -> Vec<String> {
    let text = fs::read_to_string(store).expect("a store");
    let records = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("a result")).filter(|r| r["result"] == "timed");
    let fields = ["machine", "kernel", "fingerprint", "op", "format", "shape", "threads", "packed", "operands"];
    let mut timed: Vec<String> = records.map(|r| fields.map(|field| r[field].to_string()).join(" ")).collect();
    timed.sort();
    timed
}

#[test]
fn parts_are_disjoint_complete_and_the_same_each_time_and_merge_into_the_whole() {
    if !can_time() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let whole = problems(&sweep(dir, &["--store", "whole.jsonl"]));
    assert_eq!(whole.len(), PROBLEMS, "{whole:?}");
    let mut all = Vec::new();
    for part in ["1/3", "2/3", "3/3"] {
        let store = format!("{}.jsonl", &part[..1]);
        let first = problems(&sweep(dir, &["--shard", part, "--store", &store]));
        // Another store knows nothing of it.
        let again = problems(&sweep(dir, &["--shard", part, "--store", "again.jsonl"]));
        assert_eq!(first, again, "part {part}");
        assert!(!first.is_empty(), "part {part} of {PROBLEMS} problems has none");
        all.extend(first);
    }
    all.sort();
    assert_eq!(all, whole);

    let (code, _, err) = run(dir, &["store", "merge", "merged.jsonl", "1.jsonl", "2.jsonl", "3.jsonl"]);
    assert_eq!(code, 0, "{err}");
    let merged = dir.join("merged.jsonl");
    assert_eq!(timed(&merged), timed(&dir.join("whole.jsonl")));
    let (before, document) = (timed(&merged), sweep(dir, &["--store", "merged.jsonl"]));
    assert_eq!((problems(&document), timed(&merged)), (whole, before), "the whole sweep measured again what its parts had");
}

#[test]
fn a_part_beyond_the_last_problem_has_nothing_to_do_and_can_be_merged() {
    if !can_time() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let of = (PROBLEMS + 1).to_string();
    let document = sweep(dir, &["--shard", &format!("{of}/{of}"), "--store", "none.jsonl"]);
    assert_eq!((problems(&document).len(), document["stored"].as_u64()), (0, Some(0)), "{document}");
    let (code, out, err) = run(dir, &["store", "merge", "merged.jsonl", "none.jsonl", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).expect("one JSON document")["added"], 0);
}

#[test]
fn what_is_no_part_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for shard in ["0/3", "4/3", "1/0", "0/0", "3", "", "/", "1/", "/3", "1/3/5", "one/3", "1.5/3", "-1/3", "1/99999999999999999999999"] {
        let (code, out, err) = run(folder.path(), &[&SWEEP[..], &[&format!("--shard={shard}")]].concat());
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{shard}: {err}");
        assert!(err.contains(shard) && err.contains("from 1/8 to 8/8"), "{shard}: {err}");
    }
    assert!(fs::read_dir(folder.path()).expect("a folder").next().is_none(), "something was written");
}

//! Stores by the command line: made up, merged, queried and reported, with lines in them that are no results. Nothing here is
//! timed.

mod common;

use common::run;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const TORN: u64 = 17;
const FOREIGN: u64 = 23;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs a command that must succeed, and returns stdout and stderr.
fn done(dir: &Path, args: &[&str]) -> (String, String) {
    let (code, out, err) = run(dir, args);
    assert_eq!(code, 0, "{args:?}: {err}");
    (out, err)
}

fn json(dir: &Path, args: &[&str]) -> Value {
    let (out, err) = done(dir, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: not one JSON document ({e}): {err}"))
}

fn number(document: &Value, field: &str) -> u64 {
    document[field].as_u64().unwrap_or_else(|| panic!("no {field}: {document}"))
}

/// Makes up a store and returns what was said of it.
fn generate(dir: &Path, name: &str, seed: &str) -> Value {
    let (torn, foreign) = (TORN.to_string(), FOREIGN.to_string());
    let args = ["store", "generate", "--size", "3M", "--machines", "3", "--seed", seed, "--torn", &torn, "--foreign", &foreign, name];
    let made = json(dir, &args);
    assert_eq!((number(&made, "torn"), number(&made, "foreign")), (TORN, FOREIGN));
    assert_eq!(fs::metadata(dir.join(name)).expect("a store").len(), number(&made, "bytes"));
    made
}

fn refused(dir: &Path, args: &[&str], part: &str) {
    let (code, out, err) = run(dir, args);
    assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{args:?}: {err}");
    assert!(err.starts_with("kiln: ") && err.contains(part), "{args:?}: {err}");
}

#[test]
fn a_store_with_broken_lines_is_merged_once() {
    let dir = folder();
    let dir = dir.path();
    let results = number(&generate(dir, "one.jsonl", "1"), "results") + number(&generate(dir, "two.jsonl", "2"), "results");
    for (added, known) in [(results, 0), (0, results)] {
        let merged = json(dir, &["store", "merge", "all.jsonl", "one.jsonl", "two.jsonl"]);
        // Machines of both have the same keys, so that results of the same problem may be there once.
        let (now, were) = (number(&merged, "added"), number(&merged, "known"));
        assert!(now + were == results && (now > results / 2) == (added > 0) && (added > 0 || now == 0) && were >= known, "{merged}");
        assert_eq!(number(&merged, "unreadable_lines"), 2 * (TORN + FOREIGN));
    }
    let (_, err) = done(dir, &["store", "merge", "all.jsonl", "one.jsonl"]);
    assert!(err.contains(&format!("one.jsonl: {} line(s) that cannot be read", TORN + FOREIGN)), "{err}");
}

#[test]
fn results_are_found_by_what_they_are() {
    let dir = folder();
    let dir = dir.path();
    let made = generate(dir, "s.jsonl", "3");
    let query = |args: &[&str]| json(dir, &[&["store", "query", "s.jsonl"], args].concat());
    let all = query(&[]);
    let rows = all["rows"].as_array().expect("rows");
    assert_eq!((rows.len() as u64, number(&all, "found")), (number(&made, "results"), number(&made, "results")));
    assert_eq!((number(&all, "results_read"), number(&all, "unreadable_lines")), (number(&made, "results"), TORN + FOREIGN));
    let text = fs::read(dir.join("s.jsonl")).expect("a store");
    let first: Value = serde_json::from_slice(text.split(|b| *b == b'\n').next().expect("a line")).expect("JSON");
    assert_eq!(rows[0], first);

    for (args, field, value) in [
        (["--op", "rms_norm"], "op", "rms_norm"),
        (["--format", "f16"], "format", "f16"),
        (["--isa", "avx2"], "isa", "avx2"),
        (["--threads", "4"], "threads", "4"),
        (["--machine", "machine-001"], "machine", "machine-001"),
        (["--kernel", "u4"], "kernel", "u4"),
        (["--shape", "64x64x64"], "shape", "64x64x64"),
        (["--result", "invalid"], "result", "invalid"),
        (["--result", "paired"], "result", "paired"),
    ] {
        let found = query(&args);
        let matches = |row: &&Value| match &row[field] {
            Value::String(text) if ["machine", "kernel"].contains(&field) => text.contains(value),
            Value::String(text) => text == value,
            other => *other == serde_json::from_str::<Value>(value).unwrap_or_default(),
        };
        let expected = rows.iter().filter(matches).count();
        assert!(expected > 0, "{args:?} tests nothing");
        assert_eq!(found["rows"].as_array().map(|r| (r.len(), r.iter().filter(matches).count())), Some((expected, expected)), "{args:?}");
    }
    assert_eq!(number(&query(&["--result", "paired"]), "found"), number(&made, "paired"));
    assert_eq!(number(&query(&["--current"]), "found"), number(&made, "results") - number(&made, "stale"));
    assert_eq!(number(&query(&["--tier", "measured"]), "found"), 0, "what was made up is not measured");
    assert_eq!(number(&query(&["--since", "2100-01-01"]), "found"), 0);
    let limited = query(&["--limit", "2"]);
    assert_eq!((limited["rows"].as_array().map(Vec::len), number(&limited, "found")), (Some(2), number(&made, "results")));

    let (out, err) = done(dir, &["store", "query", "s.jsonl", "--op", "gemm"]);
    assert_eq!(out.lines().filter(|l| l.starts_with("| 2")).count(), 100, "{out}");
    assert!(out.lines().last().is_some_and(|l| l.starts_with("100 of ") && l.contains("40 lines could not be read")), "{out}");
    assert!(err.contains("40 line(s) that cannot be read") && out.contains("predicted"), "{err}");
    refused(dir, &["store", "query", "none.jsonl"], "none.jsonl");
    refused(dir, &["store", "query", "none.jsonl", "--json"], "none.jsonl");
    refused(dir, &["store", "query", "s.jsonl", "--since", "yesterday"], "2026-01-31");
    refused(dir, &["store", "query", "s.jsonl", "--tier", "guessed"], "predicted");
}

#[test]
fn who_won_is_told_for_each_problem_and_machine() {
    let dir = folder();
    let dir = dir.path();
    let made = generate(dir, "s.jsonl", "4");
    let best = json(dir, &["store", "query", "s.jsonl", "--best"]);
    let rows = best["rows"].as_array().expect("rows");
    assert!(rows.len() as u64 == number(&best, "found") && rows.len() as u64 <= number(&made, "problems") && rows.len() > 20);
    assert_eq!(number(&best, "results_matched"), number(&made, "results") - number(&made, "stale"));
    let places: BTreeSet<String> =
        rows.iter().map(|r| ["machine", "op", "format", "shape", "threads", "operands"].map(|f| r[f].to_string()).concat()).collect();
    assert_eq!(places.len(), rows.len(), "a problem of a machine is there twice");
    let mut gains = 0;
    for row in rows {
        assert!(row["tier"] == "predicted" && row["rate"].as_f64().is_some_and(|r| r > 0.0), "{row}");
        let shown = &row["gain_of_the_fastest"]["shown"];
        let winner = &row["winner"]["label"];
        let stays = *winner == row["default"]["label"];
        assert!(if *shown == true { *winner == row["fastest"]["label"] && !stays } else { row["default"].is_null() || stays }, "{row}");
        gains += u64::from(*shown == true);
    }
    assert!(gains > 0);
    let (out, _) = done(dir, &["store", "query", "s.jsonl", "--best", "--limit", "5"]);
    assert!(out.lines().count() == 2 + 5 + 1 && out.contains(&format!("5 of {} problems", rows.len())), "{out}");
}

#[test]
fn a_page_of_made_up_results_says_so_and_what_could_not_be_read() {
    let dir = folder();
    let dir = dir.path();
    generate(dir, "s.jsonl", "5");
    let read = |args: &[&str]| {
        let (out, err) = done(dir, &[&["report", "--store", "s.jsonl", "--out", "page"], args].concat());
        assert_eq!(out.trim(), "page/index.html");
        (fs::read_to_string(dir.join("page/index.html")).expect("a page"), err)
    };
    let (page, err) = read(&[]);
    for part in ["40 line(s) that cannot be read", "kernels that have changed since"] {
        assert!(err.contains(part), "{err}");
    }
    for part in ["nothing on this page was measured", "40 line(s) that cannot be read", "machine-00", "predicted", "<svg"] {
        assert!(page.contains(part), "no '{part}'");
    }
    let other = "generated/aarch64/machine-002/l1d32K-l21M-l332M";
    let (page, _) = read(&["--machine", other]);
    assert!(page.contains("machine-002") && !page.contains("machine-000") && !page.contains("machine-001"));
    refused_with_notes(
        dir,
        &["report", "--store", "s.jsonl", "--out", "page", "--machine", "mine"],
        "no result of a machine with the key mine",
    );
    // Whatever a store holds, a profile is made of measurements of this machine alone.
    let (code, _, err) = run(dir, &["bake", "--store", "s.jsonl", "--cpu", "x", "--profiles", "."]);
    assert!(code == 2 && err.contains("no result of this machine"), "{err}");
}

/// Asserts exit status 2 and a last line that says `part`.
fn refused_with_notes(dir: &Path, args: &[&str], part: &str) {
    let (code, out, err) = run(dir, args);
    assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    assert!(err.lines().last().is_some_and(|l| l.starts_with("kiln: ") && l.contains(part)), "{args:?}: {err}");
}

#[test]
fn what_is_made_up_is_the_same_again_and_never_written_over() {
    let dir = folder();
    let dir = dir.path();
    generate(dir, "a.jsonl", "6");
    generate(dir, "b.jsonl", "6");
    generate(dir, "c.jsonl", "7");
    let text = |name: &str| fs::read(dir.join(name)).expect("a store");
    assert!(text("a.jsonl") == text("b.jsonl") && text("a.jsonl") != text("c.jsonl"));
    refused(dir, &["store", "generate", "--size", "1M", "a.jsonl"], "no file is");
    refused(dir, &["store", "generate", "--size", "10GB", "d.jsonl"], "no size");
    assert_eq!(text("a.jsonl"), text("b.jsonl"));
}

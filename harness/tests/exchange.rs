//! Stores in the formats of other tools, end to end: what is written, who may read it, and the way back.

mod common;

use common::run;
use kiln_kernels::registry::{self, Op};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Lines of a store: kernels that there are, on two problems of one machine, with a comparison and a wrong answer.
fn lines() -> Vec<Value> {
    let kernels = |op: Op| -> Vec<&registry::Meta> {
        registry::all().map(|e| e.meta).filter(|m| m.op == op && m.format.name() == "f32").take(3).collect()
    };
    let line = |meta: &registry::Meta, shape: &str, number: usize| {
        let (ns, product) = (100.0 + number as f64, meta.op == Op::Gemm);
        let mut line = json!({
            "schema": 1, "time": format!("2026-11-26T11:26:{number:02}Z"), "machine": "x86_64/AuthenticAMD/25/1/1/l1d32K/avx2,fma",
            "compiler": "rustc 1.95.0", "flags": "opt-level=3, \"quoted\"", "tier": "measured", "kernel": meta.name,
            "fingerprint": format!("{:016x}", meta.fingerprint), "op": meta.op.name(), "format": "f32", "isa": meta.isa.name(),
            "shape": shape, "threads": 1, "tile": [1, 8], "packed": product, "operands": "hot", "default": number == 0,
            "page_bytes": 4096, "huge_pages": "madvise", "noise_floor": 0.0123, "verification_error": 0.25,
            "result": "timed", "samples_ns": [ns, ns + 1.37, ns - 1.0], "median_ns": ns, "ci_ns": [ns - 1.0, ns + 1.37],
        });
        if product {
            line["blocking"] = json!([256, 40 + number, 8192]);
        }
        line
    };
    let mut lines: Vec<Value> = Vec::new();
    for (op, shape) in [(Op::Gemm, "8x16x32"), (Op::RmsNorm, "4x64")] {
        lines.extend(kernels(op).iter().enumerate().map(|(number, meta)| line(meta, shape, number)));
    }
    let (mut pair, mut wrong) = (lines[1].clone(), lines[0].clone());
    for of_time in ["samples_ns", "median_ns", "ci_ns"] {
        for line in [&mut pair, &mut wrong] {
            line.as_object_mut().map(|line| line.remove(of_time));
        }
    }
    let paired = json!({ "result": "paired", "against": "other", "role": "default", "processes": 2,
        "pairs_ns": [[100.5, 201.0], [101.0, 202.0]], "ratio": 0.5, "ratio_ci": [0.49, 0.51] });
    paired.as_object().expect("an object").iter().for_each(|(k, v)| pair[k] = v.clone());
    (wrong["result"], wrong["reason"], wrong["blocking"]) = ("invalid".into(), "off by 3".into(), json!([512, 64, 8192, "strips"]));
    wrong.as_object_mut().map(|line| line.remove("verification_error"));
    lines.extend([pair, wrong]);
    lines
}

/// A folder with `store.jsonl`.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let text: String = lines().iter().map(|line| format!("{line}\n")).collect();
    fs::write(dir.path().join("store.jsonl"), text).expect("a store");
    dir
}

/// The results of a store in an order of their own, each as JSON.
fn contents(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("a store");
    text.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON").to_string()).collect()
}

fn done(dir: &Path, args: &[&str]) -> String {
    let (code, out, err) = run(dir, args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    out
}

fn refused(dir: &Path, args: &[&str], part: &str) {
    let (code, out, err) = run(dir, args);
    assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    assert!(err.lines().count() == 1 && err.starts_with("kiln: ") && err.contains(part), "{args:?}: {err}");
}

#[test]
fn a_store_goes_out_as_t4_and_comes_back_whole() {
    let dir = folder();
    let dir = dir.path();
    let said: Value =
        serde_json::from_str(&done(dir, &["store", "export", "--format", "t4", "--folder", "t4", "--json", "store.jsonl"])).expect("JSON");
    assert_eq!((said["results"].as_u64(), said["problems"].as_u64()), (Some(8), Some(2)));
    let files: Vec<&str> = said["files"].as_array().expect("files").iter().filter_map(Value::as_str).collect();
    assert_eq!(files, ["t4/gemm-f32-8x16x32-1t-packed-hot.t4.json", "t4/rms_norm-f32-4x64-1t-hot.t4.json"]);

    let back = |said: String| -> Value { serde_json::from_str(&said).expect("JSON") };
    let import = ["store", "import", "--format", "t4", "--json", files[0], files[1], "back.jsonl"];
    let first = back(done(dir, &import));
    assert_eq!((first["added"].as_u64(), first["known"].as_u64(), first["refused"].as_u64()), (Some(8), Some(0), Some(0)));
    let (was, is) = (contents(&dir.join("store.jsonl")), contents(&dir.join("back.jsonl")));
    assert_eq!(was.len(), 8);
    for (was, is) in was.iter().zip(&is) {
        assert_eq!(was, is);
    }
    let again = back(done(dir, &import));
    assert_eq!((again["added"].as_u64(), again["known"].as_u64()), (Some(0), Some(8)), "a result was added twice");
}

/// What T4 1.0.0 requires, by its names and types.
#[test]
fn documents_have_what_t4_requires() {
    let dir = folder();
    let text = done(dir.path(), &["store", "export", "--format", "t4", "--op", "gemm", "store.jsonl"]);
    let document: Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!((document["schema_version"].as_str(), document["metadata"]["timeunit"].as_str()), (Some("1.0.0"), Some("nanoseconds")));
    let results = document["results"].as_array().expect("results");
    assert_eq!((results.len(), document["comparisons"].as_array().map(Vec::len)), (4, Some(1)));
    let keys = |result: &Value| -> Vec<String> { result["configuration"].as_object().expect("an object").keys().cloned().collect() };
    for result in results {
        assert_eq!(keys(result), keys(&results[0]), "configurations differ in their parameters");
        assert!(result["timestamp"].is_string() && result["objectives"] == json!(["time"]) && result["times"]["runtimes"].is_array());
        let words = ["timeout", "compile", "runtime", "correctness", "constraints", "correct"];
        assert!(words.iter().any(|word| result["invalidity"] == *word) && result["correctness"].is_number(), "{result}");
        for figure in result["measurements"].as_array().expect("measurements") {
            let value = &figure["value"];
            assert!(figure["name"].is_string() && figure["unit"].is_string(), "{figure}");
            assert!(value.is_number() || value.is_string() || value.is_array(), "{figure}");
        }
        for of_provenance in ["machine", "tier", "fingerprint", "compiler", "flags", "huge_pages"] {
            assert!(result["environment"][of_provenance].is_string(), "{of_provenance}: {result}");
        }
    }
    let valid: Vec<bool> = results.iter().map(|r| r["invalidity"] == "correct" && r["correctness"] == 1).collect();
    assert_eq!(valid, [true, true, true, false]);
}

/// What T1 1.0.0 requires, by its names and types.
#[test]
fn documents_have_what_t1_requires_and_allow_what_was_searched() {
    let dir = folder();
    let text = done(dir.path(), &["store", "export", "--format", "t1", "--op", "gemm", "store.jsonl"]);
    let document: Value = serde_json::from_str(&text).expect("one JSON document");
    let parameters = document["ConfigurationSpace"]["TuningParameters"].as_array().expect("parameters");
    for parameter in parameters {
        let typed = ["int", "string"].iter().any(|t| parameter["Type"] == *t);
        assert!(parameter["Name"].is_string() && typed && parameter["Values"].is_string(), "{parameter}");
    }
    let kc = parameters.iter().find(|p| p["Name"] == "kc").expect("kc");
    assert_eq!(kc["Values"], "[256, 512]");
    let spec = &document["KernelSpecification"];
    for text in ["Language", "KernelName", "KernelFile"] {
        assert!(spec[text].is_string(), "{text}");
    }
    assert!(spec["GlobalSize"]["X"].is_string() && spec["LocalSize"]["X"].is_string());
    let conditions = document["ConfigurationSpace"]["Conditions"].as_array().expect("conditions");
    let expression = conditions[0]["Expression"].as_str().expect("an expression");
    assert_eq!((conditions.len(), expression.matches(", 8192, ").count()), (1, 4), "{expression}");

    let rows = done(dir.path(), &["store", "export", "--format", "t1", "--op", "rms_norm", "store.jsonl"]);
    let rows: Value = serde_json::from_str(&rows).expect("one JSON document");
    assert_eq!(rows["ConfigurationSpace"]["Conditions"], json!([]), "every kernel alone is a configuration");
}

#[test]
fn csv_has_a_row_a_result_with_all_samples_and_what_must_be_quoted() {
    let dir = folder();
    let text = done(dir.path(), &["store", "export", "--format", "csv", "store.jsonl"]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().expect("names").iter().map(Into::into).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("a row")).collect();
    assert_eq!(rows.len(), 8);
    let cell = |row: usize, name: &str| rows[row].get(names.iter().position(|n| n == name).expect("a column")).expect("a cell");
    assert_eq!((cell(0, "samples_ns"), cell(0, "median_ns"), cell(0, "ci_low_ns")), ("100;101.37;99", "100", "99"));
    assert_eq!((cell(0, "flags"), cell(0, "m"), cell(0, "rows")), ("opt-level=3, \"quoted\"", "8", ""));
    assert_eq!((cell(6, "result"), cell(6, "ratio"), cell(6, "median_ns"), cell(6, "pairs_against_ns")), ("paired", "0.5", "", "201;202"));
    assert_eq!((cell(7, "reason"), cell(7, "verification_error"), cell(7, "order")), ("off by 3", "", "strips"));
}

#[test]
fn parquet_is_whole_and_only_what_was_asked_for_is_in_it() {
    let dir = folder();
    let said = done(dir.path(), &["store", "export", "--format", "parquet", "--op", "rms_norm", "--out", "r.parquet", "store.jsonl"]);
    assert!(said.contains("3 results"), "{said}");
    let bytes = fs::read(dir.path().join("r.parquet")).expect("a file");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn what_cannot_be_written_is_said_in_one_line() {
    let dir = folder();
    let dir = dir.path();
    let export = |more: &[&'static str]| [&["store", "export", "--format"], more, &["store.jsonl"]].concat();
    refused(dir, &export(&["t4"]), "results are of 2: choose one by --op --shape --packed, or give --folder");
    refused(dir, &export(&["csv", "--shape", "9x9x9"]), "no result of that kind");
    refused(dir, &export(&["t1", "--op", "conv"]), "known are gemm");
    refused(dir, &export(&["csv", "--folder", "f"]), "--out");
    refused(dir, &export(&["csv", "--json"]), "--out or --folder");
    refused(dir, &export(&["csv", "--out", "store.jsonl"]), "is the store that is read");
    refused(dir, &export(&["csv", "--out", "."]), "is a folder");
    refused(dir, &export(&["csv", "--out", "missing/x.csv"]), "cannot write");
    refused(dir, &["store", "export", "--format", "csv", "missing.jsonl"], "missing.jsonl");
    assert_eq!(fs::read_dir(dir).expect("a folder").count(), 1, "something was left");
    assert_eq!(contents(&dir.join("store.jsonl")).len(), 8);
}

#[test]
fn unreadable_lines_are_counted_and_the_others_written() {
    let dir = folder();
    let path = dir.path().join("store.jsonl");
    let text = fs::read_to_string(&path).expect("a store");
    fs::write(&path, format!("rubbish\n{text}{{\"torn")).expect("written");
    let (code, out, err) = run(dir.path(), &["store", "export", "--format", "csv", "store.jsonl"]);
    assert_eq!((code, out.lines().count()), (0, 9));
    assert!(err.contains("2 line(s) that cannot be read"), "{err}");
}

#[test]
fn results_of_other_tools_are_refused_and_ours_beside_them_taken() {
    let dir = folder();
    let dir = dir.path();
    let theirs = json!({ "configuration": { "block_size_x": 32 }, "times": { "runtimes": [1.0] }, "invalidity": "correct",
        "correctness": 1, "measurements": [{ "name": "time", "value": 1.0, "unit": "ms" }], "objectives": ["time"] });
    let import = ["store", "import", "--format", "t4", "d.json", "new.jsonl"];
    let alone = json!({ "schema_version": "1.0.0", "metadata": { "timeunit": "nanoseconds" }, "results": [theirs] });
    fs::write(dir.join("d.json"), alone.to_string()).expect("a document");
    refused(dir, &import, "none of 1 results was exported by Kiln");
    let other = json!({ "schema_version": "1.0.0", "metadata": { "timeunit": "milliseconds" }, "results": [theirs] });
    fs::write(dir.join("d.json"), other.to_string()).expect("a document");
    refused(dir, &import, "times are in milliseconds");
    assert!(!dir.join("new.jsonl").exists(), "a store was made of nothing");

    let text = done(dir, &["store", "export", "--format", "t4", "--op", "rms_norm", "store.jsonl"]);
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    // A time that the samples do not have, and a result of another tool.
    document["results"][0]["measurements"][0]["value"] = json!(1.0);
    document["results"].as_array_mut().expect("results").push(theirs);
    fs::write(dir.join("d.json"), document.to_string()).expect("a document");
    let (code, out, err) = run(dir, &import);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("2 results added of 1 documents, 0 were there, 2 are refused"), "{out}");
    assert!(err.contains("2 results are refused") && err.contains("results[0]: its time is not the median"), "{err}");
}

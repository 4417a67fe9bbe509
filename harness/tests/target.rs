//! Tuning for a CPU that is not here: predicted, verified, stored as such, and baked into its profile.

mod common;

use common::{kiln, run};
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A CPU of this architecture that is not this one; `None`, with a word why, where nothing can be predicted.
fn cpu() -> Option<String> {
    if let Err(error) = kiln::model::Tools::find() {
        println!("SKIPPED: {error}");
        return None;
    }
    let here = kiln_profiles::cpu::here();
    let known = lookup::machines(lookup::default_root()).expect("profiles");
    let other = known
        .iter()
        .find(|m| m.arch == std::env::consts::ARCH && !m.matches.is_empty() && !here.as_ref().is_some_and(|id| m.recognises(id)));
    Some(other.expect("a profile of another CPU").name.clone())
}

fn records(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).expect("a store").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
}

#[test]
fn what_is_predicted_is_verified_stored_as_such_and_baked() {
    let Some(cpu) = cpu() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let args = ["sweep", "gemm", "--target", &cpu, "--shapes", "1x96x96,64x96x96", "--store", "s.jsonl", "--json"];
    let (code, out, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((document["tier"].as_str(), document["cpu"].as_str()), (Some("predicted"), Some(cpu.as_str())));
    let rows = document["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(row["winner"]["verification_error"].as_f64().is_some_and(|e| (0.0..=1.0).contains(&e)), "{row}");
        assert!(row["winner"]["cycles"].as_f64().is_some_and(|c| c > 0.0), "{row}");
        // As many multiply-adds as this would be beyond what any core does.
        let macs = if row["shape"] == "64x96x96" { 64.0 * 96.0 * 96.0 } else { 96.0 * 96.0 };
        assert!(macs / row["winner"]["cycles"].as_f64().expect("cycles") < 512.0, "{row}");
    }
    let stored = records(&dir.path().join("s.jsonl"));
    assert_eq!(document["stored"], stored.len());
    let machine = format!("predicted/{cpu}");
    assert!(stored.iter().all(|r| r["tier"] == "predicted" && r["machine"] == machine.as_str() && r["result"] == "predicted"));
    let (code, out, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    let again: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&again["stored"], &again["resumed"]), (&Value::from(0), &Value::from(stored.len())));

    // Into a copy of the profiles.
    let (from, to) = (lookup::default_root(), dir.path().join("profiles"));
    for name in [cpu.as_str(), &lookup::generic(std::env::consts::ARCH)] {
        fs::create_dir_all(to.join(name)).expect("a folder");
        for file in ["machine.toml", "tuned.toml"] {
            let _ = fs::copy(from.join(name).join(file), to.join(name).join(file));
        }
    }
    let bake = ["bake", "--cpu", &cpu, "--store", "s.jsonl", "--profiles", "profiles", "--json"];
    let (code, out, err) = run(dir.path(), &bake);
    assert_eq!(code, 0, "{err}");
    let baked: Value = serde_json::from_str(&out).expect("JSON");
    let choices = baked["tuned"]["variant"].as_array().and_then(|v| v[0]["choice"].as_array()).expect("choices").clone();
    let of = |class: &str| choices.iter().find(|c| c["op"] == "gemm" && c["format"] == "f32" && c["class"] == class).expect(class);
    let (decode, prefill) = (of("decode"), of("prefill"));
    assert_eq!((decode["tier"].as_str(), prefill["tier"].as_str()), (Some("predicted"), Some("predicted")));
    assert_eq!(decode["layout"], prefill["layout"]);
    assert!(choices.iter().any(|c| c["op"] == "rms_norm"), "the other operations are missing");
    lookup::tuned(&to, &cpu).expect("what was written is a profile");
}

#[test]
fn every_operation_on_rows_is_predicted_or_it_is_said_of_what_nothing_is() {
    let Some(cpu) = cpu() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    for op in Op::ALL.iter().filter(|op| op.is_rows()) {
        for format in op.formats().map(|format| format.to_string()) {
            let (code, out, err) = run(dir.path(), &["model", &op.to_string(), "--cpu", &cpu, "--format", &format, "--json"]);
            // Whether any kernel has a loop without a loop inside depends on what the compiler makes of it; that it has code does not.
            if code == 2 && err.contains("no loop over vectors") {
                println!("not predicted: {op} of {format}");
                continue;
            }
            assert_eq!(code, 0, "{op} of {format}: {err}");
            let document: Value = serde_json::from_str(&out).expect("JSON");
            let predictions = document["predictions"].as_array().expect("predictions");
            let moves = |p: &Value| p["bytes_per_cycle"].as_f64().is_some_and(|b| b > 0.0);
            assert!(!predictions.is_empty() && predictions.iter().all(moves), "{op} of {format}: {out}");
        }
    }
}

#[test]
fn what_measures_is_not_for_a_target_and_an_unknown_one_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    for (args, part) in [
        (&["sweep", "gemm", "--target", "no-such-cpu", "--shapes", "8"][..], "no-such-cpu"),
        (&["sweep", "gemm", "--target", "zen4", "--force", "--shapes", "8"], "--force"),
        (&["sweep", "gemm", "--binary", "kiln", "--shapes", "8"], "--target"),
    ] {
        let out = kiln(dir.path(), args).output().expect("kiln runs");
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), err.lines().count()), (Some(2), 1), "{err}");
        assert!(err.contains(part), "{err}");
    }
}

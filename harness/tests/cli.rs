//! The command line end to end: exit statuses, messages, JSON, and the way from a sweep to a report.

mod common;

use common::{can_time, kiln, run};
use kiln_kernels::registry::Op;
use kiln_profiles::without::VARIABLE;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("not one JSON document ({e}): {text}"))
}

/// Asserts exit status 2, nothing on stdout, and one line on stderr that says `part`.
fn refused(dir: &Path, args: &[&str], part: &str) {
    let (code, out, err) = run(dir, args);
    assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    assert!(err.starts_with("kiln: ") && err.contains(part), "{args:?}: {err}");
}

#[test]
fn every_command_has_help_with_examples() {
    let dir = folder();
    for command in [
        "probe",
        "list",
        "check",
        "calibrate",
        "stability",
        "sweep",
        "replay",
        "store",
        "profile",
        "compare",
        "flame",
        "bake",
        "build",
        "report",
    ] {
        let (code, out, err) = run(dir.path(), &[command, "--help"]);
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        assert!(out.contains("Examples:") && out.contains(&format!("kiln {command}")), "{command}: {out}");
    }
}

#[test]
fn check_ends_with_the_counts_and_names_the_isas() {
    let dir = folder();
    let (code, out, _) = run(dir.path(), &["check", "--op", "rms_norm,f16_to_f32"]);
    assert_eq!(code, 0, "{out}");
    let last = out.lines().last().expect("a last line");
    let words: Vec<&str> = last.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    assert!(matches!(words.as_slice(), [_, "passed", "0", "failed", _, "skipped"]), "{last}");
    assert!(out.lines().any(|l| l.starts_with("ISAs ran: scalar")), "{out}");
    let (code, out, _) = run(dir.path(), &["check", "--op", "f32_to_f16", "--isa", "scalar", "--json"]);
    let document = json(&out);
    assert_eq!((code, document["failed"].as_u64()), (0, Some(0)));
    assert!(document["kernels"].as_array().is_some_and(|k| k.iter().all(|k| k["status"] == "passed")));
}

/// Whatever instruction set a CPU might lack, no kernel of it runs, nor of one that extends it, and the others still do.
#[test]
fn without_an_instruction_set_its_kernels_are_left_alone() {
    let dir = folder();
    let args = ["check", "--op", "gemm,f16_to_f32", "--format", "f32,f16", "--json"];
    let check = |without: &str| {
        let out = kiln(dir.path(), &args).env(VARIABLE, without).output().expect("kiln runs");
        let document = json(&String::from_utf8(out.stdout).expect("UTF-8"));
        assert_eq!((out.status.code(), document["failed"].as_u64()), (Some(0), Some(0)), "without {without}: {document}");
        let names = |key: &str| -> BTreeSet<String> {
            let names = document[key].as_array().expect("names").iter();
            names.map(|n| n.as_str().expect("a name").to_owned()).collect()
        };
        (names("isas_ran"), names("isas_skipped"))
    };
    let (all, _) = check("");
    for isa in all.iter().filter(|isa| *isa != "scalar") {
        let (ran, skipped) = check(isa);
        assert!(skipped.contains(isa), "{isa} ran although it was hidden");
        let extends = |other: &String| other.starts_with(isa.as_str());
        assert!(all.iter().all(|other| skipped.contains(other) || (ran.contains(other) && !extends(other))), "{isa}: {ran:?}");
    }
}

#[test]
fn an_instruction_set_to_do_without_must_have_a_name() {
    let dir = folder();
    for (names, part) in [("avx1024", "known are scalar"), ("scalar", "cannot be left out")] {
        let out = kiln(dir.path(), &["list"]).env(VARIABLE, names).output().expect("kiln runs");
        let err = String::from_utf8(out.stderr).expect("UTF-8");
        assert_eq!((out.status.code(), out.stdout.len(), err.lines().count()), (Some(2), 0, 1), "{err}");
        assert!(err.contains(part) && err.contains(VARIABLE) && err.contains(names), "{err}");
    }
}

#[test]
fn list_shows_kernels_of_every_architecture() {
    let dir = folder();
    let document = json(&run(dir.path(), &["list", "--json"]).1);
    let isas: BTreeSet<&str> = document["kernels"].as_array().expect("kernels").iter().filter_map(|k| k["isa"].as_str()).collect();
    assert!(isas.is_superset(&["scalar", "avx2", "avx512", "neon", "sve"].into()), "{isas:?}");
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let dir = folder();
    let dir = dir.path();
    refused(dir, &["list", "--op", "conv"], "known are gemm");
    refused(dir, &["check", "--isa", "mmx"], "known are scalar");
    refused(dir, &["check", "--format", "q4"], "known are f32");
    refused(dir, &["list", "--op", "rms_norm", "--format", "f16"], "no kernel");
    refused(dir, &["frobnicate"], "frobnicate");
    refused(dir, &["sweep"], "required");
    refused(dir, &["sweep", "gemm", "--budget", "soon"], "soon");
    refused(dir, &["bake", "--store", "missing.jsonl", "--cpu", "x", "--profiles", "."], "missing.jsonl");
    refused(dir, &["report", "--store", "missing.jsonl", "--out", "r"], "missing.jsonl");
    refused(dir, &["profile", "gemm", "--kernel", "gemm_f32_none"], if can_time() { "unknown kernel" } else { "runs under" });
    refused(dir, &["build", "--profile", "zen99"], "zen99");
    assert!(fs::read_dir(dir).expect("a folder").next().is_none(), "something was written");
}

#[test]
fn a_sweep_refuses_bad_shapes_threads_and_stores_before_any_work() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    for (shapes, part) in [
        ("0", "nothing to measure"),
        ("12x", "no extent"),
        ("64x64", "MxNxK"),
        ("512..256", "smaller number first"),
        ("model:gpt9", "known are embedded"),
        ("1048576", "MiB"),
    ] {
        refused(dir, &["sweep", "gemm", "--shapes", shapes], part);
    }
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--threads", "0"], "threads");
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--threads", "100000"], "threads");
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--isa", "avx512bf16", "--format", "f16"], "no kernel");
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--constraint", "MR+1"], "MR*NR<=96");
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--constraint", "MR<=8,WARPS<=4"], "no candidate has a parameter WARPS");
    // A store that is a folder, or below a file, cannot be written; root may write anywhere else.
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--store", "."], "cannot write the store");
    fs::write(dir.join("file"), "").expect("a file");
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--store", "file/store.jsonl"], "cannot write the store");
    let held = fs::OpenOptions::new().append(true).create(true).open(dir.join("held.jsonl")).expect("a store");
    held.try_lock().expect("held");
    refused(dir, &["sweep", "gemm", "--shapes", "64", "--store", "held.jsonl"], "in use");
}

#[test]
fn a_sweep_resumes_and_survives_a_torn_line() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let args = ["sweep", "rms_norm", "--shapes", "4x64,1x100", "--quick", "--force", "--store", "s.jsonl", "--json"];
    let (code, out, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{err}");
    let first = json(&out);
    let stored = first["stored"].as_u64().expect("a number");
    assert!(stored > 0 && first["resumed"] == 0 && first["noise_floor"].is_f64(), "{first}");
    let path = dir.path().join("s.jsonl");
    let before = fs::read_to_string(&path).expect("a store");
    assert_eq!(before.lines().count() as u64, stored);
    for line in before.lines() {
        let record = json(line);
        for field in [
            "schema",
            "time",
            "machine",
            "compiler",
            "flags",
            "tier",
            "kernel",
            "fingerprint",
            "shape",
            "threads",
            "operands",
            "page_bytes",
            "noise_floor",
        ] {
            assert!(!record[field].is_null(), "{field} is missing: {line}");
        }
    }

    let (code, out, err) = run(dir.path(), &args);
    assert_eq!((code, json(&out)["stored"].as_u64(), json(&out)["resumed"].as_u64()), (0, Some(0), Some(stored)));
    assert!(err.contains(&format!("resumed: {stored} results already there")), "{err}");

    // A crash tears the last line; that result alone is measured again, and what is torn stays. It is a candidate's: whether a
    // comparison is asked for once more depends on what the others say.
    let (mut lines, mut comparisons): (Vec<&str>, Vec<&str>) = before.lines().partition(|line| json(line)["result"] == "timed");
    let last = lines.pop().expect("a candidate");
    comparisons.extend(lines);
    let whole = format!("{}\n{last}\n", comparisons.join("\n"));
    let torn = &whole[..whole.len() - 40];
    fs::write(&path, torn).expect("written");
    let (code, out, err) = run(dir.path(), &args);
    assert_eq!((code, json(&out)["resumed"].as_u64()), (0, Some(stored - 1)));
    assert!(err.contains("1 line(s) that cannot be read"), "{err}");
    let after = fs::read_to_string(&path).expect("a store");
    assert!(after.starts_with(&format!("{torn}\n")), "the torn line was changed");
    assert!(after[torn.len() + 1..].lines().all(|l| serde_json::from_str::<Value>(l).is_ok()));
}

#[test]
fn parts_of_a_sweep_are_put_together_and_searched_again_on_paper() {
    let dir = folder();
    refused(dir.path(), &["sweep", "rms_norm", "--shard", "3/2"], "from 1/8 to 8/8");
    refused(dir.path(), &["replay", "--store", "none.jsonl"], "none.jsonl");
    refused(dir.path(), &["store", "merge", "all.jsonl", "none.jsonl"], "none.jsonl");
    if !can_time() {
        return;
    }
    let args = ["sweep", "rms_norm", "--shapes", "4x64,1x100", "--quick", "--force", "--strategy", "exhaustive", "--json"];
    let mut stored = 0;
    for (part, store) in [("1/2", "one.jsonl"), ("2/2", "two.jsonl")] {
        let (code, out, err) = run(dir.path(), &[&args[..], &["--shard", part, "--store", store]].concat());
        assert_eq!(code, 0, "{err}");
        let document = json(&out);
        assert_eq!(document["rows"].as_array().map(Vec::len), Some(1), "a problem each: {document}");
        stored += document["stored"].as_u64().expect("a number");
    }
    for (added, known) in [(stored, 0), (0, stored)] {
        let (code, out, err) = run(dir.path(), &["store", "merge", "all.jsonl", "one.jsonl", "two.jsonl", "--json"]);
        assert_eq!((code, json(&out)["added"].as_u64(), json(&out)["known"].as_u64()), (0, Some(added), Some(known)), "{err}");
    }
    let (code, out, err) = run(dir.path(), &["replay", "--store", "all.jsonl", "--seeds", "3", "--json"]);
    assert_eq!(code, 0, "{err}");
    let document = json(&out);
    let rows = document["rows"].as_array().expect("rows");
    // What a restless machine made a probe say of a candidate may not stand at the end; that problem is left, and counted.
    let left = document["left"].as_u64().expect("a number") as usize;
    assert!(rows.len() >= 5 && left <= 1, "{document}");
    for row in rows {
        assert_eq!(row["problems"].as_array().map(Vec::len), Some(2 - left), "{row}");
        assert!(row["overall"]["regret"].as_f64().is_some_and(|r| r >= 0.0), "{row}");
    }
}

#[test]
fn a_large_delay_is_found_every_time() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let args = ["calibrate", "--quick", "--comparisons", "3", "--delays", "0,900", "--shape", "128x128x128", "--json"];
    // An interval of 99 % over eight pairs takes all of them, so that a single pause of a busy machine widens it: what holds
    // in peace must hold in one of a few attempts, and never the contrary.
    let found = |attempt: usize| {
        let (code, out, err) = run(dir.path(), &args);
        assert_eq!(code, 0, "{err}");
        let trials = json(&out)["trials"].clone();
        assert_eq!((trials[0]["comparisons"].as_u64(), trials[1]["wrong_way"].as_u64()), (Some(3), Some(0)), "{trials}");
        println!("attempt {attempt}: {trials}");
        trials[1]["found"].as_u64() == Some(3)
    };
    assert!((1..=6).any(found), "a delay of nine calls was not found three times of three in any attempt");
    refused(dir.path(), &["calibrate", "--shape", "8x8"], "MxNxK");
}

#[test]
fn tunings_that_choose_differently_are_compared_and_those_that_agree_are_not() {
    if !can_time() {
        return;
    }
    let dir = folder();
    for (store, isa) in [("a.jsonl", "scalar"), ("b.jsonl", "scalar"), ("c.jsonl", "avx2,neon")] {
        let args = ["sweep", "rms_norm", "--shapes", "4x512", "--quick", "--force", "--isa", isa, "--store", store];
        let (code, _, err) = run(dir.path(), &args);
        assert_eq!(code, 0, "{err}");
    }
    let (code, out, err) = run(dir.path(), &["stability", "a.jsonl", "a.jsonl", "--quick", "--json"]);
    assert_eq!(code, 0, "{err}");
    let row = json(&out)["rows"][0].clone();
    assert_eq!((row["commonest"]["tunings"].as_u64(), row["others"].as_array().map(Vec::len)), (Some(2), Some(0)), "{row}");
    let (code, out, err) = run(dir.path(), &["stability", "a.jsonl", "b.jsonl", "c.jsonl", "--quick", "--json"]);
    let others = json(&out)["rows"][0]["others"].clone();
    let others = others.as_array().expect("choices").clone();
    assert!(!others.is_empty() && others.iter().all(|o| o["ratio"].as_f64().is_some_and(|r| r > 0.0)), "{others:?}");
    let beyond = others.iter().any(|o| o["verdict"] == "beyond the tie band");
    assert_eq!(code, i32::from(beyond), "{err}");
    refused(dir.path(), &["stability", "a.jsonl"], "2 values required");
    refused(dir.path(), &["stability", "a.jsonl", "none.jsonl"], "none.jsonl");
    let (code, _, err) =
        run(dir.path(), &["sweep", "rms_norm", "--shapes", "8x512", "--quick", "--force", "--isa", "scalar", "--store", "d.jsonl"]);
    assert_eq!(code, 0, "{err}");
    refused(dir.path(), &["stability", "a.jsonl", "d.jsonl"], "no problem in common");
}

#[test]
fn a_search_keeps_to_the_evaluations_it_was_given() {
    if !can_time() {
        return;
    }
    let dir = folder();
    for strategy in ["random", "descent", "genetic", "halving"] {
        let args = ["sweep", "rms_norm", "--shapes", "4x64", "--quick", "--force", "--strategy", strategy, "--evaluations", "5", "--json"];
        let (code, out, err) = run(dir.path(), &[&args[..], &["--store", strategy]].concat());
        assert_eq!(code, 0, "{err}");
        let document = json(&out);
        assert!(document["rows"][0]["candidates"].as_u64().is_some_and(|n| n <= 5), "{strategy}: {document}");
        assert!(document["passed_over"].as_u64().unwrap_or(0) + document["unmeasured"].as_u64().unwrap_or(0) > 0, "{strategy}: {document}");
    }
}

#[test]
fn results_become_a_profile_and_a_page() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let sweep = |op: &str, shapes: &str| {
        let (code, _, err) =
            run(dir.path(), &["sweep", op, "--shapes", shapes, "--quick", "--force", "--blockings", "analytical", "--store", "s.jsonl"]);
        assert_eq!(code, 0, "{err}");
    };
    sweep("gemm", "32,48");
    sweep("rms_norm", "4x64");
    let (code, out, err) = run(dir.path(), &["bake", "--store", "s.jsonl", "--cpu", "test-cpu", "--profiles", "profiles", "--json"]);
    assert_eq!(code, 0, "{err}");
    let document = json(&out);
    let choices = document["tuned"]["variant"][0]["choice"].as_array().expect("choices");
    // Products of one row and of many, and every other operation in each of its formats.
    let others = Op::ALL.iter().filter(|op| **op != Op::Gemm).map(|op| op.formats().count());
    assert_eq!(choices.len(), 2 + others.sum::<usize>());
    let of = |op: &str, class: &str| choices.iter().find(|c| c["op"] == op && c["class"] == class).expect("a choice");
    assert_eq!(of("gemm", "prefill")["layout"], of("gemm", "decode")["layout"]);
    assert_eq!(of("gemm", "prefill")["tier"], "measured");
    assert!(of("gemm", "prefill")["margin_ci"].is_array() && of("gemm", "prefill")["regret"].is_f64());
    assert_eq!((&of("layer_norm", "row")["tier"], &of("rms_norm", "row")["tier"]), (&Value::from("predicted"), &Value::from("measured")));
    let profile = dir.path().join("profiles/test-cpu");
    let (tuned, _) = kiln_profiles::lookup::tuned(&dir.path().join("profiles"), "test-cpu").expect("a profile");
    let machine = kiln_profiles::lookup::machine(&dir.path().join("profiles"), "test-cpu").expect("a machine");
    assert!(machine.matches.iter().any(|m| kiln_profiles::cpu::here().is_some_and(|id| m.covers(&id))));
    let source = kiln_profiles::codegen::Source { tuned, machine: Some(machine) };
    kiln_profiles::codegen::generate(&[source], std::env::consts::ARCH).expect("it can be baked");
    let evidence = fs::metadata(profile.join("evidence/results.jsonl")).expect("evidence").len();
    assert!(evidence > 0 && evidence < 1 << 20);

    let (code, out, err) = run(dir.path(), &["report", "--store", "s.jsonl", "--out", "page", "--no-limits"]);
    assert_eq!((code, out.trim()), (0, "page/index.html"), "{err}");
    let page = fs::read_to_string(dir.path().join("page/index.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("default"));
    // Where there are the tools and a profile of this CPU there is the picture too, elsewhere the reason why not.
    let section = page.split("id=\"model\"").nth(1).and_then(|rest| rest.split("</section>").next()).expect("a section");
    assert!(section.contains("<svg") && section.contains("time of a call") || section.contains("Not available: "), "{section}");

    // Results of this machine under another CPU's name would be a lie.
    fs::create_dir_all(dir.path().join("profiles/other")).expect("a folder");
    let other = "name='other'\ntitle='Other'\narch='x86_64'\nllvm_cpu='x'\ncaches={l1=1,l2=1,l3=1}\n[[match]]\nvendor='Nobody'\nfamily=1\n";
    fs::write(dir.path().join("profiles/other/machine.toml"), other).expect("written");
    refused(dir.path(), &["bake", "--store", "s.jsonl", "--cpu", "other", "--profiles", "profiles"], "not Other");
    refused(dir.path(), &["bake", "--store", "s.jsonl", "--cpu", "../x", "--profiles", "profiles"], "no name for a profile");
}

#[test]
fn a_profile_prints_one_document() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let (code, out, err) = run(dir.path(), &["profile", "gemm", "--shapes", "64", "--quick", "--json"]);
    assert_eq!(code, 0, "{err}");
    let document = json(&out);
    let profile = &document["profiles"][0];
    assert!(profile["median_ns"].as_f64().is_some_and(|ns| ns > 0.0) && profile["fraction_of_peak"].is_f64(), "{profile}");
    let cycles = &profile["counters"]["cycles"];
    assert!(cycles["status"] == "counted" || cycles["reason"].is_string() || cycles["status"] == "not_counted", "{cycles}");
}

/// An executable script that stands in for python3.
fn interpreter(dir: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
}

#[test]
fn a_comparison_has_the_promised_document_and_plots() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    let peers = "gemm,matrixmultiply";
    let args = ["compare", "gemm", "--sizes", "16,33,5x40x7", "--threads", "1", "--peers", peers, "--quick", "--plot", "p.svg", "--json"];
    let (code, out, err) = run(dir, &args);
    assert_eq!(code, 0, "{err}");
    let document = json(&out);
    assert!(document["machine"].is_string() && document["noise_floor"].is_f64(), "{document}");
    let rows = document["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 3 * 3);
    for row in rows {
        let (low, high) = (row["gflops_ci"][0].as_f64().expect("a number"), row["gflops_ci"][1].as_f64().expect("a number"));
        let median = row["gflops_median"].as_f64().expect("a number");
        assert!(0.0 < low && low <= median && median <= high, "{row}");
        assert!(row["threads"] == 1 && row["tier"] == "measured" && row["verification_error"].as_f64().is_some_and(|e| e <= 1.0), "{row}");
        assert!(row["fraction_of_peak"].is_f64() && row["version"].is_string(), "{row}");
        let ours = row["system"] == "kiln";
        assert!(row["kiln_over_system"].is_f64() != ours && row["kernel"].is_object() == ours, "{row}");
    }
    let of = |field: &str| rows.iter().map(|r| r[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("size")[..6], [16, 16, 16, 33, 33, 33].map(Value::from));
    assert_eq!(of("size")[6], "5x40x7");
    assert_eq!(of("system")[..3], ["kiln", "gemm", "matrixmultiply"].map(Value::from));
    assert!(fs::read_to_string(dir.join("p.svg")).is_ok_and(|svg| svg.starts_with("<svg") && svg.contains("matrixmultiply")));

    let named = json(&run(dir, &["list", "--op", "gemm", "--isa", "scalar", "--json"]).1);
    let scalar = named["kernels"][0]["name"].as_str().expect("a scalar kernel");
    let args =
        ["compare", "gemm", "--sizes", "33", "--peers", "gemm", "--quick", "--kernel", scalar, "--blocking", "8,8,8", "--out", "o.json"];
    let (code, out, err) = run(dir, &args);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("{scalar} kc 8 mc 8 nc 8 (chosen by the command line)")) && out.contains("noise floor"), "{out}");
    let kernel = &json(&fs::read_to_string(dir.join("o.json")).expect("a document"))["rows"][0]["kernel"];
    assert_eq!((&kernel["kernel"], &kernel["blocking"]["kc"]), (&Value::from(scalar), &Value::from(8)));
}

#[test]
fn weights_in_blocks_and_cold_ones_are_held_against_reading_them() {
    if !can_time() {
        return;
    }
    let dir = folder();
    for format in ["q4_0", "f32"] {
        let sizes = "1x96x256,4x96x256";
        let args = ["compare", "gemm", "--format", format, "--sizes", sizes, "--threads", "2", "--cold", "--read", "--quick", "--json"];
        let (code, out, err) = run(dir.path(), &args);
        assert_eq!(code, 0, "{err}");
        let document = json(&out);
        let rows = document["rows"].as_array().expect("rows");
        let of = |field: &str| rows.iter().map(|r| r[field].clone()).collect::<Vec<_>>();
        assert_eq!(of("system"), ["kiln", "read", "kiln", "read"].map(Value::from), "{err}");
        for row in rows {
            assert!(row["weights_gbs"].as_f64().is_some_and(|g| g > 0.0) && row["threads"] == 2, "{row}");
            let ours = row["system"] == "kiln";
            assert!(row["kiln_over_system"].is_f64() != ours && row["fraction_of_peak"].is_f64() == ours, "{row}");
        }
    }
}

#[test]
fn operations_on_rows_are_compared_in_bytes_beside_their_limit() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    let sizes = ["--sizes", "4x100,8x64", "--peers", "copy", "--quick"];
    let (code, out, err) = run(dir, &[&["compare", "softmax", "--plot", "p.svg", "--json"], &sizes[..]].concat());
    assert_eq!(code, 0, "{err}");
    let document = json(&out);
    assert_eq!((&document["op"], &document["format"]), (&Value::from("softmax"), &Value::from("f32")));
    let rows = document["rows"].as_array().expect("rows");
    let of = |field: &str| rows.iter().map(|r| r[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("size"), ["4x100", "4x100", "8x64", "8x64"].map(Value::from));
    assert_eq!(of("system"), ["kiln", "copy", "kiln", "copy"].map(Value::from));
    for row in rows {
        let ci = &row["gbytes_per_s_ci"];
        let (low, high) = (ci[0].as_f64().expect("a number"), ci[1].as_f64().expect("a number"));
        let median = row["gbytes_per_s_median"].as_f64().expect("a number");
        assert!(0.0 < low && low <= median && median <= high && row.get("gflops_median").is_none(), "{row}");
        assert!(row["threads"] == 1 && row["tier"] == "measured" && row["verification_error"].as_f64().is_some_and(|e| e <= 1.0), "{row}");
        let ours = row["system"] == "kiln";
        assert!(row["kiln_over_system"].is_f64() != ours && row["kernel"].is_object() == ours && (row["limit"] == true) != ours, "{row}");
    }
    assert!(fs::read_to_string(dir.join("p.svg")).is_ok_and(|svg| svg.contains("GB/s") && !svg.contains("GFLOP/s")));

    let named = json(&run(dir, &["list", "--op", "add_rms_norm", "--isa", "scalar", "--json"]).1);
    let scalar = named["kernels"][0]["name"].as_str().expect("a scalar kernel");
    let (code, out, err) = run(dir, &[&["compare", "add_rms_norm", "--cold", "--kernel", scalar], &sizes[..]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains(&format!("{scalar} (chosen by the command line)")) && out.contains("GB/s") && out.contains("copy (limit: "),
        "{out}"
    );
}

#[test]
fn splits_and_spins_are_swept_stored_and_compared() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    let isa =
        ["sweep", "gemm", "--shapes", "40", "--threads", "2", "--isa", "scalar", "--quick", "--force", "--store", "s.jsonl", "--json"];
    let (code, out, err) = run(dir, &isa);
    if code == 2 {
        // One CPU: two threads cannot be timed.
        return assert!(err.contains("threads"), "{err}");
    }
    assert_eq!(code, 0, "{err}");
    let winner = &json(&out)["rows"][0]["winner"];
    assert!(winner["split"].is_string() && winner["spin"].is_u64(), "{winner}");
    let lines: Vec<Value> = fs::read_to_string(dir.join("s.jsonl")).expect("a store").lines().map(json).collect();
    let seen = |field: &str| lines.iter().map(|l| l[field].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(seen("split"), [r#""1x2""#, r#""2x1""#].map(str::to_owned).into());
    assert_eq!(seen("spin").len(), 3);

    let args =
        ["compare", "gemm", "--sizes", "33", "--threads", "2", "--peers", "gemm", "--quick", "--split", "1x2", "--spin", "0", "--json"];
    let (code, out, err) = run(dir, &args);
    assert_eq!(code, 0, "{err}");
    let kernel = &json(&out)["rows"][0]["kernel"];
    assert_eq!((&kernel["split"], &kernel["spin"]), (&Value::from("1x2"), &Value::from(0)));
}

#[test]
fn a_comparison_refuses_what_it_cannot_do_before_any_work() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    refused(dir, &["compare", "gemm", "--peers", "copy"], "copy is not compared in f32: choose among openblas");
    refused(dir, &["compare", "softmax", "--peers", "openblas"], "openblas is not compared in softmax: choose among torch numpy copy");
    refused(dir, &["compare", "quantise", "--peers", "torch"], "torch is not compared in quantise: choose among copy");
    refused(dir, &["compare", "softmax", "--sizes", "64x64x64"], "ROWSxCOLS");
    refused(dir, &["compare", "softmax", "--format", "f16"], "no f16 softmax");
    refused(dir, &["compare", "softmax", "--kernel", "rms_norm_f32_none"], "unknown kernel");
    refused(dir, &["compare", "rms_norm", "--blocking", "1,2,3"], "there is no --blocking");
    refused(dir, &["compare", "rms_norm", "--split", "1x1", "--spin", "0"], "there is no --split, --spin");
    refused(dir, &["compare", "rms_norm", "--packed", "--read"], "there is no --packed, --read");
    refused(dir, &["compare", "gemm", "--sizes", "64x64"], "MxNxK");
    refused(dir, &["compare", "attention", "--sizes", "64", "--format", "q8_0", "--peers", "torch"], "no cache of q8_0");
    refused(dir, &["compare", "attention", "--sizes", "64", "--packed"], "no product");
    refused(dir, &["model", "attention", "--cpu", "zen4"], "operations on rows");
    refused(dir, &["model", "softmax", "--cpu", "zen4", "--peer", "a.so"], "for gemm");
    refused(dir, &["model", "gemm", "--cpu", "zen4", "--peer", "a.so", "--against", "s.jsonl"], "cannot be used with");
    refused(dir, &["model", "gemm", "--cpu", "zen4", "--pairs"], "--against");
    refused(dir, &["sweep", "attention", "--format", "q8_0", "--shapes", "1x16x4x2x48"], "multiples of 32");
    refused(dir, &["compare", "gemm", "--sizes", "0"], "nothing to measure");
    refused(dir, &["compare", "gemm", "--sizes", "1048576"], "MiB");
    refused(dir, &["compare", "gemm", "--threads", "0"], "threads");
    refused(dir, &["compare", "gemm", "--threads", "100000"], "threads");
    refused(dir, &["compare", "gemm", "--format", "q4"], "known are f32 f16 bf16 f16w bf16w bf16r s8 q8_0");
    refused(dir, &["compare", "gemm", "--peers", "goto"], "known are openblas");
    refused(dir, &["compare", "gemm", "--kernel", "gemm_f32_none"], "unknown kernel");
    refused(dir, &["compare", "gemm", "--blocking", "1,2"], "KC,MC,NC");
    refused(dir, &["compare", "gemm", "--threads", "2", "--split", "2"], "RxC");
    refused(dir, &["compare", "gemm", "--threads", "1", "--split", "1x2"], "is for 2 threads");
    refused(dir, &["compare", "gemm", "--spin", "-1"], "-1");
    refused(dir, &["compare", "gemm", "--plot", "missing/p.svg"], "no folder missing");
    refused(dir, &["compare", "gemm", "--format", "q8_0", "--peers", "gemm"], "not compared in q8_0");
    refused(dir, &["compare", "gemm", "--cold", "--peers", "gemm"], "leave --peers out");
    // An architecture's own libraries are nowhere else.
    let elsewhere = if cfg!(target_arch = "x86_64") { "armpl" } else { "mkl" };
    refused(dir, &["compare", "gemm", "--sizes", "16", "--peers", elsewhere], "it is had by");
    assert!(fs::read_dir(dir).expect("a folder").next().is_none(), "something was written");
}

#[test]
fn a_child_that_breaks_the_protocol_is_a_clear_error() {
    if !can_time() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    let compare = || {
        let mut command = common::kiln(dir, &["compare", "gemm", "--sizes", "16", "--peers", "torch", "--quick"]);
        let output = command.env("KILN_PYTHON", dir.join("python")).output().expect("kiln runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // What cannot be started is not installed; what starts and then fails has failed.
    for (script, status, part) in [
        ("echo error ModuleNotFoundError no torch", 2, "pip install torch"),
        ("echo broken >&2; exit 3", 2, "exit status: 3: broken"),
        ("echo hello", 2, "'hello', which is no answer"),
        ("echo ok fake 1; read line", 1, "ended at 'prepare'"),
        ("echo ok fake 1; read line; echo ok; read line; echo garbage", 1, "'garbage', which is no answer"),
        ("echo ok fake 1; read line; echo ok; echo ok 1 2 3; exec sleep 60", 1, "3 elements instead of 24"),
    ] {
        interpreter(dir, script);
        let (code, err) = compare();
        assert!(code == Some(status) && err.contains(part), "{script}: {code:?} {err}");
        // Another test may be measuring, which is said.
        let own = err.lines().filter(|line| !line.starts_with("note: another measurement runs")).count();
        assert_eq!(own, 1, "{script}: {err}");
    }
    let missing =
        common::kiln(dir, &["compare", "gemm", "--peers", "torch"]).env("KILN_PYTHON", "no-such-python").output().expect("kiln runs");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot run no-such-python"));
}

//! The gate end to end: a baseline is written, and a later run is judged by it.

mod common;

use common::{can_time, kiln, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Says when a test is of no use here, and why.
fn skipped(test: &str, why: &str) {
    println!("{test} was skipped: {why}");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs it with a folder of programs that come before all others.
fn run_with(folder: &Path, programs: &Path, args: &[&str]) -> (i32, String, String) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let out = kiln(folder, args).env("PATH", std::env::join_paths(all).expect("a path")).output().expect("kiln runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (out.status.code().expect("an exit status"), text(out.stdout), text(out.stderr))
}

/// The name of a scalar kernel for products, and not that one.
fn scalar(folder: &Path, not: &str) -> String {
    let list = json(&run(folder, &["list", "--op", "gemm", "--isa", "scalar", "--format", "f32", "--json"]).1);
    let kernels = list["kernels"].as_array().expect("kernels").iter();
    kernels.filter_map(|k| k["name"].as_str()).find(|name| *name != not).expect("a scalar kernel").to_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("not one JSON document ({e}): {text}"))
}

fn read(folder: &Path, name: &str) -> Value {
    json(&fs::read_to_string(folder.join(name)).expect("a file"))
}

fn refused(folder: &Path, args: &[&str], part: &str) {
    let (code, out, err) = run(folder, args);
    assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    assert!(err.starts_with("kiln: ") && err.contains(part), "{args:?}: {err}");
}

/// Multiplies every time of a baseline.
fn scaled(baseline: &Value, by: f64) -> Value {
    let mut baseline = baseline.clone();
    for row in baseline["rows"].as_array_mut().expect("rows") {
        let scale = |x: &mut Value| *x = (x.as_f64().expect("a number") * by).into();
        scale(&mut row["median_ns"]);
        row["ci_ns"].as_array_mut().expect("an interval").iter_mut().for_each(scale);
        let processes = row["samples_ns"].as_array_mut().expect("processes");
        processes.iter_mut().flat_map(|p| p.as_array_mut().expect("samples")).for_each(scale);
    }
    baseline
}

#[test]
fn a_run_is_judged_by_a_baseline_of_this_machine() {
    if !can_time() {
        return skipped("a_run_is_judged_by_a_baseline_of_this_machine", "nothing can be timed here");
    }
    let dir = folder();
    let dir = dir.path();
    let (code, out, err) = run(dir, &["compare", "gemm", "--sizes", "16,5x24x16", "--quick", "--write-baseline", "b.json", "--json"]);
    assert_eq!(code, 0, "{err}");
    let baseline = read(dir, "b.json");
    assert_eq!(json(&out), baseline);
    assert!(baseline["tier"] == "measured" && baseline["compiler"].is_string() && baseline["machine"].is_string(), "{baseline}");
    for row in baseline["rows"].as_array().expect("rows") {
        assert!(row["kernel"].is_string() && row["fingerprint"].is_string() && row["noise_floor"].is_f64(), "{row}");
        assert!(row["median_ns"].as_f64().is_some_and(|ns| ns > 0.0) && row["ci_ns"].is_array(), "{row}");
        assert!(row["samples_ns"].as_array().is_some_and(|p| p.len() >= 3), "{row}");
        assert!(row["threads"] == 1 && row["format"] == "f32" && row["operands"] == "hot" && row["packed"] == true, "{row}");
    }

    // A thousand times as fast before, then a thousand times as slow: no noise hides that.
    let judged = |by: f64, verdict: &str, status: i32| {
        fs::write(dir.join("edited.json"), scaled(&baseline, by).to_string()).expect("written");
        let (code, out, err) = run(dir, &["compare", "gemm", "--quick", "--baseline", "edited.json", "--json"]);
        assert_eq!(code, status, "{err}");
        let document = json(&out);
        let rows = document["rows"].as_array().expect("rows");
        assert!(rows.len() == 2 && rows.iter().all(|r| r["verdict"] == verdict), "{document}");
        let slower = if verdict == "slower" { 2 } else { 0 };
        assert!(document["slower"] == slower && document["machine"].is_string() && document["tier"] == "measured", "{document}");
        rows[0].clone()
    };
    let row = judged(1e-3, "slower", 1);
    assert!(row["ratio"].as_f64().is_some_and(|r| r > 10.0) && row["ratio_ci"].is_array() && row["same_sources"] == true, "{row}");
    judged(1e3, "faster", 0);

    // What noise would hide is said, and does not pass for the same unless that is wanted.
    let mut noisy = baseline.clone();
    noisy["rows"].as_array_mut().expect("rows").iter_mut().for_each(|r| r["noise_floor"] = 30.0.into());
    fs::write(dir.join("noisy.json"), noisy.to_string()).expect("written");
    for (more, status) in [(&[][..], 2), (&["--force"], 0)] {
        let args = ["compare", "gemm", "--quick", "--baseline", "noisy.json"];
        let (code, out, err) = run(dir, &[&args[..], more].concat());
        assert!(code == status && err.contains("kiln: too noisy to judge") == (status == 2), "{out}{err}");
        assert!(
            out.contains("the smallest slow-down that would have been found everywhere: ") && out.contains("0 slower, 2 same"),
            "{out}"
        );
    }

    // Sizes of one's own: what is on one side only is told, and a table says the same as the document.
    fs::write(dir.join("edited.json"), scaled(&baseline, 1e-3).to_string()).expect("written");
    let (code, out, err) = run(dir, &["compare", "gemm", "--quick", "--baseline", "edited.json", "--sizes", "16,8"]);
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("SLOWER") && out.contains("not in baseline") && out.contains("not measured now: 5x24x16, 1 thread(s)"), "{out}");
    assert_eq!(out.lines().last(), Some("1 slower, 0 same, 0 faster, 1 not in the baseline, 1 of the baseline not measured"));
    refused(dir, &["compare", "gemm", "--quick", "--baseline", "edited.json", "--sizes", "8"], "nothing to judge by");
}

#[test]
fn a_baseline_that_cannot_be_judged_by_is_refused_in_one_line() {
    if !can_time() {
        return skipped("a_baseline_that_cannot_be_judged_by_is_refused_in_one_line", "nothing can be timed here");
    }
    let dir = folder();
    let dir = dir.path();
    let (code, _, err) = run(dir, &["compare", "softmax", "--sizes", "4x64", "--quick", "--write-baseline", "b.json"]);
    assert_eq!(code, 0, "{err}");
    let baseline = read(dir, "b.json");
    let write = |edit: &dyn Fn(&mut Value)| {
        let mut document = baseline.clone();
        edit(&mut document);
        fs::write(dir.join("edited.json"), document.to_string()).expect("written");
    };
    let by = |op: &'static str| ["compare", op, "--quick", "--baseline", "edited.json"];
    write(&|b| b["machine"] = "another".into());
    refused(dir, &by("softmax"), "on another machine (another, and this is");
    write(&|b| b["rows"][0]["median_ns"] = (-1.0).into());
    refused(dir, &by("softmax"), "is no baseline");
    write(&|b| b["rows"][0]["samples_ns"] = "many".into());
    refused(dir, &by("softmax"), "is no baseline");
    write(&|b| b["rows"] = Value::Array(Vec::new()));
    refused(dir, &by("softmax"), "it has no rows");
    write(&|b| b["schema"] = 99.into());
    refused(dir, &by("softmax"), "its schema is 99");
    write(&|_| {});
    refused(dir, &by("rms_norm"), "the baseline is of f32 softmax, not of f32 rms_norm");
    refused(dir, &[&by("softmax")[..], &["--cold"]].concat(), "leave out --cold");
    refused(dir, &["compare", "softmax", "--baseline", "edited.json", "--counts"], "tier measured, and this run is counted");
    refused(dir, &[&by("softmax")[..], &["--peers", "copy"]].concat(), "there is no --peers");
    refused(dir, &[&by("softmax")[..], &["--plot", "p.svg"]].concat(), "there is no --plot");
    refused(dir, &[&by("softmax")[..], &["--tolerance", "1"]].concat(), "--counts");
    refused(dir, &["compare", "softmax", "--baseline", "none.json"], "cannot read the baseline none.json");
    refused(dir, &["compare", "softmax", "--write-baseline", "none/b.json"], "there is no folder none");
    for text in ["", "{", "[]", "{\"schema\": 1}", "\u{0}\u{1}"] {
        fs::write(dir.join("edited.json"), text).expect("written");
        refused(dir, &by("softmax"), "edited.json is no baseline (--write-baseline writes one)");
    }
}

#[test]
fn a_kernel_that_is_wrong_fails_and_writes_nothing() {
    if !can_time() {
        return skipped("a_kernel_that_is_wrong_fails_and_writes_nothing", "nothing can be timed here");
    }
    let dir = folder();
    let name = scalar(dir.path(), "");
    let args = ["compare", "gemm", "--sizes", "8", "--quick", "--kernel", &name, "--write-baseline", "b.json"];
    let out = kiln(dir.path(), &args).env("KILN_FAULT", format!("{name}:wrong")).output().expect("kiln runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && err.contains(&name) && err.contains("instead of"), "{err}");
    assert!(!dir.path().join("b.json").exists());
}

#[test]
fn an_older_kiln_takes_turns_with_this_one() {
    if !can_time() {
        return skipped("an_older_kiln_takes_turns_with_this_one", "nothing can be timed here");
    }
    let dir = folder();
    let dir = dir.path();
    // This one, each of whose answers of another program is a thousand times as fast as it was.
    let this = env!("CARGO_BIN_EXE_kiln");
    script(dir, "faster", &format!("exec '{this}' \"$@\" | sed -u 's/\\([0-9]\\)\\.\\([0-9]*\\)/\\1e-3/g'"));
    let older =
        |program: &str| run(dir, &["compare", "gemm", "--sizes", "8", "--quick", "--baseline-binary", program, "--force", "--json"]);
    let (code, out, err) = older(this);
    let document = json(&out);
    assert_eq!(code, i32::from(document["slower"] == 1), "{err}");
    let row = &document["rows"][0];
    assert!(document["alternated"] == true && row["ratio"].is_f64() && row["ratio_ci"].is_array(), "{document}");
    let (code, out, err) = older("./faster");
    assert_eq!(code, 1, "{err}");
    assert!(json(&out)["rows"][0]["ratio"].as_f64().is_some_and(|r| r > 10.0), "{out}");
    for (program, part) in [("./none", "cannot run ./none"), ("/bin/false", "the older kiln /bin/false")] {
        let (code, _, err) = older(program);
        assert!(code == 2 && err.contains(part), "{program}: {code} {err}");
    }
}

/// An executable script.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
}

/// A counter that takes a start of any program for 5000 instructions, and each of its calls for those that the file `per-call`
/// in its folder tells.
fn fake_valgrind(folder: &Path) {
    script(
        folder,
        "valgrind",
        r#"for argument; do
    case $argument in
        --tool=callgrind) tool=callgrind; shift ;;
        --callgrind-out-file=*) out=${argument#*=}; shift ;;
        --*) shift ;;
        *) calls=$argument ;;
    esac
done
[ "$tool" = callgrind ] || exit 9
"$@" || exit $?
printf 'version: 1\nevents: Ir\nsummary: %s\n' $((5000 + calls * $(cat "$(dirname "$0")/per-call"))) >"$out""#,
    );
}

#[test]
fn counted_instructions_are_judged_by_a_tolerance() {
    let (dir, programs) = (folder(), folder());
    let (dir, programs) = (dir.path(), programs.path());
    fake_valgrind(programs);
    let per_call = |count: u32| fs::write(programs.join("per-call"), count.to_string()).expect("written");
    let run = |args: &[&str]| run_with(dir, programs, &[&["compare", "gemm", "--counts"], args].concat());

    per_call(10_000);
    let (code, out, err) = run(&["--sizes", "8,4x8x8", "--write-baseline", "c.json", "--json"]);
    assert_eq!(code, 0, "{err}");
    let baseline = json(&out);
    assert!(baseline["tier"] == "counted" && baseline["counter"] == "callgrind" && baseline == read(dir, "c.json"), "{baseline}");
    let rows = baseline["rows"].as_array().expect("rows");
    assert!(rows.len() == 2 && rows.iter().all(|r| r["instructions"] == 10_000.0 && r.get("median_ns").is_none()), "{baseline}");

    for (count, tolerance, verdict, status) in [
        (10_000, "0", "same", 0),
        (10_040, "0.5", "same", 0),
        (10_060, "0.5", "slower", 1),
        (10_060, "1", "same", 0),
        (9_000, "0.5", "faster", 0),
    ] {
        per_call(count);
        let (code, out, err) = run(&["--baseline", "c.json", "--tolerance", tolerance, "--json"]);
        assert_eq!(code, status, "{count}, {tolerance}: {err}");
        let document = json(&out);
        assert!(document["tier"] == "counted" && document["unit"] == "instructions", "{document}");
        let rows = document["rows"].as_array().expect("rows");
        assert!(rows.iter().all(|r| r["verdict"] == verdict && r["now"] == f64::from(count)), "{document}");
        assert_eq!(document["slower"], if status == 1 { 2 } else { 0 });
    }

    // The default tolerance is half a per cent, and a table ends with the counts.
    per_call(10_060);
    let (code, out, err) = run(&["--baseline", "c.json"]);
    assert!(code == 1 && out.ends_with("2 slower, 0 same, 0 faster\n") && out.contains("tier counted by callgrind"), "{out}{err}");
}

#[test]
fn counts_of_another_machine_are_judged_where_it_runs_the_same() {
    let (dir, programs) = (folder(), folder());
    let (dir, programs) = (dir.path(), programs.path());
    fake_valgrind(programs);
    fs::write(programs.join("per-call"), "100").expect("written");
    let run = |args: &[&str]| run_with(dir, programs, &[&["compare", "gemm", "--counts"], args].concat());
    let (code, _, err) = run(&["--sizes", "8", "--write-baseline", "c.json"]);
    assert_eq!(code, 0, "{err}");
    let mut baseline = read(dir, "c.json");
    baseline["machine"] = "another".into();
    let write = |baseline: &Value| fs::write(dir.join("c.json"), baseline.to_string()).expect("written");
    write(&baseline);
    let (code, out, err) = run(&["--baseline", "c.json", "--json"]);
    assert!(code == 0 && json(&out)["rows"][0]["verdict"] == "same", "{out}{err}");
    // Another kernel that this machine has as well is counted here too.
    let scalar = scalar(dir, baseline["rows"][0]["kernel"].as_str().expect("a kernel"));
    let (code, _, err) = run(&["--sizes", "8", "--kernel", &scalar, "--write-baseline", "s.json"]);
    assert_eq!(code, 0, "{err}");
    let mut other = read(dir, "s.json");
    other["machine"] = "another".into();
    write(&other);
    let (code, out, err) = run(&["--baseline", "c.json", "--json"]);
    let row = &json(&out)["rows"][0];
    assert!(code == 0 && row["verdict"] == "same" && row["kernel"].as_str().is_some_and(|k| k.starts_with(&scalar)), "{row}{err}");
    // One that it lacks is not.
    other["rows"][0]["kernel"] = "gemm_f32_of_the_future".into();
    write(&other);
    let (code, out, err) = run(&["--baseline", "c.json", "--json"]);
    let document = json(&out);
    assert!(code == 2 && document["rows"][0]["verdict"] == "machine_differs" && document["machine_differs"] == 1, "{document}{err}");
    assert!(err.contains("gemm_f32_of_the_future") && err.contains("kiln: nothing could be judged: "), "{err}");
}

#[test]
fn what_cannot_be_counted_is_refused_in_one_line() {
    let (dir, programs) = (folder(), folder());
    let (dir, programs) = (dir.path(), programs.path());
    refused(dir, &["compare", "gemm", "--counts", "--threads", "2"], "on 1 thread");
    refused(dir, &["compare", "gemm", "--counts", "--cold"], "there is no --cold");
    refused(dir, &["compare", "gemm", "--counts", "--quick"], "there is no --quick");
    refused(dir, &["compare", "gemm", "--counts", "--force"], "there is no --force");
    refused(dir, &["compare", "gemm", "--counts", "lackey"], "lackey");
    refused(dir, &["compare", "gemm", "--counts", "--tolerance=-1"], "from 0 to 100");
    refused(dir, &["compare", "gemm", "--counts", "--sizes", "8", "--program", "none"], "cannot read the program none");
    fs::write(dir.join("text"), "text").expect("written");
    refused(dir, &["compare", "gemm", "--counts", "--sizes", "8", "--program", "text"], "cannot read the program text");

    let args = ["compare", "gemm", "--counts", "--sizes", "8"];
    for (text, status, part) in [
        ("echo kiln: wrong numbers >&2; exit 1", 1, "wrong numbers"),
        ("echo kiln: no such kernel >&2; exit 2", 2, "no such kernel"),
        ("echo kiln: k needs avx512, which this CPU does not have >&2; exit 2", 2, "valgrind knows no AVX-512"),
        ("echo nonsense", 2, "no answer"),
    ] {
        script(programs, "valgrind", text);
        let (code, out, err) = run_with(dir, programs, &args);
        assert_eq!((code, out.as_str(), err.lines().count()), (status, "", 1), "{text}: {err}");
        assert!(err.contains(part), "{text}: {err}");
    }
    let out = kiln(dir, &args).env("PATH", dir).output().expect("kiln runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && err.contains("valgrind is not here") && err.contains("apt-get install"), "{err}");
}

/// Instructions of one call of a scalar kernel by a real counter, twice.
fn really_counted(test: &str, counter: &str, program: &str) {
    if Command::new(program).arg("--version").output().is_err() {
        return skipped(test, &format!("there is no {program}"));
    }
    if !can_time() {
        return skipped(test, "this is emulated already");
    }
    let dir = folder();
    let dir = dir.path();
    let name = scalar(dir, "");
    let args = ["compare", "gemm", "--counts", counter, "--kernel", &name, "--blocking", "64,64,64"];
    let (code, out, err) = run(dir, &[&args[..], &["--sizes", "32", "--write-baseline", "c.json", "--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let instructions = json(&out)["rows"][0]["instructions"].as_f64().expect("a number");
    // 32³ multiply-adds, one or two instructions each at least where nothing is a vector, and far from a hundred.
    assert!((16e3..3e6).contains(&instructions), "{instructions}");
    let (code, out, err) = run(dir, &[&args[..], &["--baseline", "c.json"]].concat());
    assert!(code == 0 && out.ends_with("0 slower, 1 same, 0 faster\n"), "{out}{err}");
}

#[test]
fn callgrind_counts_the_same_twice() {
    really_counted("callgrind_counts_the_same_twice", "callgrind", "valgrind");
}

#[test]
fn qemu_counts_the_same_twice() {
    really_counted("qemu_counts_the_same_twice", "qemu", concat!("qemu-", "x86_64"));
}

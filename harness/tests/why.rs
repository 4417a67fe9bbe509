//! `kiln bake --why`: profiles that are baked from made-up results and then asked for their reasons. Nothing is timed, and
//! asking writes nothing.

mod common;

use common::run;
use kiln::filter::by_name;
use kiln::machine::Machine;
use kiln::space::Temperature;
use kiln::store::{Config, Outcome, Record, SCHEMA};
use kiln_profiles::lookup;
use kiln_profiles::schema::{Choice, Class, Tier, Tuned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ONE: &str = "gemm_f32_scalar_1x4v_u1";
const TWO: &str = "gemm_f32_scalar_2x4v_u1";
const FOUR: &str = "gemm_f32_scalar_4x4v_u1";
const NORM: &str = "rms_norm_f32_scalar_u1_r1_s0_a0";

fn config(kernel: &str, shape: &str) -> Config {
    let meta = by_name(kernel).expect("a kernel").meta;
    let product = kernel.starts_with("gemm");
    let cold = product && shape.parse().is_ok_and(|s: kiln::space::Shape| s.class().reads_weights());
    Config {
        kernel: kernel.into(),
        fingerprint: format!("{:016x}", meta.fingerprint),
        op: meta.op.name().into(),
        format: meta.format.name().into(),
        isa: meta.isa.name().into(),
        shape: shape.parse().expect("a shape"),
        threads: 1,
        tile: (meta.param("MR").unwrap_or(0), if product { 16 } else { 0 }),
        blocking: product.then_some(kiln::store::Blocks(64, 64, 64, Default::default())),
        split: None,
        split_varied: false,
        spin: None,
        packed: product,
        operands: if cold { Temperature::Cold } else { Temperature::Hot },
    }
}

fn record(config: Config, outcome: Outcome) -> Record {
    Record {
        schema: SCHEMA,
        time: "2026-01-01T00:00:00Z".into(),
        machine: Machine::detect().key().into(),
        compiler: "rustc".into(),
        flags: String::new(),
        tier: Tier::Measured,
        config,
        default: false,
        page_bytes: 4096,
        huge_pages: None,
        noise_floor: 0.01,
        forced: false,
        effort: None,
        verification_error: Some(0.1),
        outcome,
    }
}

fn timed(kernel: &str, shape: &str, ns: f64) -> Record {
    record(config(kernel, shape), Outcome::timed(&[ns; 5], None).expect("samples"))
}

/// Pairs in which one takes `ratio` of the time of the other.
fn paired(kernel: &str, other: &str, role: &str, shape: &str, ratio: f64) -> Record {
    let pairs = [(100.0 * ratio, 100.0); 12];
    record(config(kernel, shape), Outcome::paired(config(other, shape).label(), role, &pairs, 1).expect("pairs"))
}

/// At 64x32x32 the best by median loses in pairs; at 96x32x32 one gave wrong answers; of one row the default stays.
fn results() -> Vec<Record> {
    let default = |record: Record| Record { default: true, ..record };
    let other = |record: Record, operands, packed| {
        let config = Config { operands, packed, ..record.config.clone() };
        Record { config, ..record }
    };
    vec![
        timed(FOUR, "64x32x32", 1000.0),
        timed(TWO, "64x32x32", 1050.0),
        default(timed(ONE, "64x32x32", 2000.0)),
        paired(TWO, FOUR, "best", "64x32x32", 0.9),
        paired(TWO, ONE, "default", "64x32x32", 0.5),
        timed(FOUR, "96x32x32", 1000.0),
        timed(TWO, "96x32x32", 1500.0),
        default(timed(ONE, "96x32x32", 2000.0)),
        record(
            Config { blocking: Some(kiln::store::Blocks(8, 8, 8, Default::default())), ..config(FOUR, "96x32x32") },
            Outcome::Invalid { reason: "element (0, 0) is 1 instead of 2".into() },
        ),
        record(config(FOUR, "200x32x32"), Outcome::Invalid { reason: "element (1, 1) is NaN instead of 1".into() }),
        // With hot operands another one wins, which does not count for one row.
        default(timed(ONE, "1x32x32", 1000.0)),
        timed(TWO, "1x32x32", 995.0),
        other(timed(ONE, "1x32x32", 900.0), Temperature::Hot, true),
        other(timed(TWO, "1x32x32", 100.0), Temperature::Hot, true),
        other(timed(TWO, "1x32x32", 100.0), Temperature::Cold, false),
        default(timed(NORM, "4x64", 50.0)),
        timed("rms_norm_f32_scalar_u4_r1_s0_a0", "4x64", 20.0),
    ]
}

/// A folder with a profile `mine` that was baked from `results`.
fn baked() -> tempfile::TempDir {
    baked_from(&results())
}

fn baked_from(results: &[Record]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    store(dir.path(), results);
    let (code, _, err) = run(dir.path(), &["bake", "--cpu", "mine", "--store", "store.jsonl", "--profiles", "profiles"]);
    assert_eq!(code, 0, "{err}");
    dir
}

fn store(dir: &Path, results: &[Record]) {
    let lines: String = results.iter().map(|r| serde_json::to_string(r).expect("JSON") + "\n").collect();
    fs::write(dir.join("store.jsonl"), lines).expect("a store");
}

/// What is printed for people, and the document; asking writes nothing.
fn why(dir: &Path, args: &[&str]) -> (String, Value) {
    let before = files(dir);
    let args = [&["bake", "--profiles", "profiles", "--why"], args].concat();
    let (code, text, err) = run(dir, &args);
    assert_eq!(code, 0, "{args:?}: {err}");
    let (code, out, err) = run(dir, &[&args[..], &["--json"]].concat());
    assert_eq!(code, 0, "{args:?}: {err}");
    assert_eq!(files(dir), before, "{args:?}: something was written");
    (text, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: not one JSON document ({e}): {out}")))
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            all.extend(files(&entry));
        } else {
            all.insert(entry.display().to_string(), fs::read(&entry).expect("a file"));
        }
    }
    all
}

fn refused(dir: &Path, args: &[&str], part: &str) {
    let (code, out, err) = run(dir, &[&["bake", "--profiles", "profiles"], args].concat());
    assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    assert_eq!(err.lines().filter(|l| l.starts_with("kiln: ") && l.contains(part)).count(), 1, "{args:?}: {err}");
}

fn tuned(dir: &Path) -> Tuned {
    lookup::tuned(&dir.join("profiles"), "mine").expect("a profile").0
}

fn change(dir: &Path, change: impl FnOnce(&mut Vec<Choice>)) {
    let mut tuned = tuned(dir);
    change(&mut tuned.variants[0].choices);
    lookup::write_tuned(&dir.join("profiles"), &tuned).expect("written");
}

fn prefill(choices: &mut [Choice]) -> &mut Choice {
    choices.iter_mut().find(|c| c.op == "gemm" && c.format == "f32" && c.class == Class::Prefill).expect("a choice")
}

#[test]
fn at_a_measured_shape_the_table_the_pairs_and_the_rules_are_told() {
    let dir = baked();
    let (text, document) = why(dir.path(), &["gemm", "64x32x32", "--cpu", "mine"]);
    assert_eq!((&document["class"], &document["choice"]["kernel"]), (&"prefill".into(), &FOUR.into()));
    assert_eq!((&document["choice"]["runner_up"], &document["sources"]), (&TWO.into(), &"same".into()));
    // Over both shapes the four rows are the best, and twice as fast as the default.
    let class = &document["over_class"];
    assert_eq!((&class["agrees"], &class["verdict"]["decided_by"]), (&true.into(), &"mean".into()));
    assert!(class["gain"]["ratio"].as_f64().is_some_and(|r| (r - 2.0).abs() < 0.01), "{class}");
    assert_eq!(class["shapes"], serde_json::json!([["64x32x32", 1.0], ["96x32x32", 1.0]]));
    // At this one alone pairs beat medians.
    let at = &document["at_shape"];
    assert_eq!((&at["winner"], &at["verdict"]["decided_by"]), (&config(TWO, "64x32x32").label().into(), &"pairs".into()));
    let candidates = at["candidates"].as_array().expect("candidates");
    let of = |field: &str| candidates.iter().map(|c| c[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("median_ns"), [1000.0, 1050.0, 2000.0].map(Value::from));
    assert_eq!(of("over_best"), [1.0, 1.05, 2.0].map(Value::from));
    assert_eq!(of("roles"), [["choice"].as_slice(), &["runner-up", "winner here"], &["default"]].map(Value::from));
    let pairs: Vec<_> =
        at["pairs"].as_array().expect("pairs").iter().map(|p| (p["role"].clone(), p["pairs"].clone(), p["verdict"].clone())).collect();
    assert_eq!(pairs, ["best", "default"].map(|role| (role.into(), 12.into(), "faster".into())));
    for part in ["class prefill", FOUR, "pairs beat medians", "no-harm gate: passed", "0.900 [0.900, 0.900]", "1.050", "runner-up / choice"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn wrong_answers_and_results_that_do_not_count_are_named() {
    let dir = baked();
    let (text, document) = why(dir.path(), &["gemm", "96x32x32", "--cpu", "mine"]);
    assert_eq!(document["at_shape"]["invalid"][0]["reason"], "element (0, 0) is 1 instead of 2");
    assert!(text.contains("gave wrong answers") && text.contains("kc 8 mc 8 nc 8"), "{text}");
    let (text, document) = why(dir.path(), &["gemm", "200x32x32", "--cpu", "mine"]);
    assert!(document["at_shape"]["winner"].is_null() && document["nearest"][0]["shape"] == "96x32x32", "{document}");
    assert!(text.contains("NaN instead of 1") && text.contains("200x32x32 has no time"), "{text}");
    let (_, document) = why(dir.path(), &["gemm", "1x32x32", "--cpu", "mine"]);
    // Within the band the default stays, whatever hot or unpacked operands say.
    assert_eq!((&document["choice"]["kernel"], &document["over_class"]["agrees"]), (&ONE.into(), &true.into()));
    assert_eq!(document["at_shape"]["candidates"].as_array().map(Vec::len), Some(2));
    let notes = document["notes"].to_string();
    assert!(notes.contains("2 with hot operands, packed") && notes.contains("1 with cold operands, not packed"), "{notes}");
}

#[test]
fn every_measured_choice_is_what_its_own_evidence_leads_to() {
    let dir = baked();
    let choices = tuned(dir.path()).variants.remove(0).choices;
    let measured: Vec<&Choice> = choices.iter().filter(|c| c.tier == Tier::Measured).collect();
    assert_eq!(measured.len(), 3, "{measured:?}");
    for choice in measured {
        let shape = match choice.class {
            Class::Decode => "1x7x9",
            Class::Row => "3x3",
            _ => "77x7x9",
        };
        let (_, document) = why(dir.path(), &[&choice.op, shape, "--cpu", "mine"]);
        assert_eq!((&document["over_class"]["agrees"], &document["choice"]["kernel"]), (&true.into(), &choice.kernel.as_str().into()));
    }
    // A store without what made it win leads elsewhere, which is said.
    let without: String =
        results().iter().filter(|r| r.config.kernel != FOUR).map(|r| serde_json::to_string(r).expect("JSON") + "\n").collect();
    fs::write(dir.path().join("other.jsonl"), without).expect("a store");
    let (text, document) = why(dir.path(), &["gemm", "64x32x32", "--cpu", "mine", "--store", "other.jsonl"]);
    assert_eq!((&document["over_class"]["agrees"], &document["results"]), (&false.into(), &"other.jsonl".into()));
    assert!(text.contains("These results lead to gemm_f32_scalar_2x4v_u1") && text.contains("The choice itself has no result"), "{text}");
}

#[test]
fn of_a_shape_that_was_not_measured_the_nearest_are_named() {
    let dir = baked();
    let (text, document) = why(dir.path(), &["gemm", "80x32x32", "--cpu", "mine"]);
    assert!(document["at_shape"].is_null(), "{document}");
    let nearest: Vec<_> =
        document["nearest"].as_array().expect("shapes").iter().map(|n| (n["shape"].clone(), n["class"].clone())).collect();
    let named = [("96x32x32", "prefill"), ("64x32x32", "prefill"), ("1x32x32", "decode")];
    assert_eq!(nearest, named.map(|(shape, class)| (shape.into(), class.into())));
    assert!(text.contains("80x32x32 was not measured: the choice comes from other shapes of its class"), "{text}");
    // Of an operation without any result the profile's word is all there is.
    let (text, document) = why(dir.path(), &["softmax", "4x64", "--cpu", "mine"]);
    assert!(document["over_class"].is_null() && document["nearest"] == Value::Array(Vec::new()), "{document}");
    assert!(text.contains("nor was any other shape"), "{text}");
}

#[test]
fn a_profile_may_end_few_rows_elsewhere_and_this_cpus_is_found_by_itself() {
    let dir = baked();
    change(dir.path(), |choices| {
        let few = Choice { class: Class::Few, m_max: Some(70), kernel: TWO.into(), ..prefill(choices).clone() };
        choices.push(few);
    });
    let (text, document) = why(dir.path(), &["gemm", "64x32x32"]);
    assert_eq!((&document["cpu"], &document["class"]), (&"mine".into(), &"prefill".into()));
    assert_eq!((&document["choice"]["class"], &document["choice"]["kernel"]), (&"few".into(), &TWO.into()));
    assert!(text.contains("choice for few goes up to M = 70"), "{text}");
    let (_, document) = why(dir.path(), &["gemm", "71x32x32"]);
    assert_eq!(document["choice"]["class"], "prefill");
}

#[test]
fn sources_that_have_changed_or_are_gone_are_said() {
    let dir = baked();
    change(dir.path(), |choices| prefill(choices).fingerprint = "0123456789abcdef".into());
    let (text, document) = why(dir.path(), &["gemm", "64x32x32", "--cpu", "mine"]);
    assert_eq!(document["sources"], "changed");
    assert!(text.contains("changed since it was chosen"), "{text}");
    change(dir.path(), |choices| prefill(choices).kernel = "gemm_f32_none".into());
    assert_eq!(why(dir.path(), &["gemm", "64x32x32", "--cpu", "mine"]).1["sources"], "gone");

    // Evidence of older sources is told as it is; of a store it does not count, as it does not for baking.
    let path = dir.path().join("profiles/mine/evidence/results.jsonl");
    let old = fs::read_to_string(&path).expect("evidence").replace(&config(FOUR, "64x32x32").fingerprint, "0123456789abcdef");
    fs::write(&path, &old).expect("written");
    fs::write(dir.path().join("old.jsonl"), &old).expect("written");
    let (text, document) = why(dir.path(), &["gemm", "64x32x32", "--cpu", "mine"]);
    assert_eq!(document["at_shape"]["candidates"][0]["current"], false);
    assert!(text.contains("changed since") && document["notes"].to_string().contains("changed since"), "{document}");
    let (_, document) = why(dir.path(), &["gemm", "64x32x32", "--cpu", "mine", "--store", "old.jsonl"]);
    assert!(document["at_shape"].is_null() && document["notes"].to_string().contains("do not count"), "{document}");
}

#[test]
fn what_cannot_be_answered_is_refused_in_one_line() {
    let dir = baked();
    let dir = dir.path();
    refused(dir, &["--why", "conv", "8x8x8", "--cpu", "mine"], "known are gemm");
    refused(dir, &["--why", "gemm", "8x8", "--cpu", "mine"], "MxNxK");
    refused(dir, &["--why", "gemm", "0x1x1", "--cpu", "mine"], "nothing to measure");
    refused(dir, &["--why", "gemm", "64,96", "--cpu", "mine"], "2 shapes: ask for one");
    refused(dir, &["--why", "gemm", "--cpu", "mine"], "2 values required");
    refused(dir, &["--why", "gemm", "64", "--cpu", "zen99"], "known are mine");
    refused(dir, &["--why", "gemm", "64", "--cpu", "../profiles/mine"], "known are mine");
    refused(dir, &["--why", "gemm", "64", "--cpu", "mine", "--format", "q5_0"], "has no choice for gemm of q5_0");
    refused(dir, &["--why", "gemm", "64", "--cpu", "mine", "--format", "q4"], "unknown format");
    refused(dir, &["--why", "softmax", "4x4", "--cpu", "mine", "--format", "f16"], "choose among f32");
    refused(dir, &["--why", "gemm", "64", "--cpu", "mine", "--store", "none.jsonl"], "none.jsonl");
    refused(dir, &["--format", "f32", "--cpu", "mine"], "--why");
    refused(dir, &[], "--cpu");
    fs::write(dir.join("profiles/mine/tuned.toml"), "schema = 1").expect("written");
    refused(dir, &["--why", "gemm", "64", "--cpu", "mine"], "tuned.toml");
}

#[test]
fn a_shape_gets_what_the_row_of_its_table_has() {
    let shapes = ["64x512x512", "128x512x512", "64x2048x512", "128x2048x512"];
    let of = |kernel: &str, ns: [f64; 4]| shapes.iter().zip(ns).map(|(shape, ns)| timed(kernel, shape, ns)).collect::<Vec<_>>();
    let default = of(ONE, [1000.0; 4]).into_iter().map(|r| Record { default: true, ..r }).collect();
    let dir = baked_from(&[default, of(FOUR, [500.0, 500.0, 800.0, 800.0]), of(TWO, [900.0, 900.0, 600.0, 600.0])].concat());
    let written = fs::read_to_string(dir.path().join("profiles/mine/tuned.toml")).expect("a profile");
    assert!(written.contains("[[variant.choice.when]]") && written.contains("n_max = 1024"), "{written}");
    let asked = |shape: &str| why(dir.path(), &["gemm", shape, "--cpu", "mine"]);
    let (text, document) = asked("64x512x512");
    assert_eq!((&document["row"]["number"], &document["row"]["rows"]), (&1.into(), &2.into()));
    assert_eq!((&document["runs"], &document["choice"]["worst_regret"]), (&config(FOUR, "64x512x512").label().into(), &1.0.into()));
    assert_eq!(document["over_class"]["agrees"], true, "{document}");
    for part in ["row 1 of 2 holds this shape: N up to 1024", "table: gemm_f32_scalar_4x4v_u1", "worst regret"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Beyond the bound, whether it was measured or not, it is the other one.
    for shape in ["64x2048x512", "40x1025x7"] {
        assert_eq!(asked(shape).1["runs"], config(TWO, shape).label());
    }
    let roles = &asked("64x2048x512").1["at_shape"]["candidates"][0];
    assert_eq!((&roles["config"]["kernel"], roles["roles"][0].as_str()), (&TWO.into(), Some("choice")));
    // A build of that profile has both.
    let source = kiln_profiles::codegen::Source { tuned: tuned(dir.path()), machine: None };
    let code = kiln_profiles::codegen::generate(&[source], std::env::consts::ARCH).expect("it can be baked");
    assert!(code.contains("When { upto: [usize::MAX, 1024, usize::MAX], blocking: Blocking { kc: 64,"), "{code}");
}

#[test]
fn end_to_end_a_models_calls_count_and_are_summed() {
    let dir = tempfile::tempdir().expect("a folder");
    let default = |record: Record| Record { default: true, ..record };
    store(
        dir.path(),
        &[
            default(timed(ONE, "128x256x256", 1000.0)),
            timed(FOUR, "128x256x256", 500.0),
            default(timed(ONE, "128x99x99", 10.0)),
            timed(FOUR, "128x99x99", 900.0),
            default(timed(ONE, "1x256x256", 100.0)),
        ],
    );
    let bake = ["bake", "--cpu", "mine", "--store", "store.jsonl", "--profiles", "profiles"];
    let objective = ["--objective", "end-to-end", "--model", "embedded"];
    let (code, out, err) = run(dir.path(), &[&bake[..], &objective, &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let document: Value = serde_json::from_str(&out).expect("one document");
    // Of the model's 17 products 4 are of 256 x 256; 512 rows take four times as long as 128.
    let totals: Vec<_> = document["totals"]
        .as_array()
        .expect("totals")
        .iter()
        .map(|t| ["tokens", "calls", "all_calls", "default_ns", "tuned_ns"].map(|field| t[field].as_f64().expect("a number")))
        .collect();
    assert_eq!(totals, [[512.0, 4.0, 17.0, 16000.0, 8000.0], [1.0, 4.0, 17.0, 400.0, 400.0]]);
    let choice = prefill(&mut tuned(dir.path()).variants[0].choices).clone();
    assert!(choice.kernel == FOUR && choice.note.contains("objective: end to end, by the calls of embedded"), "{choice:?}");
    let (text, _) = why(dir.path(), &[&["gemm", "128x256x256", "--cpu", "mine"], &objective[..]].concat());
    assert!(text.contains("Over the class prefill") && !text.contains("These results lead to"), "{text}");
    let (code, out, err) = run(dir.path(), &[&bake[..], &objective].concat());
    assert!(code == 0 && out.contains("4 of 17") && out.contains("2.000"), "{out}{err}");
    // Of all shapes alike the other one is by far the slower.
    let (code, _, err) = run(dir.path(), &bake);
    assert_eq!(code, 0, "{err}");
    assert_eq!(prefill(&mut tuned(dir.path()).variants[0].choices).kernel, ONE);
    refused(dir.path(), &["--cpu", "mine", "--objective", "end-to-end"], "--model");
    refused(dir.path(), &["--cpu", "mine", "--model", "embedded", "--store", "store.jsonl"], "give both");
    refused(dir.path(), &["--cpu", "mine", "--objective", "end-to-end", "--model", "gpt"], "known are embedded");
}

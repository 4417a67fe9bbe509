//! Perplexity against transformers' and llama.cpp's numbers for the same weights and text, and recorded baselines.

mod common;

use std::path::Path;
use std::sync::LazyLock;

use common::program::{json, qwen2, refused};
use common::{data, load};
use qwen2::model::Model;
use qwen2::perplexity::baseline::{Reader, Writer};
use qwen2::perplexity::{Comparison, Prediction, Windows, score};
use qwen2::{Error, Tokenizer};
use serde_json::Value;

static F16: LazyLock<(Tokenizer, Model)> = LazyLock::new(|| load(std::fs::read(data("rustdoc-f16.gguf")).unwrap(), 2).unwrap());

static TOKENS: LazyLock<Vec<u32>> = LazyLock::new(|| F16.0.encode(&std::fs::read_to_string(data("heldout.txt")).unwrap()).unwrap());

fn embedded() -> (Tokenizer, Model) {
    let mut file = qwen2::embedded().unwrap();
    let tokenizer = Tokenizer::from_gguf(&mut file).unwrap();
    let model = Model::from_gguf(&file, tokenizer.len(), qwen2::baked::select(None).unwrap(), 2, &mut |_, _| {}).unwrap();
    (tokenizer, model)
}

#[test]
fn all_of_each_window_as_transformers_computes_it() {
    let windows = Windows::whole(512, TOKENS.len(), None).unwrap();
    let mut done = Vec::new();
    let scored = score(&F16.1, &TOKENS, windows, |_| Ok(()), |window| done.push(window)).unwrap();
    assert_eq!((scored.windows, scored.scored), (66, 66 * 511));
    assert!((scored.nll.value - 2.72613).abs() < 5e-4, "{scored:?}");
    assert_eq!(done, (1..=66).collect::<Vec<_>>());
}

#[test]
fn the_second_half_of_each_window_as_llama_cpp_computes_it() {
    let windows = Windows::llama(512, TOKENS.len(), None).unwrap();
    for (model, theirs) in [(&F16.1, 13.9534), (&embedded().1, 13.9565)] {
        let scored = score(model, &TOKENS, windows, |_| Ok(()), |_| {}).unwrap();
        assert_eq!(scored.scored, 66 * 255);
        // Theirs multiplies activations as f16 or Q8_0, ours not always.
        assert!((scored.perplexity.value - theirs).abs() < 0.02, "{scored:?} instead of {theirs}");
        assert!((scored.perplexity.error.unwrap() - 0.31).abs() < 0.01, "{scored:?}");
    }
}

#[test]
fn a_baseline_is_close_to_its_own_model_and_further_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f16.logp");
    let windows = Windows::whole(128, TOKENS.len(), Some(6)).unwrap();
    let mut record = Writer::create(&path, &F16.0, &TOKENS, windows).unwrap();
    let recorded = score(&F16.1, &TOKENS, windows, |prediction| record.add(&prediction), |_| {}).unwrap();
    record.finish().unwrap();

    let compare = |model: &Model, tokenizer: &Tokenizer| {
        let mut baseline = Reader::open(&path, tokenizer).unwrap();
        assert_eq!((baseline.windows(), baseline.tokens()), (windows, &TOKENS[..6 * 128]));
        let mut comparison = Comparison::default();
        let tokens = baseline.tokens().to_vec();
        let add = |prediction: Prediction<'_>| {
            comparison.add(&prediction, baseline.read()?);
            Ok(())
        };
        score(model, &tokens, windows, add, |_| {}).unwrap();
        comparison.finish().unwrap()
    };
    let own = compare(&F16.1, &F16.0);
    assert!(own.mean.value < 1e-6 && own.max < 1e-5 && own.same_top.value > 0.99, "{own:?}");
    assert!((own.baseline_perplexity / recorded.perplexity.value - 1.0).abs() < 1e-3, "{own:?}");
    let (tokenizer, q8_0) = embedded();
    let other = compare(&q8_0, &tokenizer);
    assert!(other.mean.value > 10.0 * own.mean.value && other.mean.value < 1e-2, "{other:?}");
    assert!(other.median <= other.percentile_99 && other.percentile_99 <= other.max, "{other:?}");
    assert!(other.same_top.value > 0.9 && (other.perplexity_ratio.value - 1.0).abs() < 0.02, "{other:?}");
}

#[test]
fn what_is_no_baseline_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.logp");
    let windows = Windows::whole(16, TOKENS.len(), Some(1)).unwrap();
    let mut record = Writer::create(&path, &F16.0, &TOKENS, windows).unwrap();
    score(&F16.1, &TOKENS, windows, |prediction| record.add(&prediction), |_| {}).unwrap();
    record.finish().unwrap();
    let sound = std::fs::read(&path).unwrap();
    assert_eq!(sound.len(), 40 + 4 * 16 + 15 * 2 * 4096);

    let told = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        Reader::open(&path, &F16.0).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(told(sound.clone()), "");
    for cut in [0, 7, 39, 50, sound.len() - 1] {
        assert!(!told(sound[..cut].to_vec()).is_empty(), "cut to {cut} bytes");
    }
    let change = |at: usize, bytes: &[u8]| {
        let mut changed = sound.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        told(changed)
    };
    assert!(change(0, b"GGUF").contains("does not begin as one"));
    assert!(change(8, &[9]).contains("version is 9"));
    assert!(change(12, &[1]).contains("another vocabulary"));
    assert!(change(16, &[sound[16] ^ 1]).contains("another vocabulary"));
    for (at, what) in [(24, [0; 4]), (24, [15, 0, 0, 0]), (28, [15, 0, 0, 0]), (24, [255; 4]), (28, [255; 4])] {
        assert!(change(at, &what).contains("cannot be"), "{at}");
    }
    assert!(!change(32, &[255; 8]).is_empty() && !change(32, &[0; 8]).is_empty());
    assert!(change(40, &[255; 4]).contains("does not exist"));
    assert!(change(32, &[32]).contains("another length"));

    let mut spoilt = sound.clone();
    spoilt[40 + 4 * 16..][..2].copy_from_slice(&[0, 0x7e]); // not a number
    std::fs::write(&path, spoilt).unwrap();
    assert!(matches!(Reader::open(&path, &F16.0).unwrap().read(), Err(Error::Baseline { .. })));
}

#[test]
fn the_program_scores_records_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let [text, record] = ["heldout.txt", "f16.logp"].map(|name| folder.path().join(name));
    std::fs::copy(data("heldout.txt"), &text).unwrap();
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let (text, record, model) = (shown(&text), shown(&record), shown(&data("rustdoc-f16.gguf")));

    let common = ["perplexity", "-m", &model, "--window", "64", "--windows", "4"];
    let saved = json(&mut qwen2(&[&common[..], &["-f", &text, "--json", "--save-logits", &record]].concat()));
    assert_eq!((&saved["windows"], &saved["scored"], &saved["method"]), (&4.into(), &(4 * 63).into(), &"windows".into()));
    assert!(saved["ppl"].as_f64().unwrap() > 1.0 && saved["ppl_stderr"].as_f64().unwrap() > 0.0);
    assert_eq!(saved["divergence"], Value::Null);
    let half = json(qwen2(&[&common[..], &["--llama", "--json"]].concat()).write_stdin(std::fs::read(&text).unwrap()));
    assert_eq!((&half["scored"], &half["method"]), (&(4 * 31).into(), &"llama".into()));

    let compared = json(&mut qwen2(&["perplexity", "--baseline", &record, "--json"]));
    assert_eq!((&compared["scored"], &compared["method"]), (&(4 * 63).into(), &"baseline".into()));
    let divergence = &compared["divergence"];
    assert!(divergence["mean"]["value"].as_f64().unwrap() > 0.0 && divergence["mean"]["error"].as_f64().unwrap() > 0.0);
    let table = qwen2(&["perplexity", "--baseline", &record]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("perplexity ratio") && table.contains("same top token"), "{table}");
}

#[test]
fn bad_input_is_told_in_one_line() {
    let text = data("heldout.txt");
    let text = text.to_str().unwrap();
    refused(&mut qwen2(&["perplexity", "-f", "/no/such/text"]), "cannot read '/no/such/text'");
    refused(&mut qwen2(&["perplexity", "--baseline", "/no/such/file"]), "cannot read '/no/such/file'");
    refused(&mut qwen2(&["perplexity", "--baseline", text]), "is no baseline");
    refused(&mut qwen2(&["perplexity", "--baseline", "/"]), "not a regular file");
    refused(&mut qwen2(&["perplexity", "-f", text, "--baseline", text]), "cannot be used with");
    refused(&mut qwen2(&["perplexity", "-f", text, "--save-logits", "/no/such/folder/x"]), "cannot write '/no/such/folder/x'");
    refused(&mut qwen2(&["perplexity", "-f", text, "--window", "4096"]), "exceeds the model's context of 2048");
    refused(&mut qwen2(&["perplexity", "-f", text, "--window", "1"]), "nothing to score");
    refused(&mut qwen2(&["perplexity", "-f", text, "--windows", "0"]), "--windows 1 or more");
    refused(qwen2(&["perplexity"]).write_stdin("A vector"), "fewer than a window of 512");
    refused(qwen2(&["perplexity"]).write_stdin(""), "has 0 tokens");
    refused(qwen2(&["perplexity"]).write_stdin(b"\xff".to_vec()), "not UTF-8");
}

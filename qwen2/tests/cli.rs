//! The program as a user meets it: answers on stdout, one line on stderr for what is wrong, the exit status.

mod common;

use common::folder::{folder_of, write};
use common::program::{json, qwen2, refused};
use common::{data, tiny};
use kiln_kernels::isa::IsaId;
use kiln_profiles::without::VARIABLE;
use serde_json::Value;

#[test]
fn run_continues_with_the_embedded_model() {
    let output = qwen2(&["run", "-p", "The borrow checker", "-n", "12"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.len() > 12 && output.stdout.ends_with(b"\n"));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("tok/s") && notes.contains("profile"), "{notes}");
}

#[test]
fn run_tells_everything_in_json() {
    let answer = json(&mut qwen2(&["run", "-p", "A vector is", "-n", "6", "--json", "-t", "1"]));
    assert_eq!(answer["prompt_ids"], serde_json::json!([32, 2394, 316]));
    assert_eq!(answer["ids"].as_array().unwrap().len(), 6);
    assert_eq!(answer["stop"], "length");
    assert_eq!(answer["threads"], 1);
    assert_eq!(answer["generated"]["tokens"], 5);
    let again = json(qwen2(&["run", "-n", "6", "--json", "-t", "2"]).write_stdin("A vector is"));
    assert_eq!(again["text"], answer["text"]);
}

#[test]
fn a_seed_gives_one_text() {
    let text =
        |seed| json(&mut qwen2(&["run", "-p", "A vector is", "-n", "24", "--temp", "1.0", "--seed", seed, "--json"]))["text"].clone();
    assert_eq!(text("5"), text("5"));
    assert_ne!(text("5"), text("6"));
}

#[test]
fn a_text_ends_before_a_stop_string() {
    let whole = json(&mut qwen2(&["run", "-p", "A vector is", "-n", "24", "--json"]))["text"].as_str().unwrap().to_owned();
    let stop: String = whole.chars().skip(20).take(6).collect();
    let cut = json(&mut qwen2(&["run", "-p", "A vector is", "-n", "24", "--json", "--stop", "nowhere", "--stop", &stop]));
    assert_eq!(cut["text"].as_str().unwrap(), &whole[..whole.find(&stop).unwrap()]);
    assert_eq!(cut["stop"], "stop_string");
    let printed = qwen2(&["run", "-p", "A vector is", "-n", "24", "--stop", &stop]).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap().trim_end_matches('\n'), cut["text"].as_str().unwrap().trim_end_matches('\n'));
    refused(&mut qwen2(&["run", "-p", "a", "--stop", ""]), "stop string is empty");
}

#[test]
fn sampling_options_are_known_and_checked() {
    let args = ["run", "-p", "A vector is", "-n", "40", "--json"];
    let text = |more: &[&str]| json(&mut qwen2(&[&args[..], more].concat()))["text"].clone();
    assert_ne!(text(&["--repeat-penalty", "1.5", "--repeat-last-n", "-1"]), text(&[]));
    // Nothing but the likeliest is as likely as the likeliest.
    assert_eq!(text(&["--temp", "2", "--min-p", "1", "--seed", "3"]), text(&[]));
    refused(&mut qwen2(&["run", "-p", "a", "--min-p", "-1"]), "min-p is -1");
    refused(&mut qwen2(&["run", "-p", "a", "--repeat-penalty", "0"]), "repeat penalty is 0");
    refused(&mut qwen2(&["run", "-p", "a", "--repeat-last-n", "-2"]), "--repeat-last-n");
}

#[test]
fn look_up_changes_nothing_but_the_passes() {
    let args = ["run", "-p", "0 1 2 3 0 1 2 3 0 1", "-n", "60", "--json"];
    let (plain, looked) = (json(&mut qwen2(&args)), json(&mut qwen2(&[&args[..], &["--lookup"]].concat())));
    assert_eq!(looked["ids"], plain["ids"]);
    assert_eq!(plain["lookup"], Value::Null);
    assert!(
        looked["lookup"]["accepted"].as_u64() <= looked["lookup"]["proposed"].as_u64() && looked["lookup"]["passes"].as_u64() > Some(0)
    );
    let notes = qwen2(&["run", "-p", "A vector is", "-n", "9", "--lookup", "4"]).output().unwrap().stderr;
    assert!(String::from_utf8(notes).unwrap().contains("proposed tokens accepted"));
    refused(&mut qwen2(&["run", "-p", "a", "--lookup", "--temp", "0.5"]), "temperature 0 alone");
    refused(&mut qwen2(&["run", "-p", "a", "--lookup", "0"]), "--lookup");
}

#[test]
fn a_prompt_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "A vector is").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(json(&mut qwen2(&["run", "-f", path, "-n", "1", "--json"]))["prompt"], "A vector is");
    std::fs::write(file.path(), b"A \xff").unwrap();
    refused(&mut qwen2(&["run", "-f", path]), "not UTF-8 (byte 2)");
    refused(&mut qwen2(&["run", "-f", "/no/such/file"]), "cannot read");
}

#[test]
fn tokenize_takes_stdin_as_it_is() {
    let vocab = data("ggml-vocab-qwen2.gguf");
    let vocab = vocab.to_str().unwrap();
    let ids = |text: &str| json(qwen2(&["tokenize", "-m", vocab, "--json"]).write_stdin(text))["ids"].clone();
    assert_eq!(ids("Hello\n"), serde_json::json!([9707, 198]));
    assert_eq!(ids(""), serde_json::json!([]));
    qwen2(&["tokenize", "-m", vocab]).write_stdin("Hello world").assert().success().stdout("9707 1879\n");
    refused(qwen2(&["tokenize", "-m", vocab]).write_stdin(b"ab\xff".to_vec()), "not UTF-8 (byte 2)");
}

#[test]
fn a_vocabulary_is_no_model() {
    let vocab = data("ggml-vocab-qwen2.gguf");
    let vocab = vocab.to_str().unwrap();
    refused(&mut qwen2(&["run", "-m", vocab, "-p", "a"]), "is missing");
    assert_eq!(json(&mut qwen2(&["info", "-m", vocab, "--json"]))["tokenizer"]["tokens"], 151_936);
}

#[test]
fn a_folder_is_as_good_as_a_file() {
    let (folder, gguf) = (write(&folder_of(&tiny(1), "F16")), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(gguf.path(), tiny(1).bytes()).unwrap();
    let (folder_path, gguf) = (folder.path().to_str().unwrap(), gguf.path().to_str().unwrap());
    let logits = |path| json(&mut qwen2(&["logits", "-m", path, "--tokens", "104,256,7", "--json"]));
    // Norms are exact in halves, biases are not.
    for (ours, theirs) in logits(folder_path)["logits"].as_array().unwrap().iter().zip(logits(gguf)["logits"].as_array().unwrap()) {
        assert!((ours.as_f64().unwrap() - theirs.as_f64().unwrap()).abs() < 1e-2);
    }
    let ids = |path| json(qwen2(&["tokenize", "-m", path, "--json"]).write_stdin("hello <|im_end|>\n"))["ids"].clone();
    assert_eq!(ids(folder_path), ids(gguf));
    let info = json(&mut qwen2(&["info", "-m", folder_path, "--json"]));
    assert_eq!(info["container"], "folder with safetensors");
    assert_eq!(info["parameters"], json(&mut qwen2(&["info", "-m", gguf, "--json"]))["parameters"]);
    assert_eq!(info["tokenizer"]["padding"], 2);
    let tests = json(&mut qwen2(&["bench", "-m", folder_path, "-p", "4", "-n", "2", "-r", "1", "-o", "json"]));
    assert!(tests[0]["model_type"].as_str().unwrap().ends_with(" F16"));
    let text = json(&mut qwen2(&["run", "-m", folder_path, "-p", "he", "-n", "3", "--json"]));
    assert_eq!(text["ids"].as_array().unwrap().len(), 3);

    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(ids(folder_path), ids(gguf), "a folder without weights has a tokenizer");
    assert!(json(&mut qwen2(&["info", "-m", folder_path, "--json"]))["parameters"].is_null());
    refused(&mut qwen2(&["run", "-m", folder_path, "-p", "a"]), "'model.layers.0.input_layernorm.weight' is missing");
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    refused(&mut qwen2(&["info", "-m", folder_path]), "a folder without config.json");
}

#[test]
fn logits_of_the_last_position() {
    let path = data("rustdoc-f16.gguf");
    let answer = json(&mut qwen2(&["logits", "-m", path.to_str().unwrap(), "--tokens", "32,2394,316", "--json"]));
    let logits = answer["logits"].as_array().unwrap();
    assert_eq!(logits.len(), 4096);
    assert!((logits[0].as_f64().unwrap() + 4.41989).abs() < 2e-3);
    refused(&mut qwen2(&["logits", "--tokens", "4096"]), "token id 4096 does not exist");
    refused(&mut qwen2(&["logits", "--tokens", "1,x"]), "invalid value 'x'");
    refused(&mut qwen2(&["logits"]), "--tokens <IDS>");
}

#[test]
fn without_any_instruction_set_the_logits_are_the_same() {
    let (path, ids) = (data("rustdoc-f16.gguf"), "32,2394,316");
    let isas: Vec<&str> = IsaId::ALL.iter().filter(|isa| isa.runs_here() && isa.arch() != "any").map(|isa| isa.name()).collect();
    let logits = |without: &str| -> Vec<f64> {
        let answer = json(qwen2(&["logits", "-m", path.to_str().unwrap(), "--tokens", ids, "--json"]).env(VARIABLE, without));
        answer["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let all = logits("");
    for without in isas {
        let worst = all.iter().zip(logits(without)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 2e-3, "without {without} a logit is off by {worst:e}");
        let kernels = json(qwen2(&["info", "--kernels", "--json"]).env(VARIABLE, without));
        for choice in kernels["choices"].as_array().unwrap() {
            let kernel = choice["kernel"].as_str().unwrap();
            assert!(!kernel.contains(&format!("_{without}")), "{kernel} would run without {without}");
        }
    }
    refused(qwen2(&["info"]).env(VARIABLE, "mmx"), "known are scalar");
}

#[test]
fn bench_speaks_llama_bench() {
    let tests = json(&mut qwen2(&["bench", "--size", "tiny", "--type", "q8_0", "-p", "9", "-n", "3", "-r", "2", "-o", "json", "-t", "2"]));
    let tests = tests.as_array().unwrap();
    assert_eq!(tests.len(), 2);
    for (test, (prompt, generated)) in tests.iter().zip([(9, 0), (0, 3)]) {
        assert_eq!((&test["n_prompt"], &test["n_gen"]), (&prompt.into(), &generated.into()));
        assert_eq!(test["samples_ns"].as_array().unwrap().len(), 2);
        assert_eq!(test["samples_ts"].as_array().unwrap().len(), 2);
        assert!(test["avg_ts"].as_f64().unwrap() > 0.0 && test["stddev_ts"].as_f64().unwrap() >= 0.0);
        assert_eq!(test["n_threads"], 2);
        assert_eq!(test["model_type"], "qwen2 0.5M Q8_0");
        assert_eq!(test["arithmetic"], "f32");
    }
    let tests = json(&mut qwen2(&["bench", "--size", "tiny", "--arithmetic", "bf16", "-p", "4", "-n", "0", "-r", "1", "--json"]));
    assert_eq!(tests[0]["arithmetic"], "bf16");
    refused(&mut qwen2(&["bench", "--arithmetic", "f64"]), "known are f32, bf16");
    let table = qwen2(&["bench", "-p", "4", "-n", "0", "-r", "1"]).output().unwrap();
    assert!(String::from_utf8(table.stdout).unwrap().contains("| pp4 |"));
    refused(&mut qwen2(&["bench", "-r", "0"]), "at least one repetition");
    refused(&mut qwen2(&["bench", "-p", "0", "-n", "0"]), "nothing to time");
    refused(&mut qwen2(&["bench", "-p", "99999"]), "model's context of 2048");
    refused(&mut qwen2(&["bench", "-b", "0", "--size", "tiny"]), "--batch-size");
    refused(&mut qwen2(&["bench", "--size", "7t"]), "7t");
}

#[test]
fn bench_needs_no_tokenizer() {
    let mut files = folder_of(&tiny(0), "F32");
    files.remove("tokenizer.json");
    let folder = write(&files);
    let path = folder.path().to_str().unwrap();
    let tests = json(&mut qwen2(&["bench", "-m", path, "-p", "4", "-n", "2", "-r", "1", "-o", "json"]));
    assert_eq!(tests.as_array().unwrap().len(), 2);
    refused(&mut qwen2(&["run", "-m", path, "-p", "a"]), "tokenizer.json");
}

#[test]
fn results_name_the_arithmetic() {
    for arithmetic in ["f32", "bf16"] {
        let answer = json(&mut qwen2(&["run", "-p", "A vector is", "-n", "2", "--json", "--arithmetic", arithmetic]));
        assert_eq!(answer["arithmetic"], arithmetic);
        for more in [&["--kernels"][..], &[]] {
            assert_eq!(json(&mut qwen2(&[&["info", "--json", "--arithmetic", arithmetic], more].concat()))["arithmetic"], arithmetic);
        }
        let scored = json(
            qwen2(&["perplexity", "--window", "64", "--json", "--arithmetic", arithmetic])
                .write_stdin("A vector is a growable array. ".repeat(9)),
        );
        assert_eq!(scored["arithmetic"], arithmetic);
    }
    refused(&mut qwen2(&["quantize", "a.gguf", "b.gguf", "--type", "q8_0", "--arithmetic", "bf16"]), "--arithmetic");
}

#[test]
fn info_describes_the_model_and_the_kernels() {
    let info = json(&mut qwen2(&["info", "--json"]));
    assert_eq!(info["config"]["hidden"], 256);
    assert_eq!(info["parameters"], 4_198_656);
    assert!(info["memory"]["layers"].as_u64().unwrap() > 0);
    let kernels = json(&mut qwen2(&["info", "--kernels", "--json"]));
    assert!(kernels["gemm"].as_array().is_some_and(|gemm| !gemm.is_empty()));
    for choice in kernels["choices"].as_array().unwrap() {
        assert!(choice["stale"].is_boolean() && choice["tier"].is_string() && !choice["note"].as_str().unwrap().is_empty());
    }
    let profiles = kernels["profiles"].as_array().unwrap();
    assert!(profiles.iter().any(|profile| profile["profile"] == "fallback" && profile["runs_here"] == true));
    let text = String::from_utf8(qwen2(&["info", "--kernels"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("profiles in this binary") && text.contains("gemm"));
}

#[test]
fn the_fallback_computes_the_same() {
    let text = |profile: &[&str]| json(&mut qwen2(&[&["run", "-p", "A vector is", "-n", "8", "--json"], profile].concat()))["text"].clone();
    let usual = text(&[]);
    assert_eq!(text(&["--tuned", "fallback"]), usual);
    // Blocks that the fallback turns into f32 are not what the arithmetic of floats is about.
    assert_eq!(text(&["--tuned", "fallback", "--arithmetic", "bf16"]), usual);
    refused(&mut qwen2(&["run", "-p", "a", "--tuned", "zen99"]), "'zen99' is not in this binary");
}

#[test]
fn bad_input_is_told_in_one_line() {
    refused(&mut qwen2(&["run", "-m", "/no/such/model.gguf", "-p", "a"]), "cannot read '/no/such/model.gguf'");
    refused(&mut qwen2(&["run", "-m", "/", "-p", "a"]), "a folder without config.json");
    refused(&mut qwen2(&["run", "-m", "/dev/null", "-p", "a"]), "not a regular file");
    refused(&mut qwen2(&["run", "-p", ""]), "the prompt is empty");
    refused(&mut qwen2(&["run", "-p", "a", "--temp", "-1"]), "temperature is -1");
    refused(&mut qwen2(&["run", "-p", "a", "--top-p", "0"]), "top-p is 0");
    for threads in ["0", "1000000", "many"] {
        refused(&mut qwen2(&["run", "-p", "a", "-t", threads]), "--threads");
    }
    refused(&mut qwen2(&["run", "-p", &"word ".repeat(3000)]), "model's context of 2048");
    refused(&mut qwen2(&["nonsense"]), "nonsense");
    refused(&mut qwen2(&["run", "--nonsense"]), "--nonsense");

    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (bytes, part) in [
        (vec![], "not a GGUF file"),
        (tiny(0).bytes()[..5000].to_vec(), "truncated"),
        (tiny(0).bytes()[..40_000].to_vec(), "outside the file"),
    ] {
        std::fs::write(file.path(), bytes).unwrap();
        for command in ["run", "bench", "info"] {
            let args: &[&str] = if command == "run" { &["-p", "a"] } else { &[] };
            refused(&mut qwen2(&[&[command, "-m", path], args].concat()), part);
        }
    }
}

#[test]
fn help_has_examples() {
    for args in [&["--help"][..], &["run", "--help"], &["bench", "--help"]] {
        let output = qwen2(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: qwen2"));
    }
    assert!(String::from_utf8(qwen2(&["--help"]).output().unwrap().stdout).unwrap().contains("Examples:"));
}

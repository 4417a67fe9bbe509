//! Model folders that are truncated, oversized or lying: the counterpart of `malformed.rs` for safetensors,
//! `config.json`, the index of shards and `tokenizer.json`.

mod common;
#[path = "common/watching.rs"]
mod watching;

use common::folder::{Files, Safe, folder_of, load_folder, safetensors, shard, weights, write};
use common::{HIDDEN, load, tiny};
use serde_json::{Value, json};

/// Loads what must not load.
#[track_caller]
fn refused(files: Files, part: &str) {
    let len = files.values().map(Vec::len).sum();
    watching::refused(len, part, || load_folder(files));
}

/// As [`refused`], of the tiny model with other weights.
#[track_caller]
fn refused_weights(bytes: Vec<u8>, part: &str) {
    let mut files = folder_of(&tiny(0), "F32");
    files.insert("model.safetensors".into(), bytes);
    refused(files, part);
}

/// As [`refused`], of the tiny model after a change to its weights.
#[track_caller]
fn spoilt(part: &str, change: impl FnOnce(&mut Safe)) {
    let mut safe = weights(&tiny(0), "F32");
    change(&mut safe);
    refused_weights(safe.bytes(), part);
}

/// As [`refused`], of the tiny model after a change to one of its JSON files.
#[track_caller]
fn spoilt_json(file: &str, part: &str, change: impl FnOnce(&mut Value)) {
    let mut files = folder_of(&tiny(0), "F32");
    let mut value = serde_json::from_slice(&files[file]).unwrap();
    change(&mut value);
    files.insert(file.into(), value.to_string().into_bytes());
    refused(files, part);
}

/// A file with this header and as many bytes of data.
fn header(header: &str, data: usize) -> Vec<u8> {
    [safetensors(header, None), vec![0; data]].concat()
}

const NORM: &str = "model.norm.weight";

#[test]
fn the_tiny_model_itself_is_good() {
    for dtype in ["F32", "F16", "BF16"] {
        load_folder(folder_of(&tiny(0), dtype)).unwrap();
    }
}

#[test]
fn files_that_are_too_short_or_no_safetensors() {
    for len in 0..10 {
        refused_weights(vec![0; len], "not a safetensors file");
    }
    refused_weights(b"GGUF\x03\0\0\0________".to_vec(), "the header claims");
    refused_weights([&10u64.to_le_bytes()[..], b"\x80\x04\x95......."].concat(), "not valid UTF-8");
    refused_weights(header("[]", 0), "expected '{'");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = weights(&tiny(0), "F16").bytes();
    for len in (0..bytes.len()).step_by(7).chain(bytes.len() - 40..bytes.len()) {
        let read = qwen2::safetensors::Safetensors::from_vec(bytes[..len].to_vec());
        let Err(error) = read else { panic!("read {len} of {} bytes", bytes.len()) };
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn lengths_of_headers() {
    for len in [u64::MAX, 1 << 63, 1 << 40, 100_000_001] {
        spoilt("the header claims", |safe| safe.header_len = Some(len));
    }
    // Too short cuts the JSON, too long takes data for it.
    let right = safetensors(&weights(&tiny(0), "F32").header(), None).len() as u64 - 8;
    spoilt("malformed", |safe| safe.header_len = Some(right - 16));
    spoilt("not valid UTF-8", |safe| safe.header_len = Some(right + 8));
    spoilt("malformed", |safe| safe.header_len = Some(0));
}

#[test]
fn reading_holds_at_most_twice_the_file() {
    let read =
        |bytes: Vec<u8>| watching::within(2 * bytes.len() + (4 << 10), || qwen2::safetensors::Safetensors::from_vec(bytes).map(drop));
    let many = |count: usize, name: &dyn Fn(usize) -> String| {
        let mut safe = Safe::default();
        (0..count).for_each(|i| safe.add(&name(i), "F16", &[1], vec![0; 2]));
        safe
    };
    read(weights(&tiny(0), "F32").bytes()).unwrap();
    read(many(20_000, &|i| format!("{i:x}")).bytes()).unwrap();
    read(many(20_000, &|i| format!("\"\n{i:x}")).bytes()).unwrap();
    read(many(1, &|_| "long".repeat(1 << 18)).bytes()).unwrap();
    read(many(1, &|_| "\n".repeat(1 << 18)).bytes()).unwrap();
    // Refused at the last tensor.
    let mut twice = many(20_000, &|i| format!("{i:x}"));
    twice.add("0", "F16", &[1], vec![0; 2]);
    read(twice.bytes()).unwrap_err();
    twice.entry("0").dtype = "F64".repeat(1 << 18);
    read(twice.bytes()).unwrap_err();
}

#[test]
fn headers_that_are_no_json() {
    let one = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;
    for bad in [
        "".to_owned(),
        "{".to_owned(),
        format!("{{\"a\":{{{one}}}"),
        format!("{{\"a\":{{{one}}}}}}}"),
        format!("{{\"a\":{{{one}}},}}"),
        format!("{{\"a\":{{{one}}} \"b\":{{{one}}}}}"),
        format!("{{\"a\":{{{one},}}}}"),
        format!("{{a:{{{one}}}}}"),
        format!("{{\"a\":[{one}]}}"),
        format!("{{\"a\":{{{one}}}}}\0"),
        format!("{{\"a\":{{{one},\"strides\":[1]}}}}"),
        "{\"a\":null}".to_owned(),
        "{\"a\":{\"dtype\":1}}".to_owned(),
        "{\"a".to_owned(),
        "{\"__metadata__\":{\"a\":1}}".to_owned(),
    ] {
        refused_weights(header(&bad, 8), "malformed");
    }
    for number in ["-1", "1.0", "1e3", "01", "\"1\"", "18446744073709551616", "", "0x8", "null", "[2]"] {
        refused_weights(header(&format!(r#"{{"a":{{"dtype":"F32","shape":[{number},1],"data_offsets":[0,8]}}}}"#), 8), "malformed");
        refused_weights(header(&format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[{number},8]}}}}"#), 8), "malformed");
    }
    for offsets in ["", "0", "0,8,8", "0,8,8,8,8,8,8"] {
        refused_weights(header(&format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[{offsets}]}}}}"#), 8), "two numbers");
    }
}

#[test]
fn nesting_takes_no_stack() {
    for open in ["[", "{\"a\":", "{\"a\":{\"shape\":["] {
        refused_weights(header(&open.repeat(300_000), 0), "malformed");
    }
    spoilt_json("config.json", "'rope_parameters' is an array", |config| config["rope_parameters"] = json!([[[[]]]]));
    for file in ["config.json", "tokenizer.json"] {
        for open in ["[", "{\"a\":"] {
            let mut files = folder_of(&tiny(0), "F32");
            files.insert(file.into(), format!("{{\"normalizer\":{}", open.repeat(300_000)).into_bytes());
            refused(files, "recursion limit");
        }
    }
}

#[test]
fn names_that_occur_twice() {
    spoilt("'model.norm.weight' is empty or occurs twice", |safe| safe.add(NORM, "F32", &[1], vec![0; 4]));
    spoilt("'' is empty or occurs twice", |safe| safe.add("", "F32", &[1], vec![0; 4]));
    // An escape makes it no other name.
    let entry = |name: &str, at: u64| format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, at, at + 4);
    refused_weights(header(&format!("{{{},{}}}", entry("ab", 0), entry(r"a\u0062", 4)), 8), "'ab' is empty or occurs twice");
    refused_weights(header(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "'__metadata__' is empty or occurs twice");
    for key in [r#""dtype":"F32""#, r#""shape":[1]"#, r#""data_offsets":[0,4]"#] {
        refused_weights(header(&format!(r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4],{key}}}}}"#), 4), "occurs twice");
        let all = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.replace(key, "").replace("{,", "{").replace(",,", ",");
        refused_weights(header(&all.replace(",}", "}"), 4), "is missing or occurs twice");
    }
    let mut files = folder_of(&tiny(0), "F32");
    let twice = String::from_utf8(files["config.json"].clone()).unwrap().replacen('{', r#"{"hidden_size":32,"#, 1);
    files.insert("config.json".into(), twice.into_bytes());
    refused(files, "'hidden_size' occurs twice");
}

#[test]
fn hostile_names_stay_on_one_line() {
    spoilt("line\\nbreak", |safe| (0..2).for_each(|_| safe.add("line\nbreak", "F32", &[1], vec![0; 4])));
    spoilt("…", |safe| safe.entry(NORM).dtype = "long ".repeat(1000));
    spoilt_json("config.json", "…", |config| config["model_type"] = json!("long\n".repeat(1000)));
    spoilt_json("tokenizer.json", "…", |tokenizer| tokenizer["normalizer"]["type"] = json!("long\n".repeat(1000)));
}

#[test]
fn types_of_tensors() {
    for dtype in ["F64", "I64", "U8", "BOOL", "F8_E4M3", "f32", "", "\\u0046"] {
        spoilt("supported are F32, F16 and BF16", |safe| safe.entry(NORM).dtype = dtype.into());
    }
}

#[test]
fn shapes_of_tensors() {
    let shape = |shape: &'static [u64]| move |safe: &mut Safe| safe.entry(NORM).shape = shape.to_vec();
    spoilt("has dimensions []", shape(&[]));
    spoilt("of rank 5", shape(&[1, 1, 1, 1, 64]));
    spoilt("none of them 0", shape(&[0]));
    spoilt("none of them 0", shape(&[HIDDEN, 0]));
    spoilt("overflows", shape(&[1 << 32, 1 << 32]));
    spoilt("overflows", shape(&[1 << 62]));
    spoilt("overflows", shape(&[u64::MAX, 1, 1, 3]));
    spoilt("its shape and type take", shape(&[1 << 40]));
    spoilt("its shape and type take", shape(&[HIDDEN / 2]));
    spoilt("hyperparameters demand", shape(&[HIDDEN, 1]));
    spoilt("hyperparameters demand", shape(&[HIDDEN / 2, 2]));
    spoilt("hyperparameters demand", |safe| safe.entry("model.layers.0.mlp.down_proj.weight").shape.reverse());
}

#[test]
fn places_of_tensors() {
    let offsets = |begin: u64, end: u64| move |safe: &mut Safe| safe.entry(NORM).offsets = Some((begin, end));
    spoilt("its shape and type take", offsets(0, 4 * HIDDEN - 4));
    spoilt("its shape and type take", offsets(8, 0));
    spoilt("its shape and type take", offsets(u64::MAX, 4 * HIDDEN - 1));
    for begin in [1 << 20, 1 << 40, u64::MAX - 4 * HIDDEN] {
        spoilt("outside the file", offsets(begin, begin + 4 * HIDDEN));
    }
    spoilt("overlap", offsets(0, 4 * HIDDEN));
    spoilt("overlap", |safe| {
        let begin = safe.entries[0].data.len() as u64 - 4;
        safe.entries[1].offsets = Some((begin, begin + safe.entries[1].data.len() as u64));
    });
    spoilt("belong to no tensor", |safe| safe.tail = vec![0]);
    spoilt("belong to no tensor", |safe| {
        // The first one's bytes are there, but not its description.
        let first = safe.entries.remove(0);
        let mut at = first.data.len() as u64;
        for entry in &mut safe.entries {
            let end = at + entry.data.len() as u64;
            entry.offsets = Some((at, end));
            at = end;
        }
        safe.entries[0].data.splice(0..0, first.data);
    });
}

#[test]
fn every_tensor_is_needed_and_no_other() {
    for entry in weights(&tiny(0), "F32").entries {
        spoilt(&format!("'{}' is missing", entry.name), |safe| safe.entries.retain(|other| other.name != entry.name));
    }
    for name in
        ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.7.input_layernorm.weight", "score.weight", "blk.0.attn_q.weight"]
    {
        spoilt(&format!("'{name}' has no place"), |safe| safe.add(name, "F32", &[8], vec![0; 32]));
    }
    // A head that the folder says is not tied.
    spoilt_json("config.json", "'lm_head.weight' is missing", |config| config["tie_word_embeddings"] = json!(false));
    spoilt_json("config.json", "'lm_head.weight' is missing", |config| drop(config.as_object_mut().unwrap().remove("tie_word_embeddings")));
}

#[test]
fn numbers_that_are_not_finite() {
    for name in ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.layers.1.self_attn.k_proj.bias", NORM] {
        for value in [f32::NAN, f32::INFINITY] {
            spoilt("not finite", |safe| safe.entry(name).data[4..8].copy_from_slice(&value.to_le_bytes()));
        }
    }
    for (dtype, infinite) in [("F16", 0x7c00u16), ("BF16", 0x7f80)] {
        let mut safe = weights(&tiny(0), dtype);
        safe.entry("model.layers.1.mlp.down_proj.weight").data[2..4].copy_from_slice(&infinite.to_le_bytes());
        refused_weights(safe.bytes(), "not finite");
    }
}

#[test]
fn hyperparameters_that_are_missing_or_of_the_wrong_type() {
    let needed = ["model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads"];
    for key in needed.into_iter().chain(["max_position_embeddings", "vocab_size", "rms_norm_eps", "rope_theta"]) {
        spoilt_json("config.json", &format!("'{key}' is missing"), |config| drop(config.as_object_mut().unwrap().remove(key)));
        spoilt_json("config.json", &format!("'{key}' is missing"), |config| config[key] = Value::Null);
        spoilt_json("config.json", &format!("'{key}' is a boolean"), |config| config[key] = json!(true));
    }
    for key in ["head_dim", "rope_scaling", "tie_word_embeddings", "use_sliding_window", "layer_types", "hidden_act", "eos_token_id"] {
        spoilt_json("config.json", &format!("'{key}' is "), |config| config[key] = json!(-1.5));
    }
    refused(Files::new(), "config.json");
}

#[test]
fn hyperparameters_that_cannot_be() {
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value;
    for key in ["hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size"] {
        for value in [0, u64::from(u32::MAX), u64::MAX] {
            spoilt_json("config.json", key, set(key, json!(value)));
        }
    }
    spoilt_json("config.json", "'llama'; only qwen2", set("model_type", json!("llama")));
    spoilt_json("config.json", "not a multiple", set("num_key_value_heads", json!(3)));
    spoilt_json("config.json", "does not divide", set("num_attention_heads", json!(6)));
    spoilt_json("config.json", "odd length", set("num_attention_heads", json!(64)));
    spoilt_json("config.json", "max_position_embeddings", set("max_position_embeddings", json!(0)));
    for value in [0.0, -1.0, 1e300] {
        spoilt_json("config.json", "rms_norm_eps", set("rms_norm_eps", json!(value)));
        spoilt_json("config.json", "rope_theta", set("rope_theta", json!(value)));
    }
    spoilt_json("config.json", "in 'rope_parameters'", set("rope_parameters", json!({ "rope_theta": 1e4 })));
    for place in ["rope_scaling", "rope_parameters"] {
        spoilt_json("config.json", "scaled RoPE", set(place, json!({ "type": "yarn", "factor": 4.0 })));
        spoilt_json("config.json", "scaled RoPE", set(place, json!({ "rope_type": "dynamic" })));
    }
    spoilt_json("config.json", "rotated in part", set("partial_rotary_factor", json!(0.5)));
    spoilt_json("config.json", "within a window", set("use_sliding_window", json!(true)));
    spoilt_json("config.json", "within a window", set("layer_types", json!(["full_attention", "sliding_attention"])));
    spoilt_json("config.json", "only silu", set("hidden_act", json!("gelu")));
    spoilt_json("config.json", "quantised folders", set("quantization_config", json!({ "bits": 4 })));
    spoilt_json("config.json", "'model.layers.2.input_layernorm.weight' is missing", set("num_hidden_layers", json!(1 << 24)));
    spoilt_json("config.json", "no place", set("num_hidden_layers", json!(1)));
    spoilt_json("config.json", "hyperparameters demand", set("intermediate_size", json!(32)));
    spoilt_json("config.json", "hyperparameters demand", set("head_dim", json!(32)));
    spoilt_json("config.json", "hyperparameters demand", set("vocab_size", json!(300)));
    spoilt_json("config.json", "but tokenizer.json has", set("vocab_size", json!(1 << 24)));
}

#[test]
fn shards_and_their_index() {
    let safe = weights(&tiny(0), "F32");
    let mut good = folder_of(&tiny(0), "F32");
    shard(&mut good, &safe, 3);
    load_folder(good.clone()).unwrap();
    let index = "model.safetensors.index.json";
    let map = |change: &dyn Fn(&mut Value)| {
        let mut files = good.clone();
        let mut value: Value = serde_json::from_slice(&files[index]).unwrap();
        change(&mut value["weight_map"]);
        files.insert(index.into(), value.to_string().into_bytes());
        files
    };
    for name in [
        "../model-00001-of-00003.safetensors",
        "/etc/passwd",
        "",
        "..",
        "a/b.safetensors",
        "a\\b.safetensors",
        "model.bin",
        "a\0.safetensors",
    ] {
        refused(map(&|map| map[NORM] = json!(name)), "is no shard in this folder");
    }
    refused(map(&|map| map["more"] = json!("model-00004-of-00003.safetensors")), "model-00004-of-00003.safetensors: it is missing");
    refused(map(&|map| map[NORM] = json!("model-00001-of-00003.safetensors")), "which the index does not say");
    refused(map(&|map| map[NORM] = json!(1)), "expected a file's name");
    refused(map(&|map| map["more"] = json!("model-00001-of-00003.safetensors")), "of another download");
    refused(map(&|map| drop(map.as_object_mut().unwrap().remove(NORM))), "which the index does not say");
    refused(map(&|map| *map = json!([])), "'weight_map' is an array");
    refused(map(&|map| *map = json!(null)), "'weight_map' is missing");
    let mut lost = good.clone();
    lost.remove("model-00002-of-00003.safetensors");
    refused(lost, "it is missing");
    let mut cut = good.clone();
    cut.get_mut("model-00002-of-00003.safetensors").unwrap().pop();
    refused(cut, "outside the file");
    // The same tensor in two shards: one of them is not where the index says.
    let mut twice = good.clone();
    let first = twice["model-00001-of-00003.safetensors"].clone();
    twice.insert("model-00003-of-00003.safetensors".into(), first);
    refused(twice, "which the index does not say");
}

#[test]
fn lists_of_the_tokenizer() {
    let spoilt = |part: &str, change: &dyn Fn(&mut Value)| spoilt_json("tokenizer.json", part, change);
    spoilt("of 260 tokens occur twice", &|t| t["added_tokens"][0]["content"] = json!("he"));
    spoilt("token id 258 is that of", &|t| t["added_tokens"][1]["id"] = json!(258));
    spoilt("token id 65 is that of", &|t| t["model"]["vocab"]["he"] = json!(65));
    spoilt("single byte", &|t| drop(t["model"]["vocab"].as_object_mut().unwrap().remove("A")));
    spoilt("token id 262 does not exist", &|t| t["model"]["vocab"]["he"] = json!(262));
    spoilt("token id 4294967295 does not exist", &|t| t["model"]["vocab"]["he"] = json!(u32::MAX));
    spoilt("tokenizer.json", &|t| t["model"]["vocab"]["he"] = json!(u64::MAX));
    spoilt("tokenizer.json", &|t| t["model"]["vocab"]["he"] = json!(-1));
    spoilt("tokenizer.json", &|t| t["model"]["vocab"] = json!([]));
    spoilt("tokenizer.json", &|t| t["model"]["merges"] = json!([["h"]]));
    spoilt("tokenizer.json", &|t| t["model"]["merges"] = json!([["h", "e", "l"]]));
    spoilt("missing field", &|t| drop(t["model"].as_object_mut().unwrap().remove("merges")));
    spoilt("an added token is empty", &|t| t["added_tokens"][0]["content"] = json!(""));
    for merge in [json!("he"), json!(["he", "y"]), json!("longer-than-any-token longer-than-any-token"), json!("h  e")] {
        spoilt("merge '", &|t| t["model"]["merges"] = json!([merge]));
    }
    for key in ["single_word", "lstrip", "rstrip"] {
        spoilt("surroundings", &|t| t["added_tokens"][0][key] = json!(true));
    }
    for (key, value) in
        [("dropout", json!(0.1)), ("byte_fallback", json!(true)), ("ignore_merges", json!(true)), ("end_of_word_suffix", json!("</w>"))]
    {
        spoilt(key, &|t| t["model"][key] = value.clone());
    }
    spoilt("only BPE", &|t| t["model"]["type"] = json!("Unigram"));
    spoilt("only NFC", &|t| t["normalizer"] = json!(null));
    spoilt("only NFC", &|t| t["normalizer"]["type"] = json!("NFKC"));
    spoilt("pre-tokenizer", &|t| t["pre_tokenizer"] = json!(null));
    spoilt("pre-tokenizer", &|t| t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(r"\s+"));
    spoilt("pre-tokenizer", &|t| t["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = json!(true));
    spoilt("might add tokens", &|t| t["post_processor"]["type"] = json!("TemplateProcessing"));
    refused(folder_of(&tiny(0), "F32").into_iter().filter(|(name, _)| name != "tokenizer.json").collect(), "it is missing");
}

#[test]
fn ids_beyond_the_vocabulary() {
    for key in ["eos_token_id", "bos_token_id", "pad_token_id"] {
        for id in [262, u64::MAX] {
            spoilt_json("config.json", &format!("token id {id} does not exist"), |config| config[key] = json!(id));
        }
    }
    let with = |name: &str, content: Value| {
        let mut files = folder_of(&tiny(0), "F32");
        files.insert(name.into(), content.to_string().into_bytes());
        files
    };
    refused(with("generation_config.json", json!({ "eos_token_id": [258, 262] })), "token id 262 does not exist");
    refused(with("generation_config.json", json!({ "eos_token_id": "258" })), "expected a token id");
    refused(with("tokenizer_config.json", json!({ "eos_token": "<|nonsense|>" })), "which is no token");
    refused(with("tokenizer_config.json", json!({ "eos_token": { "text": 1 } })), "expected a token");
    refused(with("tokenizer_config.json", json!({ "add_bos_token": true })), "no token at their start");
    load_folder(with("tokenizer_config.json", json!({ "eos_token": { "content": "<|im_end|>" } }))).unwrap();
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let folder = write(&folder_of(&tiny(0), "F32"));
    let path = folder.path().join("model.safetensors");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = qwen2::ModelFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = qwen2::ModelFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    // A file that is too long to be what it should be is not read.
    std::fs::File::create(folder.path().join("config.json")).unwrap().set_len(1 << 40).unwrap();
    let error = qwen2::ModelFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn a_file_that_shrinks_after_it_was_opened_is_an_error() {
    let folder = write(&folder_of(&tiny(0), "F32"));
    let mut file = qwen2::ModelFile::open(folder.path()).unwrap();
    let tokenizer = file.tokenizer().unwrap();
    let path = folder.path().join("model.safetensors");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 4).unwrap();
    let error = file.model(tokenizer.len(), qwen2::baked::select(None).unwrap(), 1, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("cannot read tensor"), "{error}");
    drop(load(tiny(0).bytes(), 1).unwrap());
}

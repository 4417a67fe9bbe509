//! A model folder computes what the GGUF file of the same model computes: the same ids, the same logits to the bit.

mod common;

use std::sync::LazyLock;

use common::folder::{DTYPES, Files, folder_of, load_folder, shard, stored_as, tokenizer_json, weights, write};
use common::{HIDDEN, data, encode, load, numbers, tiny};
use qwen2::gguf::Gguf;
use qwen2::graph::Session;
use qwen2::hf::Folder;
use qwen2::model::Model;
use qwen2::{ModelFile, Tokenizer, baked};
use serde_json::{Map, Value, json};

/// "A vector is a", then special tokens.
const PROMPT: [u32; 7] = [32, 2394, 316, 258, 4094, 4095, 11];

fn logits(model: &Model) -> Vec<f32> {
    let mut session = Session::new(model, PROMPT.len(), 4).unwrap();
    let vocab = model.config().vocab as u32;
    session.feed(&PROMPT.map(|id| id % vocab)).unwrap().to_vec()
}

fn open(path: &std::path::Path) -> (Tokenizer, Model) {
    let mut file = ModelFile::open(path).unwrap();
    let tokenizer = file.tokenizer().unwrap();
    let model = file.model(tokenizer.len(), baked::select(None).unwrap(), 2, &mut |_, _| {}).unwrap();
    (tokenizer, model)
}

/// The files that the maker of the rustdoc model has beside its weights.
fn rustdoc(weights: Vec<u8>) -> Files {
    let read = |name: &str| std::fs::read(data("rustdoc").join(name)).unwrap();
    Files::from([
        ("config.json".into(), read("config.json")),
        ("tokenizer.json".into(), read("tokenizer.json")),
        ("model.safetensors".into(), weights),
    ])
}

static F16: LazyLock<(Tokenizer, Model)> = LazyLock::new(|| open(&data("rustdoc-f16.gguf")));

#[test]
fn every_type_gives_the_logits_of_the_gguf_file() {
    for (dtype, kind) in DTYPES {
        let file = stored_as(&data("rustdoc-f16.gguf"), kind);
        let theirs = logits(&load(file.bytes(), 2).unwrap().1);
        let folder = write(&rustdoc(weights(&file, dtype).bytes()));
        assert_eq!(logits(&open(folder.path()).1), theirs, "{dtype}");
        if dtype == "F16" {
            assert_eq!(theirs, logits(&F16.1), "what was written is what was read");
        }
    }
}

#[test]
fn shards_are_one_model() {
    let safe = weights(&stored_as(&data("rustdoc-f16.gguf"), 1), "F16");
    for count in [1, 2, 7] {
        let mut files = rustdoc(vec![]);
        shard(&mut files, &safe, count);
        let folder = write(&files);
        assert_eq!(logits(&open(folder.path()).1), logits(&F16.1), "{count} shards");
    }
    // A leftover index does not matter beside the whole.
    let mut files = rustdoc(vec![]);
    shard(&mut files, &safe, 2);
    files.insert("model.safetensors".into(), safe.bytes());
    files.remove("model-00001-of-00002.safetensors");
    assert_eq!(logits(&open(write(&files).path()).1), logits(&F16.1));
}

#[test]
fn types_may_be_mixed() {
    let file = stored_as(&data("rustdoc-f16.gguf"), 1);
    let (mut mixed, exact) = (weights(&file, "F16"), weights(&file, "F32"));
    for (at, entry) in exact.entries.into_iter().enumerate().filter(|(_, entry)| entry.shape.len() == 1) {
        mixed.entries[at] = entry;
    }
    assert_eq!(logits(&open(write(&rustdoc(mixed.bytes())).path()).1), logits(&F16.1));
}

#[test]
fn the_head_is_tied_or_not_as_the_folder_says() {
    let mut file = tiny(0);
    let vocab = file.tensors[0].dims[1];
    let tied = folder_of(&file, "F32");
    let theirs = logits(&load(file.bytes(), 1).unwrap().1);
    assert_eq!(logits(&load_folder(tied.clone()).unwrap().1), theirs);

    file.add("output.weight", &[HIDDEN, vocab], 0, encode(0, &numbers(99, HIDDEN * vocab)));
    let untied = folder_of(&file, "F32");
    assert_eq!(logits(&load_folder(untied.clone()).unwrap().1), logits(&load(file.bytes(), 1).unwrap().1));

    // A head that is stored although it is tied is passed over.
    let stored =
        Files::from([("config.json".into(), tied["config.json"].clone()), ("tokenizer.json".into(), tied["tokenizer.json"].clone())]);
    let stored = Files::from_iter(stored.into_iter().chain([("model.safetensors".into(), untied["model.safetensors"].clone())]));
    assert_eq!(logits(&load_folder(stored).unwrap().1), theirs);
}

#[test]
fn the_base_of_rotation_may_be_in_either_place() {
    let mut folder = folder_of(&tiny(0), "F32");
    let theirs = logits(&load_folder(folder.clone()).unwrap().1);
    let mut config: Map<String, Value> = serde_json::from_slice(&folder["config.json"]).unwrap();
    config.remove("rope_theta");
    config.insert("rope_parameters".into(), json!({ "rope_theta": 1_000_000, "rope_type": "default" }));
    folder.insert("config.json".into(), json!(config).to_string().into_bytes());
    assert_eq!(logits(&load_folder(folder.clone()).unwrap().1), theirs);
    config.insert("rope_theta".into(), json!(1e6));
    config.insert("rope_scaling".into(), Value::Null);
    config.insert("head_dim".into(), json!(16));
    folder.insert("config.json".into(), json!(config).to_string().into_bytes());
    assert_eq!(logits(&load_folder(folder).unwrap().1), theirs);
}

#[test]
fn ids_are_those_of_the_gguf_file() {
    let folder = write(&rustdoc(weights(&stored_as(&data("rustdoc-f16.gguf"), 1), "F16").bytes()));
    let (ours, theirs) = (open(folder.path()).0, &F16.0);
    for text in texts().iter().map(String::as_str).chain(["<|im_start|>user\nhi<|im_end|>", "e\u{301}", "", "  \n\n  x"]) {
        let ids = theirs.encode(text).unwrap();
        assert_eq!(ours.encode(text).unwrap(), ids);
        assert_eq!(ours.decode(&ids), theirs.decode(&ids));
    }
    assert_eq!((ours.stops(), ours.padding(), ours.len()), (theirs.stops(), theirs.padding(), theirs.len()));
}

fn texts() -> Vec<String> {
    let texts = std::fs::read_to_string(data("ggml-vocab-qwen2.gguf.inp")).unwrap();
    texts.split("\n__ggml_vocab_test__\n").map(str::to_owned).collect()
}

/// The real vocabulary as `tokenizer.json`, with the marks that Qwen2.5 adds, in a folder without weights.
fn real(pairs: bool) -> Files {
    let mut file = Gguf::open(&data("ggml-vocab-qwen2.gguf")).unwrap();
    let (tokens, merges) = (file.take_strings("tokenizer.ggml.tokens").unwrap(), file.take_strings("tokenizer.ggml.merges").unwrap());
    let vocab = tokens.iter().take(151_643).enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect();
    let merge = |text: &str| if pairs { json!(text.split_once(' ').unwrap()) } else { json!(text) };
    let mark = |id: usize, text: &str, special: bool| json!({ "id": id, "content": text, "special": special, "normalized": false });
    let mut added: Vec<Value> = (151_643..151_646).map(|id| mark(id, tokens.get(id).unwrap(), true)).collect();
    added.push(mark(151_657, "<tool_call>", false));
    let config = json!({ "model_type": "qwen2", "vocab_size": 151_936, "eos_token_id": 151_643 });
    Files::from([
        ("config.json".into(), config.to_string().into_bytes()),
        ("tokenizer.json".into(), tokenizer_json(vocab, merges.iter().map(merge).collect(), added).to_string().into_bytes()),
        ("generation_config.json".into(), br#"{"eos_token_id":[151645,151643]}"#.to_vec()),
        ("tokenizer_config.json".into(), br#"{"eos_token":"<|im_end|>","add_bos_token":false,"chat_template":"{{ messages }}"}"#.to_vec()),
    ])
}

#[test]
fn the_real_vocabulary_is_the_same_in_both_forms() {
    let mut file = Gguf::open(&data("ggml-vocab-qwen2.gguf")).unwrap();
    let theirs = Tokenizer::from_gguf(&mut file).unwrap();
    for pairs in [false, true] {
        let folder = Folder::from_files(real(pairs)).unwrap();
        let ours = Tokenizer::from_folder(&folder).unwrap();
        for text in texts() {
            assert_eq!(ours.encode(&text).unwrap(), theirs.encode(&text).unwrap(), "{text:?}");
        }
        assert_eq!(ours.len(), 151_936);
        assert_eq!(ours.stops(), [151_643, 151_645]);
        assert_eq!(ours.encode("<tool_call>").unwrap(), [151_657]);
        // Everything without a token is padding: before the last mark, and behind it.
        let padding: Vec<u32> = (151_646..151_657).chain(151_658..151_936).collect();
        assert_eq!(ours.padding(), padding);
        assert_eq!(ours.piece(151_935), b"");
        assert_eq!(ours.decode(&[9707, 151_657]), "Hello<tool_call>");
        assert_eq!(folder.chat_template().unwrap().as_deref(), Some("{{ messages }}"));
    }
}

#[test]
fn a_chat_template_may_be_in_three_places() {
    let mut files = real(false);
    let template = |files: &Files| Folder::from_files(files.clone()).unwrap().chat_template().unwrap();
    let several = json!({ "chat_template": [{ "name": "tool_use", "template": "t" }, { "name": "default", "template": "d" }] });
    files.insert("tokenizer_config.json".into(), several.to_string().into_bytes());
    assert_eq!(template(&files).as_deref(), Some("d"));
    files.insert("chat_template.jinja".into(), b"own file".to_vec());
    assert_eq!(template(&files).as_deref(), Some("own file"));
    files.retain(|name, _| name == "config.json");
    assert_eq!(template(&files), None);
}

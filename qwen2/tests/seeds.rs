//! What the fuzzers in `fuzz/` start from: small inputs that each reader accepts, written into their corpus on demand.

mod common;

use std::fs;
use std::path::Path;

use common::folder::{Safe, folder_of, load_folder, shard, weights};
use common::{File, tiny};
use qwen2::gguf::Gguf;
use qwen2::safetensors::Safetensors;

/// The tiny model with its tensors cut to one block each, so that most of the file is what a fuzzer should change.
fn head(kind: u32) -> File {
    let mut file = tiny(kind);
    for tensor in &mut file.tensors {
        let (elements, bytes) = if tensor.kind == 8 { (32, 34) } else { (2, if tensor.kind == 0 { 8 } else { 4 }) };
        tensor.dims = vec![elements];
        tensor.data.truncate(bytes);
    }
    file
}

fn gguf_seeds() -> Vec<Vec<u8>> {
    let mut plain = head(0);
    plain.metadata.truncate(2);
    plain.tensors.truncate(3);
    let mut second = File { version: 2, ..plain.clone() };
    second.tensors[0].dims = vec![1, 1, 2];
    vec![plain.bytes(), second.bytes(), head(0).bytes(), head(1).bytes(), head(8).bytes()]
}

fn safetensors_seeds() -> Vec<Vec<u8>> {
    let few = |dtype: &str, bytes: usize| {
        let mut safe = weights(&head(0), dtype);
        safe.entries.truncate(3);
        safe.entries.iter_mut().for_each(|entry| entry.data.truncate(2 * bytes));
        safe
    };
    let mut shaped = few("F16", 2);
    shaped.entries[0].shape = vec![1, 2, 1, 1];
    shaped.entries[1].name = "esc\u{e9}\"\\ape".to_owned();
    vec![few("F32", 4).bytes(), few("F16", 2).bytes(), few("BF16", 2).bytes(), shaped.bytes(), Safe::default().bytes()]
}

fn folder_seeds() -> Vec<Vec<u8>> {
    let safe = weights(&head(0), "F32");
    let mut files = folder_of(&head(0), "F32");
    shard(&mut files, &safe, 2);
    let join = |names: &[&str]| names.iter().map(|name| files.get(*name).cloned().unwrap_or_default()).collect::<Vec<_>>().join(&0);
    let rest: [&[u8]; 4] = [
        &join(&["config.json", "tokenizer.json"]),
        br#"{"eos_token_id":[258,259]}"#,
        br#"{"eos_token":{"content":"<|im_end|>"},"add_bos_token":false,"chat_template":[{"name":"default","template":"x"}]}"#,
        br#"{"weight_map":{"model.norm.weight":"model-1.safetensors","model.embed_tokens.weight":"model-1.safetensors"}}"#,
    ];
    vec![join(&["config.json", "tokenizer.json"]), join(&["config.json"]), rest.join(&0)]
}

#[test]
fn seeds_are_accepted() {
    for seed in gguf_seeds() {
        Gguf::from_vec(seed).unwrap();
    }
    for seed in safetensors_seeds() {
        Safetensors::from_vec(seed).unwrap();
    }
    load_folder(folder_of(&tiny(0), "F32")).unwrap();
}

#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, seeds) in [("gguf", gguf_seeds()), ("safetensors", safetensors_seeds()), ("folder", folder_seeds())] {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{at}")), seed).unwrap();
        }
    }
}

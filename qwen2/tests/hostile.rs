//! Whatever is done to the bytes of a model file, loading and running it ends in an answer or an error.

mod common;

use std::sync::LazyLock;

use common::folder::{Files, folder_of, load_folder, shard, weights};
use common::{load, tiny};
use proptest::prelude::*;
use qwen2::graph::Session;

/// Loads and, if that works, computes.
fn survive(bytes: Vec<u8>) {
    survive_loaded(load(bytes, 1));
}

fn survive_loaded(loaded: Result<(qwen2::Tokenizer, qwen2::model::Model), qwen2::Error>) {
    if let Ok((tokenizer, model)) = loaded {
        let ids = tokenizer.encode("hello\n").unwrap_or_default();
        if let Ok(mut session) = Session::new(&model, ids.len(), 4) {
            // Garbled weights may well give garbled logits; only a panic would be wrong.
            let _ = session.feed(&ids);
        }
    }
}

/// The tiny model as a folder with everything that a folder may have.
static FOLDER: LazyLock<Files> = LazyLock::new(|| {
    let mut files = folder_of(&tiny(1), "F16");
    shard(&mut files, &weights(&tiny(1), "F16"), 2);
    files.insert("generation_config.json".into(), br#"{"eos_token_id":[258,259]}"#.to_vec());
    files.insert("tokenizer_config.json".into(), br#"{"eos_token":"<|im_end|>","chat_template":"x"}"#.to_vec());
    files
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = tiny(8).bytes();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survive(bytes);
    }

    #[test]
    fn flipped_bytes_of_the_header(flips in prop::collection::vec((0usize..900, any::<u8>()), 1..4)) {
        let mut bytes = tiny(0).bytes();
        for (at, value) in flips {
            bytes[at] = value;
        }
        survive(bytes);
    }

    #[test]
    fn numbers_of_the_header_replaced(at in 0usize..8000, value in prop_oneof![Just(u64::MAX), Just(0), Just(1 << 31), Just(1 << 40), 0u64..100]) {
        let mut bytes = tiny(8).bytes();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        survive(bytes);
    }

    #[test]
    fn truncated_and_extended(at in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = tiny(1).bytes();
        bytes.truncate(at.index(bytes.len()));
        bytes.extend(more);
        survive(bytes);
    }

    #[test]
    fn flipped_bytes_of_a_folder(file in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut files = FOLDER.clone();
        let name = files.keys().nth(file.index(files.len())).unwrap().clone();
        let bytes = files.get_mut(&name).unwrap();
        // Of weights, mostly their header.
        let reach = bytes.len().min(8000);
        for (at, value) in flips {
            bytes[at.index(reach)] = value;
        }
        survive_loaded(load_folder(files));
    }

    #[test]
    fn truncated_files_of_a_folder(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut files = FOLDER.clone();
        let name = files.keys().nth(file.index(files.len())).unwrap().clone();
        let bytes = files.get_mut(&name).unwrap();
        bytes.truncate(at.index(bytes.len()));
        bytes.extend(more);
        survive_loaded(load_folder(files));
    }

    #[test]
    fn pure_noise(noise in prop::collection::vec(any::<u8>(), 0..512)) {
        survive([b"GGUF\x03\0\0\0".to_vec(), noise.clone()].concat());
        let mut files = FOLDER.clone();
        files.insert("model.safetensors".to_owned(), noise);
        survive_loaded(load_folder(files));
    }
}

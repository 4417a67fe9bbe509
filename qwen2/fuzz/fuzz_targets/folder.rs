//! Any bytes as the JSON files of a model folder, one after the other with a zero byte between them, beside sound
//! weights: everything ends in an answer or an error.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qwen2::hf::Folder;
use qwen2::model::{Config, FileSource, Plan};
use qwen2::{Tokenizer, baked};

static OPS: LazyLock<baked::Ops> = LazyLock::new(|| baked::select(None).expect("kernels"));

const FILES: [&str; 5] =
    ["config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json", "model.safetensors.index.json"];

/// Two tensors that a model has.
const WEIGHTS: &str = concat!(
    r#"{"model.norm.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#,
    r#""model.embed_tokens.weight":{"dtype":"F16","shape":[2,2],"data_offsets":[8,16]}}"#
);

fuzz_target!(|bytes: &[u8]| {
    let mut files: BTreeMap<String, Vec<u8>> = FILES
        .iter()
        .zip(bytes.split(|byte| *byte == 0))
        .filter(|(_, content)| !content.is_empty())
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
        .collect();
    let weights = [&(WEIGHTS.len() as u64).to_le_bytes(), WEIGHTS.as_bytes(), &[0; 16]].concat();
    files.insert("model-1.safetensors".to_owned(), weights);
    let Ok(folder) = Folder::from_files(files) else { return };
    let _ = folder.chat_template();
    if let Ok(tokenizer) = Tokenizer::from_folder(&folder) {
        let ids = tokenizer.encode("hello <|im_end|>\n").expect("ids of a text");
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.len() && tokenizer.padding().binary_search(id).is_err()));
        assert!(tokenizer.stops().iter().all(|id| (*id as usize) < tokenizer.len()));
        tokenizer.decode(&ids);
    }
    if let Ok(config) = Config::from_folder(&folder) {
        let ops = &*OPS;
        if let Ok(source) = FileSource::of_folder(&folder) {
            let _ = Plan::new(&source, &config, ops).map(|plan| plan.memory(ops));
            let _ = source.check_all_used();
        }
    }
});

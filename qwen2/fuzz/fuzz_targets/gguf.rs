//! Any bytes as a GGUF file: reading its head takes at most twice its size in memory (and what a small model's lists
//! take), and everything that follows ends in an answer or an error.

#![no_main]

#[path = "../../tests/common/watching.rs"]
#[allow(dead_code)] // tests use the rest of it
mod watching;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qwen2::gguf::Gguf;
use qwen2::model::{Config, FileSource, Plan};
use qwen2::{Tokenizer, baked};

static OPS: LazyLock<baked::Ops> = LazyLock::new(|| baked::select(None).expect("kernels"));

/// What the reader itself allows to any file.
const SMALL: usize = 64 << 10;

fuzz_target!(|bytes: &[u8]| {
    let content = bytes.to_vec();
    let Ok(mut file) = watching::within(2 * bytes.len() + SMALL, || Gguf::from_vec(content)) else { return };
    let mut row = Vec::new();
    for info in file.tensors() {
        let tensor = file.tensor(&info.name).expect("a tensor that is listed");
        assert_eq!(tensor.info, info);
        assert_eq!(info.row_bytes() * info.rows, info.len);
        row.resize(info.row_bytes(), 0);
        tensor.read_rows(info.rows - 1, &mut row).expect("a row in memory");
    }
    let vocab = Tokenizer::from_gguf(&mut file).map_or(300, |tokenizer| {
        let ids = tokenizer.encode("hello <|im_end|>\n").expect("ids of a text");
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
        tokenizer.decode(&ids);
        tokenizer.len()
    });
    if let Ok(config) = Config::from_gguf(&file, vocab) {
        let ops = &*OPS;
        let source = FileSource::of_gguf(&file);
        let _ = Plan::new(&source, &config, ops).map(|plan| plan.memory(ops));
        let _ = source.check_all_used();
    }
});

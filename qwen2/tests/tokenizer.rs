//! The tokenizer of the real Qwen2 vocabulary against llama.cpp's vectors, and what it must do with special tokens.

mod common;

use std::sync::LazyLock;

use common::data;
use qwen2::Tokenizer;
use qwen2::gguf::Gguf;

static QWEN2: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut file = Gguf::open(&data("ggml-vocab-qwen2.gguf")).unwrap();
    Tokenizer::from_gguf(&mut file).unwrap()
});

#[test]
fn vectors_line_by_line() {
    let texts = std::fs::read_to_string(data("ggml-vocab-qwen2.gguf.inp")).unwrap();
    let ids = std::fs::read_to_string(data("ggml-vocab-qwen2.gguf.out")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<&str> = ids.lines().collect();
    assert!(texts.len() >= ids.len() && ids.len() > 40);
    for (line, (text, ids)) in texts.iter().zip(&ids).enumerate() {
        let want: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let got = QWEN2.encode(text).unwrap();
        assert_eq!(got, want, "line {} {text:?}", line + 1);
        assert_eq!(QWEN2.decode(&got), *text);
    }
}

#[test]
fn special_tokens_in_text() {
    assert_eq!(QWEN2.encode("<|im_start|>user\nhi<|im_end|>").unwrap(), [151_644, 872, 198, 6023, 151_645]);
    assert_eq!(QWEN2.decode(&[151_643]), "<|endoftext|>");
}

#[test]
fn in_plain_text_they_are_text() {
    let texts = std::fs::read_to_string(data("ggml-vocab-qwen2.gguf.inp")).unwrap();
    for text in texts.split("\n__ggml_vocab_test__\n") {
        assert_eq!(QWEN2.encode_plain(text).unwrap(), QWEN2.encode(text).unwrap(), "{text:?}");
    }
    let text = "<|im_start|>user\nhi<|im_end|>";
    let plain = QWEN2.encode_plain(text).unwrap();
    assert!(plain.iter().all(|id| *id < 151_643), "{plain:?}");
    assert_eq!(QWEN2.decode(&plain), text);
    assert_eq!(QWEN2.encode_plain("e\u{301}").unwrap(), QWEN2.encode("\u{e9}").unwrap());
    assert!(QWEN2.special().contains(&(151_644, "<|im_start|>".to_owned())));
}

#[test]
fn fillers_are_never_made_and_never_sampled() {
    assert_eq!(QWEN2.padding().first(), Some(&151_646));
    assert_eq!(QWEN2.padding().len(), 290);
    let ids = QWEN2.encode("[PAD151930]").unwrap();
    assert!(ids.iter().all(|id| QWEN2.padding().binary_search(id).is_err()));
}

#[test]
fn a_text_ends_at_either_mark() {
    assert_eq!(QWEN2.stops(), [151_643, 151_645]);
}

#[test]
fn text_is_composed_first() {
    assert_eq!(QWEN2.encode("e\u{301}").unwrap(), QWEN2.encode("\u{e9}").unwrap());
}

#[test]
fn all_bytes_and_long_runs_come_back() {
    let text: String = (0..0x3000).filter_map(char::from_u32).filter(|c| !c.is_control()).collect();
    let composed = QWEN2.decode(&QWEN2.encode(&text).unwrap());
    assert_eq!(QWEN2.encode(&composed).unwrap(), QWEN2.encode(&text).unwrap());
    for run in [" ".repeat(300_000), "\n\t ".repeat(20_000), "a".repeat(20_000), "!".repeat(20_000)] {
        assert_eq!(QWEN2.decode(&QWEN2.encode(&run).unwrap()), run);
    }
}

#[test]
fn ids_beyond_the_vocabulary_are_nothing() {
    assert_eq!(QWEN2.decode(&[u32::MAX, 9707]), "Hello");
}

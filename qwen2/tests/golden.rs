//! The engine against transformers' numbers for the same weights: logits of the last position, and greedy text.
//! One test per prompt, so that a slow machine may run some of them.

mod common;

use std::sync::LazyLock;

use common::{data, load};
use qwen2::graph::{DEFAULT_CHUNK, Session};
use qwen2::model::Model;
use qwen2::{Error, Tokenizer};
use serde::Deserialize;

/// Largest difference of a logit. The reference itself is up to 1.46e-3 (prompt 6) away from what the same program computes
/// in f64, which this engine comes within 1.1e-5 of.
const TOLERANCE: f32 = 1.5e-3;
/// Where the two likeliest tokens are closer than this, either may be chosen.
const TIE: f32 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
    greedy_text: String,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let text = std::fs::read_to_string(data("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
});

static RUSTDOC: LazyLock<Result<(Tokenizer, Model), Error>> = LazyLock::new(|| load(std::fs::read(data("rustdoc-f16.gguf")).unwrap(), 2));

fn check(index: usize) {
    let prompt = &GOLDEN.prompts[index];
    let (tokenizer, model) = RUSTDOC.as_ref().unwrap();
    assert_eq!(tokenizer.encode(&prompt.text).unwrap(), prompt.ids, "ids of the prompt");
    assert_eq!(tokenizer.decode(&prompt.ids), prompt.text);
    // Their text leaves special tokens out.
    let words: Vec<u32> = prompt.greedy.iter().copied().filter(|id| !tokenizer.stops().contains(id)).collect();
    assert_eq!(tokenizer.decode(&words), prompt.greedy_text);

    let mut session = Session::new(model, prompt.ids.len() + prompt.greedy.len(), DEFAULT_CHUNK).unwrap();
    let mut logits = session.feed(&prompt.ids).unwrap();
    assert_eq!(logits.len(), prompt.logits.len());
    let worst = logits.iter().zip(&prompt.logits).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "a logit is off by {worst:e}");

    // Their tokens are fed, so that one tie does not hide what comes after it.
    for (step, &theirs) in prompt.greedy.iter().enumerate() {
        let (best, largest) = logits.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let margin = largest - logits[theirs as usize];
        assert!(margin <= TIE, "step {step}: {best} instead of {theirs}, by {margin:e}");
        logits = session.feed(&[theirs]).unwrap();
    }
}

macro_rules! prompts {
    ($($name:ident $index:literal),*) => {
        $(#[test] fn $name() { check($index); })*

        #[test]
        fn there_is_a_test_for_every_prompt() {
            assert_eq!(GOLDEN.prompts.len(), [$($index),*].len());
        }
    };
}

prompts!(prompt_0 0, prompt_1 1, prompt_2 2, prompt_3 3, prompt_4 4, prompt_5 5, prompt_6 6, prompt_7 7);

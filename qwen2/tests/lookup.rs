//! Look-up decoding makes the text that greedy decoding makes, to the last token.

mod common;

use common::{load, tiny};
use qwen2::Tokenizer;
use qwen2::baked::select;
use qwen2::generate::{Flow, Stop, generate};
use qwen2::graph::Session;
use qwen2::lookup::{self, Lookup, Statistics};
use qwen2::model::Model;
use qwen2::sampler::{Sampler, SamplerOptions};

fn embedded(threads: usize) -> (Tokenizer, Model) {
    let mut file = qwen2::embedded().unwrap();
    let tokenizer = Tokenizer::from_gguf(&mut file).unwrap();
    let model = Model::from_gguf(&file, tokenizer.len(), select(None).unwrap(), threads, &mut |_, _| {}).unwrap();
    (tokenizer, model)
}

fn f16(threads: usize) -> (Tokenizer, Model) {
    load(std::fs::read(common::data("rustdoc-f16.gguf")).unwrap(), threads).unwrap()
}

/// Both ways with the same arguments; what they made must be equal. Returns what look-up saved.
#[track_caller]
fn same(model: &(Tokenizer, Model), ids: &[u32], count: usize, capacity: usize, options: SamplerOptions, most: usize) -> Statistics {
    let (tokenizer, model) = model;
    let sampler = || Sampler::new(options, tokenizer.padding()).unwrap();
    let stops = tokenizer.stops();
    let mut session = Session::new(model, capacity, 512).unwrap();
    let plain = generate(&mut session, ids, count, stops, &mut sampler(), |_| Ok(())).unwrap();
    let position = session.position();
    session.rewind(0);
    let mut told = Vec::new();
    let lookup = Lookup { most, ..Lookup::default() };
    let each = |token| {
        told.push(token);
        Ok(())
    };
    let (looked, statistics) = lookup::generate(&mut session, lookup, &[], ids, count, stops, &mut sampler(), each).unwrap();
    assert_eq!(looked.tokens, plain.tokens, "{ids:?}");
    assert_eq!((looked.stop, looked.steps, session.position()), (plain.stop, plain.steps, position));
    assert_eq!(told, plain.tokens);
    assert!(statistics.accepted <= statistics.proposed && statistics.passes + statistics.accepted >= plain.steps);
    statistics
}

const PROMPTS: [&str; 6] = [
    "The borrow checker",
    "A vector is a contiguous growable array type, written as Vec<T>. A vector is",
    "fn main() {\n    let x = 1;\n    let y = 1;\n    let z =",
    "Returns `Some` if the value is present. Returns `None` if",
    "0 1 2 3 0 1 2 3 0 1",
    "naïve café, 東京, 🦀",
];

#[test]
fn the_embedded_model_writes_the_same() {
    for threads in [1, 2] {
        let model = embedded(threads);
        let mut all = Statistics::default();
        for (prompt, count) in PROMPTS.iter().zip([200, 120, 64, 33, 2, 90]) {
            let ids = model.0.encode(prompt).unwrap();
            for most in [1, 8, 16] {
                let found = same(&model, &ids, count, ids.len() + count, SamplerOptions::default(), most);
                all.accepted += found.accepted;
            }
            same(&model, &ids, 0, ids.len(), SamplerOptions::default(), 8);
            same(&model, &ids, 1, ids.len(), SamplerOptions::default(), 8);
        }
        assert!(all.accepted > 100, "{all:?}");
    }
}

#[test]
fn so_does_one_in_f16() {
    let model = f16(2);
    for prompt in PROMPTS {
        let ids = model.0.encode(prompt).unwrap();
        same(&model, &ids, 80, ids.len() + 80, SamplerOptions::default(), 10);
    }
}

#[test]
fn so_it_is_with_a_penalty_and_where_the_room_ends() {
    let model = embedded(2);
    let ids = model.0.encode(PROMPTS[1]).unwrap();
    let penalty = SamplerOptions { repeat_penalty: 1.1, repeat_last_n: 32, ..Default::default() };
    same(&model, &ids, 100, ids.len() + 100, penalty, 8);
    for room in [0, 1, 2, 7, 30] {
        same(&model, &ids, 100, ids.len() + room, SamplerOptions::default(), 8);
    }
}

#[test]
fn tokens_read_together_have_the_bits_of_those_read_alone() {
    let ids: Vec<u32> = (0..40).map(|i| i * 37 % 256).collect();
    for (model, name) in [(embedded(2), "q8_0"), (f16(2), "f16"), (load(tiny(0).bytes(), 1).unwrap(), "f32")] {
        let mut session = Session::new(&model.1, 64, 64).unwrap();
        let alone: Vec<Vec<f32>> = ids.iter().map(|&id| session.feed(&[id]).unwrap().to_vec()).collect();
        for rows in [37, 1, 2, 3, 5, 9, 13, 16, 17] {
            session.rewind(3);
            let mut together = Vec::new();
            session.feed_singly(&ids[3..3 + rows], |at, logits| together.push((at, logits.to_vec()))).unwrap();
            for (at, logits) in together {
                assert!(logits == alone[3 + at], "{name}: {at} of {rows}");
            }
        }
        session.rewind(3);
        session.feed_singly(&ids[3..], |_, _| {}).unwrap();
        // What they left in the cache is the same too.
        let last = session.feed(&[5]).unwrap().to_vec();
        session.rewind(0);
        ids.iter().for_each(|&id| assert!(!session.feed(&[id]).unwrap().is_empty()));
        assert!(session.feed(&[5]).unwrap() == last, "{name}");
    }
}

#[test]
fn an_early_end_leaves_the_session_where_the_text_ends() {
    let (tokenizer, model) = embedded(1);
    let ids = tokenizer.encode(PROMPTS[0]).unwrap();
    let mut greedy = Sampler::new(Default::default(), tokenizer.padding()).unwrap();
    for end in 1..60 {
        let mut session = Session::new(&model, 200, 64).unwrap();
        let mut left = end;
        let each = |_| {
            left -= 1;
            Ok(if left == 0 { Flow::End(Stop::StopString) } else { Flow::Continue })
        };
        let (made, _) = lookup::generate(&mut session, Lookup::default(), &[], &ids, 100, &[], &mut greedy, each).unwrap();
        assert_eq!((made.tokens.len(), made.stop), (end, Stop::StopString));
        assert_eq!(session.position(), ids.len() + end - 1);
    }
}

#[test]
fn it_is_for_temperature_0() {
    let (tokenizer, model) = embedded(1);
    let mut session = Session::new(&model, 20, 16).unwrap();
    let mut warm = Sampler::new(SamplerOptions { temperature: 0.5, ..Default::default() }, tokenizer.padding()).unwrap();
    let refused = lookup::generate(&mut session, Lookup::default(), &[], &[1], 4, &[], &mut warm, |_| Ok(()));
    assert!(refused.unwrap_err().to_string().contains("temperature 0 alone"));
}

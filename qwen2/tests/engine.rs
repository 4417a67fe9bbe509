//! What must not change the numbers: how weights are stored, how a prompt is cut, how many threads compute.

mod common;

use common::{FFN, HIDDEN, KV, LAYERS, decode, encode, load, load_for, numbers, tiny};
use qwen2::Error;
use qwen2::baked::{Arithmetic, Format, Workers};
use qwen2::generate::{Stop, generate};
use qwen2::gguf::TensorType;
use qwen2::graph::Session;
use qwen2::model::Model;
use qwen2::sampler::Sampler;

const PROMPT: [u32; 11] = [104, 256, 7, 0, 261, 33, 33, 90, 12, 257, 5];

fn logits(model: &Model, chunk: usize) -> Vec<f32> {
    let mut session = Session::new(model, PROMPT.len(), chunk).unwrap();
    session.feed(&PROMPT).unwrap().to_vec()
}

fn model(file: &common::File, threads: usize) -> Model {
    load(file.bytes(), threads).unwrap().1
}

#[track_caller]
fn close(a: &[f32], b: &[f32], tolerance: f32) {
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(a.len() == b.len() && worst <= tolerance, "off by {worst:e}");
}

#[test]
fn threads_change_nothing() {
    let one = logits(&model(&tiny(0), 1), 512);
    for threads in [2, 3, 8] {
        assert_eq!(logits(&model(&tiny(0), threads), 512), one, "{threads} threads");
    }
}

/// The embedded model, whose products are worth several threads: the logits after a prompt of `rows` tokens, and the
/// tokens that follow it when the likeliest is taken.
fn embedded(threads: usize, rows: usize) -> (Vec<f32>, Vec<u32>) {
    let mut file = qwen2::embedded().unwrap();
    let tokenizer = qwen2::Tokenizer::from_gguf(&mut file).unwrap();
    let ops = qwen2::baked::select(None).unwrap();
    let model = Model::from_gguf(&file, tokenizer.len(), ops, threads, &mut |_, _| {}).unwrap();
    assert_eq!(model.team().count(), threads);
    let prompt: Vec<u32> = tokenizer.encode(&"A vector is a contiguous growable array. ".repeat(20)).unwrap()[..rows].to_vec();
    let mut session = Session::new(&model, rows + 16, 512).unwrap();
    let logits = session.feed(&prompt).unwrap().to_vec();
    session.rewind(0);
    let mut greedy = Sampler::new(Default::default(), tokenizer.padding()).unwrap();
    (logits, generate(&mut session, &prompt, 16, &[], &mut greedy, |_| Ok(())).unwrap().tokens)
}

#[test]
fn a_model_that_needs_them_computes_and_writes_the_same_on_any_number_of_threads() {
    let crowd = 4 * std::thread::available_parallelism().map_or(1, usize::from);
    for rows in [1, 7, 100] {
        let one = embedded(1, rows);
        assert_eq!(one.1.len(), 16);
        // More threads than cores take turns; more than a product can use rest.
        for threads in [2, 3, crowd, 70] {
            assert_eq!(embedded(threads, rows), one, "{threads} threads, {rows} tokens");
        }
    }
}

#[test]
fn sessions_on_several_threads_share_a_model() {
    let model = model(&tiny(0), 2);
    let alone = logits(&model, 512);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| logits(&model, 512))).collect();
        all.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), alone));
    });
}

#[test]
fn cutting_the_prompt_changes_rounding_alone() {
    let model = model(&tiny(0), 2);
    let whole = logits(&model, 512);
    for chunk in [1, 2, 5, 10, 11] {
        close(&logits(&model, chunk), &whole, 1e-4);
    }
    let mut session = Session::new(&model, PROMPT.len(), 512).unwrap();
    session.feed(&PROMPT[..4]).unwrap();
    close(session.feed(&PROMPT[4..]).unwrap(), &whole, 1e-4);
}

#[test]
fn storage_changes_the_numbers_little() {
    let exact = logits(&model(&tiny(0), 1), 512);
    close(&logits(&model(&tiny(1), 1), 512), &exact, 1e-2);
    close(&logits(&model(&tiny(8), 1), 512), &exact, 1e-1);
}

#[test]
fn arithmetic_in_bf16_rounds_both_sides_however_weights_are_stored() {
    let model = |file: &common::File, arithmetic| {
        let ops = qwen2::baked::select(None).unwrap().with_arithmetic(arithmetic).expect("kernels for it");
        load_for(ops, file.bytes(), 2).unwrap().1
    };
    let exact = logits(&model(&tiny(0), Arithmetic::F32), 512);
    let rounded = logits(&model(&tiny(0), Arithmetic::Bf16), 512);
    assert_ne!(rounded, exact);
    close(&rounded, &exact, 5e-2);
    let bf16 = TensorType::ALL.iter().find(|kind| kind.format() == Format::Bf16).expect("a type of file");
    let stored = |mut file: common::File| {
        // Vectors stay as they are.
        for tensor in file.tensors.iter_mut().filter(|tensor| tensor.dims.len() == 2) {
            tensor.data = encode(bf16.id(), &decode(tensor.kind, &tensor.data));
            tensor.kind = bf16.id();
        }
        file
    };
    assert_eq!(logits(&model(&stored(tiny(0)), Arithmetic::Bf16), 512), rounded);
    // Of weights that need no rounding, what differs is the activations.
    assert_ne!(logits(&model(&stored(tiny(0)), Arithmetic::F32), 512), rounded);
    assert_eq!(logits(&model(&tiny(1), Arithmetic::Bf16), 512), logits(&model(&stored(tiny(1)), Arithmetic::Bf16), 512));
}

/// The same weights, all turned into f32.
fn as_f32(file: &common::File) -> common::File {
    let mut plain = file.clone();
    for tensor in plain.tensors.iter_mut().filter(|tensor| tensor.kind != 0) {
        tensor.data = encode(0, &decode(tensor.kind, &tensor.data));
        tensor.kind = 0;
    }
    plain
}

#[test]
fn every_type_of_weights_is_multiplied_as_the_numbers_that_it_stands_for() {
    for kind in TensorType::ALL {
        let file = common::sized(256, 512, |_| kind.id());
        let (stored, exact) = (logits(&model(&file, 2), 512), logits(&model(&as_f32(&file), 2), 512));
        // Blocks are multiplied by activations rounded to bytes.
        let scale = exact.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        close(&stored, &exact, scale * if kind.block_elements() == 1 { 1e-5 } else { 3e-2 });
        assert!(kind.block_elements() == 1 || stored != exact, "{kind} was not multiplied in its own format");
    }
}

#[test]
fn types_may_be_mixed_in_any_way() {
    // Queries, keys and values of three types, gate and up of two, as published files have them.
    let of = |name: &str| match name {
        name if name.contains("attn_q") => TensorType::Q5_0,
        name if name.contains("attn_k") => TensorType::Q4K,
        name if name.contains("attn_v") => TensorType::Q8_0,
        name if name.contains("ffn_gate") => TensorType::Q4_1,
        name if name.contains("ffn_down") => TensorType::Q6K,
        name if name.contains("token_embd") => TensorType::Bf16,
        _ => TensorType::F16,
    };
    let file = common::sized(256, 512, |name| of(name).id());
    let (stored, exact) = (logits(&model(&file, 2), 512), logits(&model(&as_f32(&file), 2), 512));
    let scale = exact.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    close(&stored, &exact, 3e-2 * scale);
    // What is packed takes about the bytes of the file.
    let bytes: usize = file.tensors.iter().map(|tensor| tensor.data.len()).sum();
    let memory = model(&file, 1).memory().total() as usize;
    assert!(memory.abs_diff(bytes) < bytes / 8, "{memory} bytes of a file with {bytes}");
}

#[test]
fn caches_of_every_type_keep_what_the_text_depends_on() {
    let narrow = model(&tiny(0), 1);
    let refused = Session::with_cache(&narrow, 4, 4, Format::Q8_0).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("heads of 16 elements"), "{refused}");
    let model = model(&common::sized(256, 96, |_| 0), 2);
    let exact = logits(&model, 512);
    for (cache, tolerance) in [(Format::F32, 0.0), (Format::F16, 5e-3), (Format::Bf16, 4e-2), (Format::Q8_0, 4e-2)] {
        let mut session = Session::with_cache(&model, PROMPT.len(), 4, cache).unwrap();
        assert_eq!(session.cache(), cache);
        let kept = session.feed(&PROMPT[..PROMPT.len() - 1]).map(|_| ()).and_then(|()| session.feed(&PROMPT[PROMPT.len() - 1..]));
        close(kept.unwrap(), &exact, tolerance + 1e-4);
    }
}

#[test]
fn logits_of_each_token_are_those_of_the_last_of_a_shorter_text() {
    let model = model(&tiny(0), 2);
    let mut session = Session::new(&model, PROMPT.len(), 4).unwrap();
    let mut all = Vec::new();
    session.feed_each(&PROMPT, 3, |number, logits| all.push((number, logits.to_vec()))).unwrap();
    assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (3..PROMPT.len()).collect::<Vec<_>>());
    for (number, logits) in all {
        session.rewind(0);
        close(session.feed(&PROMPT[..=number]).unwrap(), &logits, 1e-4);
    }
}

#[test]
fn a_fused_projection_is_the_same_model() {
    let mut fused = tiny(1);
    for layer in 0..LAYERS {
        let mut weight = Vec::new();
        let mut bias = Vec::new();
        for part in ["q", "k", "v"] {
            weight.extend(fused.tensor(&format!("blk.{layer}.attn_{part}.weight")).data.clone());
            bias.extend(fused.tensor(&format!("blk.{layer}.attn_{part}.bias")).data.clone());
        }
        fused.tensors.retain(|t| !["q", "k", "v"].iter().any(|p| t.name.starts_with(&format!("blk.{layer}.attn_{p}."))));
        fused.add(&format!("blk.{layer}.attn_qkv.weight"), &[HIDDEN, HIDDEN + 2 * KV], 1, weight);
        fused.add(&format!("blk.{layer}.attn_qkv.bias"), &[HIDDEN + 2 * KV], 0, bias);
    }
    assert_eq!(logits(&model(&fused, 1), 512), logits(&model(&tiny(1), 1), 512));
}

#[test]
fn an_untied_head_is_used() {
    let tied = tiny(0);
    let vocab = tied.tensors[0].dims[1];
    let mut same = tied.clone();
    same.add("output.weight", &[HIDDEN, vocab], 0, tied.tensors[0].data.clone());
    assert_eq!(logits(&model(&same, 1), 512), logits(&model(&tied, 1), 512));
    let mut other = tied.clone();
    other.add("output.weight", &[HIDDEN, vocab], 0, encode(0, &numbers(99, HIDDEN * vocab)));
    assert_ne!(logits(&model(&other, 1), 512), logits(&model(&tied, 1), 512));
}

#[test]
fn forgetting_returns_to_the_start() {
    let model = model(&tiny(0), 1);
    let mut session = Session::new(&model, PROMPT.len(), 4).unwrap();
    let first = session.feed(&PROMPT).unwrap().to_vec();
    session.rewind(0);
    assert_eq!(session.feed(&PROMPT).unwrap(), first);
    session.rewind(6);
    assert_eq!(session.position(), 6);
    close(session.feed(&PROMPT[6..]).unwrap(), &first, 1e-4);
}

#[test]
fn a_session_refuses_what_it_cannot_hold() {
    let model = model(&tiny(0), 1);
    assert!(matches!(Session::new(&model, 65, 4), Err(Error::Context { needed: 65, limit: 64, .. })));
    assert!(matches!(Session::new(&model, 4, 0), Err(Error::Usage(_))));
    let mut session = Session::new(&model, 4, 4).unwrap();
    assert!(matches!(session.feed(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(session.feed(&[262]), Err(Error::TokenId { id: 262, vocab: 262 })));
    assert!(matches!(session.feed(&[1; 5]), Err(Error::Context { .. })));
    assert_eq!(session.position(), 0);
    session.feed(&[1; 4]).unwrap();
    assert!(matches!(session.feed(&[1]), Err(Error::Context { .. })));
}

#[test]
fn generation_stops_for_each_reason() {
    let (tokenizer, model) = load(tiny(0).bytes(), 1).unwrap();
    let greedy = || Sampler::new(Default::default(), tokenizer.padding()).unwrap();
    let run = |capacity, count, stops: &[u32]| {
        let mut session = Session::new(&model, capacity, 4).unwrap();
        let mut told = Vec::new();
        let text = generate(&mut session, &PROMPT[..3], count, stops, &mut greedy(), |token| {
            told.push(token);
            Ok(())
        });
        let text = text.unwrap();
        assert_eq!(told, text.tokens);
        text
    };
    let free = run(30, 8, &[]);
    assert_eq!((free.tokens.len(), free.stop, free.steps), (8, Stop::Length, 7));
    let full = run(6, 8, &[]);
    assert_eq!((full.stop, &full.tokens[..]), (Stop::Context, &free.tokens[..4]));
    let mark = free.tokens[0];
    let ended = run(30, 8, &[mark]);
    assert_eq!((ended.stop, ended.tokens.len()), (Stop::EndMark, 0));
    assert!(run(30, 0, &[]).tokens.is_empty());
}

#[test]
fn the_shape_is_what_the_file_says() {
    let model = model(&tiny(8), 1);
    let config = model.config();
    assert_eq!((config.hidden as u64, config.ffn as u64, config.kv_dim() as u64), (HIDDEN, FFN, KV));
    let layer = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KV + 3 * HIDDEN * FFN + HIDDEN + 2 * KV + 2 * HIDDEN;
    assert_eq!(model.parameters(), 262 * HIDDEN + u64::from(LAYERS) * layer + HIDDEN);
    assert!(model.memory().layers > 0 && model.memory().embedding == 0);
}

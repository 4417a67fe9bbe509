//! A small GGUF writer that can lie, and a valid tiny Qwen2 model to start from.
#![allow(dead_code)] // each test binary uses its part

pub mod folder;
pub mod program;

use std::path::PathBuf;

use qwen2::baked::{Product, with_product};
use qwen2::gguf::TensorType;

/// Width of the residual stream of [`tiny`].
pub const HIDDEN: u64 = 64;
/// Feed-forward width of [`tiny`].
pub const FFN: u64 = 96;
/// Width of all key heads of [`tiny`], which has twice as many query heads.
pub const KV: u64 = 32;
/// Layers of [`tiny`].
pub const LAYERS: u32 = 2;

/// A metadata value, or bytes that pretend to be one.
#[derive(Debug, Clone)]
pub enum Kv {
    U32(u32),
    F32(f32),
    Str(String),
    Strs(Vec<String>),
    I32s(Vec<i32>),
    /// Type number and content, written as they are.
    Raw(u32, Vec<u8>),
}

/// A tensor; `offset` overrides where it really lies.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub kind: u32,
    pub data: Vec<u8>,
    pub offset: Option<u64>,
}

/// A file to be; public fields are there to be spoilt.
#[derive(Debug, Clone)]
pub struct File {
    pub magic: [u8; 4],
    pub version: u32,
    pub metadata: Vec<(Vec<u8>, Kv)>,
    pub tensors: Vec<Tensor>,
    pub entry_count: Option<u64>,
    pub tensor_count: Option<u64>,
}

pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

impl File {
    pub fn new() -> Self {
        Self { magic: *b"GGUF", version: 3, metadata: vec![], tensors: vec![], entry_count: None, tensor_count: None }
    }

    /// Sets or adds a key.
    pub fn set(&mut self, key: &str, value: Kv) {
        self.unset(key);
        self.metadata.push((key.into(), value));
    }

    pub fn unset(&mut self, key: &str) {
        self.metadata.retain(|(k, _)| k != key.as_bytes());
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of the tiny model")
    }

    pub fn add(&mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) {
        self.tensors.push(Tensor { name: name.into(), dims: dims.to_vec(), kind, data, offset: None });
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.entry_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend(string(key));
            let (kind, content) = match value {
                Kv::U32(value) => (4, value.to_le_bytes().to_vec()),
                Kv::F32(value) => (6, value.to_le_bytes().to_vec()),
                Kv::Str(value) => (8, string(value)),
                Kv::Strs(list) => (9, array(8, list.len(), list.iter().flat_map(string))),
                Kv::I32s(list) => (9, array(5, list.len(), list.iter().flat_map(|v| v.to_le_bytes()))),
                Kv::Raw(kind, content) => (*kind, content.clone()),
            };
            out.extend(kind.to_le_bytes());
            out.extend(content);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

/// The content of an array value.
pub fn array(kind: u32, count: usize, content: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend((count as u64).to_le_bytes());
    out.extend(content);
    out
}

/// Small numbers that differ, repeatable.
pub fn numbers(seed: u64, count: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next() * 0.25).collect()
}

/// `values` as the bytes of tensor type `kind`, by its number in the format.
pub fn encode(kind: u32, values: &[f32]) -> Vec<u8> {
    let format = TensorType::from_id(kind).expect("a type of tensors").format();
    with_product!(format, P => bytemuck::cast_slice(&values.chunks(P::B_DEPTH).map(P::b_of).collect::<Vec<_>>()).to_vec())
}

/// What `encode` stored, as f32.
pub fn decode(kind: u32, bytes: &[u8]) -> Vec<f32> {
    let format = TensorType::from_id(kind).expect("a type of tensors").format();
    with_product!(format, P => {
        let elements = bytes.chunks_exact(format.bytes()).map(bytemuck::pod_read_unaligned::<<P as Product>::B>);
        elements.flat_map(|element| (0..P::B_DEPTH).map(move |at| P::b_value(&element, at) as f32)).collect()
    })
}

/// The 256 letters that stand for bytes, in the order of the bytes.
pub fn byte_letters() -> Vec<String> {
    let mut next = 0x100;
    let letter = |byte: u32| {
        let itself = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if itself { byte } else { next };
        next += u32::from(!itself);
        char::from_u32(code).expect("a letter").to_string()
    };
    (0..256).map(letter).collect()
}

/// A valid model with weights of type `kind`: bytes, two merges, `<|endoftext|>`, `<|im_end|>` and two fillers.
pub fn tiny(kind: u32) -> File {
    sized(HIDDEN, FFN, |_| kind)
}

/// As [`tiny`] of other widths, where `kind` says the type of each matrix.
pub fn sized(hidden: u64, ffn: u64, kind: impl Fn(&str) -> u32) -> File {
    let kv = hidden / 2;
    let mut tokens = byte_letters();
    let mut types = vec![1; 256];
    for (token, kind) in [("he", 1), ("hel", 1), ("<|endoftext|>", 3), ("<|im_end|>", 3), ("[PAD260]", 4), ("spare", 5)] {
        tokens.push(token.into());
        types.push(kind);
    }
    let vocab = tokens.len() as u64;
    let mut file = File::new();
    let metadata = [
        ("general.architecture", Kv::Str("qwen2".into())),
        ("general.name", Kv::Str("tiny".into())),
        ("qwen2.context_length", Kv::U32(64)),
        ("qwen2.embedding_length", Kv::U32(hidden as u32)),
        ("qwen2.block_count", Kv::U32(LAYERS)),
        ("qwen2.feed_forward_length", Kv::U32(ffn as u32)),
        ("qwen2.attention.head_count", Kv::U32(4)),
        ("qwen2.attention.head_count_kv", Kv::U32(2)),
        ("qwen2.rope.freq_base", Kv::F32(1e6)),
        ("qwen2.attention.layer_norm_rms_epsilon", Kv::F32(1e-6)),
        ("tokenizer.ggml.model", Kv::Str("gpt2".into())),
        ("tokenizer.ggml.pre", Kv::Str("qwen2".into())),
        ("tokenizer.ggml.tokens", Kv::Strs(tokens)),
        ("tokenizer.ggml.token_type", Kv::I32s(types)),
        ("tokenizer.ggml.merges", Kv::Strs(vec!["h e".into(), "he l".into()])),
        ("tokenizer.ggml.eos_token_id", Kv::U32(258)),
        ("tokenizer.ggml.padding_token_id", Kv::U32(258)),
    ];
    for (key, value) in metadata {
        file.set(key, value);
    }
    let mut seed = 0;
    let mut add = |name: String, dims: &[u64]| {
        seed += 1;
        let count = dims.iter().product();
        if name.contains("norm") {
            file.add(&name, dims, 0, encode(0, &vec![1.0; count as usize]));
        } else {
            let kind = if dims.len() == 1 { 0 } else { kind(&name) };
            file.add(&name, dims, kind, encode(kind, &numbers(seed, count)));
        }
    };
    add("token_embd.weight".into(), &[hidden, vocab]);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for (part, rows) in [("attn_q", hidden), ("attn_k", kv), ("attn_v", kv)] {
            add(name(&format!("{part}.weight")), &[hidden, rows]);
            add(name(&format!("{part}.bias")), &[rows]);
        }
        add(name("attn_output.weight"), &[hidden, hidden]);
        add(name("ffn_gate.weight"), &[hidden, ffn]);
        add(name("ffn_up.weight"), &[hidden, ffn]);
        add(name("ffn_down.weight"), &[ffn, hidden]);
        add(name("attn_norm.weight"), &[hidden]);
        add(name("ffn_norm.weight"), &[hidden]);
    }
    add("output_norm.weight".into(), &[hidden]);
    file
}

/// Loads a file as the program does: tokenizer, then model, on `threads` threads.
pub fn load(bytes: Vec<u8>, threads: usize) -> Result<(qwen2::Tokenizer, qwen2::model::Model), qwen2::Error> {
    load_for(qwen2::baked::select(None)?, bytes, threads)
}

/// As [`load`], for those kernels.
pub fn load_for(ops: qwen2::baked::Ops, bytes: Vec<u8>, threads: usize) -> Result<(qwen2::Tokenizer, qwen2::model::Model), qwen2::Error> {
    let mut file = qwen2::gguf::Gguf::from_vec(bytes)?;
    let tokenizer = qwen2::Tokenizer::from_gguf(&mut file)?;
    let model = qwen2::model::Model::from_gguf(&file, tokenizer.len(), ops, threads, &mut |_, _| {})?;
    Ok((tokenizer, model))
}

/// A file among the test data.
pub fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

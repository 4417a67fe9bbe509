//! A small writer of model folders that can lie, and what turns a GGUF model into one.

use std::collections::BTreeMap;
use std::path::Path;

use qwen2::gguf::{Array, Gguf, Value};
use serde_json::{Map, Value as Json, json};

use super::{File, Kv, decode, encode};

/// The files of a folder, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A tensor of a safetensors file; `offsets` overrides where it really lies.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
    pub offsets: Option<(u64, u64)>,
}

/// A safetensors file to be; public fields are there to be spoilt.
#[derive(Debug, Clone, Default)]
pub struct Safe {
    pub entries: Vec<Entry>,
    /// Overrides the length of the header.
    pub header_len: Option<u64>,
    /// Bytes after the data.
    pub tail: Vec<u8>,
}

impl Safe {
    pub fn add(&mut self, name: &str, dtype: &str, shape: &[u64], data: Vec<u8>) {
        self.entries.push(Entry { name: name.into(), dtype: dtype.into(), shape: shape.to_vec(), data, offsets: None });
    }

    pub fn entry(&mut self, name: &str) -> &mut Entry {
        self.entries.iter_mut().find(|entry| entry.name == name).expect("a tensor of the folder")
    }

    pub fn header(&self) -> String {
        let mut at = 0;
        let entry = |entry: &Entry| {
            let end = at + entry.data.len() as u64;
            let (begin, end) = entry.offsets.unwrap_or((std::mem::replace(&mut at, end), end));
            format!("{}:{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{begin},{end}]}}", json!(entry.name), entry.dtype, entry.shape)
        };
        let entries: Vec<String> = self.entries.iter().map(entry).collect();
        format!("{{\"__metadata__\":{{\"format\":\"pt\"}}{}{}}}", if entries.is_empty() { "" } else { "," }, entries.join(","))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = safetensors(&self.header(), self.header_len);
        self.entries.iter().for_each(|entry| out.extend(&entry.data));
        out.extend(&self.tail);
        out
    }
}

/// The front of a safetensors file with this header, padded as writers do.
pub fn safetensors(header: &str, len: Option<u64>) -> Vec<u8> {
    let blanks = header.len().next_multiple_of(8) - header.len();
    let padded = [header.as_bytes(), &b"        "[..blanks]].concat();
    [&len.unwrap_or(padded.len() as u64).to_le_bytes()[..], &padded].concat()
}

/// What a folder calls a tensor.
pub fn hf_name(name: &str) -> String {
    let renamed = name
        .replace("blk.", "model.layers.")
        .replace("token_embd", "model.embed_tokens")
        .replace("output_norm", "model.norm")
        .replace("attn_output", "self_attn.o_proj")
        .replace("attn_norm", "input_layernorm")
        .replace("ffn_norm", "post_attention_layernorm");
    let renamed =
        ["q", "k", "v"].iter().fold(renamed, |name, part| name.replace(&format!("attn_{part}."), &format!("self_attn.{part}_proj.")));
    let renamed =
        ["gate", "up", "down"].iter().fold(renamed, |name, part| name.replace(&format!("ffn_{part}"), &format!("mlp.{part}_proj")));
    if renamed == "output.weight" { "lm_head.weight".to_owned() } else { renamed }
}

/// The element type's name in safetensors and its number in GGUF.
pub const DTYPES: [(&str, u32); 3] = [("F32", 0), ("F16", 1), ("BF16", 30)];

/// A model's tensors as `dtype`, vectors included.
pub fn weights(file: &File, dtype: &str) -> Safe {
    let mut safe = Safe::default();
    let (_, kind) = DTYPES.into_iter().find(|(name, _)| *name == dtype).expect("a type of safetensors");
    for tensor in &file.tensors {
        let shape: Vec<u64> = tensor.dims.iter().rev().copied().collect();
        safe.add(&hf_name(&tensor.name), dtype, &shape, encode(kind, &decode(tensor.kind, &tensor.data)));
    }
    safe
}

/// A GGUF file as it would be written, with numbers rounded to type `kind` and matrices stored so.
pub fn stored_as(path: &Path, kind: u32) -> File {
    let gguf = Gguf::open(path).unwrap();
    let mut file = File::new();
    for (key, value) in gguf.metadata() {
        let value = match value {
            Value::Unsigned(value) => Kv::U32(*value as u32),
            Value::Float(value) => Kv::F32(*value as f32),
            Value::Bool(value) => Kv::Raw(7, vec![u8::from(*value)]),
            Value::String(text) => Kv::Str(text.clone()),
            Value::Array(Array::String(list)) => Kv::Strs(list.iter().map(|text| text.to_string()).collect()),
            Value::Array(Array::I32(list)) => Kv::I32s(list.clone()),
            other => panic!("{key} is {}", other.type_name()),
        };
        file.set(key, value);
    }
    for info in gguf.tensors() {
        let mut data = vec![0; info.len];
        gguf.tensor(&info.name).unwrap().read_rows(0, &mut data).unwrap();
        let dims = if info.rank == 1 { vec![info.cols as u64] } else { vec![info.cols as u64, info.rows as u64] };
        let rounded = encode(kind, &decode(info.kind.id(), &data));
        if info.rank == 1 {
            file.add(&info.name, &dims, 0, encode(0, &decode(kind, &rounded)));
        } else {
            file.add(&info.name, &dims, kind, rounded);
        }
    }
    file
}

/// Qwen2's `tokenizer.json` with this vocabulary. `merges` are pairs or, as older writers have them, strings.
pub fn tokenizer_json(vocab: Map<String, Json>, merges: Vec<Json>, added: Vec<Json>) -> Json {
    let expression = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ] },
        "post_processor": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}

/// The folder of the model in `file`, its tensors as `dtype` in one file. Fillers at the end of the token list are left
/// to `vocab_size`, as folders do.
pub fn folder_of(file: &File, dtype: &str) -> Files {
    let value = |key: &str| &file.metadata.iter().find(|(k, _)| k == key.as_bytes()).unwrap_or_else(|| panic!("no {key}")).1;
    let uint = |key: &str| match value(key) {
        Kv::U32(value) => *value,
        other => panic!("{key} is {other:?}"),
    };
    let (Kv::Strs(tokens), Kv::I32s(types)) = (value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")) else { unreachable!() };
    let Kv::Strs(merges) = value("tokenizer.ggml.merges") else { unreachable!() };
    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        match kind {
            _ if token.starts_with("[PAD") => {}
            1 => drop(vocab.insert(token.clone(), id.into())),
            3 | 4 => added.push(json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind == 3 })),
            _ => {}
        }
    }
    let merges = merges.iter().map(|merge| json!(merge)).collect();
    let untied = file.tensors.iter().any(|tensor| tensor.name == "output.weight");
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": uint("qwen2.embedding_length"),
        "num_hidden_layers": uint("qwen2.block_count"),
        "intermediate_size": uint("qwen2.feed_forward_length"),
        "num_attention_heads": uint("qwen2.attention.head_count"),
        "num_key_value_heads": uint("qwen2.attention.head_count_kv"),
        "max_position_embeddings": uint("qwen2.context_length"),
        "vocab_size": tokens.len(),
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "use_sliding_window": false,
        "sliding_window": null,
        "tie_word_embeddings": !untied,
        "eos_token_id": uint("tokenizer.ggml.eos_token_id"),
    });
    Files::from([
        ("config.json".into(), config.to_string().into_bytes()),
        ("tokenizer.json".into(), tokenizer_json(vocab, merges, added).to_string().into_bytes()),
        ("model.safetensors".into(), weights(file, dtype).bytes()),
    ])
}

/// The same tensors in `count` shards and their index.
pub fn shard(files: &mut Files, safe: &Safe, count: usize) {
    files.remove("model.safetensors");
    let mut map = Map::new();
    for (at, entries) in safe.entries.chunks(safe.entries.len().div_ceil(count)).enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", at + 1);
        entries.iter().for_each(|entry| drop(map.insert(entry.name.clone(), name.clone().into())));
        files.insert(name, Safe { entries: entries.to_vec(), ..Safe::default() }.bytes());
    }
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    files.insert("model.safetensors.index.json".into(), index.to_string().into_bytes());
}

/// Writes the files into a new folder.
pub fn write(files: &Files) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Loads a folder as the program does: tokenizer, then model, on one thread.
pub fn load_folder(files: Files) -> Result<(qwen2::Tokenizer, qwen2::model::Model), qwen2::Error> {
    let folder = qwen2::hf::Folder::from_files(files)?;
    let tokenizer = qwen2::Tokenizer::from_folder(&folder)?;
    let ops = qwen2::baked::select(None)?;
    let model = qwen2::model::Model::from_folder(&folder, ops, 1, &mut |_, _| {})?;
    Ok((tokenizer, model))
}

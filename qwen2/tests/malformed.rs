//! Files that are truncated, oversized or lying: each way has its error, told in one line, without a panic and
//! without memory that the file's size does not justify.

mod common;
#[path = "common/watching.rs"]
mod watching;

use common::{File, HIDDEN, Kv, array, encode, load, string, tiny};

/// Loads what must not load.
#[track_caller]
fn refused(bytes: Vec<u8>, part: &str) {
    watching::refused(bytes.len(), part, || load(bytes, 1));
}

/// As [`refused`], of the tiny model after a change.
#[track_caller]
fn spoilt(part: &str, change: impl FnOnce(&mut File)) {
    let mut file = tiny(0);
    change(&mut file);
    refused(file.bytes(), part);
}

#[test]
fn the_tiny_model_itself_is_good() {
    for kind in [0, 1, 8] {
        load(tiny(kind).bytes(), 1).unwrap();
    }
}

#[test]
fn magic_and_version() {
    refused(vec![], "not a GGUF file");
    refused(b"GGU".to_vec(), "not a GGUF file");
    spoilt("not a GGUF file", |f| f.magic = *b"GGML");
    for version in [0, 1, 4, u32::MAX] {
        spoilt("is not supported", |f| f.version = version);
    }
    spoilt("big-endian", |f| f.version = 3u32.swap_bytes());
    load(File { version: 2, ..tiny(0) }.bytes(), 1).unwrap();
}

#[test]
fn every_truncation_is_refused() {
    let bytes = tiny(8).bytes();
    for len in (0..bytes.len()).step_by(7).chain(bytes.len() - 40..bytes.len()) {
        // Only bytes that pad the last tensor may be missing.
        let Err(error) = load(bytes[..len].to_vec(), 1) else { panic!("loaded {len} of {} bytes", bytes.len()) };
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn counts_that_no_file_could_hold() {
    for count in [u64::MAX, u64::MAX / 14, 1 << 40] {
        spoilt("metadata entries", |f| f.entry_count = Some(count));
        spoilt("tensors", |f| f.tensor_count = Some(count));
        spoilt("array elements", |f| f.set("x", Kv::Raw(9, [8u32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat())));
        spoilt("array elements", |f| f.set("x", Kv::Raw(9, [0u32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat())));
        spoilt("truncated", |f| f.set("x", Kv::Raw(8, count.to_le_bytes().to_vec())));
    }
    // One more than there are reads the next section as an entry.
    let entries = tiny(0).metadata.len() as u64;
    let mut file = tiny(0);
    file.entry_count = Some(entries + 1);
    assert!(load(file.bytes(), 1).is_err());
}

#[test]
fn items_that_take_more_memory_than_the_file() {
    // Each is small in the file and has a fixed price in memory.
    let many = 20_000;
    let empty: Vec<u8> = (0..many).flat_map(|_| array(0, 0, [])).collect();
    spoilt("more memory than twice", |f| {
        f.tensors.clear();
        f.set("x", Kv::Raw(9, array(9, many, empty)));
    });
    spoilt("more memory than twice", |f| (0..many).for_each(|i| f.metadata.push((format!("{i:x}").into(), Kv::Raw(0, vec![0])))));
    spoilt("more memory than twice", |f| {
        f.tensors.clear();
        (0..many).for_each(|i| f.add(&format!("{i:x}"), &[1], 1, vec![]));
    });
    // Empty strings take what they take in the file.
    let mut file = tiny(0);
    file.set("x", Kv::Strs(vec![String::new(); many]));
    load(file.bytes(), 1).unwrap();
}

#[test]
fn reading_holds_at_most_twice_the_file() {
    let many = 20_000;
    let read = |bytes: Vec<u8>| watching::within(2 * bytes.len() + (64 << 10), || qwen2::gguf::Gguf::from_vec(bytes).map(drop));
    let changed = |change: &dyn Fn(&mut File)| {
        let mut file = tiny(0);
        file.tensors.clear();
        change(&mut file);
        read(file.bytes())
    };
    read(tiny(0).bytes()).unwrap();
    read(std::fs::read(common::data("ggml-vocab-qwen2.gguf")).unwrap()).unwrap();
    changed(&|f| f.set("x", Kv::Strs(vec![String::new(); many]))).unwrap();
    changed(&|f| f.set("x", Kv::Strs(vec!["ab".to_owned(); many]))).unwrap();
    changed(&|f| f.set("x", Kv::Str("x".repeat(1 << 20)))).unwrap();
    // Of each type an array of zeros.
    for (kind, size) in [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8].into_iter().enumerate().filter(|(kind, _)| *kind != 9) {
        changed(&|f| f.set("x", Kv::Raw(9, array(kind as u32, 1 << 18, vec![0; size << 18])))).unwrap();
    }
    changed(&|f| f.metadata.push(("k".repeat(1 << 20).into(), Kv::U32(0)))).unwrap();
    for count in [100, 300, 1000, many] {
        // Some are accepted, some are not.
        let _ = changed(&|f| (0..count).for_each(|i| f.metadata.push((format!("{i:x}").into(), Kv::Raw(0, vec![0])))));
        let _ = changed(&|f| (0..count).for_each(|i| f.add(&format!("{i:x}"), &[1], 0, vec![0; 4])));
        let _ = changed(&|f| (0..count).for_each(|i| f.add(&format!("{i:x}"), &[1], 0, vec![0; 512])));
        let _ = changed(&|f| f.set("x", Kv::Raw(9, array(9, count, (0..count).flat_map(|_| array(0, 0, []))))));
    }
}

#[test]
fn arrays_in_arrays() {
    let mut nested = array(0, 0, []);
    for _ in 0..100_000 {
        nested = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat().into_iter().chain(nested.drain(..).take(64)).collect();
    }
    let mut deep = Vec::new();
    for _ in 0..100_000 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    deep.extend(nested);
    spoilt("nested deeper", |f| f.set("deep", Kv::Raw(9, deep)));
    // Two levels are unusual and fine.
    let mut file = tiny(0);
    file.set("two", Kv::Raw(9, array(9, 2, [array(0, 1, [7]), array(5, 0, [])].concat())));
    load(file.bytes(), 1).unwrap();
}

#[test]
fn values_of_no_kind() {
    spoilt("value type 13", |f| f.set("x", Kv::Raw(13, vec![0; 8])));
    spoilt("value type 77", |f| f.set("x", Kv::Raw(9, array(77, 1, [0; 8]))));
    spoilt("boolean", |f| f.set("x", Kv::Raw(7, vec![2])));
    spoilt("boolean", |f| f.set("x", Kv::Raw(9, array(7, 2, [1, 9]))));
    spoilt("not valid UTF-8", |f| f.set("x", Kv::Raw(8, string([0xff, 0xfe]))));
    spoilt("not valid UTF-8", |f| f.metadata.push((vec![0xc3], Kv::U32(1))));
}

#[test]
fn names_that_occur_twice() {
    spoilt("'general.name' is empty or occurs twice", |f| f.metadata.push(("general.name".into(), Kv::U32(1))));
    spoilt("'' is empty or occurs twice", |f| f.metadata.push((vec![], Kv::U32(1))));
    spoilt("'output_norm.weight' is empty or occurs twice", |f| f.add("output_norm.weight", &[1], 0, vec![0; 4]));
    spoilt("'' is empty or occurs twice", |f| f.add("", &[1], 0, vec![0; 4]));
}

#[test]
fn hostile_names_stay_on_one_line() {
    spoilt("line\\nbreak", |f| f.metadata.extend([("line\nbreak".into(), Kv::U32(1)), ("line\nbreak".into(), Kv::U32(1))]));
    spoilt("…", |f| f.set("general.architecture", Kv::Str("long ".repeat(1000))));
}

#[test]
fn alignment() {
    for alignment in [0, 3, 33, u32::MAX] {
        spoilt("not a power of two", |f| f.set("general.alignment", Kv::U32(alignment)));
    }
    for alignment in [0, u64::MAX] {
        spoilt("not a power of two", |f| f.set("general.alignment", Kv::Raw(10, alignment.to_le_bytes().to_vec())));
    }
    spoilt("general.alignment' is a signed integer", |f| f.set("general.alignment", Kv::Raw(5, (-32i32).to_le_bytes().to_vec())));
    // Where the data would begin overflows.
    spoilt("outside the file", |f| f.set("general.alignment", Kv::Raw(10, (1u64 << 63).to_le_bytes().to_vec())));
    spoilt("general.alignment' is a string", |f| f.set("general.alignment", Kv::Str("32".into())));
    spoilt("outside the file", |f| f.set("general.alignment", Kv::U32(1 << 31)));
}

#[test]
fn shapes_of_tensors() {
    let dims = |dims: &'static [u64]| move |f: &mut File| f.tensor("output_norm.weight").dims = dims.to_vec();
    spoilt("of rank 0", dims(&[]));
    spoilt("of rank 5", dims(&[1, 1, 1, 1, 64]));
    spoilt("none of them 0", dims(&[0]));
    spoilt("none of them 0", dims(&[HIDDEN, 0]));
    spoilt("overflows", dims(&[1 << 32, 1 << 32]));
    spoilt("overflows", dims(&[1 << 62, 2]));
    spoilt("overflows", dims(&[u64::MAX, 1, 1, 3]));
    spoilt("overflows", dims(&[2, 1 << 32, 1 << 31]));
    // The elements fit 64 bits, their bytes do not.
    spoilt("overflows", dims(&[1 << 62]));
    // Nor does the place behind them, though the bytes do.
    spoilt("outside the file", |f| {
        f.tensor("output_norm.weight").dims = vec![1 << 61];
        f.tensor("output_norm.weight").offset = Some(1 << 63);
    });
    spoilt("outside the file", dims(&[1 << 40]));
    spoilt("hyperparameters demand", dims(&[HIDDEN / 2]));
    spoilt("hyperparameters demand", dims(&[HIDDEN, 1]));
    spoilt("hyperparameters demand", dims(&[HIDDEN / 2, 2]));
}

#[test]
fn types_of_tensors() {
    spoilt("type 10 (Q2_K)", |f| f.tensor("blk.0.attn_q.weight").kind = 10);
    spoilt("does not divide into blocks of 256", |f| f.tensor("blk.0.attn_q.weight").kind = 12);
    for (kind, name) in [(9, "Q8_1"), (15, "Q8_K"), (16, "IQ"), (24, "integers"), (28, "F64"), (34, "TQ"), (39, "MXFP4")] {
        spoilt(name, |f| f.tensor("blk.0.attn_q.weight").kind = kind);
    }
    for kind in [4, 5, 31, 40, u32::MAX] {
        spoilt(&format!("type {kind};"), |f| f.tensor("blk.0.attn_q.weight").kind = kind);
    }
    // The bytes of another type than the file has for it reach into the next tensor.
    refused(
        {
            let mut halves = tiny(1);
            halves.tensor("blk.0.attn_q.weight").kind = 0;
            halves.bytes()
        },
        "overlap",
    );
    spoilt("type 4711;", |f| f.tensor("blk.0.attn_q.weight").kind = 4711);
    spoilt("does not divide into blocks of 32", |f| f.add("odd", &[33], 8, vec![0; 68]));
}

#[test]
fn places_of_tensors() {
    spoilt("not a multiple of the alignment", |f| f.tensor("output_norm.weight").offset = Some(33));
    for offset in [1 << 20, 1 << 40, u64::MAX - 31] {
        spoilt("outside the file", |f| f.tensor("output_norm.weight").offset = Some(offset));
    }
    spoilt("overlap", |f| f.tensor("output_norm.weight").offset = Some(0));
    spoilt("overlap", |f| f.tensor("blk.1.ffn_norm.weight").offset = Some(32));
    // All tensors at one place.
    spoilt("overlap", |f| f.tensors.iter_mut().for_each(|tensor| tensor.offset = Some(0)));
}

#[test]
fn architecture() {
    spoilt("'llama'; only qwen2", |f| f.set("general.architecture", Kv::Str("llama".into())));
    spoilt("'general.architecture' is missing", |f| f.unset("general.architecture"));
    spoilt("'general.architecture' is an unsigned integer", |f| f.set("general.architecture", Kv::U32(1)));
}

#[test]
fn keys_that_are_missing_or_of_the_wrong_type() {
    let keys: Vec<String> = tiny(0).metadata.iter().map(|(key, _)| String::from_utf8(key.clone()).unwrap()).collect();
    let optional = ["general.name", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"];
    for key in &keys {
        let mut file = tiny(0);
        file.unset(key);
        if optional.contains(&key.as_str()) {
            load(file.bytes(), 1).unwrap();
        } else {
            refused(file.bytes(), key);
        }
        if key != "general.name" {
            spoilt(key, |f| f.set(key, Kv::Raw(7, vec![1])));
        }
    }
    assert!(keys.iter().any(|key| key == "qwen2.rope.freq_base"));
}

#[test]
fn hyperparameters_that_cannot_be() {
    let set = |key: &'static str, value: u32| move |f: &mut File| f.set(key, Kv::U32(value));
    for key in ["embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv"] {
        for value in [0, u32::MAX] {
            spoilt(key, |f| f.set(&format!("qwen2.{key}"), Kv::U32(value)));
        }
        spoilt("is a signed integer", |f| f.set(&format!("qwen2.{key}"), Kv::Raw(11, (-1i64).to_le_bytes().to_vec())));
        spoilt(key, |f| f.set(&format!("qwen2.{key}"), Kv::Raw(10, u64::MAX.to_le_bytes().to_vec())));
    }
    spoilt("not a multiple", set("qwen2.attention.head_count_kv", 3));
    spoilt("does not divide", set("qwen2.attention.head_count", 6));
    spoilt("odd length", set("qwen2.attention.head_count", 64));
    spoilt("context_length", set("qwen2.context_length", 0));
    spoilt("equally long", set("qwen2.attention.value_length", 8));
    spoilt("rotated in part", set("qwen2.rope.dimension_count", 8));
    spoilt("scaled RoPE", |f| f.set("qwen2.rope.scaling.type", Kv::Str("yarn".into())));
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        spoilt("rms_epsilon", |f| f.set("qwen2.attention.layer_norm_rms_epsilon", Kv::F32(value)));
        spoilt("freq_base", |f| f.set("qwen2.rope.freq_base", Kv::F32(value)));
    }
    spoilt("'blk.2.attn_norm.weight' is missing", set("qwen2.block_count", 1 << 24));
    spoilt("no place", set("qwen2.block_count", 1));
    spoilt("hyperparameters demand", set("qwen2.feed_forward_length", 32));
}

#[test]
fn every_tensor_is_needed_and_no_other() {
    for tensor in tiny(0).tensors {
        spoilt(&tensor.name, |f| f.tensors.retain(|t| t.name != tensor.name));
    }
    spoilt("'rope_freqs.weight' has no place", |f| f.add("rope_freqs.weight", &[8], 0, vec![0; 32]));
    spoilt("'blk.7.attn_norm.weight' has no place", |f| f.add("blk.7.attn_norm.weight", &[8], 0, vec![0; 32]));
}

#[test]
fn numbers_that_are_not_finite() {
    for name in ["token_embd.weight", "blk.1.ffn_up.weight", "blk.0.attn_v.weight", "blk.1.attn_k.bias", "output_norm.weight"] {
        for value in [f32::NAN, f32::INFINITY] {
            spoilt("not finite", |f| f.tensor(name).data[4..8].copy_from_slice(&value.to_le_bytes()));
        }
    }
    let mut halves = tiny(1);
    halves.tensor("blk.1.ffn_down.weight").data[2..4].copy_from_slice(&0x7c00u16.to_le_bytes());
    refused(halves.bytes(), "'blk.1.ffn_down.weight' holds a value that is not finite");
    let mut blocks = tiny(8);
    blocks.tensor("blk.0.attn_output.weight").data[34..36].copy_from_slice(&0x7e00u16.to_le_bytes());
    refused(blocks.bytes(), "'blk.0.attn_output.weight' holds a value that is not finite");
}

#[test]
fn scales_that_are_not_finite() {
    // Number of the type, elements and bytes of a block, where its scales in halves are.
    let types = [
        (2, 32, 18, &[0][..]),
        (3, 32, 20, &[0, 2]),
        (6, 32, 22, &[0]),
        (7, 32, 24, &[0, 2]),
        (8, 32, 34, &[0]),
        (12, 256, 144, &[0, 2]),
        (13, 256, 176, &[0, 2]),
        (14, 256, 210, &[208]),
    ];
    // Wide enough in the middle for blocks of 256.
    let wide = |kind: u32, elements: usize, bytes: usize| {
        let mut file = tiny(0);
        file.set("qwen2.feed_forward_length", Kv::U32(256));
        for layer in 0..common::LAYERS {
            for part in ["gate", "up", "down"] {
                let tensor = file.tensor(&format!("blk.{layer}.ffn_{part}.weight"));
                tensor.dims = if part == "down" { vec![256, HIDDEN] } else { vec![HIDDEN, 256] };
                tensor.data = vec![0; 4 * 256 * HIDDEN as usize];
            }
        }
        let tensor = file.tensor("blk.1.ffn_down.weight");
        tensor.kind = kind;
        tensor.data = vec![0; 256 / elements * HIDDEN as usize * bytes];
        file
    };
    for (kind, elements, bytes, scales) in types {
        load(wide(kind, elements, bytes).bytes(), 1).unwrap();
        for (&scale, bits) in scales.iter().flat_map(|scale| [0x7c00u16, 0xfc00, 0x7e00].map(|bits| (scale, bits))) {
            let mut file = wide(kind, elements, bytes);
            let data = &mut file.tensor("blk.1.ffn_down.weight").data;
            // Of the last block.
            let at = data.len() - bytes + scale;
            data[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            refused(file.bytes(), "'blk.1.ffn_down.weight' holds a value that is not finite");
        }
    }
}

#[test]
fn a_file_that_shrinks_after_it_was_opened_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tiny(0).bytes()).unwrap();
    let mut gguf = qwen2::gguf::Gguf::open(file.path()).unwrap();
    let tokenizer = qwen2::Tokenizer::from_gguf(&mut gguf).unwrap();
    file.as_file().set_len(50_000).unwrap();
    let ops = qwen2::baked::select(None).unwrap();
    let error = qwen2::model::Model::from_gguf(&gguf, tokenizer.len(), ops, 1, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("cannot read tensor"), "{error}");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = qwen2::gguf::Gguf::open(&pipe).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn lists_of_the_tokenizer() {
    let tokens = |change: fn(&mut Vec<String>)| {
        move |f: &mut File| {
            let place = f.metadata.iter_mut().find(|(key, _)| key == b"tokenizer.ggml.tokens").unwrap();
            let Kv::Strs(list) = &mut place.1 else { unreachable!() };
            change(list);
        }
    };
    spoilt("occur twice", tokens(|list| list[1] = list[0].clone()));
    spoilt("token types for", tokens(|list| list.truncate(261)));
    spoilt("single byte", tokens(|list| list[65] = "AA".into()));
    spoilt("does not exist", tokens(|list| list[257] = "hex".into()));
    let merges = |merge: &'static str| move |f: &mut File| f.set("tokenizer.ggml.merges", Kv::Strs(vec![merge.into()]));
    spoilt("is not two tokens", merges("he"));
    spoilt("which does not exist", merges("he y"));
    spoilt("which does not exist", merges("longer-than-any-token-in-the-list longer-than-any-token-in-the-list"));
    spoilt("which does not exist", merges("h  e"));
    for key in ["eos_token_id", "eot_token_id", "bos_token_id", "padding_token_id"] {
        spoilt("is a signed integer", |f| f.set(&format!("tokenizer.ggml.{key}"), Kv::Raw(5, (-1i32).to_le_bytes().to_vec())));
        spoilt("token id 262 does not exist", |f| f.set(&format!("tokenizer.ggml.{key}"), Kv::U32(262)));
    }
    spoilt("only gpt2", |f| f.set("tokenizer.ggml.model", Kv::Str("llama".into())));
    spoilt("only qwen2", |f| f.set("tokenizer.ggml.pre", Kv::Str("default".into())));
    spoilt("add_bos_token", |f| f.set("tokenizer.ggml.add_bos_token", Kv::Raw(7, vec![1])));
    // A vocabulary of another size than the embedding's.
    spoilt("hyperparameters demand", |f| {
        let values = vec![0.0; 100 * HIDDEN as usize];
        let tensor = f.tensor("token_embd.weight");
        tensor.dims = vec![HIDDEN, 100];
        tensor.data = encode(0, &values);
    });
}

//! Quantising, held against llama.cpp's quantiser byte by byte; the writer, held against the reader; what the engine
//! makes of the results; and the command.

mod common;

use std::path::{Path, PathBuf};

use common::{Kv, data, encode, load, numbers, tiny};
use proptest::prelude::*;
use qwen2::gguf::{Array, FileHead, Gguf, GgufError, TensorType, Value, ValueType};
use qwen2::graph::Session;
use qwen2::hf::Folder;
use qwen2::quantize::{FolderInput, Input, Summary, Target, quantize};
use qwen2::{Error, baked};
use sha2::{Digest, Sha256};

/// A file quantised in memory.
fn quantised(input: &dyn Input, how: (Target, bool), threads: usize) -> Result<(Vec<u8>, Summary), Error> {
    let ops = baked::select(None)?;
    let mut out = Vec::new();
    let mut last = 0;
    let summary = quantize(input, how, &ops, threads, &mut out, &mut |done, total| {
        assert!(last < done && done <= total);
        last = done;
    })?;
    assert_eq!(summary.file_bytes, out.len() as u64);
    assert_eq!(last, Summary::total(&summary.after).elements);
    Ok((out, summary))
}

#[test]
fn a_folder_becomes_the_file_that_its_twin_becomes() {
    for (file, tied) in [(tiny(0), true), (untied(), false)] {
        let folder = Folder::from_files(common::folder::folder_of(&file, "F32")).unwrap();
        let twin = Gguf::from_vec(file.bytes()).unwrap();
        let how = ("q8_0".parse().unwrap(), false);
        let (ours, _) = quantised(&FolderInput::new(&folder).unwrap(), how, 2).unwrap();
        let (theirs, _) = quantised(&twin, how, 2).unwrap();
        let (one, other) = (Gguf::from_vec(ours.clone()).unwrap(), Gguf::from_vec(theirs.clone()).unwrap());
        assert_eq!(one.tensors().len(), other.tensors().len());
        assert_eq!(one.tensor("output.weight").is_none(), tied);
        for tensor in other.tensors() {
            assert_eq!(stored(&one, &tensor.name), stored(&other, &tensor.name), "{}", tensor.name);
        }
        // Text and logits too: metadata says the same.
        let ((a, one), (b, other)) = (load(ours, 1).unwrap(), load(theirs, 1).unwrap());
        assert_eq!((a.stops(), a.padding()), (b.stops(), b.padding()));
        let ids = a.encode("hello <|im_end|> there").unwrap();
        assert_eq!(ids, b.encode("hello <|im_end|> there").unwrap());
        let logits = |model| Session::new(model, ids.len(), 8).unwrap().feed(&ids).unwrap().to_vec();
        assert_eq!(logits(&one), logits(&other));
    }
}

/// The tiny model with a head of its own.
fn untied() -> common::File {
    let mut file = tiny(0);
    let dims = file.tensor("token_embd.weight").dims.clone();
    file.add("output.weight", &dims, 0, encode(0, &numbers(77, dims.iter().product())));
    file
}

fn rustdoc() -> Gguf {
    Gguf::open(&data("rustdoc-f16.gguf")).unwrap()
}

/// The stored bytes of a tensor.
fn stored(file: &Gguf, name: &str) -> Vec<u8> {
    let tensor = file.tensor(name).unwrap();
    let mut bytes = vec![0; tensor.info.len];
    tensor.read_rows(0, &mut bytes).unwrap();
    bytes
}

/// Where the data of a file begins: what stands before it holds no tensor.
fn data_of(bytes: &[u8]) -> &[u8] {
    let len: usize = Gguf::from_vec(bytes.to_vec()).unwrap().tensors().iter().map(|tensor| tensor.len.next_multiple_of(32)).sum();
    &bytes[bytes.len() - len..]
}

mod against_llama_cpp {
    use super::*;

    fn check(golden: &str, target: Target, pure: bool) {
        let text = std::fs::read_to_string(data("quant-golden.json")).unwrap();
        let golden = &serde_json::from_str::<serde_json::Value>(&text).unwrap()[golden]["tensors"];
        let golden = golden.as_object().unwrap();
        let (bytes, summary) = quantised(&rustdoc(), (target, pure), 2).unwrap();
        let ours = Gguf::from_vec(bytes).unwrap();
        assert_eq!(ours.tensors().len(), golden.len());
        for (name, theirs) in golden {
            assert_eq!(ours.tensor(name).unwrap().info.kind.name(), theirs["type"], "{name}");
            let hash: String = Sha256::digest(stored(&ours, name)).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, theirs["sha256"].as_str().unwrap(), "{name}");
        }
        assert!(summary.fallbacks.is_empty());
        assert_eq!(ours.uint("general.file_type"), Ok(target.file_type()));
        assert_eq!(ours.uint("general.quantization_version"), Ok(2));
    }

    macro_rules! targets {
        ($($name:ident $target:ident $pure:literal;)+) => {
            $(#[test] fn $name() { check(stringify!($name), Target::$target, $pure); })+
        };
    }

    targets! {
        f16 F16 false;
        q8_0 Q8_0 true;
        q4_0 Q4_0 true;
        q4_1 Q4_1 true;
        q5_0 Q5_0 true;
        q5_1 Q5_1 true;
        q4_k_m Q4KM false;
        q6_k Q6K false;
    }

    #[test]
    fn the_data_of_the_embedded_model_is_made_again_in_its_order() {
        let theirs = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/rustdoc-q8_0.gguf")).unwrap();
        let (ours, _) = quantised(&rustdoc(), (Target::Q8_0, false), 1).unwrap();
        assert!(data_of(&ours) == data_of(&theirs));
        let (ours, theirs) = (Gguf::from_vec(ours).unwrap(), Gguf::from_vec(theirs).unwrap());
        assert_eq!(ours.metadata(), theirs.metadata());
        assert!(ours.metadata().keys().all(|key| ours.value_type(key) == theirs.value_type(key)));
        assert_eq!(ours.tensors(), theirs.tensors());
    }
}

#[test]
fn threads_change_nothing() {
    for target in [Target::Q8_0, Target::Q4KM, Target::F32] {
        let one = quantised(&rustdoc(), (target, false), 1).unwrap().0;
        for threads in [2, 3, 7] {
            assert!(quantised(&rustdoc(), (target, false), threads).unwrap().0 == one, "{threads} threads");
        }
    }
}

#[test]
fn wide_formats_lose_nothing() {
    let (wide, _) = quantised(&rustdoc(), (Target::F32, false), 2).unwrap();
    let wide = Gguf::from_vec(wide).unwrap();
    assert!(wide.tensors().iter().all(|tensor| tensor.kind == TensorType::F32));
    let (back, _) = quantised(&wide, (Target::F16, false), 2).unwrap();
    let back = Gguf::from_vec(back).unwrap();
    let input = rustdoc();
    for tensor in input.tensors() {
        assert!(stored(&input, &tensor.name) == stored(&back, &tensor.name), "{}", tensor.name);
    }
    // From any of them the same blocks.
    let blocks = |input: &Gguf| quantised(input, (Target::Q4KM, false), 2).unwrap().0;
    assert!(blocks(&wide) == blocks(&input));
    let (upper, _) = quantised(&wide, (Target::Bf16, false), 2).unwrap();
    let upper = Gguf::from_vec(upper).unwrap();
    let wide_again = quantised(&upper, (Target::F32, false), 2).unwrap().0;
    let again = quantised(&Gguf::from_vec(wide_again).unwrap(), (Target::Bf16, false), 2).unwrap().0;
    assert!(stored(&Gguf::from_vec(again).unwrap(), "token_embd.weight") == stored(&upper, "token_embd.weight"));
}

#[test]
fn the_engine_computes_nearly_the_same_with_the_result() {
    let ids: Vec<u32> = (0..40).map(|i| i * 97 % 4000).collect();
    let logits = |bytes: Vec<u8>| {
        let (_, model) = load(bytes, 2).unwrap();
        let mut session = Session::new(&model, ids.len(), 64).unwrap();
        session.feed(&ids).unwrap().to_vec()
    };
    let exact = logits(std::fs::read(data("rustdoc-f16.gguf")).unwrap());
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    for target in Target::ALL {
        let near = logits(quantised(&rustdoc(), (*target, false), 2).unwrap().0);
        let error = norm(&mut near.iter().zip(&exact).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
        let allowed = match target.kind() {
            TensorType::F32 | TensorType::F16 => 1e-6,
            TensorType::Bf16 | TensorType::Q8_0 => 0.02,
            TensorType::Q6K => 0.05,
            _ => 0.25,
        };
        assert!(error <= allowed, "{target} is off by {error}");
    }
}

#[test]
fn rows_that_do_not_fit_are_told() {
    let input = Gguf::from_vec(tiny(0).bytes()).unwrap();
    let (bytes, summary) = quantised(&input, (Target::Q4KM, false), 2).unwrap();
    let counts = |kind| summary.after.get(&kind).map_or(0, |count| count.tensors);
    // A head of Q8_0 is chosen, not fallen back to; of two layers, values and down projections of the last have more bits.
    assert_eq!((counts(TensorType::Q5_0), counts(TensorType::Q8_0), counts(TensorType::F32)), (12, 3, 11));
    assert_eq!(summary.fallbacks.len(), 14);
    assert!(summary.fallbacks.iter().all(|fallback| matches!(
        (fallback.wanted, fallback.kind),
        (TensorType::Q4K, TensorType::Q5_0) | (TensorType::Q6K, TensorType::Q8_0)
    )));
    load(bytes, 1).unwrap();
}

#[test]
fn vectors_become_f32_and_metadata_stays() {
    let mut input = tiny(1);
    let norm = input.tensor("output_norm.weight");
    (norm.kind, norm.data) = (1, encode(1, &[1.5; 64]));
    input.set("general.alignment", Kv::U32(32));
    input.set("general.file_type", Kv::U32(1));
    input.set("split.count", Kv::U32(1));
    input.set("x.u8", Kv::Raw(0, vec![7]));
    input.set("x.i64", Kv::Raw(11, (-7i64).to_le_bytes().to_vec()));
    input.set("x.f64", Kv::Raw(12, 0.5f64.to_le_bytes().to_vec()));
    input.set("x.bools", Kv::Raw(9, common::array(7, 2, [0, 1])));
    let input = Gguf::from_vec(input.bytes()).unwrap();
    let (bytes, _) = quantised(&input, (Target::Q8_0, false), 1).unwrap();
    let file = Gguf::from_vec(bytes).unwrap();
    assert_eq!(stored(&file, "output_norm.weight"), encode(0, &[1.5; 64]));
    let mut expected = input.metadata().clone();
    expected.retain(|key, _| key != "general.alignment" && key != "split.count");
    expected.insert("general.file_type".to_owned(), Value::Unsigned(7));
    expected.insert("general.quantization_version".to_owned(), Value::Unsigned(2));
    assert_eq!(file.metadata(), &expected);
    assert_eq!(file.get("x.bools"), Some(&Value::Array(Array::Bool(vec![false, true]))));
    for key in input.metadata().keys().filter(|key| file.get(key).is_some()) {
        assert_eq!(file.value_type(key), input.value_type(key), "{key}");
    }
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    #[track_caller]
    fn refused(file: &common::File, target: Target, part: &str) {
        let input = Gguf::from_vec(file.bytes()).unwrap();
        let error = quantised(&input, (target, false), 2).map(drop).unwrap_err().to_string();
        assert!(error.contains(part) && error.lines().count() == 1, "'{error}' does not say '{part}'");
    }
    let q = "blk.1.attn_q.weight";
    let with = |change: &dyn Fn(&mut common::File)| {
        let mut file = tiny(0);
        change(&mut file);
        file
    };
    refused(&tiny(8), Target::Q4_0, "Q8_0 already");
    refused(&with(&|f| f.set("general.architecture", Kv::Str("llama".into()))), Target::Q4_0, "architecture is 'llama'");
    refused(&with(&|f| f.unset("general.architecture")), Target::Q4_0, "'general.architecture' is missing");
    refused(&with(&|f| f.set("general.architecture", Kv::U32(1))), Target::Q4_0, "expected a string");
    refused(&with(&|f| f.unset("qwen2.block_count")), Target::Q4_0, "'qwen2.block_count' is missing");
    refused(&with(&|f| f.set("qwen2.block_count", Kv::Str("2".into()))), Target::Q4_0, "sensible number");
    refused(&with(&|f| f.set("split.count", Kv::U32(3))), Target::Q4_0, "split model");
    refused(&with(&|f| f.tensors.clear()), Target::Q4_0, "no tensors");
    refused(&with(&|f| f.tensor(q).dims = vec![8, 8, 64]), Target::Q4_0, "3 dimensions");
    refused(&with(&|f| f.add("odd.weight", &[40, 2], 0, encode(0, &numbers(1, 80)))), Target::Q4_0, "no whole blocks of Q4_0");
    refused(&with(&|f| f.tensor(q).data[..4].copy_from_slice(&f32::NAN.to_le_bytes())), Target::Q4_0, "not finite");
    refused(&with(&|f| f.tensor(q).data[..4].copy_from_slice(&1e6f32.to_le_bytes())), Target::Q4_0, "beyond 65504");
    refused(&with(&|f| f.tensor(q).data[..4].copy_from_slice(&1e6f32.to_le_bytes())), Target::F16, "beyond 65504");
    assert!(quantised(&Gguf::from_vec(tiny(8).bytes()).unwrap(), (Target::Q8_0, false), 1).is_ok());
}

#[test]
fn a_writer_refuses_what_a_reader_would() {
    let mut head = FileHead::new();
    head.metadata("a", ValueType::U8, &Value::Unsigned(255)).unwrap();
    assert!(matches!(head.metadata("a", ValueType::U8, &Value::Unsigned(1)), Err(GgufError::DuplicateKey(_))));
    assert!(matches!(head.metadata("", ValueType::U8, &Value::Unsigned(1)), Err(GgufError::DuplicateKey(_))));
    let mut nested = Array::U8(vec![1]);
    for _ in 0..4 {
        nested = Array::Array(vec![nested]);
    }
    let deep = FileHead::new().metadata("deep", ValueType::Array, &Value::Array(nested));
    assert!(matches!(deep, Err(GgufError::Depth { .. })));
    let wrong = [
        (ValueType::U8, Value::Unsigned(256)),
        (ValueType::I8, Value::Signed(-129)),
        (ValueType::U32, Value::Signed(-1)),
        (ValueType::F32, Value::Float(1e300)),
        (ValueType::F32, Value::Unsigned(1)),
        (ValueType::Bool, Value::Unsigned(1)),
        (ValueType::String, Value::Bool(true)),
        (ValueType::Array, Value::Bool(true)),
    ];
    for (kind, value) in wrong {
        assert!(matches!(FileHead::new().metadata("k", kind, &value), Err(GgufError::Unwritable { .. })), "{value:?} as {kind:?}");
    }
    head.tensor("t", &[4], TensorType::F32).unwrap();
    assert!(matches!(head.tensor("t", &[4], TensorType::F32), Err(GgufError::DuplicateTensor(_))));
    assert!(matches!(head.tensor("", &[4], TensorType::F32), Err(GgufError::DuplicateTensor(_))));
    for dims in [&[][..], &[1; 5], &[4, 0]] {
        assert!(matches!(FileHead::new().tensor("u", dims, TensorType::F32), Err(GgufError::Dims { .. })), "{dims:?}");
    }
    assert!(matches!(head.tensor("v", &[33], TensorType::Q8_0), Err(GgufError::RowLength { .. })));
    for dims in [[1 << 40, 1 << 40], [1 << 62, 1]] {
        assert!(matches!(FileHead::new().tensor("w", &dims, TensorType::F32), Err(GgufError::Overflow { .. })), "{dims:?}");
    }
    let mut writer = head.write_to(Vec::new()).unwrap();
    writer.data(&[0; 8]).unwrap();
    assert!(writer.data(&[0; 9]).is_err(), "more than the tensor has");
    let mut head = FileHead::new();
    head.tensor("t", &[4], TensorType::F32).unwrap();
    let mut writer = head.write_to(Vec::new()).unwrap();
    writer.data(&[0; 8]).unwrap();
    assert!(writer.finish().is_err(), "less than the tensor has");
    let mut writer = FileHead::new().write_to(Vec::new()).unwrap();
    writer.data(&[]).unwrap();
    assert!(writer.data(&[1]).is_err(), "no tensor");
}

/// Any value and how it may be stored.
fn value() -> impl Strategy<Value = (ValueType, Value)> {
    fn list<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
        prop::collection::vec(of, 0..5)
    }
    let array = prop_oneof![
        list(any::<u8>()).prop_map(Array::U8),
        list(any::<i8>()).prop_map(Array::I8),
        list(any::<u16>()).prop_map(Array::U16),
        list(any::<i16>()).prop_map(Array::I16),
        list(any::<u32>()).prop_map(Array::U32),
        list(any::<i32>()).prop_map(Array::I32),
        list(any::<f32>()).prop_map(Array::F32),
        list(any::<u64>()).prop_map(Array::U64),
        list(any::<i64>()).prop_map(Array::I64),
        list(any::<f64>()).prop_map(Array::F64),
        list(any::<bool>()).prop_map(Array::Bool),
        list(".{0,9}").prop_map(|list| Array::String(list.into_iter().collect())),
    ]
    .prop_recursive(3, 12, 3, |inner| list(inner).prop_map(Array::Array));
    prop_oneof![
        any::<u8>().prop_map(|x| (ValueType::U8, Value::Unsigned(x.into()))),
        any::<i8>().prop_map(|x| (ValueType::I8, Value::Signed(x.into()))),
        any::<u16>().prop_map(|x| (ValueType::U16, Value::Unsigned(x.into()))),
        any::<i16>().prop_map(|x| (ValueType::I16, Value::Signed(x.into()))),
        any::<u32>().prop_map(|x| (ValueType::U32, Value::Unsigned(x.into()))),
        any::<i32>().prop_map(|x| (ValueType::I32, Value::Signed(x.into()))),
        any::<f32>().prop_map(|x| (ValueType::F32, Value::Float(x.into()))),
        any::<u64>().prop_map(|x| (ValueType::U64, Value::Unsigned(x))),
        any::<i64>().prop_map(|x| (ValueType::I64, Value::Signed(x))),
        any::<f64>().prop_map(|x| (ValueType::F64, Value::Float(x))),
        any::<bool>().prop_map(|x| (ValueType::Bool, Value::Bool(x))),
        ".{0,20}".prop_map(|x| (ValueType::String, Value::String(x))),
        array.prop_map(|x| (ValueType::Array, Value::Array(x))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        metadata in prop::collection::btree_map("[a-z.]{1,12}", value(), 0..6),
        tensors in prop::collection::btree_map("[a-z.]{1,12}", (0..TensorType::ALL.len(), prop::collection::vec(1u64..4, 1..5), any::<u8>()), 0..6),
        piece in 1usize..700,
    ) {
        prop_assume!(!metadata.contains_key("general.alignment"));
        let mut head = FileHead::new();
        for (key, (kind, value)) in &metadata {
            head.metadata(key, *kind, value).unwrap();
        }
        let mut described = Vec::new();
        for (name, (kind, dims, fill)) in &tensors {
            let kind = TensorType::ALL[*kind];
            let mut dims = dims.clone();
            dims[0] *= kind.block_elements() as u64;
            head.tensor(name, &dims, kind).unwrap();
            let len = dims.iter().product::<u64>() as usize / kind.block_elements() * kind.block_bytes();
            described.push((name, kind, dims, vec![*fill; len]));
        }
        let mut writer = head.write_to(Vec::new()).unwrap();
        for (.., data) in &described {
            data.chunks(piece).for_each(|piece| writer.data(piece).unwrap());
        }
        let (bytes, len) = writer.finish().unwrap();
        prop_assert_eq!(len, bytes.len() as u64);
        prop_assert_eq!(len % 32, 0);

        let file = Gguf::from_vec(bytes).unwrap();
        prop_assert_eq!(file.version(), 3);
        prop_assert_eq!(file.metadata().len(), metadata.len());
        for (key, (kind, value)) in &metadata {
            prop_assert_eq!(file.value_type(key), Some(*kind));
            prop_assert_eq!(file.get(key), Some(value));
        }
        prop_assert_eq!(file.tensors().len(), described.len());
        for (name, kind, dims, data) in described {
            let tensor = file.tensor(name).unwrap().info;
            prop_assert_eq!((tensor.kind, tensor.rank, tensor.cols as u64), (kind, dims.len(), dims[0]));
            prop_assert_eq!(tensor.rows as u64, dims[1..].iter().product::<u64>());
            prop_assert_eq!(stored(&file, name), data);
        }
    }
}

mod command {
    use super::common::program::{self, qwen2};
    use super::*;

    #[track_caller]
    fn refused(args: &[&str], part: &str) {
        program::refused(&mut qwen2(args), part);
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_described_and_run() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (input, out) = (data("rustdoc-f16.gguf"), folder.path().join("q4.gguf"));
        let (input, out) = (input.to_str().unwrap(), out.to_str().unwrap());
        let output = qwen2(&["quantize", input, out, "--type", "Q4_K_M", "-t", "2", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&told["target"], &told["pure"]), (&"q4_k_m".into(), &false.into()));
        assert_eq!(told["file_bytes"], std::fs::metadata(out).unwrap().len());
        let types = told["after"]["types"].as_array().unwrap();
        let count = |name: &str| types.iter().find(|kind| kind["type"] == name).map(|kind| kind["tensors"].as_u64().unwrap());
        assert_eq!((count("F32"), count("Q4_K"), count("Q6_K"), count("F16")), (Some(21), Some(24), Some(5), None));
        assert_eq!(told["before"]["types"][1]["bytes"], 8_388_608);
        assert!(told["after"]["bytes"].as_u64() < told["before"]["bytes"].as_u64());
        assert_eq!(told["fallbacks"], serde_json::json!([]));
        assert_eq!(names(folder.path()), ["q4.gguf"]);
        // As readable as any file that is made here.
        std::fs::write(folder.path().join("other"), "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(Path::new(out)), mode(&folder.path().join("other")));

        let told = qwen2(&["info", "-m", out, "--json"]).output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(told["parameters"], 4_198_656);
        let text = qwen2(&["run", "-m", out, "-p", "A vector is", "-n", "8"]).output().unwrap();
        assert!(text.status.success() && text.stdout.len() > 11);
    }

    #[test]
    fn a_summary_says_what_has_become_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (input, out) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
        std::fs::write(&input, tiny(0).bytes()).unwrap();
        let mut command = qwen2(&["quantize", "in.gguf", "out.gguf", "--type", "q4_k_m"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains("before") && told.contains("26 F32"), "{told}");
        assert!(told.contains("12 Q5_0") && told.contains("14 of them") && told.contains("Q5_0 for Q4_K"), "{told}");
        assert!(output.stderr.is_empty() && out.exists());
    }

    #[test]
    fn nothing_is_overwritten_unasked_and_the_input_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (input, out) = (path("in.gguf"), path("out.gguf"));
        std::fs::write(&input, tiny(0).bytes()).unwrap();
        std::fs::write(&out, "mine").unwrap();
        refused(&["quantize", &input, &out, "--type", "q8_0"], "is there already; give --force");
        assert_eq!(std::fs::read(&out).unwrap(), b"mine");
        std::fs::hard_link(&input, path("same.gguf")).unwrap();
        std::os::unix::fs::symlink("in.gguf", path("link.gguf")).unwrap();
        for other in ["in.gguf", "same.gguf", "link.gguf", "./in.gguf"] {
            refused(&["quantize", &input, &path(other), "--type", "q8_0", "--force"], "is the input");
        }
        refused(&["quantize", &input, folder.path().to_str().unwrap(), "--type", "q8_0", "--force"], "not a regular file");
        refused(&["quantize", &input, "/dev/null", "--type", "q8_0", "--force"], "not a regular file");
        assert_eq!(std::fs::read(&input).unwrap(), tiny(0).bytes());
        assert!(qwen2(&["quantize", &input, &out, "--type", "q8_0", "--force"]).output().unwrap().status.success());
        assert!(std::fs::read(&out).unwrap().starts_with(b"GGUF"));
        assert_eq!(names(folder.path()), ["in.gguf", "link.gguf", "out.gguf", "same.gguf"]);
    }

    #[test]
    fn what_goes_wrong_leaves_nothing_and_is_told_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (input, out) = (path("in.gguf"), path("out.gguf"));
        let mut late = tiny(0);
        let data = &mut late.tensor("blk.1.ffn_down.weight").data;
        data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        for (bytes, part) in [
            (vec![], "not a GGUF file"),
            (tiny(0).bytes()[..5000].to_vec(), "truncated"),
            (late.bytes(), "in.gguf: tensor 'blk.1.ffn_down.weight' holds a value that is not finite"),
            (tiny(8).bytes(), "Q8_0 already"),
        ] {
            std::fs::write(&input, bytes).unwrap();
            refused(&["quantize", &input, &out, "--type", "q4_0"], part);
            assert_eq!(names(folder.path()), ["in.gguf"], "{part}");
        }
        std::fs::write(&input, tiny(0).bytes()).unwrap();
        refused(&["quantize", &input, &path("no/such/folder.gguf"), "--type", "q4_0"], "cannot write '");
        refused(&["quantize", &path("none.gguf"), &out, "--type", "q4_0"], "cannot read '");
        refused(&["quantize", folder.path().to_str().unwrap(), &out, "--type", "q4_0"], "without config.json");
        refused(&["quantize", &input, &out, "--type", "q3_k"], "nothing to quantise to; known are q8_0");
        refused(&["quantize", &input, &out], "--type");
        refused(&["quantize", &input], "OUT");
        refused(&["quantize", &input, &out, "--type", "q4_0", "-t", "0"], "--threads");
    }
}

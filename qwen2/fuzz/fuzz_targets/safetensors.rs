//! Any bytes as a safetensors file: reading its header takes at most twice its size in memory (and what telling an
//! error takes); what is accepted is JSON to another reader too, and every row of it is there.

#![no_main]

#[path = "../../tests/common/watching.rs"]
#[allow(dead_code)] // tests use the rest of it
mod watching;

use libfuzzer_sys::fuzz_target;
use qwen2::safetensors::Safetensors;

/// An error's text, which is clipped.
const SMALL: usize = 4 << 10;

fuzz_target!(|bytes: &[u8]| {
    let content = bytes.to_vec();
    let Ok(file) = watching::within(2 * bytes.len() + SMALL, || Safetensors::from_vec(content)) else { return };
    let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + len]).expect("JSON");
    let header = header.as_object().expect("an object");
    assert_eq!(header.keys().filter(|key| *key != "__metadata__").count(), file.tensors().len());
    let mut end = 0;
    let mut row = Vec::new();
    for info in file.tensors() {
        assert_eq!(info.offset, end, "neither overlap nor hole");
        end += info.len;
        let tensor = file.tensor(&info.name).expect("a tensor that is listed");
        assert_eq!(tensor.info, info);
        let claims = &header[&info.name];
        assert_eq!(claims["data_offsets"], serde_json::json!([info.offset, info.offset + info.len]));
        assert_eq!(claims["shape"].as_array().map(Vec::len), Some(info.rank));
        assert_eq!(info.row_bytes() * info.rows, info.len);
        row.resize(info.row_bytes(), 0);
        tensor.read_rows(info.rows - 1, &mut row).expect("a row in memory");
    }
    assert_eq!(8 + len + end, bytes.len());
});

//! The binary holds the kernels that its profiles chose and the fallback's, and no other: shown by its symbols,
//! which spell each kernel's type with its parameters.

use object::{Object, ObjectSymbol};
use std::collections::BTreeSet;

/// What the build script wrote for this very binary.
const BAKED: &str = include_str!(concat!(env!("OUT_DIR"), "/baked.rs"));

/// The names of the kernels that were baked.
fn baked() -> BTreeSet<String> {
    BAKED.split("kernel: \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// The names of the kernels whose code is in a binary.
fn held(binary: &[u8]) -> BTreeSet<String> {
    let file = object::File::parse(binary).expect("a program");
    let symbols: Vec<String> = file.symbols().filter_map(|s| Some(format!("{:#}", rustc_demangle::demangle(s.name().ok()?)))).collect();
    assert!(symbols.iter().any(|s| s.contains("qwen2::")), "the binary has no symbols of its own");
    symbols.iter().flat_map(|s| kernels_in(s)).collect()
}

/// The kernels that a demangled symbol names.
fn kernels_in(symbol: &str) -> Vec<String> {
    const FAMILIES: [(&str, &str); 9] = [
        ("gemm::dot::Fma<", "gemm_f32"),
        ("gemm::dot::Widen<", "gemm_f16_or_bf16"),
        ("gemm::dot::Pairs<", "gemm_bf16"),
        ("gemm::dot::Quads<", "gemm_s8"),
        ("norm::body::Rms<", "rms_norm_f32"),
        ("norm::body::Layer<", "layer_norm_f32"),
        ("convert::body::Widen<", "f16_to_f32"),
        ("convert::body::Narrow<", "f32_to_f16"),
        ("gemm::block::", "gemm_block"),
    ];
    let mut found = Vec::new();
    for (family, prefix) in FAMILIES {
        for rest in symbol.split(family).skip(1) {
            // Of a tile, the parameters follow the arithmetic that it does: `Tile<Fma<Isa>, MR, NV, KU, AHEAD>`, the
            // last of which a symbol lacks when it is 0.
            let Some((inner, outer)) = rest.split_once('>') else { continue };
            let mut inner = inner.split(", ");
            let isa = inner.next().and_then(|path| path.rsplit("::").next()).unwrap_or("").to_lowercase();
            let outer = outer.strip_prefix(", ").and_then(|o| o.split('>').next()).unwrap_or("");
            let is_number = |n: &&str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
            let numbers: Vec<&str> = inner.chain(outer.split(", ")).filter(is_number).collect();
            match numbers[..] {
                [mr, nv, ku] => found.push(format!("{prefix}_{isa}_{mr}x{nv}v_u{ku}")),
                [mr, nv, _, ahead] => found.push(format!("{prefix}_{isa}_{mr}x{nv}v_a{ahead}")),
                [u] => found.push(format!("{prefix}_{isa}_u{u}")),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn the_binary_holds_the_winners_and_none_of_the_losers() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_qwen2")).expect("the binary is there");
    let (baked, held) = (baked(), held(&binary));
    assert!(baked.len() >= 6, "{baked:?}");
    let losers: Vec<_> = held.difference(&baked).collect();
    assert!(losers.is_empty(), "kernels that nothing chose are in the binary: {losers:?}");
    // Every layer runs these; kernels that this engine has no use for may be left out by the linker.
    let missing: Vec<_> =
        baked.iter().filter(|k| k.starts_with("gemm") || k.starts_with("rms_norm")).filter(|k| !held.contains(*k)).collect();
    assert!(missing.is_empty(), "chosen kernels are missing from the binary: {missing:?}");
}

#[test]
fn symbols_are_read_as_kernel_names() {
    let symbol = "<kiln_kernels::gemm::micro::Tile<kiln_kernels::gemm::dot::Fma<kiln_kernels::isa::avx2::Avx2>, 6, 2, 4> as kiln_kernels::gemm::micro::MicroKernel>::tile";
    assert_eq!(kernels_in(symbol), ["gemm_f32_avx2_6x2v_u4"]);
    assert_eq!(kernels_in("<kiln_kernels::norm::body::Rms<kiln_kernels::isa::neon::Neon, 4> as X>::row"), ["rms_norm_f32_neon_u4"]);
}

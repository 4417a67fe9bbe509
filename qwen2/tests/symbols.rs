//! The binary holds the kernels that its profiles chose and the fallback's, and no other: shown by its symbols,
//! which spell each kernel's type with its parameters.

use object::{Object, ObjectSymbol};
use std::collections::BTreeSet;

/// What the build script wrote for this very binary.
const BAKED: &str = qwen2::baked::SOURCE;

/// The names of the kernels that were baked, of those that have the code of another its name.
fn baked() -> BTreeSet<String> {
    const MADE_OF: [(&str, &str); 3] = [("f16w_unpacked", "f32"), ("bf16w_unpacked", "f32"), ("bf16r", "bf16")];
    let own = BAKED.split("kernel: \"").skip(1).filter_map(|rest| rest.split('"').next());
    // Those of a table's rows stand behind them.
    let of_rows = BAKED.lines().filter(|line| line.contains("baked::When {")).filter_map(|line| line.rsplit_once("// ").map(|row| row.1));
    let names = own.chain(of_rows);
    let tile = |name: &str| {
        let (own, of) = MADE_OF.iter().find(|(own, _)| name.starts_with(&format!("gemm_{own}_")))?;
        Some(name.replacen(own, of, 1))
    };
    names.map(|name| tile(name).unwrap_or_else(|| name.to_owned())).collect()
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
    // With the letters of parameters in names; none of a tile.
    const FAMILIES: [(&str, &str, &[&str]); 22] = [
        ("gemm::dot::Fma<", "gemm_f32", &[]),
        ("gemm::dot::Widen<", "gemm", &[]),
        ("gemm::dot::Pairs<", "gemm_bf16", &[]),
        ("gemm::dot::Quads<", "gemm_s8", &[]),
        ("gemm::mmla::Mmla<", "gemm", &[]),
        ("gemm::block::BlockTile<", "gemm", &[]),
        ("gemm::block_pairs::BlockPairs<", "gemm", &[]),
        ("norm::body::Rms<", "rms_norm_f32", &["u", "r", "s", "a"]),
        ("norm::body::Layer<", "layer_norm_f32", &["u", "r", "s", "a"]),
        ("norm::fused::AddRms<", "add_rms_norm_f32", &["u", "s"]),
        ("norm::fused::RmsQuantise<", "rms_norm_quantise_f32", &["u"]),
        ("convert::body::Widen<", "f16_to_f32", &["u", "s", "a"]),
        ("convert::body::Narrow<", "f32_to_f16", &["u", "s", "a"]),
        ("convert::body::WidenBf16<", "bf16_to_f32", &["u", "s", "a"]),
        ("convert::body::NarrowBf16<", "f32_to_bf16", &["u", "s", "a"]),
        ("quantise::body::ToQ8_0<", "quantise_f32", &["u"]),
        ("rope::body::Turn<", "rope_f32", &["u"]),
        ("gate::body::Silu<", "silu_mul_f32", &["u"]),
        ("gate::body::SiluQuantise<", "silu_mul_quantise_f32", &["u"]),
        ("softmax::body::Three<", "softmax_f32", &["u", "r", "a"]),
        ("select::body::First<", "argmax_f32", &["u"]),
        ("select::body::Few<", "top_k_f32", &["u"]),
    ];
    let mut found = Vec::new();
    for (family, prefix, letters) in FAMILIES {
        for rest in symbol.split(family).skip(1) {
            // Of a tile, the parameters follow the arithmetic that it does: `Tile<Fma<Isa>, MR, NV, KU, AHEAD>`, the
            // last of which a symbol lacks when it is 0.
            let Some((inner, outer)) = rest.split_once('>') else { continue };
            let more = family.contains("Mmla").then(|| "mmla".to_owned());
            let prefix = [prefix.to_owned()].into_iter().chain(format_in(inner)).chain(more).collect::<Vec<_>>().join("_");
            let mut inner = inner.split(", ");
            let isa = inner.next().and_then(|path| path.rsplit("::").next()).unwrap_or("").to_lowercase();
            let outer = outer.strip_prefix(", ").and_then(|o| o.split('>').next()).unwrap_or("");
            let is_number = |n: &&str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
            let numbers: Vec<&str> = inner.chain(outer.split(", ")).filter(is_number).collect();
            match numbers[..] {
                _ if !letters.is_empty() && letters.len() == numbers.len() => {
                    let parameters: String = letters.iter().zip(&numbers).map(|(letter, number)| format!("_{letter}{number}")).collect();
                    found.push(format!("{prefix}_{isa}{parameters}"));
                }
                // A generic function's symbol may spell the type with fewer parameters: that says nothing.
                _ if !letters.is_empty() => {}
                [mr, nv, ahead] if family.contains("BlockTile") => found.push(format!("{prefix}_{isa}_{mr}x{nv}v_a{ahead}")),
                [mr, nv, ku] => found.push(format!("{prefix}_{isa}_{mr}x{nv}v_u{ku}")),
                [mr, nv, _, ahead] => found.push(format!("{prefix}_{isa}_{mr}x{nv}v_a{ahead}")),
                _ => {}
            }
        }
    }
    found
}

/// The format that the parameters of a kernel name, where they do.
fn format_in(parameters: &str) -> Option<String> {
    let products =
        [("product::HalfWeights", "f16w"), ("product::BFloatWeights", "bf16w"), ("product::Half", "f16"), ("product::BFloat", "bf16")];
    let product = products.iter().find(|(product, _)| parameters.contains(product)).map(|(_, name)| (*name).to_owned());
    product.or_else(|| Some(parameters.split_once("::format::")?.1.split_once("::Block")?.0.to_owned()))
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
        baked.iter().filter(|k| k.starts_with("gemm") || k.starts_with("rms_norm_f32")).filter(|k| !held.contains(*k)).collect();
    assert!(missing.is_empty(), "chosen kernels are missing from the binary: {missing:?}");
}

#[test]
fn symbols_are_read_as_kernel_names() {
    let symbol = "<kiln_kernels::gemm::micro::Tile<kiln_kernels::gemm::dot::Fma<kiln_kernels::isa::avx2::Avx2>, 6, 2, 4> as kiln_kernels::gemm::micro::MicroKernel>::tile";
    assert_eq!(kernels_in(symbol), ["gemm_f32_avx2_6x2v_u4"]);
    let symbol = "<kiln_kernels::gemm::block::BlockTile<kiln_kernels::isa::avx512::Avx512Vnni, kiln_kernels::format::q8_0::Block, false, 1, 2, 8> as kiln_kernels::gemm::micro::MicroKernel<X>>::tile";
    assert_eq!(kernels_in(symbol), ["gemm_q8_0_avx512vnni_1x2v_a8"]);
    let symbol = "<kiln_kernels::gemm::micro::Tile<kiln_kernels::gemm::dot::Widen<kiln_kernels::isa::avx2::Avx2, kiln_kernels::gemm::product::HalfWeights>, 1, 2, 4, 128> as X>::tile";
    assert_eq!(kernels_in(symbol), ["gemm_f16w_avx2_1x2v_a128"]);
    let symbol = "<kiln_kernels::gemm::micro::Tile<kiln_kernels::gemm::mmla::Mmla<kiln_kernels::isa::sve::SveBf16, kiln_kernels::gemm::product::BFloat>, 8, 3, 1> as X>::tile";
    assert_eq!(kernels_in(symbol), ["gemm_bf16_mmla_svebf16_8x3v_u1"]);
    let symbol = "<kiln_kernels::norm::body::Rms<kiln_kernels::isa::neon::Neon, 4, 1, 0, 16> as X>::run";
    assert_eq!(kernels_in(symbol), ["rms_norm_f32_neon_u4_r1_s0_a16"]);
}

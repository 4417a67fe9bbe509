//! What linear layers run where nothing was measured: for each instruction set the tiles of products by weights, so that a
//! profile need not name a kernel for every format. A choice of a profile goes before these.

use crate::schema::{Choice, Class};
use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;

/// The formats that an engine multiplies rows of f32 by.
pub const FORMATS: &[Format] = &[
    Format::F32,
    Format::F16Weights,
    Format::Bf16Weights,
    Format::Bf16Rounded,
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
];

/// Kernel types for a format, and the parameters of each.
#[derive(Clone, Copy)]
enum Kind {
    /// MR, NV and the blocks that are asked for ahead.
    Blocks(usize, usize, usize),
    /// MR and NV in blocks of 2 × 2.
    Pairs(usize, usize),
    /// MR, NV and the unroll.
    Tile(usize, usize, usize),
    /// MR, NV and the lines that are asked for ahead.
    Ahead(usize, usize, usize),
    /// MR and NV in pairs of depths.
    Dot(usize, usize),
    /// MR, NV and the lines that are asked for ahead, in pairs of depths.
    DotAhead(usize, usize, usize),
    /// MR, NV and the unroll, of panels that are unpacked first.
    Unpacked(usize, usize, usize),
    /// MR and NV of plain elements in blocks of 2 × 2.
    Mmla(usize, usize),
}

/// The tiles of an instruction set, all of one packed layout.
struct Tiles {
    isa: IsaId,
    decode: Kind,
    /// With the largest number of rows.
    few: Option<(Kind, usize)>,
    prefill: Kind,
}

use Kind::{Ahead, Blocks, Dot, DotAhead, Mmla, Pairs, Tile, Unpacked};

const fn tiles(isa: IsaId, decode: Kind, prefill: Kind) -> Tiles {
    Tiles { isa, decode, few: None, prefill }
}

/// Of block formats, best first: one row is unpacked in registers, and weights are asked for where memory is slower than
/// that; many rows have the largest tile that the registers hold.
const OF_BLOCKS: &[Tiles] = &[
    Tiles { isa: IsaId::Avx512Vnni, decode: Blocks(1, 2, 8), few: Some((Blocks(4, 2, 8), 16)), prefill: Blocks(6, 2, 0) },
    tiles(IsaId::Avx512, Blocks(1, 2, 0), Blocks(6, 2, 0)),
    tiles(IsaId::AvxVnni, Blocks(1, 1, 0), Blocks(6, 1, 0)),
    tiles(IsaId::Avx2, Blocks(1, 1, 0), Blocks(6, 1, 0)),
    tiles(IsaId::SveI8mm, Blocks(1, 4, 0), Pairs(8, 4)),
    tiles(IsaId::NeonI8mm, Blocks(1, 4, 0), Pairs(8, 4)),
    tiles(IsaId::NeonDotprod, Blocks(1, 2, 0), Blocks(8, 2, 0)),
    tiles(IsaId::Neon, Blocks(1, 2, 0), Blocks(6, 2, 0)),
];

/// Of 16-bit weights.
const OF_HALVES: &[Tiles] = &[
    Tiles { isa: IsaId::Avx512, decode: Ahead(1, 4, 128), few: Some((Tile(4, 4, 4), 16)), prefill: Unpacked(6, 4, 4) },
    Tiles { isa: IsaId::Avx2, decode: Ahead(1, 2, 128), few: Some((Tile(6, 2, 4), 12)), prefill: Unpacked(6, 2, 4) },
    Tiles { isa: IsaId::Neon, decode: Tile(1, 4, 4), few: Some((Tile(4, 4, 1), 8)), prefill: Unpacked(6, 4, 1) },
];

/// Of bf16 weights that meet rounded rows.
const OF_ROUNDED: &[Tiles] = &[
    tiles(IsaId::Avx512Bf16, DotAhead(1, 4, 128), Dot(4, 4)),
    tiles(IsaId::Avx512, Tile(1, 4, 4), Tile(4, 4, 4)),
    tiles(IsaId::Avx2, Tile(1, 2, 4), Tile(6, 2, 4)),
    tiles(IsaId::SveBf16, Mmla(1, 3), Mmla(8, 3)),
    tiles(IsaId::NeonBf16, Mmla(1, 3), Mmla(8, 3)),
    tiles(IsaId::Neon, Tile(1, 4, 4), Tile(4, 4, 1)),
];

/// The choices for products by weights of `format` with some of the instruction sets `isas`, by rising M: none where
/// nothing is known.
pub fn products(format: Format, isas: &[IsaId]) -> Vec<Choice> {
    let of_format = match format {
        Format::F16Weights | Format::Bf16Weights => OF_HALVES,
        Format::Bf16Rounded => OF_ROUNDED,
        blocks if blocks.is_blocks() => OF_BLOCKS,
        _ => &[],
    };
    let Some(best) = of_format.iter().find(|tiles| isas.contains(&tiles.isa)) else { return Vec::new() };
    let mut choices = vec![choice(format, best.isa, Class::Decode, best.decode, None)];
    choices.extend(best.few.map(|(kind, most)| choice(format, best.isa, Class::Few, kind, Some(most))));
    choices.push(choice(format, best.isa, Class::Prefill, best.prefill, None));
    choices
}

fn choice(format: Format, isa: IsaId, class: Class, kind: Kind, m_max: Option<usize>) -> Choice {
    let ((mr, nv, last), more, name, letter, packed) = match kind {
        Blocks(mr, nv, ahead) => ((mr, nv, ahead), "", "", "a", "b"),
        Pairs(mr, nv) => ((mr, nv, 1), "Pairs", "", "u", "b"),
        Tile(mr, nv, unroll) => ((mr, nv, unroll), "", "", "u", "b"),
        Ahead(mr, nv, lines) => ((mr, nv, lines), "Ahead", "", "a", "b"),
        Dot(mr, nv) => ((mr, nv, 4), "Dot", "", "u", "k2b"),
        DotAhead(mr, nv, lines) => ((mr, nv, lines), "DotAhead", "", "a", "k2b"),
        Unpacked(mr, nv, unroll) => ((mr, nv, unroll), "Unpacked", "_unpacked", "u", "b"),
        Mmla(mr, nv) => ((mr, nv, 1), "Mmla", "_mmla", "u", "k4b"),
    };
    let kernel = format!("gemm_{format}{name}_{isa}_{mr}x{nv}v_{letter}{last}");
    let rust_type = format!("gemm::{format:?}{more}::<isa::{isa:?}, {mr}, {nv}, {last}>");
    let (layout, note) = (format!("{format}-{packed}{nv}v-{isa}"), "default: not compared with others on this CPU");
    Choice { m_max, ..Choice::unmeasured(("gemm", format.name(), class), (kernel, rust_type), layout, note) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_several_instruction_sets_is_taken() {
        let choices = products(Format::Q8_0, &[IsaId::Avx2, IsaId::Avx512, IsaId::Avx512Vnni]);
        assert_eq!(choices[0].kernel, "gemm_q8_0_avx512vnni_1x2v_a8");
        assert_eq!(choices.len(), 3);
        assert!(products(Format::Q8_0, &[IsaId::Scalar]).is_empty() && products(Format::F32, IsaId::ALL).is_empty());
    }
}

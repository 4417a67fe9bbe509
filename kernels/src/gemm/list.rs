//! The tiles of the GEMM family: to add one, add its `(MR NV)` to the line of its ISA; to add a kernel
//! type, add a block with its name, format, step and source.

use super::block::BlockTile;
#[cfg(target_arch = "aarch64")]
use super::block_pairs::BlockPairs;
use super::dot::{Fma, Lengthen, Pairs, Quads, Widen};
use super::micro::Tile;
use super::mmla::Mmla;
use super::product::{BFloat, BFloatWeights, Byte, Half, HalfWeights};
use super::rounded::Rounded;
use super::weights::Unpacked;
use crate::fingerprint::{fnv1a, of_source};
use crate::format;
use crate::isa;
#[cfg(feature = "sweep")]
use crate::registry::Entry;
use crate::registry::{Meta, Registered, meta};

/// f32 × f32.
pub type F32<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Fma<I>, MR, NV, KU>;
/// f32 × f32, asking for B ahead.
pub type F32Ahead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Tile<Fma<I>, MR, NV, 4, AHEAD>;
/// f16 × f16 by widening.
pub type F16<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Widen<I, Half>, MR, NV, KU>;
/// f16 × f16 by widening, asking for B ahead.
pub type F16Ahead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Tile<Widen<I, Half>, MR, NV, 4, AHEAD>;
/// bf16 × bf16 by widening.
pub type Bf16<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Widen<I, BFloat>, MR, NV, KU>;
/// bf16 × bf16 in pairs.
pub type Bf16Dot<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Pairs<I>, MR, NV, KU>;
/// bf16 × bf16 in pairs, asking for B ahead.
pub type Bf16DotAhead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Tile<Pairs<I>, MR, NV, 4, AHEAD>;
/// f32 × f16 by widening.
pub type F16Weights<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Widen<I, HalfWeights>, MR, NV, KU>;
/// f32 × f16, a panel of which is widened first.
pub type F16WeightsUnpacked<I, const MR: usize, const NV: usize, const KU: usize> = Unpacked<F32<I, MR, NV, KU>, HalfWeights>;
/// f32 × f16 by widening, asking for B ahead.
pub type F16WeightsAhead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Tile<Widen<I, HalfWeights>, MR, NV, 4, AHEAD>;
/// f32 × bf16 by widening.
pub type Bf16Weights<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Widen<I, BFloatWeights>, MR, NV, KU>;
/// f32 × bf16, a panel of which is widened first.
pub type Bf16WeightsUnpacked<I, const MR: usize, const NV: usize, const KU: usize> = Unpacked<F32<I, MR, NV, KU>, BFloatWeights>;
/// f32 × bf16 by widening, asking for B ahead.
pub type Bf16WeightsAhead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Tile<Widen<I, BFloatWeights>, MR, NV, 4, AHEAD>;
/// f32 rounded to bf16 × bf16 by widening.
pub type Bf16Rounded<I, const MR: usize, const NV: usize, const KU: usize> = Rounded<Bf16<I, MR, NV, KU>>;
/// f32 rounded to bf16 × bf16 in pairs.
pub type Bf16RoundedDot<I, const MR: usize, const NV: usize, const KU: usize> = Rounded<Bf16Dot<I, MR, NV, KU>>;
/// f32 rounded to bf16 × bf16 in pairs, asking for B ahead.
pub type Bf16RoundedDotAhead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Rounded<Bf16DotAhead<I, MR, NV, AHEAD>>;
/// f32 rounded to bf16 × bf16 in blocks of 2 × 2.
pub type Bf16RoundedMmla<I, const MR: usize, const NV: usize, const KU: usize> = Rounded<Bf16Mmla<I, MR, NV, KU>>;
/// f16 × f16 without widening.
pub type F16Fma<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Lengthen<I>, MR, NV, KU>;
/// bf16 × bf16 in blocks of 2 × 2.
pub type Bf16Mmla<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Mmla<I, BFloat>, MR, NV, KU>;
/// s8 × s8 → s32 in blocks of 2 × 2.
pub type S8Mmla<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Mmla<I, Byte>, MR, NV, KU>;
/// s8 × s8 → s32.
pub type S8<I, const MR: usize, const NV: usize, const KU: usize> = Tile<Quads<I>, MR, NV, KU>;

/// s8 × s8 → s32, asking for B ahead.
pub type S8Ahead<I, const MR: usize, const NV: usize, const AHEAD: usize> = Tile<Quads<I>, MR, NV, 4, AHEAD>;

/// Hash of what the kernels of an ISA are built from, beside the ISA's own file.
const fn source(isa: isa::IsaId) -> u64 {
    use isa::IsaId::{NeonBf16, NeonI8mm, Sve, Sve2, SveBf16, SveI8mm};
    match isa {
        Sve | Sve2 | SveBf16 => const { of_source(include_bytes!("sve.rs")) },
        SveI8mm => const { PAIRS ^ of_source(include_bytes!("sve.rs")) },
        NeonI8mm => const { PAIRS ^ of_source(include_bytes!("mmla.rs")) },
        NeonBf16 => const { fnv1a(of_source(include_bytes!("dot.rs")), include_bytes!("mmla.rs")) },
        _ => const { fnv1a(of_source(include_bytes!("micro.rs")), include_bytes!("dot.rs")) },
    }
}

/// As [`source`], of kernels that unpack a panel before they multiply.
const fn unpacked_source(isa: isa::IsaId) -> u64 {
    source(isa) ^ const { of_source(include_bytes!("weights.rs")) }
}

/// As [`source`], of kernels that round rows where they are packed.
const fn rounded_source(isa: isa::IsaId) -> u64 {
    source(isa) ^ const { of_source(include_bytes!("rounded.rs")) }
}

/// Hash of how the operands of block formats are packed.
const PACKED: u64 = fnv1a(of_source(include_bytes!("block_pack.rs")), include_bytes!("block_weights.rs"));

/// Hash of what kernels of block formats in blocks of 2 × 2 are built from.
const PAIRS: u64 = fnv1a(fnv1a(PACKED, include_bytes!("block_pairs.rs")), include_bytes!("block_pairs_asm.rs"));

/// As [`source`], of the kernels of block formats.
const fn block_source(_: isa::IsaId) -> u64 {
    const { fnv1a(PACKED, include_bytes!("block.rs")) }
}

/// Two products are added before the sum is rounded.
const fn pairs_order(_: isa::IsaId) -> &'static str {
    "bf16-pairs"
}

/// Integers: the order does not matter.
const fn exact_order(_: isa::IsaId) -> &'static str {
    "exact"
}

/// Spans are summed exactly; their sums are added in order.
const fn spans_order(isa: isa::IsaId) -> &'static str {
    match isa {
        isa::IsaId::Scalar => "spans-mul-add",
        _ => "spans-fma",
    }
}

/// As [`spans_order`], of rows that have one scale each: it comes last, and numbers are others.
const fn rows_order(isa: isa::IsaId) -> &'static str {
    match isa {
        isa::IsaId::Scalar => "rows-mul-add",
        _ => "rows-fma",
    }
}

macro_rules! gemm_meta {
    ($kernel:ident ($format:ident $prefix:literal [$($layout:tt)+] $order:path, $source:path; $work:literal [$($close:tt)*]; $last:literal $letter:literal $before:literal)
     $isa:ident $name:literal $mr:literal $nv:literal $ku:literal) => {
        meta!(Gemm $format $isa, $source,
            concat!("gemm::", stringify!($kernel), "::<isa::", stringify!($isa), ", ", $mr, ", ", $nv, ", ", $ku, ">"),
            concat!("gemm_", $prefix, "_", $name, "_", $mr, "x", $nv, "v_", $letter, $ku),
            [("MR" $mr) ("NV" $nv) ($last $ku)],
            concat!($($layout)+, $nv, "v-", $name),
            $order(isa::IsaId::$isa),
            [concat!("::", $work, "<"), concat!("::", stringify!($isa) $($close)*, ", ", $mr, ", ", $nv, ", ", $before, $ku, ">")])
    };
}

/// Every GEMM kernel of a plain format, one table for each kernel type.
#[cfg(feature = "sweep")]
pub(crate) const ENTRIES: &[&[&[Entry]]] = &[
    F32_TILES,
    F32_AHEAD_TILES,
    F16_TILES,
    F16_AHEAD_TILES,
    F16_FMA_TILES,
    F16_FMA_SVE_TILES,
    F16_WEIGHTS_TILES,
    F16_WEIGHTS_AHEAD_TILES,
    F16_WEIGHTS_UNPACKED_TILES,
    BF16_WEIGHTS_TILES,
    BF16_WEIGHTS_AHEAD_TILES,
    BF16_WEIGHTS_UNPACKED_TILES,
    BF16_ROUNDED_TILES,
    BF16_ROUNDED_DOT_TILES,
    BF16_ROUNDED_DOT_AHEAD_TILES,
    BF16_ROUNDED_MMLA_TILES,
    BF16_TILES,
    BF16_DOT_TILES,
    BF16_DOT_AHEAD_TILES,
    BF16_MMLA_TILES,
    S8_TILES,
    S8_AHEAD_TILES,
    S8_MMLA_TILES,
    Q8_0_PAIRS,
    Q4_0_PAIRS,
    Q4_1_PAIRS,
    Q5_0_PAIRS,
    Q5_1_PAIRS,
    Q4K_PAIRS,
    Q5K_PAIRS,
    Q6K_PAIRS,
];

/// The impls of a table's lines, and with `@table` the table.
macro_rules! tiles {
    (@table $what:tt $($isa:ident $name:literal $arch:tt $last:tt: $(($mr:literal $nv:literal))+;)+) => {
        &[$($(tiles!(@entries $what $isa $name $arch $mr $nv $last)),+),+]
    };
    (@items $what:tt $($isa:ident $name:literal $arch:tt $last:tt: $(($mr:literal $nv:literal))+;)+) => {
        $($(tiles!(@impls $what $isa $name $arch $mr $nv $last);)+)+
    };
    (@impls ($kernel:ident $what:tt) $isa:ident $name:literal $arch:tt $mr:literal $nv:literal [$($ku:literal)+]) => {
        $(isa::only_on! { $arch
            impl Registered for $kernel<isa::$isa, $mr, $nv, $ku> {
                const META: &'static Meta = &gemm_meta!($kernel $what $isa $name $mr $nv $ku);
            }
        })+
    };
    (@entries ($kernel:ident $what:tt) $isa:ident $name:literal $arch:tt $mr:literal $nv:literal [$($ku:literal)+]) => {
        &[$(Entry {
            meta: &gemm_meta!($kernel $what $isa $name $mr $nv $ku),
            make: isa::if_arch!($arch => { $kernel::<isa::$isa, $mr, $nv, $ku>::make } else { || None }),
        }),+]
    };
    (@is $table:ident $what:tt $($lines:tt)+) => {
        tiles!(@items $what $($lines)+);
        #[cfg(feature = "sweep")]
        const $table: &[&[Entry]] = tiles!(@table $what $($lines)+);
    };
    ($table:ident = $kernel:ident $format:ident $prefix:literal $layout:literal $order:path; $($rest:tt)+) => {
        tiles!($table = $kernel $format $prefix $layout $order, source; $($rest)+);
    };
    ($table:ident = ahead $kernel:ident $format:ident $prefix:literal $layout:literal $order:path; $($rest:tt)+) => {
        tiles!($table = ahead $kernel $format $prefix $layout $order, source; $($rest)+);
    };
    ($table:ident = $kernel:ident $format:ident $prefix:literal $layout:literal $order:path, $source:path; $work:literal $close:tt; $($lines:tt)+) => {
        tiles!(@is $table ($kernel ($format $prefix [$layout] $order, $source; $work $close; "KU" "u" "")) $($lines)+);
    };
    ($table:ident = ahead $kernel:ident $format:ident $prefix:literal $layout:literal $order:path, $source:path; $work:literal $close:tt; $($lines:tt)+) => {
        tiles!(@is $table ($kernel ($format $prefix [$layout] $order, $source; $work $close; "AHEAD" "a" "4, ")) $($lines)+);
    };
}

// Table = kernel type, format, its part of the name, layout, accumulation order, its sources if they are more than
// those of all tiles; the arithmetic's name and
// what ends its parameters in a symbol.
// ISA, its name and architecture, [unrolls of the depth loop, or `ahead` how many lines of a cache ahead B is
// asked for, unrolled 4 times]: (MR NV)…
tiles! {
    F32_TILES = F32 F32 "f32" "b" isa::IsaId::order; "Fma" [, ">"];
    Scalar "scalar" "any" [1]: (1 4) (2 4) (4 4);
    Avx2 "avx2" "x86_64" [1 4]: (1 1) (1 2) (1 3) (1 4) (2 2) (4 2) (6 2) (5 2) (3 3) (4 3) (8 1) (12 1);
    Avx512 "avx512" "x86_64" [1 4]: (1 1) (1 2) (1 3) (1 4) (4 2) (8 2) (12 2) (8 3) (9 3) (4 4) (6 4);
    Neon "neon" "aarch64" [1 4]: (1 1) (1 2) (1 3) (1 4) (1 5) (1 6) (4 4) (4 5) (8 2) (8 3) (12 2) (4 6) (6 4) (16 1);
    Sve "sve" "aarch64" [1 4]: (1 2) (1 3) (1 4) (1 5) (1 6) (4 4) (4 5) (4 6) (6 4) (8 2) (8 3) (12 2);
}

tiles! {
    F32_AHEAD_TILES = ahead F32Ahead F32 "f32" "b" isa::IsaId::order; "Fma" [, ">"];
    Avx2 "avx2" "x86_64" [64 128]: (1 4) (1 2) (4 2);
    Avx512 "avx512" "x86_64" [64 128]: (1 2) (1 4) (4 2) (4 4);
}

tiles! {
    F16_TILES = F16 F16 "f16" "f16-b" isa::IsaId::order; "Widen" [, ", kiln_kernels::gemm::product::Half>"];
    Scalar "scalar" "any" [1]: (1 4) (4 4);
    Avx2 "avx2" "x86_64" [1 4]: (1 2) (1 4) (6 2) (3 4);
    Avx512 "avx512" "x86_64" [1 4]: (1 2) (1 4) (4 4) (6 4) (12 2);
    Neon "neon" "aarch64" [1 4]: (1 2) (1 4) (4 4) (6 4) (8 2) (12 2);
    Sve "sve" "aarch64" [1 4]: (1 2) (1 3) (1 4) (6 4) (8 3) (12 2);
}

tiles! {
    F16_AHEAD_TILES = ahead F16Ahead F16 "f16" "f16-b" isa::IsaId::order; "Widen" [, ", kiln_kernels::gemm::product::Half>"];
    Avx2 "avx2" "x86_64" [64 128]: (1 4) (3 4);
    Avx512 "avx512" "x86_64" [64 128]: (1 4) (4 4);
}

tiles! {
    F16_FMA_TILES = F16Fma F16 "f16" "f16-b" isa::IsaId::order; "Lengthen" [, ">"];
    NeonFhm "neonfhm" "aarch64" [1 4]: (1 2) (1 3) (1 4) (1 6) (4 6) (6 4) (8 3) (12 2);
}

tiles! {
    F16_FMA_SVE_TILES = F16Fma F16 "f16" "f16-k2b" isa::IsaId::order; "Lengthen" [, ">"];
    Sve2 "sve2" "aarch64" [1 4]: (1 2) (1 3) (1 4) (6 4) (8 3) (12 2);
}

/// The tiles of 16-bit weights for rows of f32: table = kernel types, format, its name, product.
macro_rules! weights {
    ($($table:ident $ahead_table:ident $unpacked_table:ident = $kernel:ident $ahead:ident $unpacked:ident
       $name:literal $unpacked_name:literal $layout:literal $product:literal;)+) => {$(
        tiles! {
            $table = $kernel $kernel $name $layout isa::IsaId::order; "Widen" [, concat!(", kiln_kernels::gemm::product::", $product, ">")];
            Scalar "scalar" "any" [1]: (1 4) (4 4);
            Avx2 "avx2" "x86_64" [1 4]: (1 2) (6 2);
            Avx512 "avx512" "x86_64" [1 4]: (1 4) (4 4) (6 4);
            Neon "neon" "aarch64" [1 4]: (1 4) (4 4) (6 4);
        }
        tiles! {
            $ahead_table = ahead $ahead $kernel $name $layout isa::IsaId::order; "Widen" [, concat!(", kiln_kernels::gemm::product::", $product, ">")];
            Avx2 "avx2" "x86_64" [128]: (1 2);
            Avx512 "avx512" "x86_64" [128]: (1 4) (4 4);
        }
        tiles! {
            $unpacked_table = $unpacked $kernel $unpacked_name $layout isa::IsaId::order, unpacked_source; "Fma" [, ">"];
            Avx2 "avx2" "x86_64" [4]: (6 2);
            Avx512 "avx512" "x86_64" [1 4]: (4 4) (6 4);
            Neon "neon" "aarch64" [1 4]: (4 4) (6 4);
        }
    )+};
}

weights! {
    F16_WEIGHTS_TILES F16_WEIGHTS_AHEAD_TILES F16_WEIGHTS_UNPACKED_TILES = F16Weights F16WeightsAhead F16WeightsUnpacked
        "f16w" "f16w_unpacked" "f16w-b" "HalfWeights";
    BF16_WEIGHTS_TILES BF16_WEIGHTS_AHEAD_TILES BF16_WEIGHTS_UNPACKED_TILES = Bf16Weights Bf16WeightsAhead Bf16WeightsUnpacked
        "bf16w" "bf16w_unpacked" "bf16w-b" "BFloatWeights";
}

tiles! {
    BF16_ROUNDED_TILES = Bf16Rounded Bf16Rounded "bf16r" "bf16r-b" isa::IsaId::order, rounded_source; "Widen" [, ", kiln_kernels::gemm::product::BFloat>"];
    Scalar "scalar" "any" [1]: (1 4) (4 4);
    Avx2 "avx2" "x86_64" [1 4]: (1 2) (6 2);
    Avx512 "avx512" "x86_64" [1 4]: (1 4) (4 4) (6 4);
    Neon "neon" "aarch64" [1 4]: (1 4) (4 4) (6 4);
}

tiles! {
    BF16_ROUNDED_DOT_TILES = Bf16RoundedDot Bf16Rounded "bf16r" "bf16r-k2b" pairs_order, rounded_source; "Pairs" [, ">"];
    Avx512Bf16 "avx512bf16" "x86_64" [1 4]: (1 4) (4 4) (6 4);
}

tiles! {
    BF16_ROUNDED_DOT_AHEAD_TILES = ahead Bf16RoundedDotAhead Bf16Rounded "bf16r" "bf16r-k2b" pairs_order, rounded_source; "Pairs" [, ">"];
    Avx512Bf16 "avx512bf16" "x86_64" [128]: (1 4) (4 4);
}

tiles! {
    BF16_ROUNDED_MMLA_TILES = Bf16RoundedMmla Bf16Rounded "bf16r_mmla" "bf16r-k4b" pairs_order, rounded_source; "Mmla" [, ", kiln_kernels::gemm::product::BFloat>"];
    NeonBf16 "neonbf16" "aarch64" [1]: (1 3) (6 3) (8 3);
    SveBf16 "svebf16" "aarch64" [1]: (1 3) (6 3) (8 3);
}

tiles! {
    BF16_TILES = Bf16 Bf16 "bf16" "bf16-b" isa::IsaId::order; "Widen" [, ", kiln_kernels::gemm::product::BFloat>"];
    Scalar "scalar" "any" [1]: (1 4) (4 4);
    Avx2 "avx2" "x86_64" [1 4]: (1 2) (1 4) (6 2) (3 4);
    Avx512 "avx512" "x86_64" [1 4]: (1 2) (1 4) (4 4) (6 4) (12 2);
    Neon "neon" "aarch64" [1 4]: (1 2) (1 4) (4 4) (6 4) (8 2) (12 2);
    Sve "sve" "aarch64" [1 4]: (1 2) (1 3) (1 4) (6 4) (8 3) (12 2);
}

tiles! {
    BF16_DOT_TILES = Bf16Dot Bf16 "bf16" "bf16-k2b" pairs_order; "Pairs" [, ">"];
    Avx512Bf16 "avx512bf16" "x86_64" [1 4]: (1 2) (1 3) (1 4) (4 4) (6 4) (8 3) (12 2);
    NeonBf16 "neonbf16" "aarch64" [1 4]: (1 2) (1 3) (1 4) (6 4) (8 3) (12 2);
    SveBf16 "svebf16" "aarch64" [1 4]: (1 2) (1 3) (1 4) (6 4) (8 3) (12 2);
}

tiles! {
    BF16_DOT_AHEAD_TILES = ahead Bf16DotAhead Bf16 "bf16" "bf16-k2b" pairs_order; "Pairs" [, ">"];
    Avx512Bf16 "avx512bf16" "x86_64" [64 128]: (1 4) (4 4);
}

tiles! {
    BF16_MMLA_TILES = Bf16Mmla Bf16 "bf16_mmla" "bf16-k4b" pairs_order; "Mmla" [, ", kiln_kernels::gemm::product::BFloat>"];
    NeonBf16 "neonbf16" "aarch64" [1 2]: (1 2) (1 3) (6 3) (8 2);
    NeonBf16 "neonbf16" "aarch64" [1]: (8 3) (12 2);
    SveBf16 "svebf16" "aarch64" [1 2]: (1 2) (1 3) (6 3) (8 2) (8 3) (12 2);
}

tiles! {
    S8_TILES = S8 S8 "s8" "s8-b" exact_order; "Quads" [, ">"];
    Scalar "scalar" "any" [1]: (1 4) (4 4);
    Avx2 "avx2" "x86_64" [1 4]: (1 2) (1 4) (6 2) (4 2);
    AvxVnni "avxvnni" "x86_64" [1 4]: (1 2) (1 4) (6 2) (4 2);
    Avx512 "avx512" "x86_64" [1 4]: (1 2) (1 4) (6 4) (12 2);
    Avx512Vnni "avx512vnni" "x86_64" [1 4]: (1 2) (1 3) (1 4) (4 4) (6 4) (8 3) (12 2);
    Neon "neon" "aarch64" [1 4]: (1 2) (1 4) (4 4) (6 4) (8 2) (12 2);
    NeonDotprod "neondotprod" "aarch64" [1 4]: (1 2) (1 3) (1 4) (1 6) (4 6) (6 4) (8 2) (8 3) (12 2);
    Sve "sve" "aarch64" [1 4]: (1 2) (1 3) (1 4) (6 4) (8 3) (12 2);
}

tiles! {
    S8_AHEAD_TILES = ahead S8Ahead S8 "s8" "s8-b" exact_order; "Quads" [, ">"];
    Avx512Vnni "avx512vnni" "x86_64" [64 128]: (1 4) (4 4);
}

tiles! {
    S8_MMLA_TILES = S8Mmla S8 "s8" "s8-k8b" exact_order; "Mmla" [, ", kiln_kernels::gemm::product::Byte>"];
    NeonI8mm "neoni8mm" "aarch64" [1 2]: (1 2) (1 3) (6 3) (8 2);
    NeonI8mm "neoni8mm" "aarch64" [1]: (8 3) (12 2);
    SveI8mm "svei8mm" "aarch64" [1 2]: (1 2) (1 3) (6 3) (8 2) (8 3) (12 2);
}

/// The tiles of block formats in blocks of 2 × 2: table = kernel type, format, its name and module, layout:
/// (MR NV)… They are packed as the tiles of one row, which are in [`block_lines!`].
macro_rules! pairs {
    ($($table:ident = $kernel:ident $format:ident $name:literal $module:ident $layout:literal: $(($mr:literal $nv:literal))+;)+) => {$(
        #[doc = concat!("f32 × ", $name, " in blocks of 2 × 2.")]
        #[cfg(target_arch = "aarch64")]
        pub type $kernel<I, const MR: usize, const NV: usize, const KU: usize> = BlockPairs<I, format::$module::Block, MR, NV, KU>;
        tiles! {
            $table = $kernel $format $name $layout spans_order;
            "BlockPairs" [, concat!(", kiln_kernels::format::", stringify!($module), "::Block")];
            NeonI8mm "neoni8mm" "aarch64" [1]: $(($mr $nv))+;
            SveI8mm "svei8mm" "aarch64" [1 2]: $(($mr $nv))+;
        }
    )+};
}

pairs! {
    Q8_0_PAIRS = Q8_0Pairs Q8_0 "q8_0" q8_0 "q8_0-b": (8 4) (16 4);
    Q4_0_PAIRS = Q4_0Pairs Q4_0 "q4_0" q4_0 "q4_0-b": (8 4) (16 4);
    Q4_1_PAIRS = Q4_1Pairs Q4_1 "q4_1" q4_1 "q4_1-b": (8 4) (14 4);
    Q5_0_PAIRS = Q5_0Pairs Q5_0 "q5_0" q5_0 "q5_0-b": (8 4) (16 4);
    Q5_1_PAIRS = Q5_1Pairs Q5_1 "q5_1" q5_1 "q5_1-b": (8 4) (14 4);
    Q4K_PAIRS = Q4KPairs Q4K "q4_k" q4_k "q4_k-b": (8 4) (14 4);
    Q5K_PAIRS = Q5KPairs Q5K "q5_k" q5_k "q5_k-b": (8 4) (14 4);
    Q6K_PAIRS = Q6KPairs Q6K "q6_k" q6_k "q6_k-b": (8 4) (12 4);
}

/// The tiles of every block format. ISA, its name and architecture, [how many blocks ahead are asked for]:
/// (MR NV)… A `rows` format has few of them.
macro_rules! block_lines {
    (@$arm:ident block $what:tt) => {
        tiles! { @$arm $what
            Scalar "scalar" "any" [0]: (1 4) (4 4);
            Avx2 "avx2" "x86_64" [0]: (1 1) (4 1) (6 1) (1 2) (2 2);
            AvxVnni "avxvnni" "x86_64" [0]: (1 1) (4 1) (6 1) (1 2) (3 2);
            Avx512 "avx512" "x86_64" [0]: (1 2) (4 2) (6 2);
            Avx512Vnni "avx512vnni" "x86_64" [0 2 8 16]: (1 2) (4 2);
            Avx512Vnni "avx512vnni" "x86_64" [0]: (5 2) (6 2) (7 2);
            Neon "neon" "aarch64" [0]: (1 2) (4 2) (6 2);
            NeonDotprod "neondotprod" "aarch64" [0]: (1 2) (1 3) (1 4) (4 2) (4 3) (8 2);
            NeonI8mm "neoni8mm" "aarch64" [0]: (1 4);
            SveI8mm "svei8mm" "aarch64" [0]: (1 4);
        }
    };
    (@$arm:ident rows $what:tt) => {
        tiles! { @$arm $what
            Scalar "scalar" "any" [0]: (1 4) (4 4);
            Avx2 "avx2" "x86_64" [0]: (1 2) (2 2);
            AvxVnni "avxvnni" "x86_64" [0]: (1 2) (3 2);
            Avx512 "avx512" "x86_64" [0]: (1 2) (6 2);
            Avx512Vnni "avx512vnni" "x86_64" [0]: (1 2) (6 2);
            Neon "neon" "aarch64" [0]: (1 2) (6 2);
            NeonDotprod "neondotprod" "aarch64" [0]: (1 2) (8 2);
        }
    };
}

/// The kernels of a line in the list of formats: none of a `plain` one. Formats of one module pack weights alike.
macro_rules! block_format {
    (@items plain $($line:tt)*) => {};
    (@table plain $($line:tt)*) => { &[] };
    (@$arm:ident block $format:ident $name:literal $module:ident) => {
        block_format! { @lines $arm block ($format false) $name $module spans_order }
    };
    (@$arm:ident rows $format:ident $name:literal $module:ident) => {
        block_format! { @lines $arm rows ($format true) $name $module rows_order }
    };
    (@lines items $kind:ident ($format:ident $rows:literal) $name:literal $module:ident $order:ident) => {
        #[doc = concat!("f32 × ", $name, ".")]
        pub type $format<I, const MR: usize, const NV: usize, const AHEAD: usize> =
            BlockTile<I, format::$module::Block, $rows, MR, NV, AHEAD>;
        block_format! { @give items $kind ($format $rows) $name $module $order }
    };
    (@lines table $($line:tt)+) => { block_format! { @give table $($line)+ } };
    (@give $arm:ident $kind:ident ($format:ident $rows:literal) $name:literal $module:ident $order:ident) => {
        block_lines! { @$arm $kind ($format ($format $name [stringify!($module), "-b"] $order, block_source;
            "BlockTile" [, ", kiln_kernels::format::", stringify!($module), "::Block, ", stringify!($rows)]; "AHEAD" "a" "")) }
    };
}

macro_rules! block_formats {
    ($($format:ident $name:literal $kind:ident $type:ident $doc:literal;)+) => {
        $(block_format!(@items $kind $format $name $type);)+

        /// Every kernel of a block format, one table for each format.
        #[cfg(feature = "sweep")]
        pub(crate) const BLOCK_ENTRIES: &[&[&[Entry]]] = &[$(block_format!(@table $kind $format $name $type)),+];
    };
}
crate::with_formats!([block_formats]);

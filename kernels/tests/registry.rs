//! What must hold of the table of kernels. It stands here and not beside the table: a test of the library itself that
//! names the table compiles every kernel once more.

use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::{Op, all};
use std::collections::BTreeSet;

#[test]
fn names_are_unique_and_spell_operation_format_and_isa() {
    let mut seen = BTreeSet::new();
    for e in all() {
        assert!(seen.insert(e.meta.name), "{} twice", e.meta.name);
        assert!(e.meta.name.starts_with(e.meta.op.name()), "{}", e.meta.name);
        assert!(e.meta.name.contains(e.meta.isa.name()), "{}", e.meta.name);
    }
}

#[test]
fn every_isa_has_kernels_and_simd_isas_six_tiles_of_f32() {
    for isa in IsaId::ALL {
        assert!(all().any(|e| e.meta.isa == *isa), "{isa}");
    }
    for isa in [IsaId::Avx2, IsaId::Avx512, IsaId::Neon, IsaId::Sve] {
        let of_isa = || all().filter(|e| e.meta.isa == isa);
        for op in Op::ALL {
            // Vectors whose length is not known have no attention of their own.
            let without = isa == IsaId::Sve && matches!(op, Op::Attention | Op::AttentionDecode);
            assert!(without || of_isa().any(|e| e.meta.op == *op), "{op} on {isa}");
        }
        let f32 = of_isa().filter(|e| e.meta.op == Op::Gemm && e.meta.format == Format::F32);
        let tiles: BTreeSet<_> = f32.map(|e| (e.meta.param("MR"), e.meta.param("NV"))).collect();
        assert!(tiles.len() >= 6, "{isa}: {tiles:?}");
    }
}

#[test]
fn every_packed_layout_has_a_tile_of_one_row() {
    let gemm = || all().map(|e| e.meta).filter(|m| m.op == Op::Gemm);
    for tile in gemm() {
        let has_partner = gemm().any(|m| m.isa == tile.isa && m.layout == tile.layout && m.param("MR") == Some(1));
        assert!(has_partner, "weights packed for {} could not be used for one row", tile.name);
    }
}

#[test]
fn a_kernel_can_be_made_exactly_where_its_isa_runs() {
    for e in all() {
        assert_eq!((e.make)().is_some(), e.meta.isa.runs_here(), "{}", e.meta.name);
    }
}

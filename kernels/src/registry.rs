//! What a kernel is called and what it is: the one table that tests, benches, sweeps and reports
//! iterate. Registration itself is one line per tile in each family's `list.rs`.

use crate::convert::{F16ToF32, F32ToF16};
use crate::format::Format;
use crate::gemm::AnyGemm;
use crate::isa::IsaId;
use crate::norm::{LayerNorm, RmsNorm};
use core::fmt;
use core::str::FromStr;

macro_rules! define_ops {
    ($($op:ident $handle:ident $format:ident $name:literal $doc:literal;)+) => {
        /// An operation that kernels implement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op {
            $(#[doc = $doc] $op,)+
        }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Op] = &[$(Op::$op),+];

            /// Its name as it stands in kernel names and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Op::$op => $name),+ }
            }

            /// The format of its operands, unless another one is asked for.
            pub const fn format(self) -> Format {
                match self { $(Op::$op => Format::$format),+ }
            }
        }

        /// A kernel that this CPU can run.
        #[derive(Clone, Copy, Debug)]
        pub enum Kernel {
            $(#[doc = $doc] $op($handle),)+
        }
    };
}

define_ops! {
    Gemm AnyGemm F32 "gemm" "Matrix product C ← A·B or C += A·B.";
    RmsNorm RmsNorm F32 "rms_norm" "Root-mean-square normalisation of a row.";
    LayerNorm LayerNorm F32 "layer_norm" "Layer normalisation of a row.";
    F16ToF32 F16ToF32 F16 "f16_to_f32" "Widening a row of halves.";
    F32ToF16 F32ToF16 F32 "f32_to_f16" "Rounding a row to halves.";
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No operation has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownOp;

impl fmt::Display for UnknownOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown operation; known are")?;
        Op::ALL.iter().try_for_each(|o| write!(f, " {o}"))
    }
}
impl core::error::Error for UnknownOp {}

impl FromStr for Op {
    type Err = UnknownOp;
    fn from_str(s: &str) -> Result<Self, UnknownOp> {
        Self::ALL.iter().copied().find(|o| o.name() == s).ok_or(UnknownOp)
    }
}

/// What is known of a kernel without running it; the same on every architecture.
#[derive(Debug)]
pub struct Meta {
    /// Unique name: operation, format, ISA, parameters, as in `gemm_f32_avx2_6x2v_u4`.
    pub name: &'static str,
    /// What it computes.
    pub op: Op,
    /// The format of its operands.
    pub format: Format,
    /// The instructions that it uses.
    pub isa: IsaId,
    /// Parameter names and values, such as MR 6, NV 2, KU 4. NV counts vectors, not elements.
    pub params: &'static [(&'static str, usize)],
    /// How packed operands are laid out: kernels of one layout on one CPU can share packed weights.
    pub layout: &'static str,
    /// Accumulation-order class: tiles of kernels of one class give the same bits for the same operands. Few rows or
    /// columns that a product takes as they lie are summed in an order that depends on the vectors' length too.
    pub order: &'static str,
    /// Of the sources that the kernel is built from; a change makes stored results stale.
    pub fingerprint: u64,
    /// The type that instantiates it, relative to this crate: what a baked module names.
    pub rust_type: &'static str,
    /// What a demangled symbol of its code contains: the type that does the work, and the ISA with the
    /// parameters.
    pub symbol: [&'static str; 2],
}

impl Meta {
    /// The value of a parameter, by name.
    pub fn param(&self, name: &str) -> Option<usize> {
        self.params.iter().find(|p| p.0 == name).map(|p| p.1)
    }
}

/// One line of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it is.
    pub meta: &'static Meta,
    /// Makes the handle; `None` when this CPU cannot run it.
    pub make: fn() -> Option<Kernel>,
}

/// A kernel type that stands on a registration line. A type that does not cannot be made, so a
/// profile that names one fails to build.
pub trait Registered {
    /// What the line says.
    const META: &'static Meta;
}

/// Every kernel of every architecture, also those that cannot run here.
#[cfg(feature = "sweep")]
pub fn all() -> impl Iterator<Item = &'static Entry> {
    let products = [crate::gemm::ENTRIES, crate::gemm::BLOCK_ENTRIES].into_iter().flatten().copied().flatten().copied().flatten();
    products.chain([crate::norm::ENTRIES, crate::convert::ENTRIES].into_iter().flatten().copied().flatten())
}

/// A [`Meta`] from the parts of a registration line; the fingerprint covers the family's body and
/// the ISA's source, but not the lists, so that adding a line leaves stored results valid.
macro_rules! meta {
    ($op:ident $format:ident $isa:ident, $source:expr, $type:expr, $name:expr,
     [$(($p:literal $v:expr))*], $layout:expr, $order:expr, $symbol:expr) => {
        $crate::registry::Meta {
            name: $name,
            op: $crate::registry::Op::$op,
            format: $crate::format::Format::$format,
            isa: $crate::isa::IsaId::$isa,
            params: &[$(($p, $v)),*],
            layout: $layout,
            order: $order,
            fingerprint: $crate::fingerprint::of_kernel($source($crate::isa::IsaId::$isa), $crate::isa::IsaId::$isa.source_hash()),
            rust_type: $type,
            symbol: $symbol,
        }
    };
}
pub(crate) use meta;

/// Registers a family of row kernels with one parameter U (vectors at a time): the impls and a
/// table of entries, one per ISA and number on its line.
macro_rules! row_kernels {
    ($op:ident $format:ident $source:ident $prefix:literal $kernel:ident $path:literal $table:ident:
     $($isa:ident $name:literal $arch:tt: $($u:literal)+;)+) => {
        $($(isa::only_on! { $arch
            impl Registered for $kernel<isa::$isa, $u> {
                const META: &'static Meta = &row_kernels!(@meta $op $format $source $prefix $kernel $path $isa $name $u);
            }
        })+)+

        #[cfg(feature = "sweep")]
        const $table: &[Entry] = &[$($(Entry {
            meta: &row_kernels!(@meta $op $format $source $prefix $kernel $path $isa $name $u),
            make: isa::if_arch!($arch => { $kernel::<isa::$isa, $u>::make } else { || None }),
        }),+),+];
    };
    (@meta $op:ident $format:ident $source:ident $prefix:literal $kernel:ident $path:literal $isa:ident $name:literal $u:literal) => {
        $crate::registry::meta!($op $format $isa, $source,
            concat!($path, stringify!($isa), ", ", $u, ">"),
            concat!($prefix, $name, "_u", $u),
            [("U" $u)],
            "row",
            concat!($name, "-u", $u),
            [concat!("::", stringify!($kernel), "<"), concat!("::", stringify!($isa), ", ", $u, ">")])
    };
}
pub(crate) use row_kernels;

#[cfg(all(test, feature = "sweep"))]
mod tests {
    use super::*;
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
                assert!(of_isa().any(|e| e.meta.op == *op), "{op} on {isa}");
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
}

//! What a kernel is called and what it is: the one table that tests, benches, sweeps and reports
//! iterate. Registration itself is one line per tile in each family's `list.rs`.

use crate::format::Format;
use crate::isa::IsaId;
#[cfg(feature = "sweep")]
use crate::{attention, convert, gate, norm, quantise, rope, select, softmax};
#[cfg(feature = "sweep")]
use crate::{
    reference::Expected,
    row::{Operand, Rows},
};
use core::fmt;
use core::str::FromStr;

/// The list of operations, by kind: products; operations on rows with kernels for each of several formats (`formats`),
/// and with kernels of one (`rows`); attention, with kernels for each format of a cache. Name, variant of [`Op`], handle, format unless another is asked for, description.
///
/// `with_ops!([path::of::a::macro] arguments…)` gives the list to a macro, behind the arguments.
#[macro_export]
macro_rules! with_ops {
    ([$($m:tt)*] $($arguments:tt)*) => {
        $($m)*! { $($arguments)*
            product {
                gemm Gemm $crate::gemm::AnyGemm, F32 "Matrix product C ← A·B or C += A·B.";
            }
            formats {
                dequantise Dequantise $crate::quantise::Dequantise, Q8_0 "Blocks of weights to f32.";
            }
            rows {
                rms_norm RmsNorm $crate::norm::RmsNorm, F32 "Root-mean-square normalisation of rows.";
                layer_norm LayerNorm $crate::norm::LayerNorm, F32 "Layer normalisation of rows.";
                add_rms_norm AddRmsNorm $crate::norm::AddRmsNorm, F32 "Adding to the residual stream, and its RMS norm.";
                rms_norm_quantise RmsNormQuantise $crate::norm::RmsNormQuantise, F32 "RMS norm to Q8_0 blocks.";
                f16_to_f32 F16ToF32 $crate::convert::F16ToF32, F16 "Widening rows of halves.";
                f32_to_f16 F32ToF16 $crate::convert::F32ToF16, F32 "Rounding rows to halves.";
                bf16_to_f32 Bf16ToF32 $crate::convert::Bf16ToF32, Bf16 "Widening rows of bfloat16.";
                f32_to_bf16 F32ToBf16 $crate::convert::F32ToBf16, F32 "Rounding rows to bfloat16.";
                quantise Quantise $crate::quantise::Quantise, F32 "Rows to the nearest Q8_0 blocks.";
                rope Rope $crate::rope::Rope, F32 "Adding a bias and turning heads to their positions.";
                silu_mul SiluMul $crate::gate::SiluMul, F32 "The gate of a feed-forward network.";
                silu_mul_quantise SiluMulQuantise $crate::gate::SiluMulQuantise, F32 "The gate of a feed-forward network to Q8_0 blocks.";
                softmax Softmax $crate::softmax::Softmax, F32 "Softmax of rows, in place.";
                argmax ArgMax $crate::select::ArgMax, F32 "Where the largest element of each row is.";
                top_k TopK $crate::select::TopK, F32 "The largest elements of each row and where they are.";
            }
            attention {
                attention Attention $crate::attention::Attention, F32 "Attention of many tokens to a cache of keys and values.";
                attention_decode AttentionDecode $crate::attention::AttentionDecode, F32 "Attention of one token to a cache of keys and values.";
            }
        }
    };
}

macro_rules! define_ops {
    ($($kind:ident { $($name:ident $op:ident $handle:ty, $format:ident $doc:literal;)+ })+) => {
        /// An operation that kernels implement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op {
            $($(#[doc = $doc] $op,)+)+
        }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Op] = &[$($(Op::$op),+),+];

            /// Its name as it stands in kernel names and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $($(Op::$op => stringify!($name)),+),+ }
            }

            /// What it does, in one sentence.
            pub const fn about(self) -> &'static str {
                match self { $($(Op::$op => $doc),+),+ }
            }

            /// The format of its operands, unless another one is asked for.
            pub const fn format(self) -> Format {
                match self { $($(Op::$op => Format::$format),+),+ }
            }

            /// Its operands, if it works on rows.
            #[cfg(feature = "sweep")]
            pub fn operands(self, format: Format) -> Option<Vec<Operand>> {
                match self { $($(Op::$op => of_rows!($kind => <$handle>::operands_of(format))),+),+ }
            }

            /// What a row of each operand that is written ought to become; see [`crate::row::RowOp::expected`].
            #[cfg(feature = "sweep")]
            pub fn expected(self, format: Format, read: &[Vec<f32>], before: &[Vec<f32>], row: usize) -> Option<Vec<Vec<Expected>>> {
                match self { $($(Op::$op => of_rows!($kind => <$handle>::expected_of(format, read, before, row))),+),+ }
            }

            /// Whether it works on rows.
            pub const fn is_rows(self) -> bool {
                match self { $($(Op::$op => is_rows!($kind)),+),+ }
            }
        }

        /// A kernel that this CPU can run.
        #[derive(Clone, Copy, Debug)]
        pub enum Kernel {
            $($(#[doc = $doc] $op($handle),)+)+
        }

        impl Kernel {
            /// It as one of an operation on rows, if it is.
            #[cfg(feature = "sweep")]
            pub fn rows(&self) -> Option<&dyn Rows> {
                match self { $($(Kernel::$op(_k) => of_rows!($kind => _k as &dyn Rows)),+),+ }
            }
        }
    };
}

/// Something about an operation on rows; nothing about others.
#[cfg(feature = "sweep")]
macro_rules! of_rows {
    (rows => $what:expr) => {
        Some($what)
    };
    (formats => $what:expr) => {
        Some($what)
    };
    ($kind:ident => $what:expr) => {
        None
    };
}

macro_rules! is_rows {
    (rows) => {
        true
    };
    (formats) => {
        true
    };
    ($kind:ident) => {
        false
    };
}

with_ops!([define_ops]);

impl Op {
    /// The formats that it has kernels for.
    #[cfg(feature = "sweep")]
    pub fn formats(self) -> impl Iterator<Item = Format> {
        Format::ALL.iter().copied().filter(move |f| all().any(|e| e.meta.op == self && e.meta.format == *f))
    }
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
    let rows = [norm::ENTRIES, convert::ENTRIES, quantise::ENTRIES, rope::ENTRIES, gate::ENTRIES, softmax::ENTRIES, select::ENTRIES];
    products.chain(rows.into_iter().chain([attention::ENTRIES]).flatten().copied().flatten())
}

/// A [`Meta`] from the parts of a registration line; the fingerprint covers the family's body and
/// the ISA's source, but not the lists, so that adding a line leaves stored results valid.
macro_rules! meta {
    ($op:ident $format:ident $isa:ident, $source:expr, $type:expr, $name:expr,
     [$(($p:tt $v:expr))*], $layout:expr, $order:expr, $symbol:expr) => {
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

/// Registers kernels of a row family: the impls and a table of entries, one for each ISA and list of parameters on
/// its line.
///
/// `TABLE = operation, format, [prefix of names], kernel type, [its path], hash of its sources; ISA, its name and
/// architecture: (letter value …)…`, where the letter of a parameter stands before its value in names and
/// [`parameter!`] says what it is called.
macro_rules! row_kernels {
    ($table:ident = $op:ident $format:ident $prefix:tt $kernel:ident $path:tt $source:ident; $($lines:tt)+) => {
        row_kernels! { $table = $op $format $prefix $kernel [stringify!($kernel); ""] $path $source; $($lines)+ }
    };
    // A kernel type that is another's alias: of that the name, and what stands behind the ISA in its parameters.
    ($table:ident = $op:ident $format:ident $prefix:tt $kernel:ident $symbol:tt $path:tt $source:ident;
     $($isa:ident $name:literal $arch:tt: $(($($letter:ident $v:literal)+))+;)+) => {
        $($(isa::only_on! { $arch
            impl Registered for $kernel<isa::$isa, $($v),+> {
                const META: &'static Meta = &row_kernels!(@meta $op $format $prefix $kernel $symbol $path $source $isa $name ($($letter $v)+));
            }
        })+)+

        #[cfg(feature = "sweep")]
        const $table: &[Entry] = &[$($(Entry {
            meta: &row_kernels!(@meta $op $format $prefix $kernel $symbol $path $source $isa $name ($($letter $v)+)),
            make: isa::if_arch!($arch => { $kernel::<isa::$isa, $($v),+>::make } else { || None }),
        }),+),+];
    };
    (@meta $op:ident $format:ident [$($prefix:tt)+] $kernel:ident [$symbol:expr; $more:expr] [$($path:tt)+] $source:ident $isa:ident $name:literal ($($letter:ident $v:literal)+)) => {
        $crate::registry::meta!($op $format $isa, $source,
            concat!($($path)+, stringify!($isa), $(", ", $v),+, ">"),
            concat!($($prefix)+, $name $(, "_", stringify!($letter), $v)+),
            [$(({ $crate::registry::parameter!($letter) } $v))+],
            "row",
            concat!($name $(, "-", stringify!($letter), $v)+),
            [concat!("::", $symbol, "<"), concat!("::", stringify!($isa), $more, $(", ", $v),+, ">")])
    };
}
pub(crate) use row_kernels;

/// The names of the parameters of row kernels.
macro_rules! parameter {
    // Vectors at a time.
    (u) => {
        "U"
    };
    // Rows at a time.
    (r) => {
        "R"
    };
    // MiB from which on a call stores past the caches.
    (s) => {
        "STREAM"
    };
    // Lines of the cache that are asked for ahead.
    (a) => {
        "AHEAD"
    };
    // Vectors of a tile.
    (v) => {
        "NV"
    };
    // Keys that one pass of attention takes.
    (t) => {
        "KT"
    };
    // Heads at a time.
    (h) => {
        "H"
    };
}
pub(crate) use parameter;

//! What all operations on rows have in common: the handle, how a kernel becomes one, and a description of the
//! operands by which tests, benches, sweeps and comparisons run any of them.
//!
//! A family (such as [`crate::norm`]) says what an operation takes, with an oracle beside it, and gives one generic
//! body over an ISA token; rows are independent, so that callers share them out over threads as they like.

use crate::isa::IsaId;
use crate::registry::Meta;
#[cfg(feature = "sweep")]
use crate::{format::Format, reference::Expected, registry::Kernel};

/// An operation on rows.
pub trait RowOp: Sized + Send + Sync + 'static {
    /// What a call takes.
    type Args<'a>;

    /// As one of all kernels.
    #[cfg(feature = "sweep")]
    fn kernel(handle: Row<Self>) -> Kernel;

    /// Its operands, in the order that [`RowOp::call`] takes them in: those that are read, and those that are written.
    #[cfg(feature = "sweep")]
    fn operands(format: Format) -> Vec<Operand>;

    /// Calls a kernel on operands that are bytes.
    #[cfg(feature = "sweep")]
    fn call(kernel: &Row<Self>, data: &mut Data<'_>);

    /// What one row of each operand that is written ought to become. `read` has a row of each operand that is read,
    /// `before` what those that are written held before; all as values, in operand order.
    #[cfg(feature = "sweep")]
    fn expected(format: Format, read: &[Vec<f32>], before: &[Vec<f32>], row: usize) -> Vec<Vec<Expected>>;
}

/// What a kernel does with the arguments of a call.
pub trait Body<O: RowOp>: Send + Sync {
    /// Does it.
    fn run(&self, args: O::Args<'_>);
}

/// A handle to a kernel of an operation on rows; it exists only where the CPU can run it.
pub struct Row<O: RowOp> {
    meta: &'static Meta,
    body: &'static dyn Body<O>,
}

impl<O: RowOp> Row<O> {
    pub(crate) fn new(meta: &'static Meta, body: impl Body<O> + 'static) -> Row<O> {
        // A zero-sized token: leaking it allocates nothing.
        Row { meta, body: Box::leak(Box::new(body)) }
    }

    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// The operands of the operation, of a format.
    #[cfg(feature = "sweep")]
    pub fn operands_of(format: Format) -> Vec<Operand> {
        O::operands(format)
    }

    /// See [`RowOp::expected`].
    #[cfg(feature = "sweep")]
    pub fn expected_of(format: Format, read: &[Vec<f32>], before: &[Vec<f32>], row: usize) -> Vec<Vec<Expected>> {
        O::expected(format, read, before, row)
    }

    pub(crate) fn body(&self) -> &'static dyn Body<O> {
        self.body
    }
}

impl<O: RowOp> Clone for Row<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O: RowOp> Copy for Row<O> {}

impl<O: RowOp> core::fmt::Debug for Row<O> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Row").field(&self.meta.name).finish()
    }
}

/// The kernel type of a family, with its parameters, and how it becomes a handle: it needs a line in the family's
/// `list.rs` and a [`Body`].
macro_rules! row_kernel {
    ($(#[$doc:meta])* $kernel:ident<$($p:ident),+>: $op:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $kernel<I, $(const $p: usize),+>(pub(super) I);

        impl<I: $crate::isa::Isa, $(const $p: usize),+> $kernel<I, $($p),+>
        where
            Self: $crate::registry::Registered + $crate::row::Body<$op>,
        {
            /// The handle, when this CPU has the instructions.
            pub fn handle() -> Option<$crate::row::Row<$op>> {
                Some($crate::row::Row::new(<Self as $crate::registry::Registered>::META, Self(I::detect()?)))
            }

            #[cfg(feature = "sweep")]
            pub(super) fn make() -> Option<$crate::registry::Kernel> {
                Self::handle().map(<$op as $crate::row::RowOp>::kernel)
            }
        }
    };
}
pub(crate) use row_kernel;

/// The fingerprint of what an ISA's kernels of a row family share beside its body: the functions of vectors.
pub(crate) const fn source(isa: IsaId, body: u64) -> u64 {
    crate::fingerprint::of_kernel(body, crate::isa::math::source_hash(isa))
}

/// MiB as a threshold of bytes for stores past the caches: calls that write at least as much make them. 0 is never.
pub(crate) const fn streams<const S: usize>(bytes: usize) -> bool {
    S > 0 && bytes >= S << 20
}

#[cfg(feature = "sweep")]
pub use describe::{Access, Data, Element, Extent, HEAD, Operand, Rows, TOP};

#[cfg(feature = "sweep")]
mod describe {
    use super::*;
    use crate::gemm::product::Product;
    use crate::mat::{Mat, MatMut};
    use crate::with_product;
    use bytemuck::Pod;

    /// What [`crate::select::TopK`] is run for where nobody says: as many tokens as samplers usually look at.
    pub const TOP: usize = 40;

    /// Elements of a head where nobody says.
    pub const HEAD: usize = 64;

    /// How the elements of an operand are stored.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Element {
        /// Numbers.
        Of(Format),
        /// Unsigned 32-bit positions.
        Index,
    }

    /// How many elements an operand has.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Extent {
        /// As many for each row as the problem has columns.
        Columns,
        /// As many as the problem has columns, which all rows share.
        Shared,
        /// So many for each row, but no more than there are columns.
        Some(usize),
        /// As many for each row as a head has: [`HEAD`], or where columns are no multiple of that one head of an even
        /// number of them.
        Head,
    }

    impl Extent {
        /// Elements in a row of a problem with so many columns.
        pub fn of(self, cols: usize) -> usize {
            match self {
                Extent::Columns | Extent::Shared => cols,
                Extent::Some(n) => n.min(cols),
                Extent::Head if cols > 0 && cols.is_multiple_of(HEAD) => HEAD,
                Extent::Head => cols / 2 * 2,
            }
        }
    }

    /// What a call does with an operand.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Access {
        /// Reads it.
        Read,
        /// Writes it, without reading it.
        Write,
        /// Reads and writes it.
        Update,
    }

    /// An operand of an operation on rows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Operand {
        /// How its elements are stored.
        pub element: Element,
        /// How many it has.
        pub extent: Extent,
        /// What becomes of it.
        pub access: Access,
    }

    impl Operand {
        /// One that is read, with a row for each row.
        pub const fn read(format: Format) -> Operand {
            Operand { element: Element::Of(format), extent: Extent::Columns, access: Access::Read }
        }
        /// One that is read and that all rows share.
        pub const fn shared(format: Format) -> Operand {
            Operand { extent: Extent::Shared, ..Operand::read(format) }
        }
        /// One that is written.
        pub const fn write(format: Format) -> Operand {
            Operand { access: Access::Write, ..Operand::read(format) }
        }
        /// One that is read and written.
        pub const fn update(format: Format) -> Operand {
            Operand { access: Access::Update, ..Operand::read(format) }
        }

        /// Values in a row of a problem with so many columns.
        pub fn width(&self, cols: usize) -> usize {
            self.extent.of(cols)
        }

        /// Bytes of a row of so many columns.
        pub fn row_bytes(&self, cols: usize) -> usize {
            let n = self.width(cols);
            match self.element {
                Element::Of(format) => with_product!(format, P => n.div_ceil(P::B_DEPTH) * size_of::<<P as Product>::B>()),
                Element::Index => n * size_of::<u32>(),
            }
        }

        /// Bytes for all rows.
        pub fn bytes(&self, rows: usize, cols: usize) -> usize {
            self.row_bytes(cols) * if self.extent == Extent::Shared { 1 } else { rows }
        }

        /// Bytes that a call must move.
        pub fn traffic(&self, rows: usize, cols: usize) -> usize {
            self.bytes(rows, cols) * if self.access == Access::Update { 2 } else { 1 }
        }

        /// Stores one row of values.
        pub fn encode(&self, values: &[f32], row: &mut [u8]) {
            match self.element {
                Element::Of(format) => with_product!(format, P => {
                    let elements: &mut [<P as Product>::B] = bytemuck::cast_slice_mut(row);
                    let mut padded = vec![0.0; P::B_DEPTH];
                    for (element, values) in elements.iter_mut().zip(values.chunks(P::B_DEPTH)) {
                        padded.fill(0.0);
                        padded[..values.len()].copy_from_slice(values);
                        *element = P::b_of(&padded);
                    }
                }),
                Element::Index => {
                    let elements: &mut [u32] = bytemuck::cast_slice_mut(row);
                    elements.iter_mut().zip(values).for_each(|(e, x)| *e = *x as u32);
                }
            }
        }

        /// The values of one row of so many columns.
        pub fn decode(&self, row: &[u8], cols: usize) -> Vec<f32> {
            let n = self.width(cols);
            match self.element {
                Element::Of(format) => with_product!(format, P => {
                    let elements: &[<P as Product>::B] = bytemuck::cast_slice(row);
                    (0..n).map(|i| P::b_value(&elements[i / P::B_DEPTH], i - i / P::B_DEPTH * P::B_DEPTH) as f32).collect()
                }),
                Element::Index => bytemuck::cast_slice::<u8, u32>(row).iter().map(|i| *i as f32).collect(),
            }
        }
    }

    /// The operands of a call, as bytes: all rows of each, one after another.
    pub struct Data<'a> {
        /// Rows.
        pub rows: usize,
        /// Columns.
        pub cols: usize,
        /// The number of the first row within the whole problem: causal masks count from it.
        pub first: usize,
        /// Operands that are read.
        pub read: Vec<&'a [u8]>,
        /// Operands that are written or updated.
        pub write: Vec<&'a mut [u8]>,
    }

    impl<'a> Data<'a> {
        /// Read operand `index`, with rows of `width` elements.
        pub(crate) fn mat<T: Pod>(&self, index: usize, width: usize) -> Mat<'a, T> {
            Mat::new(bytemuck::cast_slice(self.read[index]), self.rows, width, width)
        }
        /// A read operand that all rows share.
        pub(crate) fn shared<T: Pod>(&self, index: usize) -> &'a [T] {
            bytemuck::cast_slice(self.read[index])
        }
        /// Written operand `index`, with rows of `width` elements.
        pub(crate) fn mat_mut<T: Pod>(&mut self, index: usize, width: usize) -> MatMut<'_, T> {
            MatMut::new(bytemuck::cast_slice_mut(self.write[index]), self.rows, width, width)
        }
    }

    /// Kernels of any operation on rows.
    pub trait Rows: Sync {
        /// What the registry says.
        fn meta(&self) -> &'static Meta;
        /// The operands.
        fn operands(&self) -> Vec<Operand>;
        /// Calls the kernel.
        fn call(&self, data: &mut Data<'_>);
        /// See [`RowOp::expected`].
        fn expected(&self, read: &[Vec<f32>], before: &[Vec<f32>], row: usize) -> Vec<Vec<Expected>>;
    }

    impl<O: RowOp> Rows for Row<O> {
        fn meta(&self) -> &'static Meta {
            self.meta
        }
        fn operands(&self) -> Vec<Operand> {
            O::operands(self.meta.format)
        }
        fn call(&self, data: &mut Data<'_>) {
            O::call(self, data);
        }
        fn expected(&self, read: &[Vec<f32>], before: &[Vec<f32>], row: usize) -> Vec<Vec<Expected>> {
            O::expected(self.meta.format, read, before, row)
        }
    }
}

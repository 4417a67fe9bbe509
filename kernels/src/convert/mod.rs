//! Conversions between number formats, any number of elements of any alignment a call.
//!
//! The generic bodies are in `body.rs`, the SVE loops in `sve.rs`, the registered parameters in `list.rs`. Every
//! kernel equals [`crate::format::f16`] or [`crate::format::bf16`] bit for bit. Calls that write more than a cache
//! holds may do so past it: that is a parameter.

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
pub(crate) mod sve;

pub use body::{Narrow, NarrowBf16, Widen, WidenBf16};
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::row::{Row, RowOp};
#[cfg(feature = "sweep")]
use crate::{
    format::Format,
    reference::Expected,
    registry::Kernel,
    row::{Data, Operand},
};

macro_rules! conversions {
    ($($(#[$doc:meta])+ $handle:ident $op:ident: $src:ty, $src_format:ident => $dst:ty, $dst_format:ident;)+) => {$(
        #[doc = concat!("What [`", stringify!($handle), "`] does.")]
        #[derive(Debug)]
        pub enum $op {}

        $(#[$doc])+
        pub type $handle = Row<$op>;

        impl RowOp for $op {
            type Args<'a> = (&'a [$src], &'a mut [$dst]);

            #[cfg(feature = "sweep")]
            fn kernel(handle: $handle) -> Kernel {
                Kernel::$handle(handle)
            }
            #[cfg(feature = "sweep")]
            fn operands(_: Format) -> Vec<Operand> {
                vec![Operand::read(Format::$src_format), Operand::write(Format::$dst_format)]
            }
            #[cfg(feature = "sweep")]
            fn call(kernel: &$handle, data: &mut Data<'_>) {
                kernel.run(bytemuck::cast_slice(data.read[0]), bytemuck::cast_slice_mut(data.write[0]));
            }
            #[cfg(feature = "sweep")]
            fn expected(_: Format, read: &[Vec<f32>], _: &[Vec<f32>], _: usize) -> Vec<Vec<Expected>> {
                let nearest = |x: &f32| f64::from(crate::reference::nearest(Format::$dst_format, *x));
                vec![read[0].iter().map(|x| Expected::exactly(nearest(x))).collect()]
            }
        }

        impl $handle {
            /// Converts all elements.
            ///
            /// # Panics
            /// If the slices differ in length.
            pub fn run(&self, src: &[$src], dst: &mut [$dst]) {
                assert_eq!(src.len(), dst.len(), "source and destination differ in length");
                self.body().run((src, dst));
            }
        }
    )+};
}

conversions! {
    /// A handle to a kernel that widens halves (IEEE binary16 bits) to f32. Exact.
    F16ToF32 WidenOp: u16, F16 => f32, F32;
    /// A handle to a kernel that rounds f32 to halves, to nearest, ties to even.
    F32ToF16 NarrowOp: f32, F32 => u16, F16;
    /// A handle to a kernel that widens bfloat16 (their bits) to f32. Exact.
    Bf16ToF32 WidenBf16Op: u16, Bf16 => f32, F32;
    /// A handle to a kernel that rounds f32 to bfloat16, to nearest, ties to even.
    F32ToBf16 NarrowBf16Op: f32, F32 => u16, Bf16;
}

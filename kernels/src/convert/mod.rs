//! Conversions between number formats, one row of any length and alignment a call.
//!
//! The generic bodies are in `body.rs`, the SVE loops in `sve.rs`, the registered unrolls in
//! `list.rs`. Every kernel equals [`crate::format::f16`] bit for bit.

mod body;
mod list;
#[cfg(target_arch = "aarch64")]
mod sve;

pub use body::{Narrow, Widen};
#[cfg(feature = "sweep")]
pub(crate) use list::ENTRIES;

use crate::registry::Meta;
use body::{NarrowBody, WidenBody};

/// A handle to a kernel that widens halves (IEEE binary16 bits) to f32. Exact.
#[derive(Clone, Copy)]
pub struct F16ToF32 {
    meta: &'static Meta,
    body: &'static dyn WidenBody,
}

/// A handle to a kernel that rounds f32 to halves, to nearest, ties to even.
#[derive(Clone, Copy)]
pub struct F32ToF16 {
    meta: &'static Meta,
    body: &'static dyn NarrowBody,
}

impl F16ToF32 {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Converts a row.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn run(&self, src: &[u16], dst: &mut [f32]) {
        assert_eq!(src.len(), dst.len(), "source and destination differ in length");
        self.body.row(src, dst);
    }
}

impl F32ToF16 {
    /// What the registry says of it.
    pub fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Converts a row.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn run(&self, src: &[f32], dst: &mut [u16]) {
        assert_eq!(src.len(), dst.len(), "source and destination differ in length");
        self.body.row(src, dst);
    }
}

impl core::fmt::Debug for F16ToF32 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("F16ToF32").field(&self.meta.name).finish()
    }
}

impl core::fmt::Debug for F32ToF16 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("F32ToF16").field(&self.meta.name).finish()
    }
}

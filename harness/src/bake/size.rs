//! Bytes of code that kernels have in this program, by its own symbols: what ties are settled by where size is to count.
//!
//! Of a product it is the micro-kernel's, since packing is as one with that of other tiles; of all else it is the functions that
//! are made for the kernel's type.

use crate::filter::by_name;
use crate::measure::apart::this_program;
use anyhow::{Context, ensure};
use kiln_kernels::registry::Op;
use object::{Object, ObjectSymbol, SymbolKind};
use std::sync::OnceLock;

/// The functions of the kernel crate in this program.
#[derive(Debug)]
pub struct Sizes {
    /// Demangled names and bytes.
    functions: Vec<(String, u64)>,
}

impl Sizes {
    /// Those of this program, which is read once.
    ///
    /// # Errors
    /// If it cannot be read, or has no symbols.
    pub fn here() -> anyhow::Result<&'static Sizes> {
        static HERE: OnceLock<Sizes> = OnceLock::new();
        if let Some(known) = HERE.get() {
            return Ok(known);
        }
        let path = this_program().context("this program does not know where it is")?;
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let file = object::File::parse(&*bytes).with_context(|| format!("{} is not a program", path.display()))?;
        let functions = file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0);
        let named = functions.filter_map(|s| Some((format!("{:#}", rustc_demangle::demangle(s.name().ok()?)), s.size())));
        let functions: Vec<(String, u64)> = named.filter(|(name, _)| name.contains("kiln_kernels::")).collect();
        ensure!(!functions.is_empty(), "{} has no symbols that tell sizes of code: take one that is not stripped", path.display());
        Ok(HERE.get_or_init(|| Sizes { functions }))
    }

    /// Bytes of a kernel's code; `None` if no function is known to be its.
    pub fn of(&self, kernel: &str) -> Option<u64> {
        let meta = by_name(kernel).ok()?.meta;
        let counts = |name: &str| meta.op != Op::Gemm || (name.contains("MicroKernel") && name.contains("::tile"));
        let mine = self.functions.iter().filter(|(name, _)| meta.symbol.iter().all(|mark| name.contains(mark)) && counts(name));
        Some(mine.map(|(_, bytes)| bytes).sum()).filter(|bytes| *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_tile_has_more_code_and_what_is_no_kernel_has_none() {
        let sizes = Sizes::here().expect("sizes");
        let (small, large) = ("gemm_f32_scalar_1x4v_u1", "gemm_f32_scalar_4x4v_u1");
        assert!(sizes.of(small) < sizes.of(large) && sizes.of(small).is_some(), "{:?} {:?}", sizes.of(small), sizes.of(large));
        assert_eq!(sizes.of("gemm_f32_none"), None);
    }
}

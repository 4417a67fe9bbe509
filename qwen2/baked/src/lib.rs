//! The kernels that a binary is built with: profiles turned into code by the build script, best first, the portable
//! fallback last. Nothing else of the kernel crate's table is part of a release binary.
//!
//! This is all that the engine sees of the kernels, in a crate of its own: they take minutes to compile, and a change of the
//! engine compiles none of them.

pub use kiln_profiles::baked::{
    Arithmetic, Attention, AttentionDecode, Blocking, Candidate, Format, GemmChoice, Kv, Layout, Linear as Operands, LinearKernel,
    MOST_THREADS, Mask, Mat, MatMut, Ops, Pages, Product, Products, Reason, Run, Shape, Split, Team, Workers, peaks, read, with_product,
};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/baked.rs"));
}

/// What the build script wrote.
pub const SOURCE: &str = include_str!(concat!(env!("OUT_DIR"), "/baked.rs"));

/// The profiles in this binary, also those that need another CPU.
pub fn candidates() -> &'static [Candidate] {
    generated::CANDIDATES
}

/// The kernels of the profile called `name`, or the best ones for this CPU.
///
/// # Errors
/// What to tell whoever asked, when there is no such profile in this binary or this CPU cannot run it.
pub fn select(name: Option<&str>) -> Result<Ops, String> {
    let Some(name) = name else {
        return Ops::select(candidates()).ok_or_else(|| "this CPU can run none of the profiles in this binary".to_owned());
    };
    let mut named = candidates().iter().filter(|candidate| candidate.profile == name).peekable();
    if named.peek().is_none() {
        let mut names: Vec<&str> = candidates().iter().map(|candidate| candidate.profile).collect();
        names.dedup();
        return Err(format!("profile '{name}' is not in this binary; there are: {}", names.join(", ")));
    }
    let needed = named.clone().flat_map(|candidate| candidate.isas).copied().collect::<Vec<_>>().join(", ");
    let made = named.find_map(|candidate| (candidate.make)());
    made.ok_or_else(|| format!("this CPU cannot run profile '{name}', which needs {needed}"))
}

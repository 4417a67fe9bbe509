//! Parameterised compute kernels and the one table that lists them.
//!
//! A *family* (a module such as [`gemm`], [`norm`] or [`convert`]) is one generic body over an ISA
//! token and const parameters, instantiated by the registration lines in that family's `list.rs`.
//! A *handle* (such as [`gemm::Gemm`]) can only be made by run-time detection, so every public call
//! is safe. Kernels never allocate on their own behalf and do no I/O: callers bring buffers (such as `pages`),
//! workspaces and the threads of a [`team`], which starts none but its own.

#[cfg(all(test, not(all(feature = "sweep", feature = "rayon", feature = "pages"))))]
compile_error!("the tests need all of this crate: cargo test --workspace, or with --features sweep,rayon,pages");

pub mod attention;
pub mod convert;
pub mod format;
pub mod gate;
pub mod gemm;
pub mod isa;
pub mod mat;
pub mod norm;
#[cfg(feature = "pages")]
pub mod pages;
pub mod quantise;
pub mod registry;
pub mod rope;
pub mod row;
pub mod select;
pub mod softmax;
pub mod team;

#[cfg(feature = "sweep")]
pub mod conformance;
#[cfg(feature = "sweep")]
pub mod reference;

mod fingerprint;

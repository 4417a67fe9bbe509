//! What was learnt about a CPU, and how it gets into a binary.
//!
//! `profiles/<cpu>/machine.toml` says how to recognise a CPU ([`machine`]), `tuned.toml` beside it
//! which kernels won there and why ([`schema`]); [`lookup`] finds them, [`codegen`] turns them into
//! Rust for a build script, with [`defaults`] for what they say nothing of, and [`baked`] holds the types that the
//! generated code fills. [`without`] is what the user wants left out. This crate
//! never measures anything and never chooses a winner: the laboratory does, and writes it here.

pub mod baked;
pub mod codegen;
pub mod cpu;
pub mod defaults;
pub mod lookup;
pub mod machine;
pub mod schema;
pub mod without;

mod error;
mod sizes;
pub use error::Error;

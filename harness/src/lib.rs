//! The laboratory: it sweeps kernels, measures them, shows where the time goes and bakes the winners.

pub mod arena;
pub mod build;
pub mod check;
pub mod cli;
pub mod counters;
pub mod filter;
mod guard;
pub mod machine;
pub mod measure;
pub mod progress;
pub mod sampling;
pub mod space;
pub mod model;
pub mod provenance;
pub mod store;
pub mod ranking;
pub mod search;
pub mod sweep;
pub mod bake;
pub mod profile;
pub mod report;

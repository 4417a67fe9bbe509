//! The laboratory: it sweeps kernels, measures them, shows where the time goes and bakes the winners.

pub mod bake;
pub mod build;
pub mod check;
pub mod cli;
pub mod compare;
pub mod counters;
pub mod exchange;
pub mod filter;
mod guard;
pub mod lab;
pub mod machine;
pub mod measure;
pub mod model;
pub mod peers;
pub mod profile;
pub mod progress;
pub mod provenance;
pub mod ranking;
pub mod replay;
pub mod report;
pub mod sampling;
pub mod search;
pub mod space;
pub mod store;
pub mod sweep;
pub mod target;

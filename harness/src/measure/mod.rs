//! Measuring: the clock, comparisons in pairs, statistics, and candidates at work on operands.
//!
//! Nothing that has not just been verified is timed, and nothing here decides which candidate is
//! better; that is for [`crate::search`] and for baking.

pub mod apart;
pub mod bench;
pub mod clock;
pub mod comparison;
pub mod fault;
pub mod noise;
pub mod operands;
pub mod pairing;
pub mod panels;
pub mod runner;
pub mod spot;
pub mod statistics;

//! The noise floor: one candidate against itself, compared as different ones are.
//!
//! What such a comparison shows is what this session cannot tell from nothing. Every result of the
//! session carries it.

use super::clock::Effort;
use super::operands::{Operands, Room};
use super::pairing::abba;
use super::runner::{Runner, pinned};
use super::statistics::{Ratio, signed_rank_ratio};
use super::{clock, operands};
use crate::space::{Candidate, Problem};

/// The smallest relative difference that pairs of this session can show: how far the interval of A
/// against A reaches from 1.
///
/// # Errors
/// If the operands do not fit or threads cannot be started.
pub fn floor(problem: &Problem, candidate: &Candidate, room: Room, effort: &Effort) -> anyhow::Result<f64> {
    operands::fits(problem, room)?;
    let pairs = pinned()?.install(|| -> anyhow::Result<Vec<(f64, f64)>> {
        let mut operands = Operands::new(problem, room, 1)?;
        let mut one = Runner::new(candidate, &operands)?;
        let mut other = Runner::new(candidate, &operands)?;
        let calls = clock::warm_up(effort.session_warm_up, effort.sample, || one.call(&mut operands));
        let cell = std::cell::RefCell::new(operands);
        Ok(abba(effort.pairs, calls, calls, || one.call(&mut cell.borrow_mut()), || other.call(&mut cell.borrow_mut())))
    })?;
    Ok(of_pairs(&pairs).unwrap_or(1.0))
}

/// The same of pairs of one candidate that were taken elsewhere; `None` of nothing.
pub fn of_pairs(pairs: &[(f64, f64)]) -> Option<f64> {
    signed_rank_ratio(pairs).map(|r| reach(&r))
}

/// How far an interval reaches from 1.
fn reach(ratio: &Ratio) -> f64 {
    (ratio.ci.1 - 1.0).abs().max((1.0 - ratio.ci.0).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_farther_end_of_the_interval() {
        assert!((reach(&Ratio { value: 1.01, ci: (0.97, 1.02) }) - 0.03).abs() < 1e-12);
        assert_eq!(reach(&Ratio { value: 1.0, ci: (1.0, 1.0) }), 0.0);
    }
}

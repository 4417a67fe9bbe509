//! Comparisons that survive drift: A B B A, over and over, in one run.
//!
//! Each quadruple gives one pair, the mean of both A against the mean of both B: whatever rises or
//! falls steadily meanwhile cancels. Ratios of such pairs are what claims rest on.

use super::clock;
use super::statistics::median;
use std::time::{Duration, Instant};

/// What A and B are called through: how many calls a sample has of each, and whether one that is not timed comes before them,
/// because caches are as the other left them.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Of A.
    pub a: usize,
    /// Of B.
    pub b: usize,
    /// A call goes before each sample.
    pub settle: bool,
}

/// Runs `count` quadruples and returns a pair of nanoseconds per call for each. `a` and `b` are told
/// how many calls to make.
pub fn abba(count: usize, a_calls: usize, b_calls: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> Vec<(f64, f64)> {
    let calls = Calls { a: a_calls, b: b_calls, settle: false };
    (0..count).map(|turn| quadruple(turn, calls, &mut a, &mut b)).collect()
}

/// Quadruples for about `time`, at least one, as one pair: nanoseconds per call of A, by the median ratio to B, and of B.
/// So a quadruple that was disturbed does not count, and neither does what the two have in common.
///
/// Whoever comes second in a quadruple is called twice in a row, which is an advantage; where their number is odd, that of one of
/// the two. So who calls this more than once has `turn` differ, and the advantages cancel.
pub fn abba_for(time: Duration, turn: usize, calls: Calls, mut a: impl FnMut(), mut b: impl FnMut()) -> (f64, f64) {
    let (began, mut ratios, mut of_b) = (Instant::now(), Vec::new(), Vec::new());
    while ratios.is_empty() || began.elapsed() < time {
        let (a, b) = quadruple(turn % 2 + ratios.len(), calls, &mut a, &mut b);
        ratios.push(a / b);
        of_b.push(b);
    }
    let (ratio, b) = (median(&ratios).unwrap_or(1.0), median(&of_b).unwrap_or(0.0));
    (ratio * b, b)
}

/// One of them: every other is B A A B, so that neither is always the first after a pause.
fn quadruple(turn: usize, calls: Calls, a: &mut impl FnMut(), b: &mut impl FnMut()) -> (f64, f64) {
    let a = &mut || timed(calls.a, calls.settle, a);
    let b = &mut || timed(calls.b, calls.settle, b);
    if turn.is_multiple_of(2) {
        let (a1, b1, b2, a2) = (a(), b(), b(), a());
        ((a1 + a2) / 2.0, (b1 + b2) / 2.0)
    } else {
        let (b1, a1, a2, b2) = (b(), a(), a(), b());
        ((a1 + a2) / 2.0, (b1 + b2) / 2.0)
    }
}

fn timed(calls: usize, settle: bool, call: &mut impl FnMut()) -> f64 {
    if settle {
        call();
    }
    clock::sample(calls, call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_order_is_abba_then_baab() {
        let order = RefCell::new(String::new());
        let pairs = abba(2, 1, 1, || order.borrow_mut().push('a'), || order.borrow_mut().push('b'));
        assert_eq!(order.into_inner(), "abbabaab");
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn a_call_that_is_not_timed_goes_before_each_sample_and_there_is_always_a_pair() {
        let wait = || std::thread::sleep(Duration::from_micros(50));
        // The other one comes first in every other turn.
        for (turn, expected) in [(0, "aaabbbbaaa"), (1, "bbaaaaaabb")] {
            let order = RefCell::new(String::new());
            let calls = Calls { a: 2, b: 1, settle: true };
            let (a, b) = abba_for(
                Duration::ZERO,
                turn,
                calls,
                || order.borrow_mut().push('a'),
                || {
                    wait();
                    order.borrow_mut().push('b');
                },
            );
            assert_eq!(order.into_inner(), expected);
            assert!(a > 0.0 && b >= 50_000.0, "{a} {b}");
        }
    }
}

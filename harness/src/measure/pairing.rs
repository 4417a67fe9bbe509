//! Comparisons that survive drift: A B B A, over and over, in one run.
//!
//! Each quadruple gives one pair, the mean of both A against the mean of both B: whatever rises or
//! falls steadily meanwhile cancels. Ratios of such pairs are what claims rest on.

use super::clock;

/// Runs `count` quadruples and returns a pair of nanoseconds per call for each. `a` and `b` are told
/// how many calls to make.
pub fn abba(count: usize, a_calls: usize, b_calls: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> Vec<(f64, f64)> {
    (0..count)
        .map(|turn| {
            // Every other quadruple is B A A B, so that neither is always the first after a pause.
            if turn % 2 == 0 {
                let a1 = clock::sample(a_calls, &mut a);
                let b1 = clock::sample(b_calls, &mut b);
                let b2 = clock::sample(b_calls, &mut b);
                let a2 = clock::sample(a_calls, &mut a);
                ((a1 + a2) / 2.0, (b1 + b2) / 2.0)
            } else {
                let b1 = clock::sample(b_calls, &mut b);
                let a1 = clock::sample(a_calls, &mut a);
                let a2 = clock::sample(a_calls, &mut a);
                let b2 = clock::sample(b_calls, &mut b);
                ((a1 + a2) / 2.0, (b1 + b2) / 2.0)
            }
        })
        .collect()
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
}

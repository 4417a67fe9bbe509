//! Whether the machine is as it was, told by what the default takes each time that it is looked at.
//!
//! Between two looks the machine may change: what was measured in between is of neither, and is measured again. And it may
//! drift, a little from look to look, until late candidates are held against early ones that met a faster machine. So the
//! first look is kept as well, and a time counts for what it would have been then, by the looks before and after it: a clock that
//! falls or rises by a few percent does so for all kernels alike, and by more than most of them are apart. Samples are
//! stored as they were taken, and the drift beside them.

/// Looks one after the other that differ by more than this are of two machines, so to speak.
const DRIFT: f64 = 0.1;

/// Samples of the default in one look.
pub(crate) const LOOK: usize = 3;

/// What the default took, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Anchor {
    first: Option<f64>,
    last: Option<f64>,
}

impl Anchor {
    /// One whose first look was taken by an earlier session, if there was one.
    pub(super) fn since(first: Option<f64>) -> Anchor {
        Anchor { first, last: None }
    }

    /// Whether nothing was looked at by this session.
    pub(super) fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Whether something was, by this session or an earlier one.
    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// Takes a look. Whether the machine is as it was at the last one.
    pub(super) fn look(&mut self, now: f64) -> bool {
        self.first.get_or_insert(now);
        !self.last.replace(now).is_some_and(|before| is_off(now / before))
    }

    /// How many times as long everything takes as at first.
    pub(super) fn drift(&self) -> f64 {
        self.first.zip(self.last).map_or(1.0, |(first, last)| last / first)
    }
}

fn is_off(times: f64) -> bool {
    (times - 1.0).abs() > DRIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sudden_change_is_seen_at_once_and_a_slow_one_against_the_first_look() {
        let mut anchor = Anchor::default();
        assert!(anchor.look(100.0) && !anchor.look(150.0) && anchor.look(150.0), "a step, and then the new state");
        assert_eq!(anchor.drift(), 1.5);
        let mut anchor = Anchor::default();
        let looks: Vec<(bool, f64)> = [100.0, 105.0, 109.0, 115.0, 120.0, 101.0].map(|ns| (anchor.look(ns), anchor.drift())).into();
        assert!(looks[..5].iter().all(|look| look.0) && !looks[5].0, "each is near the one before, but the last");
        assert_eq!(looks.iter().map(|look| look.1).collect::<Vec<_>>(), [1.0, 1.05, 1.09, 1.15, 1.2, 1.01]);
    }

    #[test]
    fn a_session_that_goes_on_is_held_against_the_first_one() {
        let mut anchor = Anchor::since(Some(100.0));
        assert_eq!((anchor.is_new(), anchor.has_begun(), anchor.drift()), (true, true, 1.0));
        assert!(anchor.look(80.0), "there is nothing yet that it could have changed since");
        assert_eq!((anchor.is_new(), anchor.drift()), (false, 0.8));
    }
}

//! What this machine lets this user count and sample.

use super::{Count, CounterSet, Event, Scope};
use crate::sampling;
use perf_event::Builder;
use perf_event::events::Hardware;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether something can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Availability {
    /// It works here.
    Available,
    /// It does not.
    NotAvailable {
        /// Why.
        reason: String,
    },
}

impl Availability {
    /// Whether it works.
    pub fn is_available(&self) -> bool {
        *self == Availability::Available
    }
}

impl<E: ToString> From<Result<(), E>> for Availability {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Availability::Available,
            Err(error) => Availability::NotAvailable { reason: error.to_string() },
        }
    }
}

/// What can be counted and what can be sampled: two separate questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Each event, tried by counting with it.
    pub counting: BTreeMap<Event, Availability>,
    /// Stack samples driven by the kernel's CPU clock: enough for flame graphs.
    pub clock_sampling: Availability,
    /// Samples driven by a hardware counter.
    pub hardware_sampling: Availability,
    /// The kernel's `perf_event_paranoid`, if it tells.
    pub paranoid: Option<i32>,
}

impl Capabilities {
    /// Tries everything, for a moment each.
    pub fn detect() -> Capabilities {
        let mut set = CounterSet::open(Event::ALL, Scope::Thread);
        let (_, counts) = set.measure(|| (0..100_000u64).map(std::hint::black_box).fold(0, u64::wrapping_add));
        let counting = counts.0.into_iter().map(|(event, count)| {
            let availability = match count {
                // Opened means it can be had; a place on the hardware is a matter of how many at once.
                Count::Counted { .. } | Count::NotCounted => Availability::Available,
                Count::NotAvailable { reason } => Availability::NotAvailable { reason },
            };
            (event, availability)
        });
        Capabilities {
            counting: counting.collect(),
            clock_sampling: sampling::permitted().into(),
            hardware_sampling: hardware_sampling(),
            paranoid: super::paranoid(),
        }
    }

    /// Whether there is any hardware counter at all.
    pub fn has_pmu(&self) -> bool {
        self.counting.iter().any(|(event, availability)| event.is_hardware() && availability.is_available())
    }
}

/// Opens (and closes) an event that would interrupt after so many cycles.
fn hardware_sampling() -> Availability {
    let mut builder = Builder::new().observe_self().any_cpu().kind(Hardware::CPU_CYCLES);
    builder.sample_period(1_000_000);
    builder.build().map(drop).map_err(|error| super::explain(&error, Event::Cycles)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_listed_and_a_missing_one_has_a_reason() {
        let found = Capabilities::detect();
        assert_eq!(found.counting.len(), Event::ALL.len());
        for availability in found.counting.values().chain([&found.clock_sampling, &found.hardware_sampling]) {
            assert!(!matches!(availability, Availability::NotAvailable { reason } if reason.is_empty()));
        }
        let text = serde_json::to_string(&found).expect("JSON");
        assert_eq!(serde_json::from_str::<Capabilities>(&text).expect("capabilities"), found);
    }
}

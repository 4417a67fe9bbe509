//! Counting events while code runs: hardware events where there is a PMU, the kernel's own events
//! everywhere else.
//!
//! A counter is either read, or it says why it was not: a missing one is never 0. Counting and
//! sampling are separate abilities of a machine (a virtual machine may have one without the other), so
//! [`Capabilities`] reports them apart.

mod capability;
mod event;

pub use capability::{Availability, Capabilities};
pub use event::Event;

use perf_event::{Builder, Counter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// What became of one counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Count {
    /// It was read.
    Counted {
        /// Events, scaled up to the whole time if `scaled`.
        value: u64,
        /// Nanoseconds it was switched on.
        enabled: u64,
        /// Nanoseconds it had a place on the hardware.
        running: u64,
        /// Whether it shared its place with others, so that `value` is an estimate.
        scaled: bool,
    },
    /// This machine, or this user, cannot have it.
    NotAvailable {
        /// Why.
        reason: String,
    },
    /// It was opened but never had a place on the hardware.
    NotCounted,
}

impl Count {
    /// The value, if there is one.
    pub fn value(&self) -> Option<u64> {
        match self {
            Count::Counted { value, .. } => Some(*value),
            Count::NotAvailable { .. } | Count::NotCounted => None,
        }
    }

    /// Turns a raw reading into a count. Times are in nanoseconds.
    fn from_reading(raw: u64, enabled: u64, running: u64) -> Count {
        if running == 0 {
            return Count::NotCounted;
        }
        let scaled = running < enabled;
        let whole = u128::from(raw) * u128::from(enabled) / u128::from(running);
        let value = if scaled { u64::try_from(whole).unwrap_or(u64::MAX) } else { raw };
        Count::Counted { value, enabled, running, scaled }
    }
}

/// The counts of one measured stretch of code, by event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<Event, Count>);

impl Counts {
    /// The value of one event, if it was asked for and counted.
    pub fn value(&self, event: Event) -> Option<u64> {
        self.0.get(&event)?.value()
    }

    /// `numerator` for each `denominator` (instructions per cycle, misses per access); `None` unless
    /// both were counted and there is something to divide by.
    pub fn ratio(&self, numerator: Event, denominator: Event) -> Option<f64> {
        let (top, bottom) = (self.value(numerator)?, self.value(denominator)?);
        (bottom > 0).then(|| top as f64 / bottom as f64)
    }
}

/// Which threads a set of counters sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The thread that opened them.
    Thread,
    /// That thread and every thread and process it makes from then on. Their counts are complete once
    /// they have ended.
    Descendants,
}

/// Opened counters, switched off.
pub struct CounterSet {
    counters: Vec<(Event, Result<Counter, String>)>,
}

impl CounterSet {
    /// Opens `events` for the calling thread. One that cannot be had is remembered with its reason;
    /// this never fails as a whole.
    pub fn open(events: &[Event], scope: Scope) -> CounterSet {
        let open = |event: &Event| (*event, open(*event, scope).map_err(|error| explain(&error, *event)));
        CounterSet { counters: events.iter().map(open).collect() }
    }

    /// Runs `work` and counts while it runs. Each event is counted on its own, so the kernel may time-share
    /// places on the hardware; the counts say so.
    pub fn measure<R>(&mut self, work: impl FnOnce() -> R) -> (R, Counts) {
        for (_, counter) in &mut self.counters {
            let started = match counter {
                Ok(counter) => counter.reset().and_then(|()| counter.enable()),
                Err(_) => continue,
            };
            if let Err(error) = started {
                *counter = Err(format!("could not be switched on: {error}"));
            }
        }
        // Reset does not clear the times, so they are taken as a difference.
        let before: Vec<_> = self.counters.iter_mut().map(|(_, counter)| times(counter)).collect();
        let result = work();
        for (_, counter) in &mut self.counters {
            if let Ok(open) = counter
                && let Err(error) = open.disable()
            {
                *counter = Err(format!("could not be switched off: {error}"));
            }
        }
        let counts = self.counters.iter_mut().zip(before).map(|((event, counter), before)| (*event, read(counter, before)));
        (result, Counts(counts.collect()))
    }
}

/// Nanoseconds switched on and running so far; zeros for a counter that could not be opened or read.
fn times(counter: &mut Result<Counter, String>) -> (u64, u64) {
    let reading = counter.as_mut().ok().and_then(|counter| counter.read_count_and_time().ok());
    reading.map_or((0, 0), |reading| (reading.time_enabled, reading.time_running))
}

fn read(counter: &mut Result<Counter, String>, before: (u64, u64)) -> Count {
    match counter {
        Err(reason) => Count::NotAvailable { reason: reason.clone() },
        Ok(counter) => match counter.read_count_and_time() {
            Err(error) => Count::NotAvailable { reason: format!("could not be read: {error}") },
            Ok(now) => {
                let enabled = now.time_enabled.saturating_sub(before.0);
                let running = now.time_running.saturating_sub(before.1);
                Count::from_reading(now.count, enabled, running)
            }
        },
    }
}

/// Opens one counter. Events that happen in the kernel (a context switch) are counted there, which
/// an unprivileged user may be refused; events of user code are counted in user code alone.
fn open(event: Event, scope: Scope) -> io::Result<Counter> {
    let mut builder = Builder::new().observe_self().any_cpu().kind(event.kind());
    builder.inherit(scope == Scope::Descendants);
    builder.exclude_hv(true);
    builder.exclude_kernel(!event.happens_in_the_kernel());
    builder.build()
}

/// Why a counter could not be opened, in words a reader can act on.
fn explain(error: &io::Error, event: Event) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => {
            format!("not permitted (perf_event_paranoid is {})", paranoid().map_or("unknown".into(), |n| n.to_string()))
        }
        Some(Errno::NOSYS) => "the kernel has no perf events".into(),
        Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP | Errno::INVAL) if event.is_hardware() => {
            "this machine has no such hardware counter, or does not pass it on to its guests".into()
        }
        _ => error.to_string(),
    }
}

/// `/proc/sys/kernel/perf_event_paranoid`, if it can be read.
pub fn paranoid() -> Option<i32> {
    std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_scaled_or_said_to_be_missing() {
        assert_eq!(Count::from_reading(0, 10, 0), Count::NotCounted);
        assert_eq!(Count::from_reading(100, 40, 10), Count::Counted { value: 400, enabled: 40, running: 10, scaled: true });
        assert_eq!(Count::from_reading(7, 10, 10), Count::Counted { value: 7, enabled: 10, running: 10, scaled: false });
        // No overflow, whatever the kernel says.
        assert_eq!(Count::from_reading(u64::MAX, u64::MAX, 1).value(), Some(u64::MAX));
    }

    #[test]
    fn every_event_is_counted_or_says_why_not() {
        let mut set = CounterSet::open(Event::ALL, Scope::Thread);
        let (sum, counts) = set.measure(|| (0..2_000_000u64).map(std::hint::black_box).fold(0, u64::wrapping_add));
        assert_eq!(sum, 1_999_999_000_000);
        assert_eq!(counts.0.len(), Event::ALL.len());
        for (event, count) in &counts.0 {
            match count {
                Count::Counted { enabled, running, .. } => assert!(running <= enabled && *running > 0, "{event}"),
                Count::NotAvailable { reason } => assert!(!reason.is_empty(), "{event}"),
                Count::NotCounted => {}
            }
        }
        for event in [Event::TaskClock, Event::Cycles, Event::Instructions] {
            assert_ne!(counts.value(event), Some(0), "{event} cannot be 0 after work");
        }
    }

    #[test]
    fn kernel_events_and_new_threads_are_seen_where_permitted() {
        let mut set = CounterSet::open(&[Event::ContextSwitches, Event::PageFaults], Scope::Descendants);
        let ((), counts) = set.measure(|| {
            let thread = std::thread::spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                std::hint::black_box(vec![1u8; 8 << 20]);
            });
            let _ = thread.join();
        });
        for event in [Event::ContextSwitches, Event::PageFaults] {
            match &counts.0[&event] {
                Count::Counted { value, .. } => assert!(*value > 0, "{event}"),
                other => println!("{event}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_set_can_be_used_again_and_starts_from_nothing() {
        let mut set = CounterSet::open(&[Event::PageFaults], Scope::Thread);
        let (_, many) = set.measure(|| std::hint::black_box(vec![1u8; 16 << 20]));
        let (_, few) = set.measure(|| ());
        if let (Some(many), Some(few)) = (many.value(Event::PageFaults), few.value(Event::PageFaults)) {
            assert!(few < many, "{few} and {many}");
        }
    }

    #[test]
    fn ratios_need_both_sides() {
        let counted = |value| Count::Counted { value, enabled: 1, running: 1, scaled: false };
        let counts = Counts([(Event::Instructions, counted(30)), (Event::Cycles, counted(10))].into());
        assert_eq!(counts.ratio(Event::Instructions, Event::Cycles), Some(3.0));
        assert_eq!(counts.ratio(Event::CacheMisses, Event::Cycles), None);
    }
}

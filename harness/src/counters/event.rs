//! The one list of events that can be counted: name, unit, and the perf event behind it.

use perf_event::events::{Cache, CacheOp, CacheResult, Event as Kind, Hardware, Software, WhichCache};
use serde::{Deserialize, Serialize};
use std::fmt;

const fn cache(which: WhichCache, result: CacheResult) -> Cache {
    Cache { which, operation: CacheOp::READ, result }
}

macro_rules! events {
    ($($variant:ident $name:literal $class:ident $unit:literal $doc:literal $kind:expr;)+) => {
        /// Something that can be counted while code runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Event {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)+
        }

        impl Event {
            /// Every event.
            pub const ALL: &'static [Event] = &[$(Event::$variant),+];

            /// Its name in tables and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Event::$variant => $name),+ }
            }

            /// What one of it is: `events` or `ns`.
            pub const fn unit(self) -> &'static str {
                match self { $(Event::$variant => $unit),+ }
            }

            const fn class(self) -> Class {
                match self { $(Event::$variant => Class::$class),+ }
            }

            /// The perf event to open.
            pub(super) fn kind(self) -> Kind {
                match self { $(Event::$variant => Kind::from($kind)),+ }
            }
        }
    };
}

/// Who counts it.
#[derive(PartialEq)]
enum Class {
    /// The CPU's monitoring unit.
    Hardware,
    /// The kernel, about user code.
    Software,
    /// The kernel, about itself.
    Kernel,
}

events! {
    Cycles "cycles" Hardware "events" "Core clock cycles." Hardware::CPU_CYCLES;
    Instructions "instructions" Hardware "events" "Instructions retired." Hardware::INSTRUCTIONS;
    Branches "branches" Hardware "events" "Branches retired." Hardware::BRANCH_INSTRUCTIONS;
    BranchMisses "branch-misses" Hardware "events" "Branches predicted wrongly." Hardware::BRANCH_MISSES;
    CacheReferences "cache-references" Hardware "events" "Accesses to the last-level cache, as the CPU defines them." Hardware::CACHE_REFERENCES;
    CacheMisses "cache-misses" Hardware "events" "Misses of the last-level cache, as the CPU defines them." Hardware::CACHE_MISSES;
    L1dLoads "l1d-loads" Hardware "events" "Loads that look into the first data cache." cache(WhichCache::L1D, CacheResult::ACCESS);
    L1dLoadMisses "l1d-load-misses" Hardware "events" "Loads that the first data cache does not hold." cache(WhichCache::L1D, CacheResult::MISS);
    LlcLoads "llc-loads" Hardware "events" "Loads that look into the last-level cache." cache(WhichCache::LL, CacheResult::ACCESS);
    LlcLoadMisses "llc-load-misses" Hardware "events" "Loads that the last-level cache does not hold." cache(WhichCache::LL, CacheResult::MISS);
    DtlbLoadMisses "dtlb-load-misses" Hardware "events" "Loads whose page translation had to be fetched." cache(WhichCache::DTLB, CacheResult::MISS);
    StalledFrontend "stalled-cycles-frontend" Hardware "events" "Cycles without instructions to issue." Hardware::STALLED_CYCLES_FRONTEND;
    StalledBackend "stalled-cycles-backend" Hardware "events" "Cycles without a unit free to issue to." Hardware::STALLED_CYCLES_BACKEND;
    TaskClock "task-clock" Software "ns" "Time on a CPU, in nanoseconds." Software::TASK_CLOCK;
    PageFaults "page-faults" Software "events" "Page faults." Software::PAGE_FAULTS;
    MajorFaults "major-faults" Software "events" "Page faults that waited for a disk." Software::PAGE_FAULTS_MAJ;
    ContextSwitches "context-switches" Kernel "events" "Times the thread gave up or lost its CPU." Software::CONTEXT_SWITCHES;
    Migrations "cpu-migrations" Kernel "events" "Times the thread moved to another CPU." Software::CPU_MIGRATIONS;
}

impl Event {
    /// Whether the CPU's monitoring unit counts it.
    pub fn is_hardware(self) -> bool {
        self.class() == Class::Hardware
    }

    /// Whether it takes place in the kernel, where not every user may count.
    pub(super) fn happens_in_the_kernel(self) -> bool {
        self.class() == Class::Kernel
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

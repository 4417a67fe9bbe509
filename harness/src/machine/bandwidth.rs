//! How fast memory can be read, written and copied, at each level of the caches and beyond them.
//!
//! Reading folds vectors with exclusive-or, writing fills, copying moves one half of a buffer to
//! the other. Counted are the bytes a program asks for: a copied byte counts twice (read and written),
//! and a store's hidden read of the line it lands in does not count. Buffers large enough for a huge page
//! are measured on huge pages, where the system gives them, and on ordinary ones; smaller ones on ordinary
//! pages alone. Each thread has its own buffer, and it touches it first.

use super::Machine;
use super::timing::{Figure, Plan, rate};
use kiln_kernels::isa::stream;
use kiln_kernels::pages::{HUGE, Pages};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// What is done with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Every byte is read once.
    Read,
    /// Every byte is written once.
    Write,
    /// One half is read, the other written.
    Copy,
}

impl Access {
    /// All of them.
    pub const ALL: [Access; 3] = [Access::Read, Access::Write, Access::Copy];

    /// `read`, `write`, `copy`.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Copy => "copy",
        }
    }
}

/// The pages that memory was asked for on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PageKind {
    /// Huge ones (`MADV_HUGEPAGE`).
    Huge,
    /// Ordinary ones (`MADV_NOHUGEPAGE`).
    Ordinary,
}

impl PageKind {
    /// `huge`, `ordinary`.
    pub fn name(self) -> &'static str {
        match self {
            PageKind::Huge => "huge",
            PageKind::Ordinary => "ordinary",
        }
    }
}

/// One measured bandwidth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Where the buffers fit: `l1`, `l2`, `l3` or `dram`.
    pub level: String,
    /// What was done.
    pub access: Access,
    /// Threads at work, each pinned to its own CPU.
    pub threads: usize,
    /// Bytes of each thread's buffer.
    pub bytes_per_thread: usize,
    /// The pages that were asked for; `huge_share` tells what was had.
    pub pages: PageKind,
    /// The share of the first thread's buffer that lay on huge pages; `None` if the system does not say.
    pub huge_share: Option<f64>,
    /// Bytes per second of all threads together.
    pub bytes_per_second: Figure,
}

/// A level of the memory and the buffer that each of `threads` threads uses to stay in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    name: String,
    bytes_per_thread: usize,
}

impl Level {
    /// The kinds of pages to measure it on, huge ones first. A buffer smaller than a huge page cannot lie
    /// on one, and where the system's setting is `never` none can.
    fn pages(&self, machine: &Machine) -> &'static [PageKind] {
        let never = machine.system.memory.transparent_huge_pages.as_deref() == Some("never");
        if never || self.bytes_per_thread < HUGE { &[PageKind::Ordinary] } else { &[PageKind::Huge, PageKind::Ordinary] }
    }
}

/// Sizes buffers: half of a private cache keeps it from spilling, a quarter of a shared one (divided among
/// the threads) leaves room for neighbours that we do not see; at least four times the last cache, but no
/// more than a quarter of usable memory, is 'memory'.
fn levels(machine: &Machine, threads: usize) -> Vec<Level> {
    const ROUND: u64 = 4096;
    let mut found: Vec<Level> = Vec::new();
    let mut inner = 0;
    let mut last = 0;
    for cache in machine.caches.iter().filter(|c| c.holds_data()) {
        let sharers = (threads as u64).min(u64::from(cache.shared_by)).max(1);
        let share = if cache.shared_by > 1 { 4 } else { 2 };
        let bytes = cache.bytes / share / sharers / ROUND * ROUND;
        // A buffer that the level below could hold nearly whole would measure that level.
        if bytes >= ROUND && bytes >= inner * 3 / 2 {
            found.push(Level { name: format!("l{}", cache.level), bytes_per_thread: bytes as usize });
        }
        inner = cache.bytes;
        last = last.max(cache.bytes);
    }
    let wanted = (last * 4).max(64 << 20);
    let allowed = machine.usable_memory().map_or(wanted, |memory| memory / 4);
    let total = wanted.max(threads as u64 * (16 << 20)).min(allowed);
    if total > last * 2 {
        let bytes = total / threads as u64 / ROUND * ROUND;
        found.push(Level { name: "dram".into(), bytes_per_thread: bytes as usize });
    }
    found
}

/// How many lines of results `threads` threads give.
pub(super) fn lines(machine: &Machine, threads: usize) -> usize {
    levels(machine, threads.max(1)).iter().map(|level| level.pages(machine).len() * Access::ALL.len()).sum()
}

/// One line for each level, access and number of threads: the one on huge pages, where there is one. This is what
/// kernels can count on, since their operands lie on huge pages too.
pub fn preferred(all: &[Bandwidth]) -> impl Iterator<Item = &Bandwidth> {
    let same = |a: &Bandwidth, b: &Bandwidth| (&a.level, a.access, a.threads) == (&b.level, b.access, b.threads);
    all.iter().filter(move |b| b.pages == PageKind::Huge || !all.iter().any(|a| a.pages == PageKind::Huge && same(a, b)))
}

/// Measures every level, access, kind of pages and number of threads. The two kinds of pages are measured one
/// right after the other, as what memory gives changes from minute to minute. Levels of unknown size are left out; a buffer
/// that cannot be had leaves its line out too.
pub fn bandwidths(machine: &Machine, threads: &[usize], plan: &Plan, mut progress: impl FnMut(&str)) -> Vec<Bandwidth> {
    let mut all = Vec::new();
    for &threads in threads {
        for level in levels(machine, threads.max(1)) {
            for access in Access::ALL {
                for &pages in level.pages(machine) {
                    progress(&format!("{} of {} on {} pages, {threads} thread(s)", access.name(), level.name, pages.name()));
                    all.extend(measure(&level, access, pages, threads, plan));
                }
            }
        }
    }
    all
}

fn measure(level: &Level, access: Access, pages: PageKind, threads: usize, plan: &Plan) -> Option<Bandwidth> {
    let huge_share = std::sync::OnceLock::new();
    let bytes_per_second = rate(threads, plan, |thread| {
        let mut buffer = match pages {
            PageKind::Huge => Pages::zeroed(level.bytes_per_thread),
            PageKind::Ordinary => Pages::zeroed_on_ordinary(level.bytes_per_thread),
        }
        .ok();
        buffer.iter_mut().for_each(|b| b.fill(1));
        if thread == 0 {
            let _ = huge_share.set(buffer.as_ref().and_then(Pages::huge_share));
        }
        worker(buffer, access)
    })?;
    Some(Bandwidth {
        level: level.name.clone(),
        access,
        threads,
        bytes_per_thread: level.bytes_per_thread,
        pages,
        huge_share: huge_share.into_inner().flatten(),
        bytes_per_second,
    })
}

/// A loop over its own buffer; without one it does no work, and `rate` then gives no figure.
fn worker(mut buffer: Option<Pages<u8>>, access: Access) -> impl FnMut(usize) -> f64 {
    move |rounds| {
        let Some(buffer) = &mut buffer else { return 0.0 };
        let data: &mut [u8] = buffer;
        match access {
            Access::Read => {
                black_box(stream::read(bytemuck::cast_slice(data), rounds));
            }
            Access::Write => {
                for round in 0..rounds {
                    data.fill(black_box(round as u8 | 1));
                    black_box(&mut *data);
                }
            }
            Access::Copy => {
                for _ in 0..rounds {
                    let (from, to) = data.split_at_mut(data.len() / 2);
                    to.copy_from_slice(black_box(from));
                    black_box(to);
                }
            }
        }
        rounds as f64 * data.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::{Cache, CacheKind};
    use super::*;

    /// 16 GiB of memory behind three caches, the last of which eight CPUs share.
    fn machine() -> Machine {
        let mut machine = Machine::detect();
        machine.caches.clear();
        for (level, bytes, shared_by) in [(1, 32 << 10, 1), (2, 512 << 10, 1), (3, 32 << 20, 8)] {
            machine.caches.push(Cache { level, kind: CacheKind::Unified, bytes, line_bytes: 64, ways: 8, shared_by });
        }
        machine.system.memory.group_limit = None;
        machine.system.memory.total = Some(16 << 30);
        machine.system.memory.transparent_huge_pages = Some("madvise".into());
        machine
    }

    #[test]
    fn buffers_grow_from_level_to_level_and_respect_memory() {
        let mut machine = machine();
        let sizes: Vec<_> = levels(&machine, 4).into_iter().map(|l| (l.name, l.bytes_per_thread)).collect();
        let expected = [("l1", 16 << 10), ("l2", 256 << 10), ("l3", 2 << 20), ("dram", 32 << 20)];
        assert_eq!(sizes, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
        machine.system.memory.total = Some(64 << 20);
        assert!(levels(&machine, 1).iter().all(|l| l.bytes_per_thread <= 16 << 20));
    }

    #[test]
    fn buffers_that_hold_a_huge_page_are_measured_on_both_kinds() {
        let mut machine = machine();
        let kinds = |machine: &Machine, threads| levels(machine, threads).iter().map(|l| l.pages(machine).len()).collect::<Vec<_>>();
        assert_eq!((kinds(&machine, 4), lines(&machine, 4)), (vec![1, 1, 2, 2], 18));
        assert_eq!((kinds(&machine, 8), lines(&machine, 8)), (vec![1, 1, 1, 2], 15));
        machine.system.memory.transparent_huge_pages = Some("never".into());
        assert_eq!((kinds(&machine, 4), lines(&machine, 4)), (vec![1; 4], 12));
    }

    #[test]
    fn huge_pages_are_preferred_where_there_are_any() {
        let bytes_per_second = Figure { median: 1.0, low: 1.0, high: 1.0, samples: 1, settled: true };
        let line = |level: &str, access, pages, threads| Bandwidth {
            level: level.into(),
            access,
            threads,
            bytes_per_thread: 1,
            pages,
            huge_share: None,
            bytes_per_second,
        };
        let all = [
            line("l1", Access::Read, PageKind::Ordinary, 1),
            line("dram", Access::Read, PageKind::Ordinary, 1),
            line("dram", Access::Read, PageKind::Huge, 1),
            line("dram", Access::Write, PageKind::Ordinary, 1),
            line("dram", Access::Read, PageKind::Ordinary, 2),
        ];
        let kept: Vec<&Bandwidth> = preferred(&all).collect();
        assert_eq!(kept, [&all[0], &all[2], &all[3], &all[4]]);
    }

    #[test]
    fn a_line_says_which_pages_it_had() {
        let level = Level { name: "dram".into(), bytes_per_thread: 2 * HUGE };
        let Some(measured) = measure(&level, Access::Read, PageKind::Ordinary, 1, &Plan::QUICK) else { panic!("no figure") };
        assert_eq!(measured.pages, PageKind::Ordinary);
        assert!(measured.huge_share.is_none_or(|share| share == 0.0), "{measured:?}");
    }
}

//! How fast memory can be read, written and copied, at each level of the caches and beyond them.
//!
//! Reading folds vectors with exclusive-or, writing fills, copying moves one half of a buffer to
//! the other. Counted are the bytes a program asks for: a copied byte counts twice (read and written),
//! and a store's hidden read of the line it lands in does not count. Buffers sit on huge pages where
//! the system gives them, each thread has its own, and it touches it first.

use super::Machine;
use super::timing::{Figure, Plan, rate};
use kiln_kernels::isa::stream;
use kiln_kernels::pages::Pages;
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
    levels(machine, threads.max(1)).len() * Access::ALL.len()
}

/// Measures every level, access and number of threads. Levels of unknown size are left out; a buffer
/// that cannot be had leaves its line out too.
pub fn bandwidths(machine: &Machine, threads: &[usize], plan: &Plan, mut progress: impl FnMut(&str)) -> Vec<Bandwidth> {
    let mut all = Vec::new();
    for &threads in threads {
        for level in levels(machine, threads.max(1)) {
            for access in Access::ALL {
                progress(&format!("{} of {}, {threads} thread(s)", access.name(), level.name));
                all.extend(measure(&level, access, threads, plan));
            }
        }
    }
    all
}

fn measure(level: &Level, access: Access, threads: usize, plan: &Plan) -> Option<Bandwidth> {
    let huge_share = std::sync::OnceLock::new();
    let bytes_per_second = rate(threads, plan, |thread| {
        let mut buffer = Pages::zeroed(level.bytes_per_thread).ok();
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
    use super::*;

    #[test]
    fn buffers_grow_from_level_to_level_and_respect_memory() {
        let mut machine = Machine::detect();
        machine.caches.clear();
        for (level, bytes, shared_by) in [(1, 32 << 10, 1), (2, 512 << 10, 1), (3, 32 << 20, 8)] {
            let kind = super::super::cache::CacheKind::Unified;
            machine.caches.push(super::super::cache::Cache { level, kind, bytes, line_bytes: 64, ways: 8, shared_by });
        }
        machine.system.memory.group_limit = None;
        machine.system.memory.total = Some(16 << 30);
        let sizes: Vec<_> = levels(&machine, 4).into_iter().map(|l| (l.name, l.bytes_per_thread)).collect();
        let expected = [("l1", 16 << 10), ("l2", 256 << 10), ("l3", 2 << 20), ("dram", 32 << 20)];
        assert_eq!(sizes, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
        machine.system.memory.total = Some(64 << 20);
        assert!(levels(&machine, 1).iter().all(|l| l.bytes_per_thread <= 16 << 20));
    }
}

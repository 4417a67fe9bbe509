//! How fast memory can be read, written and copied, at each level of the caches and beyond them.
//!
//! Reading folds vectors with exclusive-or, writing fills, copying moves one half of a buffer to
//! the other. Counted are the bytes a program asks for: a copied byte counts twice (read and written),
//! and a store's hidden read of the line it lands in does not count. Buffers sit on huge pages where
//! the system gives them, each thread has its own, and it touches it first.

use super::Machine;
use super::timing::{Figure, Plan, rate};
use kiln_kernels::isa::stream;
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
        let buffer = Buffer::new(level.bytes_per_thread);
        if thread == 0 {
            let _ = huge_share.set(buffer.as_ref().and_then(Buffer::huge_share));
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
fn worker(mut buffer: Option<Buffer>, access: Access) -> impl FnMut(usize) -> f64 {
    move |rounds| {
        let Some(buffer) = &mut buffer else { return 0.0 };
        let data = buffer.bytes_mut();
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

/// Anonymous memory, on huge pages if they are to be had, already touched.
struct Buffer {
    map: memmap2::MmapMut,
    start: usize,
    len: usize,
}

impl Buffer {
    const HUGE: usize = 2 << 20;

    fn new(len: usize) -> Option<Buffer> {
        // Room to begin at a huge page's boundary; small buffers gain nothing from one.
        let slack = if len >= Self::HUGE / 4 { Self::HUGE } else { 0 };
        let mut map = memmap2::MmapMut::map_anon(len + 2 * slack).ok()?;
        if slack > 0 {
            // Refused where the kernel was built without: then it is ordinary pages, and `huge_share` says so.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        let start = if slack > 0 { map.as_ptr().align_offset(Self::HUGE) } else { 0 };
        let start = if start > slack { 0 } else { start };
        map[start..start + len].fill(1);
        Some(Buffer { map, start, len })
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.len]
    }

    /// How much of it lies on huge pages, by the kernel's own account of this mapping.
    fn huge_share(&self) -> Option<f64> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let at = self.map.as_ptr() as usize + self.start;
        let huge = huge_bytes(&smaps, at)?;
        Some((huge as f64 / self.len as f64).min(1.0))
    }
}

/// `AnonHugePages` of the mapping that holds address `at`, in bytes.
fn huge_bytes(smaps: &str, at: usize) -> Option<u64> {
    let mut here = false;
    for line in smaps.lines() {
        let range = line.split_whitespace().next().and_then(|word| word.split_once('-'));
        let range = range.and_then(|(from, to)| Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?));
        if let Some(range) = range {
            here = range.contains(&at);
        } else if let Some(value) = line.strip_prefix("AnonHugePages:").filter(|_| here) {
            return value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024);
        }
    }
    None
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

    #[test]
    fn smaps_are_read_by_address() {
        let smaps = "1000-2000 rw-p 00000000 00:00 0 \nAnonHugePages:         0 kB\n\
                     2000-400000 rw-p 00000000 00:00 0 \nAnonHugePages:      2048 kB\nVmFlags: rd wr\n";
        assert_eq!(huge_bytes(smaps, 0x2000), Some(2 << 20));
        assert_eq!(huge_bytes(smaps, 0x1fff), Some(0));
        assert_eq!(huge_bytes(smaps, 0x500000), None);
    }
}

//! The perf events themselves: opened, mapped, and their rings read into plain records.
//!
//! This is the only module that knows the perf ABI. It interprets no address and keeps no sample.

use super::SamplingError;
use super::collect::Collector;
use crate::machine::system::online_cpus;
use perf_event2::data::{Record as Parsed, Sample};
use perf_event2::events::Software;
use perf_event2::{Builder, Clock, Counter, Record, SampleFlag, Sampler};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

/// Something that happened to a sampled process.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// When, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// The process it happened to.
    pub pid: u32,
    /// What it was.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The clock struck: addresses from the innermost frame outwards (all but the first are return
    /// addresses), and whether the kernel was at work on the thread's behalf.
    Sample { chain: Vec<u64>, in_kernel: bool },
    /// Executable memory appeared.
    Mapped { start: u64, len: u64, file_offset: u64, path: String },
    /// The process got a name; at an exec it also lost all it had mapped.
    Named { name: String, exec: bool },
    /// The process came into being as a copy of another.
    Forked { parent: u32 },
}

/// Ring buffers of perf events.
#[derive(Default)]
pub struct Rings {
    rings: Vec<Sampler>,
    /// Where each thread's ring is, if there is one ring for each thread.
    threads: HashMap<i32, Option<usize>>,
    user_only: bool,
}

const RING_BYTES: usize = 512 << 10;
const THREAD_RING_BYTES: usize = 128 << 10;
const SMALLEST_RING_BYTES: usize = 16 << 10;

/// Header bits of a record: the low three say in which mode the CPU was, bit 13 marks an exec.
const MODE_MASK: u16 = 7;
const MODE_KERNEL: u16 = 1;
const NAMED_BY_EXEC: u16 = 1 << 13;
/// Values from here up in a chain are no addresses but say to whom the following ones belong.
const FIRST_MARKER: u64 = u64::MAX - 4094;

impl Rings {
    /// One ring for each CPU, of events that belong to the calling thread, start switched off, are
    /// inherited by the processes it starts, and are switched on by their exec.
    pub fn for_children(frequency: u32) -> Result<Rings, SamplingError> {
        let mut rings = Rings::default();
        for cpu in online_cpus(Path::new("/sys")) {
            let ring = rings.open(RING_BYTES, |user_only| {
                let mut builder = builder(frequency, user_only);
                builder.observe_self().one_cpu(cpu).inherit(true).enable_on_exec(true);
                builder.build()
            });
            match ring {
                Ok(ring) => rings.rings.push(ring),
                // A CPU may have gone since the list was read, as long as another is left.
                Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
                Err(error) => return Err(explain(error)),
            }
        }
        match rings.rings.is_empty() {
            true => Err(SamplingError::NotAvailable("no CPU could be opened".into())),
            false => Ok(rings),
        }
    }

    /// Sees to it that each of `threads` has a ring, and forgets those that are gone.
    pub fn follow(&mut self, threads: &[i32], frequency: u32) -> Result<(), SamplingError> {
        for &thread in threads {
            if self.threads.contains_key(&thread) {
                continue;
            }
            let ring = self.open(THREAD_RING_BYTES, |user_only| {
                let mut builder = builder(frequency, user_only);
                builder.observe_pid(thread).any_cpu().enabled(true);
                builder.build()
            });
            let place = match ring {
                Ok(ring) => {
                    self.rings.push(ring);
                    Some(self.rings.len() - 1)
                }
                // The thread ended before we came to it.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => None,
                Err(error) => return Err(explain(error)),
            };
            self.threads.insert(thread, place);
        }
        let alive: HashSet<i32> = threads.iter().copied().collect();
        self.threads.retain(|thread, _| alive.contains(thread));
        Ok(())
    }

    /// Opens an event with the kernel's time included or, where that is refused, without it; and maps a
    /// ring for it, smaller if locked memory is short.
    fn open(&mut self, bytes: usize, build: impl Fn(bool) -> io::Result<Counter>) -> io::Result<Sampler> {
        let mut size = bytes;
        loop {
            let counter = match build(self.user_only) {
                Err(error) if refused(&error) && !self.user_only => {
                    let counter = build(true)?;
                    self.user_only = true;
                    counter
                }
                other => other?,
            };
            match counter.sampled(size) {
                Err(error) if refused(&error) && size / 2 >= SMALLEST_RING_BYTES => size /= 2,
                other => return other,
            }
        }
    }

    /// Whether time in the kernel is sampled too.
    pub fn with_kernel(&self) -> bool {
        !self.user_only
    }

    /// Empties all rings into the collector.
    pub fn fetch(&mut self, into: &mut Collector) {
        for ring in &mut self.rings {
            while let Some(record) = ring.next_record() {
                take(&record, into);
            }
        }
        into.round_is_over();
    }
}

/// An event of the CPU clock that records chains by frame pointers and what the addresses belong to.
fn builder(frequency: u32, user_only: bool) -> Builder<'static> {
    let mut builder = Builder::new(Software::CPU_CLOCK);
    builder
        .sample_frequency(u64::from(frequency))
        .sample(SampleFlag::IP | SampleFlag::TID | SampleFlag::TIME | SampleFlag::CALLCHAIN)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        .exclude_kernel(user_only)
        .exclude_hv(true)
        .exclude_callchain_kernel(true)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .task(true);
    builder
}

/// Turns a record into a happening. Kinds of no interest and unreadable ones are passed over.
fn take(record: &Record<'_>, into: &mut Collector) {
    let misc = record.misc();
    let Ok(parsed) = record.parse_record() else { return };
    let (pid, what) = match parsed {
        Parsed::Sample(sample) => return take_sample(&sample, misc, into),
        Parsed::Lost(lost) => return into.lost(lost.lost),
        Parsed::LostSamples(lost) => return into.lost(lost.lost),
        Parsed::Mmap2(map) => {
            let path = String::from_utf8_lossy(&map.filename).into_owned();
            (map.pid, What::Mapped { start: map.addr, len: map.len, file_offset: map.pgoff, path })
        }
        // A thread's own name is of no interest: stacks are told apart by process.
        Parsed::Comm(comm) if comm.pid == comm.tid => {
            let name = String::from_utf8_lossy(&comm.comm).into_owned();
            (comm.pid, What::Named { name, exec: misc & NAMED_BY_EXEC != 0 })
        }
        Parsed::Fork(fork) if fork.pid != fork.ppid => (fork.pid, What::Forked { parent: fork.ppid }),
        _ => return,
    };
    // Records other than samples end with the identity of the sampler: process, thread, time.
    let bytes = record.to_contiguous();
    let Some((_, time)) = bytes.split_last_chunk::<8>() else { return };
    into.happened(Happening { time: u64::from_ne_bytes(*time), pid, what });
}

fn take_sample(sample: &Sample<'_>, misc: u16, into: &mut Collector) {
    let (Some(time), Some(pid)) = (sample.time(), sample.pid()) else { return };
    let in_kernel = misc & MODE_MASK == MODE_KERNEL;
    let mut chain: Vec<u64> = sample.callchain().unwrap_or_default().iter().copied().filter(|address| *address < FIRST_MARKER).collect();
    // A thread without a walkable stack still has an address, unless that is the kernel's.
    if chain.is_empty() && !in_kernel {
        chain.extend(sample.ip());
    }
    into.happened(Happening { time, pid, what: What::Sample { chain, in_kernel } });
}

fn refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn explain(error: io::Error) -> SamplingError {
    match Errno::from_io_error(&error) {
        Some(Errno::ACCESS | Errno::PERM) => SamplingError::Refused,
        Some(Errno::NOSYS | Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => SamplingError::NotAvailable(error.to_string()),
        _ => SamplingError::Failed(error),
    }
}

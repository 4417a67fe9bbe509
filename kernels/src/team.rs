//! Threads that stay: a team that runs the same job on every member at once, and the barrier its
//! members meet at.
//!
//! Waking a thread costs as much as a small product. Members of a [`Team`] spin for a while after a job
//! before they sleep, so that the next one finds them awake. What a job does is the caller's; so is
//! pinning, by a closure that each member runs first.

#[cfg(feature = "rayon")]
mod pool;

#[cfg(feature = "rayon")]
pub use pool::Rayon;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Runs a job on several threads at the same time.
pub trait Workers: Sync {
    /// How many threads there are; at least 1.
    fn count(&self) -> usize;
    /// Calls `job` once for each of `0..threads`, all of them at the same time (they may wait for one
    /// another), and returns when all have returned.
    ///
    /// # Panics
    /// If there are fewer threads than that, or a call panicked.
    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Workers for Alone {
    fn count(&self) -> usize {
        1
    }
    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        enough(self, threads);
        (0..threads).for_each(job);
    }
}

/// Refuses more threads than there are.
fn enough(workers: &dyn Workers, threads: usize) {
    assert!(threads <= workers.count(), "{threads} threads asked for, {} there", workers.count());
}

/// Turns of a spin loop before a waiting thread lets others run, or sleeps.
pub const DEFAULT_SPIN: u32 = 20_000;

/// Where a fixed number of threads wait for one another, again and again. Waiting spins, and after a
/// while lets other threads run, so that too many threads on too few cores go on.
#[derive(Debug)]
pub struct Barrier {
    members: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
}

impl Barrier {
    /// A barrier for `members` threads.
    pub fn new(members: usize) -> Barrier {
        Barrier { members, arrived: AtomicUsize::new(0), round: AtomicUsize::new(0) }
    }

    /// Returns when all members have called it. What they wrote before is then visible to all.
    pub fn wait(&self) {
        if self.members <= 1 {
            return;
        }
        let round = self.round.load(Relaxed);
        if self.arrived.fetch_add(1, AcqRel) + 1 == self.members {
            self.arrived.store(0, Relaxed);
            self.round.store(round.wrapping_add(1), Release);
            return;
        }
        let mut turns = 0u32;
        while self.round.load(Acquire) == round {
            turns = turns.saturating_add(1);
            if turns < DEFAULT_SPIN { core::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// A job as members see it: a pointer that is valid until all of them have finished.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(usize) + Sync));

// SAFETY: what it points to is `Sync`, and `Team::run` keeps it alive until every member has finished.
unsafe impl Send for Job {}

struct Shared {
    /// The number of the last job and how many threads it is for, as [`ticket`] writes them; a change means
    /// that there is a new one.
    ticket: AtomicU64,
    job: Mutex<Option<Job>>,
    /// Members that have not finished the job yet, the caller not counted.
    running: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    spin: AtomicU32,
}

/// Threads that a team can have at most.
const MOST_MEMBERS: usize = 1 << 16;

/// A job's number and its threads in one word, so that who is not among them does not look at the job.
fn ticket(number: u64, threads: usize) -> u64 {
    (number * MOST_MEMBERS as u64) | (threads - 1) as u64
}

/// A team of threads, of which the caller of [`Workers::run`] is the first.
pub struct Team {
    shared: Arc<Shared>,
    members: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
    /// One job at a time.
    busy: Mutex<()>,
}

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Team").field("count", &self.count()).finish()
    }
}

impl Team {
    /// A team of `count` threads, the caller among them; the others call `first` with their number
    /// (from 1) before anything else. Between jobs they spin for `spin` turns and then sleep. The caller
    /// spins as long while it waits for them, and then lets other threads run.
    ///
    /// # Errors
    /// If a thread cannot be started.
    ///
    /// # Panics
    /// If there are to be more than 65536.
    pub fn new(count: usize, spin: u32, first: impl Fn(usize) + Send + Sync + 'static) -> std::io::Result<Team> {
        assert!(count <= MOST_MEMBERS, "a team of {count}");
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            job: Mutex::new(None),
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            spin: AtomicU32::new(spin),
        });
        let first = Arc::new(first);
        let mut members = Vec::new();
        for number in 1..count.max(1) {
            let (shared, first) = (Arc::clone(&shared), Arc::clone(&first));
            let member = std::thread::Builder::new().name(format!("kiln-{number}")).spawn(move || {
                first(number);
                shared.serve(number);
            })?;
            members.push(member);
        }
        let handles = members.iter().map(|m| m.thread().clone()).collect();
        Ok(Team { shared, members, handles, busy: Mutex::new(()) })
    }

    /// Turns that members spin for before they sleep.
    pub fn spin(&self) -> u32 {
        self.shared.spin.load(Relaxed)
    }

    /// Changes it, for those too that wait already.
    pub fn set_spin(&self, spin: u32) {
        self.shared.spin.store(spin, Relaxed);
    }
}

impl Shared {
    /// What a member does until the team is dropped.
    fn serve(&self, number: usize) {
        let (mut seen, mut turns) = (0, 0u32);
        loop {
            let ticket = self.ticket.load(Acquire);
            let is_mine = (ticket % MOST_MEMBERS as u64) as usize >= number;
            if ticket == seen || !is_mine {
                if self.stop.load(Acquire) {
                    return;
                }
                turns = turns.saturating_add(1);
                if turns < self.spin.load(Relaxed) {
                    core::hint::spin_loop()
                } else {
                    std::thread::park()
                }
                continue;
            }
            // The next job does not come before this member has finished this one.
            (seen, turns) = (ticket, 0);
            let job = *self.job.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Job(job)) = job {
                // SAFETY: `Team::run` does not return, and so keeps the job alive, until `running` is 0.
                let job = unsafe { &*job };
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(number))).is_err() {
                    self.panicked.store(true, Release);
                }
            }
            self.running.fetch_sub(1, AcqRel);
        }
    }
}

impl Workers for Team {
    fn count(&self) -> usize {
        self.members.len() + 1
    }

    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        enough(self, threads);
        let Some(others) = threads.checked_sub(1).filter(|others| *others > 0) else {
            return (0..threads).for_each(job);
        };
        let _one_at_a_time = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is dropped; this function waits for all members before it returns.
        let forever = unsafe { core::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job) };
        *shared.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(Job(forever));
        shared.running.store(others, Release);
        let number = shared.ticket.load(Relaxed) / MOST_MEMBERS as u64 + 1;
        shared.ticket.store(ticket(number, threads), Release);
        self.handles[..others].iter().for_each(Thread::unpark);
        let mine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(0)));
        let mut turns = 0u32;
        while shared.running.load(Acquire) > 0 {
            turns = turns.saturating_add(1);
            if turns < shared.spin.load(Relaxed) { core::hint::spin_loop() } else { std::thread::yield_now() }
        }
        if let Err(panic) = mine {
            std::panic::resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, AcqRel), "a member of the team panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Release);
        self.handles.iter().for_each(Thread::unpark);
        for member in self.members.drain(..) {
            let _ = member.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_runs_every_job_once_and_barriers_hold_them_together() {
        for (count, spin) in [(1, 0), (2, 0), (3, 1000), (5, DEFAULT_SPIN)] {
            let team = Team::new(count, spin, |_| {}).expect("threads");
            let barrier = Barrier::new(count);
            let total = AtomicUsize::new(0);
            for round in 1..=50 {
                let seen = AtomicUsize::new(0);
                team.run(count, &|number| {
                    total.fetch_add(number + 1, Relaxed);
                    seen.fetch_add(1, Relaxed);
                    barrier.wait();
                    assert_eq!(seen.load(Relaxed), count);
                    barrier.wait();
                });
                assert_eq!(total.load(Relaxed), round * count * (count + 1) / 2);
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(2, 0, |_| {}).expect("threads");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| team.run(2, &|number| assert!(number == 0, "on purpose"))));
        assert!(caught.is_err());
        let ran = AtomicUsize::new(0);
        team.run(2, &|_| {
            ran.fetch_add(1, Relaxed);
        });
        assert_eq!(ran.load(Relaxed), 2);
    }

    #[test]
    fn a_job_for_some_runs_on_them_alone_whatever_they_did_before() {
        let team = Team::new(4, 0, |_| {}).expect("threads");
        for (round, spin) in [0, 1, DEFAULT_SPIN].into_iter().cycle().take(300).enumerate() {
            team.set_spin(spin);
            assert_eq!(team.spin(), spin);
            let threads = round % 5;
            let seen = AtomicUsize::new(0);
            team.run(threads, &|number| {
                seen.fetch_add(1 << (8 * number), Relaxed);
            });
            assert_eq!(seen.load(Relaxed), (0..threads).map(|number| 1 << (8 * number)).sum());
        }
    }

    #[test]
    fn more_threads_than_there_are_are_refused() {
        let team = Team::new(2, 0, |_| {}).expect("threads");
        let refused = |workers: &dyn Workers, threads| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| workers.run(threads, &|_| {}))).is_err()
        };
        assert!(refused(&team, 3) && refused(&Alone, 2) && !refused(&team, 2));
    }

    #[test]
    fn far_more_members_than_cores_come_to_an_end() {
        let count = 8 * std::thread::available_parallelism().map_or(1, usize::from);
        for spin in [0, DEFAULT_SPIN] {
            let team = Team::new(count, spin, |_| {}).expect("threads");
            let total = AtomicUsize::new(0);
            (0..20).for_each(|_| {
                team.run(count, &|_| {
                    total.fetch_add(1, Relaxed);
                });
            });
            assert_eq!(total.load(Relaxed), 20 * count);
        }
    }
}

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

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Runs a job on several threads at the same time.
pub trait Workers: Sync {
    /// How many threads there are; at least 1.
    fn count(&self) -> usize;
    /// Calls `job` once for each of `0..threads`, all of them at the same time (they may wait for one
    /// another), and returns when all have returned. A job hands out no other: its threads are taken.
    ///
    /// # Panics
    /// If there are fewer threads than that, or a call panicked. One that others wait for must not: they would
    /// wait for ever.
    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync));
    /// As [`Workers::run`], for calls that do not wait for one another: a thread that is done may make those
    /// of others that have not come yet, because they sleep or something else has their core.
    ///
    /// # Panics
    /// As [`Workers::run`].
    fn share(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        self.run(threads, job);
    }
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
pub const DEFAULT_SPIN: u32 = 4_000;

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

/// A job as members see it: a pointer that is valid until all parts have been done, and who waits for that.
#[derive(Clone)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    caller: Thread,
    /// Parts wait for one another: each must have its own thread.
    together: bool,
}

// SAFETY: what `work` points to is `Sync`, and `Team::hand_out` keeps it alive until every part has been done.
unsafe impl Send for Job {}

struct Shared {
    /// The number of the last job and how many threads it is for, as [`ticket`] writes them; a change means
    /// that there is a new one.
    ticket: AtomicU64,
    job: Mutex<Option<Job>>,
    /// For each part of a job but the first, which is the caller's.
    claims: Vec<Claim>,
    /// Parts that have not been done yet, the first not counted.
    running: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    spin: AtomicU32,
}

/// The ticket of the job of which this part is to be had, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Claim(AtomicU64);

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
    /// Threads that can run at the same time.
    cores: usize,
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
    /// (from 1) before anything else. Between jobs they spin for `spin` turns and then sleep, and so does the
    /// caller while it waits for them: whoever has nothing to do leaves its core to those that have.
    ///
    /// # Errors
    /// If a thread cannot be started.
    ///
    /// # Panics
    /// If there are to be more than 65536. The first job does if a call of `first` panicked.
    pub fn new(count: usize, spin: u32, first: impl Fn(usize) + Send + Sync + 'static) -> std::io::Result<Team> {
        assert!(count <= MOST_MEMBERS, "a team of {count}");
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            job: Mutex::new(None),
            claims: (0..count).map(|_| Claim::default()).collect(),
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            spin: AtomicU32::new(spin),
        });
        let first = Arc::new(first);
        // Dropped where a thread cannot be started, which ends those that were.
        let mut team = Team { shared, members: Vec::new(), handles: Vec::new(), cores: count, busy: Mutex::new(()) };
        for number in 1..count.max(1) {
            let (shared, first) = (Arc::clone(&team.shared), Arc::clone(&first));
            let member = std::thread::Builder::new().name(format!("kiln-{number}")).spawn(move || {
                // A member whose beginning failed still does its parts; the next job tells.
                shared.watch(|| first(number));
                shared.serve(number);
            })?;
            team.handles.push(member.thread().clone());
            team.members.push(member);
        }
        Ok(team)
    }

    /// The same team where only so many threads can run at the same time: no more are woken for jobs whose
    /// parts do not wait for one another, since others would but get in the way of those that run.
    #[must_use]
    pub fn on_cores(mut self, cores: usize) -> Team {
        self.cores = cores.max(1);
        self
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
            (seen, turns) = (ticket, 0);
            // Its own part first; it finds that taken, or those of others, only if they may change hands.
            let threads = (ticket % MOST_MEMBERS as u64) as usize + 1;
            for part in (number..threads).chain(1..number) {
                if self.claim(part, ticket) && self.work_on(part) {
                    break;
                }
            }
        }
    }

    /// Whether the caller of this has the part now. It is the only one then, and the job stays until it is done.
    fn claim(&self, part: usize, ticket: u64) -> bool {
        self.claims[part].0.compare_exchange(ticket, 0, AcqRel, Relaxed).is_ok()
    }

    /// Does a part that was claimed; whether each part must have its own thread.
    fn work_on(&self, part: usize) -> bool {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Job { work, caller, together }) = job else { return true };
        // SAFETY: `Team::hand_out` does not return, and so keeps the job alive, until `running` is 0, which waits
        // for the part that was claimed.
        let work = unsafe { &*work };
        self.watch(|| self.among(|| work(part)));
        if self.running.fetch_sub(1, AcqRel) == 1 {
            caller.unpark();
        }
        together
    }

    /// Calls `part` and notes whether it panicked. What it panicked with is never dropped: that could panic again,
    /// before the part counts as done.
    fn watch(&self, part: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(part)) {
            core::mem::forget(panic);
            self.panicked.store(true, Release);
        }
    }

    /// Calls `part` as one of a job of this team's, so that it is known by [`Shared::is_at_work_here`].
    fn among(&self, part: impl FnOnce()) {
        struct Restore(*const Shared);
        impl Drop for Restore {
            fn drop(&mut self) {
                AT_WORK_FOR.set(self.0);
            }
        }
        let _restore = Restore(AT_WORK_FOR.replace(self));
        part();
    }

    /// Whether the calling thread is doing a part of a job of this team's.
    fn is_at_work_here(&self) -> bool {
        core::ptr::eq(AT_WORK_FOR.get(), self)
    }
}

thread_local! {
    /// The team of whose job this thread is doing a part; only compared.
    static AT_WORK_FOR: Cell<*const Shared> = const { Cell::new(core::ptr::null()) };
}

impl Workers for Team {
    fn count(&self) -> usize {
        self.members.len() + 1
    }

    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        self.hand_out(threads, job, true);
    }

    fn share(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        self.hand_out(threads, job, false);
    }
}

impl Team {
    /// Has every part of a job done, the first by the caller.
    fn hand_out(&self, threads: usize, job: &(dyn Fn(usize) + Sync), together: bool) {
        enough(self, threads);
        let Some(others) = threads.checked_sub(1).filter(|others| *others > 0) else {
            return (0..threads).for_each(job);
        };
        assert!(!self.shared.is_at_work_here(), "a job of a team hands out another to the same team, whose threads are all taken");
        let _one_at_a_time = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is dropped; this function waits for all parts before it returns.
        let forever = unsafe { core::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job) };
        *shared.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(Job { work: forever, caller: std::thread::current(), together });
        shared.running.store(others, Release);
        let number = shared.ticket.load(Relaxed) / MOST_MEMBERS as u64 + 1;
        let ticket = ticket(number, threads);
        shared.claims[1..threads].iter().for_each(|claim| claim.0.store(ticket, Release));
        shared.ticket.store(ticket, Release);
        let woken = if together { others } else { others.min(self.cores - 1) };
        self.handles[..woken].iter().for_each(Thread::unpark);
        let mine = catch_unwind(AssertUnwindSafe(|| shared.among(|| job(0))));
        if !together {
            // Those that were woken last come last.
            for part in (1..threads).rev() {
                if shared.claim(part, ticket) {
                    shared.work_on(part);
                }
            }
        }
        let mut turns = 0u32;
        while shared.running.load(Acquire) > 0 {
            turns = turns.saturating_add(1);
            if turns < shared.spin.load(Relaxed) { core::hint::spin_loop() } else { std::thread::park() }
        }
        let panicked = shared.panicked.swap(false, AcqRel);
        if let Err(panic) = mine {
            std::panic::resume_unwind(panic);
        }
        assert!(!panicked, "a member of the team panicked");
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
        let fails = |job: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err();
        assert!(fails(&|| team.run(2, &|number| assert!(number == 0, "on purpose"))));
        assert!(fails(&|| team.share(2, &|number| assert!(number == 0, "on purpose"))));
        assert!(fails(&|| team.run(2, &|_| panic!("all of them, on purpose"))));
        assert!(fails(&|| team.run(2, &|_| team.run(2, &|_| {}))), "its threads are taken");
        assert!(fails(&|| team.share(2, &|_| std::panic::panic_any(Bomb))));
        let ran = AtomicUsize::new(0);
        team.run(2, &|_| {
            ran.fetch_add(1, Relaxed);
        });
        assert_eq!(ran.load(Relaxed), 2);
    }

    /// Panics when it is dropped, as what a part panics with may; not while another panic is under way.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() && std::thread::current().name().is_some_and(|name| name.starts_with("kiln-")) {
                panic!("dropped");
            }
        }
    }

    #[test]
    fn a_member_whose_beginning_panics_works_all_the_same() {
        let team = Team::new(2, 0, |_| panic!("on purpose")).expect("threads");
        let ran = AtomicUsize::new(0);
        let job = |_: usize| {
            ran.fetch_add(1, Relaxed);
        };
        assert!(catch_unwind(AssertUnwindSafe(|| team.run(2, &job))).is_err(), "it is told once");
        team.run(2, &job);
        assert_eq!(ran.load(Relaxed), 4);
    }

    #[test]
    fn a_job_for_some_has_each_of_its_parts_done_once_whatever_was_before() {
        let team = Team::new(4, 0, |_| {}).expect("threads");
        for (round, spin) in [0, 1, DEFAULT_SPIN].into_iter().cycle().take(300).enumerate() {
            team.set_spin(spin);
            assert_eq!(team.spin(), spin);
            let threads = round % 5;
            let seen = AtomicUsize::new(0);
            let job = |number: usize| {
                seen.fetch_add(1 << (8 * number), Relaxed);
            };
            if round % 2 == 0 {
                team.run(threads, &job)
            } else {
                team.share(threads, &job)
            }
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
        for (spin, cores) in [(0, count), (DEFAULT_SPIN, count), (0, 2), (0, 0)] {
            let team = Team::new(count, spin, |_| {}).expect("threads").on_cores(cores);
            let total = AtomicUsize::new(0);
            (0..20).for_each(|_| {
                team.share(count, &|_| {
                    total.fetch_add(1, Relaxed);
                });
            });
            assert_eq!(total.load(Relaxed), 20 * count);
        }
    }
}

//! rayon's threads as workers, for programs that have a pool already.
//!
//! A product's threads wait for one another, so all of a pool must come to it at the same time. rayon
//! promises that for one broadcast, if no thread of the pool waits for something else; two at once could
//! each hold threads that the other needs. So there is one at a time. A call from inside of a pool, which
//! must not wait for its turn while others wait for the thread that it is on, takes a team of its own
//! threads when it is not its turn.

use super::{DEFAULT_SPIN, Team, Workers, enough};
use rayon::ThreadPool;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The pool that the calling thread belongs to; the global one where it belongs to none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rayon;

impl Workers for Rayon {
    fn count(&self) -> usize {
        rayon::current_num_threads()
    }

    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        enough(self, threads);
        let job = only(threads, job);
        let together = || match rayon::current_thread_index() {
            Some(mine) => from_inside(mine, &job),
            None => drop(rayon::broadcast(|context| job(context.index()))),
        };
        in_turn(together, self.count(), &job);
    }
}

impl Workers for ThreadPool {
    fn count(&self) -> usize {
        self.current_num_threads()
    }

    fn run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) {
        enough(self, threads);
        let job = only(threads, job);
        let together = || match self.current_thread_index() {
            Some(mine) => from_inside(mine, &job),
            None => drop(self.broadcast(|context| job(context.index()))),
        };
        in_turn(together, self.count(), &job);
    }
}

/// The job for the first threads of a pool, all of which come to it.
fn only(threads: usize, job: &(dyn Fn(usize) + Sync)) -> impl Fn(usize) + Sync {
    move |index| {
        if index < threads {
            job(index);
        }
    }
}

/// Runs `together` when no other job is being run; where that cannot be waited for, the job on threads of
/// its own.
fn in_turn(together: impl FnOnce(), count: usize, job: &(dyn Fn(usize) + Sync)) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn: Option<MutexGuard<'_, ()>> = match rayon::current_thread_index() {
        // The thread that has its turn may be waiting for this one.
        Some(_) => match TURN.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        },
        None => Some(TURN.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    match turn {
        Some(_turn) => together(),
        None => Team::new(count, DEFAULT_SPIN, |_| {}).expect("threads can be started").run(count, job),
    }
}

/// The job on all threads of the pool that this one, number `mine`, belongs to. This one begins with its own
/// part: were it to wait as rayon waits, it could take up other work first, which knows nothing of the
/// others that wait for it.
fn from_inside(mine: usize, job: &(dyn Fn(usize) + Sync)) {
    rayon::in_place_scope(|scope| {
        scope.spawn_broadcast(move |_, context| {
            if context.index() != mine {
                job(context.index());
            }
        });
        job(mine);
    });
}

#[cfg(test)]
mod tests {
    use super::super::Barrier;
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use rayon::prelude::*;

    /// A job whose parts wait for one another twice; it must have every part once.
    fn meet(workers: &dyn Workers) {
        let count = workers.count();
        let (barrier, seen) = (Barrier::new(count), AtomicUsize::new(0));
        workers.run(count, &|number| {
            seen.fetch_add(1 << (8 * number), Relaxed);
            barrier.wait();
            assert_eq!(seen.load(Relaxed), (0..count).map(|i| 1 << (8 * i)).sum());
            barrier.wait();
        });
    }

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
    }

    #[test]
    fn all_threads_of_a_pool_meet() {
        for threads in 1..4 {
            let pool = pool(threads);
            (0..20).for_each(|_| meet(&pool));
        }
        meet(&Rayon);
    }

    #[test]
    fn calls_from_inside_of_the_pool_end() {
        let pool = pool(3);
        pool.install(|| meet(&pool));
        pool.install(|| {
            assert_eq!(Rayon.count(), 3);
            meet(&Rayon);
        });
        // Many at once, on threads that all of them need.
        pool.install(|| (0..12).into_par_iter().for_each(|_| meet(&pool)));
        pool.install(|| rayon::join(|| meet(&Rayon), || rayon::join(|| meet(&pool), || meet(&Rayon))));
    }

    #[test]
    fn calls_from_outside_and_from_other_pools_end() {
        let (one, other) = (pool(2), pool(3));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..5).for_each(|_| meet(&one)));
                scope.spawn(|| other.install(|| (0..6).into_par_iter().for_each(|_| meet(&one))));
                scope.spawn(|| one.install(|| (0..6).into_par_iter().for_each(|_| meet(&other))));
            }
        });
    }
}

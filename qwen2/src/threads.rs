//! How many threads to compute on, where they run, and how work is shared out over them.
//!
//! There is one thread per physical core that this process may use: two hardware threads of one core share its
//! multipliers, so a second one only costs. They stay for as long as the model does, and each stays on its core. How
//! matrix products are shared out is the kernels' matter; other work is cut into runs of rows, one for each thread, so
//! that results do not depend on who is first.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use core_affinity::CoreId;

use crate::baked::{MOST_THREADS, MatMut, Team, Workers};
use crate::error::Error;

/// Multiply-adds that a thread must get to be worth its while. Members of the team mostly still spin when the next job
/// comes, so that this is a few microseconds.
const WORTH_A_THREAD: usize = 1 << 15;

/// Hardware threads that this process may use at the same time: affinity and the quota of its control group count.
fn logical() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Number of physical cores that this process may use, at least 1; hardware threads where the system does not tell.
pub fn physical_cores() -> usize {
    match cores().len() {
        0 => logical(),
        cores => cores.min(logical()),
    }
}

/// One hardware thread of each physical core that the calling thread may run on; none where the system does not tell.
fn cores() -> Vec<CoreId> {
    let mut seen = BTreeSet::new();
    let is_new = |cpu: &CoreId| siblings(cpu.id).is_none_or(|list| seen.insert(list));
    core_affinity::get_core_ids().unwrap_or_default().into_iter().filter(is_new).collect()
}

/// The hardware threads that share a core with `cpu`, as the system lists them.
fn siblings(cpu: usize) -> Option<String> {
    fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).ok()
}

/// The cores of `threads` threads, the caller's first; none when there are more threads than cores, or one alone, which
/// is in no other's way. Under a quota others have a share of every core, so placing is left to the system.
fn places(threads: usize) -> Vec<CoreId> {
    let cores = cores();
    let is_shared = core_affinity::get_core_ids().is_some_and(|all| all.len() > logical());
    if threads < 2 || threads > cores.len() || is_shared { Vec::new() } else { cores }
}

/// A team of `threads` threads that spin for `spin` turns between jobs, each but the caller's on a core of its own
/// where there are as many.
pub(crate) fn team(threads: usize, spin: u32) -> Result<Team, Error> {
    let places = places(threads);
    let pin = move |member: usize| {
        if let Some(core) = places.get(member) {
            core_affinity::set_for_current(*core);
        }
    };
    let team = Team::new(threads, spin, pin).map_err(|error| Error::Threads { threads, why: error.to_string() })?;
    Ok(team.on_cores(logical()))
}

/// Moves the calling thread to the core that teams of `threads` threads leave to their caller, for good. Threads and
/// teams that it starts afterwards find no other core: this is for a program that has loaded its model.
pub fn settle(threads: usize) {
    if let Some(core) = places(threads).first() {
        core_affinity::set_for_current(*core);
    }
}

/// Threads of `team` that `work` multiply-adds, or as much of anything else, are worth when it has `parts` parts.
pub(crate) fn worth(team: &Team, work: usize, parts: usize) -> usize {
    (work / WORTH_A_THREAD).clamp(1, team.count().min(MOST_THREADS).min(parts.max(1)))
}

/// Part `index` of `parts` of `extent`; as even as they can be.
pub(crate) fn part(extent: usize, parts: usize, index: usize) -> Range<usize> {
    let at = |i: usize| extent * i / parts;
    at(index)..at(index + 1)
}

/// Calls `work` on `threads` threads, each with the numbers and the elements of its run of the rows of `out`, which
/// are `width` long; `cut` says which rows thread `i` has.
pub(crate) fn share_rows(
    team: &Team,
    threads: usize,
    (out, width): (&mut [f32], usize),
    cut: impl Fn(usize) -> Range<usize> + Sync,
    work: impl Fn(Range<usize>, MatMut<'_, f32>) + Sync,
) {
    let rows = out.len() / width;
    let out = MatMut::new(out, rows, width, width);
    if threads == 1 {
        return work(0..rows, out);
    }
    let grid = out.grid([&cut, &|_| 0..width], (threads, 1));
    team.share(threads, &|thread| {
        if let Some(mine) = grid.take(thread, 0) {
            work(cut(thread), mine);
        }
    });
}

/// Calls `work` with the numbers and the elements of runs of the rows of `out`, on as many threads as they are worth when
/// each element takes `cost` multiply-adds.
pub(crate) fn each_block(team: &Team, cost: usize, (out, width): (&mut [f32], usize), work: impl Fn(Range<usize>, MatMut<'_, f32>) + Sync) {
    let rows = out.len() / width;
    let threads = worth(team, out.len() * cost, rows);
    share_rows(team, threads, (out, width), |thread| part(rows, threads, thread), work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_core_and_a_place_for_each_of_as_many_threads() {
        let cores = physical_cores();
        assert!(cores >= 1 && cores <= logical());
        let places = places(cores);
        assert!(places.is_empty() || places.len() >= cores);
        assert!(super::places(usize::MAX).is_empty() && super::places(1).is_empty());
    }

    #[test]
    fn every_row_is_handed_out_once_whatever_the_threads() {
        for threads in 1..4 {
            let team = team(threads, 0).unwrap();
            for rows in [0, 1, 2, 3, 50] {
                for cost in [1, WORTH_A_THREAD] {
                    let mut out = vec![0.0; rows * 3];
                    each_block(&team, cost, (&mut out, 3), |rows, mut out| {
                        for (at, row) in rows.enumerate() {
                            out.row_mut(at).iter_mut().for_each(|x| *x += 1.0 + row as f32);
                        }
                    });
                    assert!(out.chunks_exact(3).enumerate().all(|(row, out)| out == [1.0 + row as f32; 3]));
                }
            }
        }
    }
}

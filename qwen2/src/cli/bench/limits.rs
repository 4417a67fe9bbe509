//! What this machine can do at most, measured between samples: how fast the threads of a model read its very weights, and
//! how fast they multiply.

use std::hint::black_box;
use std::time::{Duration, Instant};

use qwen2::Error;
use qwen2::baked::{Format, Team, Workers, peaks, read as read_once};
use qwen2::graph::cache_bytes;
use qwen2::model::Model;

/// Bytes per second at which the threads of `model` read all of its packed weights, each its part of them in order.
pub(super) fn read(model: &Model) -> f64 {
    let (words, team) = (model.weights().memory(), model.team());
    let threads = team.count();
    let start = Instant::now();
    team.share(threads, &|thread| {
        let part = |i: usize| words.len() * i / threads;
        black_box(read_once(bytemuck::cast_slice(&words[part(thread)..part(thread + 1)]), 1));
    });
    size_of_val(words) as f64 / start.elapsed().as_secs_f64()
}

/// Bytes that a token of generation reads behind `context` others: weights, keys and values.
///
/// # Errors
/// Heads cannot be kept in the format `cache`.
pub(super) fn bytes_per_token(model: &Model, cache: Format, context: usize) -> Result<u64, Error> {
    let memory = model.memory();
    Ok(memory.layers + memory.head + memory.vectors + cache_bytes(model.config(), cache, context)?)
}

/// What values of `arithmetic` are multiplied in on this CPU: what no instruction set here multiplies is widened to f32.
pub(super) fn multiplied_in(arithmetic: Format) -> Format {
    if peaks().iter().any(|peak| peak.format == arithmetic) { arithmetic } else { Format::F32 }
}

/// Operations per second of all threads of `team` together, of multiply-adds in `arithmetic`; `None` where no instruction
/// set has a loop for it.
pub(super) fn arithmetic(team: &Team, arithmetic: Format) -> Option<f64> {
    let best = peaks().into_iter().filter(|peak| peak.format == arithmetic).map(|peak| {
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < Duration::from_millis(30) {
            let counts: Vec<std::sync::atomic::AtomicU64> = (0..team.count()).map(|_| 0.into()).collect();
            team.share(team.count(), &|thread| counts[thread].store((peak.run)(20_000), std::sync::atomic::Ordering::Relaxed));
            done += counts.into_iter().map(std::sync::atomic::AtomicU64::into_inner).sum::<u64>();
        }
        done as f64 / start.elapsed().as_secs_f64()
    });
    best.max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_multiplied_has_a_loop_of_its_own_here() {
        let own: Vec<Format> = peaks().iter().map(|peak| peak.format).collect();
        assert!(own.contains(&Format::F32));
        for format in [Format::F32, Format::F16, Format::Bf16, Format::S8] {
            assert_eq!(multiplied_in(format), if own.contains(&format) { format } else { Format::F32 });
        }
    }
}

//! Every kernel that this CPU can run, through the conformance grid.

use kiln_kernels::conformance::{self, Arena, Flush};
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry;
use rayon::prelude::*;
use std::ops::{Deref, DerefMut};

/// Buffers between canaries. The laboratory's arena uses guard pages; this one needs no system call.
struct Canaries;

const MARGIN: usize = 64;

struct Buffer<T: Copy> {
    elements: Vec<T>,
    len: usize,
    canary: T,
}

fn bytes<T: Copy>(elements: &[T]) -> &[u8] {
    // SAFETY: the grid's element types are plain numbers, whose bytes are all initialised.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

impl<T: Copy> Drop for Buffer<T> {
    fn drop(&mut self) {
        let canary = bytes(std::slice::from_ref(&self.canary));
        for margin in [&self.elements[..MARGIN], &self.elements[MARGIN + self.len..]] {
            assert!(bytes(margin).chunks_exact(canary.len()).all(|b| b == canary), "wrote outside of a buffer of {} elements", self.len);
        }
    }
}

impl<T: Copy> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.elements[MARGIN..MARGIN + self.len]
    }
}

impl<T: Copy> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements[MARGIN..MARGIN + self.len]
    }
}

impl Arena for Canaries {
    type Buffer<T: Copy + 'static> = Buffer<T>;
    fn buffer<T: Copy + 'static>(&self, len: usize, fill: T, _: Flush) -> Buffer<T> {
        Buffer { elements: vec![fill; len + 2 * MARGIN], len, canary: fill }
    }
}

#[test]
fn every_kernel_that_runs_here_agrees_with_its_oracle() {
    let all: Vec<_> = registry::all().collect();
    let ran = all.par_iter().filter(|entry| {
        let Some(outcome) = conformance::run(entry, &Canaries) else {
            assert!(!entry.meta.isa.runs_here(), "{} was skipped", entry.meta.name);
            return false;
        };
        assert!(
            outcome.passed(),
            "{}: {} of {} cases failed, first {}",
            entry.meta.name,
            outcome.failures.len(),
            outcome.cases,
            outcome.failures[0]
        );
        true
    });
    let ran = ran.count();
    let here: Vec<_> = IsaId::ALL.iter().filter(|i| i.runs_here()).map(|i| i.name()).collect();
    println!("{ran} kernels ran; ISAs here: {}", here.join(" "));
    assert!(ran > 0);
}

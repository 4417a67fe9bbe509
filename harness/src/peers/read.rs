//! Reading the packed weights of ours, as a system among the others: what memory allows a product of few
//! rows, in the same rounds, over the very same words and with the same threads. It multiplies nothing.

use super::System;
use crate::measure::operands::Operands;
use crate::measure::panels::Panels;
use crate::measure::{clock, runner};
use anyhow::Context;
use kiln_kernels::format::Format;
use kiln_kernels::isa::stream;
use kiln_kernels::team::{Team, Workers};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Its name in results.
pub const READ: &str = "read";

/// Where ours leaves its packed weights once it is ready.
pub type Shared = Rc<RefCell<Option<Arc<Panels>>>>;

/// Reads what ours has packed.
pub struct Read {
    shared: Shared,
    ready: Option<Ready>,
}

struct Ready {
    reader: Reader,
    pool: rayon::ThreadPool,
}

struct Reader {
    panels: Arc<Panels>,
    team: Arc<Team>,
    /// The set whose turn it is.
    next: usize,
}

impl Read {
    /// Of those weights.
    pub fn new(shared: Shared) -> Read {
        Read { shared, ready: None }
    }
}

impl Reader {
    /// The exclusive-or of all words of the next set.
    fn call(&mut self) -> u32 {
        let words: &[f32] = bytemuck::cast_slice(self.panels.get(self.next).unwrap_or_default());
        self.next = (self.next + 1) % self.panels.count();
        let (threads, all) = (self.team.count(), AtomicU32::new(0));
        self.team.share(threads, &|i| {
            let mine = &words[words.len() * i / threads..words.len() * (i + 1) / threads];
            all.fetch_xor(stream::read(mine, 1), Ordering::Relaxed);
        });
        all.into_inner()
    }
}

impl System for Read {
    fn prepare(&mut self, operands: &Operands) -> anyhow::Result<()> {
        let panels = self.shared.borrow().clone().filter(|p| p.count() > 0).context("there are no packed weights to be read")?;
        let reader = Reader { panels, team: runner::team(operands.inputs.problem.threads)?, next: 0 };
        self.ready = Some(Ready { reader, pool: runner::pinned()? });
        Ok(())
    }

    fn sample(&mut self, _: &mut Operands, calls: usize) -> anyhow::Result<f64> {
        let Ready { reader, pool } = self.ready.as_mut().context("it was not made ready")?;
        Ok(pool.install(|| {
            clock::sample(calls, || {
                black_box(reader.call());
            })
        }))
    }

    fn error(&mut self, _: &mut Operands, _: Format) -> anyhow::Result<f64> {
        let Ready { reader, .. } = self.ready.as_mut().context("it was not made ready")?;
        for _ in 0..reader.panels.count() {
            let want = reader.panels.get(reader.next).unwrap_or_default().iter().fold(0, |all, word| all ^ word);
            let got = reader.call();
            anyhow::ensure!(got == want, "it read {got:#x} instead of {want:#x}");
        }
        Ok(0.0)
    }

    fn is_limit(&self) -> bool {
        true
    }

    fn bytes(&self) -> Option<usize> {
        self.ready.as_ref().map(|r| r.reader.panels.bytes())
    }
}

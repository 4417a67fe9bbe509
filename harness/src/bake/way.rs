//! A way of computing something, as choices and results are compared by it: a kernel with its parameters, whatever shape they
//! are of.

use crate::space::{Shape, effective};
use crate::store::{Blocks, Config, Record, shared};
use kiln_kernels::team::DEFAULT_SPIN;
use kiln_profiles::schema::{BlockSizes, Choice, Parts, When};
use std::fmt;

/// A kernel with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    /// Its name.
    pub kernel: String,
    /// KC, MC and NC.
    pub blocking: Option<Blocks>,
    /// The split at every shape; `None`: what is computed for each.
    pub split: Option<Parts>,
    /// Turns that threads spin for, of products on several.
    pub spin: Option<u32>,
}

impl Way {
    /// Whether a configuration is of this way: also under another blocking that comes to the same at its shape, or
    /// with the same split where it happens to be the computed one.
    pub(super) fn is_of(&self, config: &Config) -> bool {
        let Config { kernel, blocking, split, split_varied, shape, tile, .. } = config;
        let same = match (blocking, self.blocking) {
            (Some(a), Some(b)) => effective((*a).into(), *shape, *tile) == effective(b.into(), *shape, *tile),
            (a, b) => a.is_none() && b.is_none(),
        };
        let shared = if self.split.is_some() { *split == self.split } else { !split_varied };
        *kernel == self.kernel && same && shared && spin(config) == self.spin
    }

    /// That of a configuration.
    pub(super) fn of(config: &Config) -> Way {
        let Config { kernel, blocking, split, split_varied, .. } = config;
        Way { kernel: kernel.clone(), blocking: *blocking, split: split.filter(|_| *split_varied), spin: spin(config) }
    }

    /// What a choice runs at a shape: what the row of its table has that holds it, or its own.
    pub(super) fn at(choice: &Choice, shape: Shape) -> Way {
        let row = shape.product().and_then(|product| choice.row(product));
        row.map_or_else(|| Way::chosen(choice), |row| Way::row(choice, row))
    }

    /// What a row of a choice's table runs.
    pub(super) fn row(choice: &Choice, When { kernel, blocking, split, .. }: &When) -> Way {
        Way { kernel: kernel.clone(), blocking: blocking.map(Into::into), split: *split, spin: Way::chosen(choice).spin }
    }

    /// What a choice runs where no row of a table does.
    pub(super) fn chosen(choice: &Choice) -> Way {
        let Choice { kernel, blocking, split, threads, .. } = choice;
        let spin = choice.spin.or(usual_spin(*threads, blocking.is_some()));
        Way { kernel: kernel.clone(), blocking: blocking.map(Into::into), split: *split, spin }
    }

    /// Its result among some of one shape, the one under its very blocking before others.
    pub(super) fn find<'a>(&self, records: impl Iterator<Item = &'a Record> + Clone) -> Option<&'a Record> {
        let mut mine = records.filter(|r| self.is_of(&r.config));
        mine.clone().find(|r| r.config.blocking == self.blocking).or_else(|| mine.next())
    }
}

fn spin(config: &Config) -> Option<u32> {
    config.spin.or(usual_spin(config.threads, config.blocking.is_some()))
}

/// The wait policy of what does not name it, as older choices and results do not: of products on several threads the usual.
fn usual_spin(threads: usize, product: bool) -> Option<u32> {
    (threads > 1 && product).then_some(DEFAULT_SPIN)
}

/// As results are labelled: kernel, blocking, split and spin.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kernel)?;
        self.blocking.map_or(Ok(()), |b| write!(f, " {}", BlockSizes::from(b)))?;
        f.write_str(&shared(self.split, self.spin))
    }
}

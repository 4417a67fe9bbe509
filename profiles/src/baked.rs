//! The types that generated code fills: kernels chosen at build time, made at run time.

use std::sync::Arc;

use crate::cpu;
use crate::machine::Match;
pub use kiln_kernels::attention::{Attention, AttentionDecode, Kv, Layout, Mask, Shape};
pub use kiln_kernels::format::Format;
pub use kiln_kernels::gemm::product::Product;
pub use kiln_kernels::gemm::{Arithmetic, Blocking, Caches, Linear, LinearKernel, MOST_THREADS, Split, for_rows_of_f32};
pub use kiln_kernels::isa::peak::peaks;
pub use kiln_kernels::isa::stream::read;
pub use kiln_kernels::mat::{Mat, MatMut};
pub use kiln_kernels::pages::Pages;
pub use kiln_kernels::team::{DEFAULT_SPIN, Team, Workers};
pub use kiln_kernels::with_product;

macro_rules! define_baked {
    (product { $($product:tt)+ }
     formats { $($many:ident $many_op:ident $many_handle:ty, $many_format:ident $many_doc:literal;)+ }
     rows { $($one:ident $one_op:ident $one_handle:ty, $one_format:ident $one_doc:literal;)+ }
     attention { $($attention:ident $attention_op:ident $attention_handle:ty, $attention_format:ident $attention_doc:literal;)+ }) => {
        /// Kernels for every operation of the engine, all of which this CPU can run.
        #[derive(Clone, Debug)]
        pub struct Ops {
            /// The profile they come from.
            pub profile: &'static str,
            /// Its weakest tier.
            pub tier: &'static str,
            /// How rows are multiplied by weights that are floats.
            pub arithmetic: Arithmetic,
            /// Products of rows of f32 with weights, by format; f32 is among them.
            pub gemm: Vec<Products>,
            $(#[doc = $many_doc] pub $many: Vec<$many_handle>,)+
            $(#[doc = $one_doc] pub $one: $one_handle,)+
            $(#[doc = $attention_doc] pub $attention: Vec<$attention_handle>,)+
            /// Why each was chosen.
            pub reasons: &'static [Reason],
        }
    };
}
kiln_kernels::with_ops!([define_baked]);

/// The kernels for products with weights of a format.
#[derive(Clone, Debug)]
pub struct Products {
    /// The format.
    pub format: Format,
    /// By rising M; the last serves every M. All share one packed layout.
    pub choices: Vec<GemmChoice>,
}

/// A matrix product kernel for M up to `m_max`.
#[derive(Clone, Debug)]
pub struct GemmChoice {
    /// The largest M it is for.
    pub m_max: usize,
    /// The kernel.
    pub kernel: Arc<dyn LinearKernel>,
    /// Its cache blocking.
    pub blocking: Blocking,
    /// How products are shared out over as many threads as it is for; `None`: computed for each shape.
    pub split: Option<Split>,
    /// Turns that threads spin for between products; `None`: it was not compared.
    pub spin: Option<u32>,
    /// What runs in place of that at some shapes: the first row that holds one has it.
    pub table: Vec<When>,
}

/// What products up to certain extents run, whose weights are packed alike.
#[derive(Clone, Debug)]
pub struct When {
    /// The largest M, N and K.
    pub upto: [usize; 3],
    /// The kernel.
    pub kernel: Arc<dyn LinearKernel>,
    /// Its cache blocking.
    pub blocking: Blocking,
    /// How products are shared out over threads; `None`: computed for each shape.
    pub split: Option<Split>,
}

/// What one product runs.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The kernel.
    pub kernel: &'a dyn LinearKernel,
    /// Its cache blocking.
    pub blocking: Blocking,
    /// How it is shared out over as many threads as it is for; `None`: computed for the shape.
    pub split: Option<Split>,
}

/// What is known of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// Operation.
    pub op: &'static str,
    /// Format of the operands.
    pub format: &'static str,
    /// Class of shapes.
    pub class: &'static str,
    /// Threads it was compared with.
    pub threads: usize,
    /// The kernel's name.
    pub kernel: &'static str,
    /// The best of the others.
    pub runner_up: Option<&'static str>,
    /// Time of the runner-up over time of the winner.
    pub margin: Option<f64>,
    /// Its 95 % confidence interval.
    pub margin_ci: Option<(f64, f64)>,
    /// Worst time over the best candidate's, on held-out shapes.
    pub regret: Option<f64>,
    /// Worst time over the best candidate's, on the shapes that were compared.
    pub worst_regret: Option<f64>,
    /// Where the figures come from.
    pub tier: &'static str,
    /// The reason in a few words.
    pub note: &'static str,
    /// The kernel's sources have changed since it was chosen.
    pub stale: bool,
}

/// One set of kernels in the binary.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The profile's name.
    pub profile: &'static str,
    /// The instruction sets it needs, by name.
    pub isas: &'static [&'static str],
    /// The CPUs that it was made for: vendor, family, ranges of models.
    pub cpus: &'static [(&'static str, u32, &'static [[u32; 2]])],
    /// Makes the kernels; `None` when this CPU cannot run one of them.
    pub make: fn() -> Option<Ops>,
}

impl Candidate {
    fn is_for_this_cpu(&self) -> bool {
        let Some(cpu) = cpu::here() else { return false };
        self.cpus
            .iter()
            .any(|(vendor, family, models)| Match { vendor: (*vendor).into(), family: *family, models: models.to_vec() }.covers(&cpu))
    }
}

impl Ops {
    /// The kernels made for this very CPU if they are in the binary, else the first that run here.
    pub fn select(candidates: &[Candidate]) -> Option<Ops> {
        let own = candidates.iter().filter(|c| c.is_for_this_cpu()).find_map(|c| (c.make)());
        own.or_else(|| candidates.iter().find_map(|c| (c.make)()))
    }

    /// The same kernels, to compute with that arithmetic; `None` if there are none for it.
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Option<Ops> {
        self.products_in(for_rows_of_f32(Format::F32, arithmetic))?;
        Some(Ops { arithmetic, ..self })
    }

    /// The kernel that turns blocks of `format` into f32, if it is a format of blocks.
    pub fn dequantise_of(&self, format: Format) -> Option<&kiln_kernels::quantise::Dequantise> {
        self.dequantise.iter().find(|kernel| kernel.format() == format)
    }

    /// The kernels for attention of many tokens, and of one, to a cache of `format`, if caches can have it.
    pub fn attention_to(&self, format: Format) -> Option<(Attention, AttentionDecode)> {
        let many = self.attention.iter().find(|kernel| kernel.meta().format == format)?;
        let one = self.attention_decode.iter().find(|kernel| kernel.meta().format == format)?;
        Some((*many, *one))
    }

    /// Turns that threads spin for before they sleep. A team has one for all of its jobs: that of products of few
    /// rows, which are short, so that waking costs them most.
    pub fn spin(&self) -> u32 {
        self.gemm.iter().flat_map(|products| &products.choices).find_map(|c| c.spin).unwrap_or(DEFAULT_SPIN)
    }

    /// The products with weights that are stored in `format`: in their own, in that of the arithmetic, or in f32, which those
    /// are to be turned into that there are no kernels for.
    pub fn products_of(&self, format: Format) -> &Products {
        let own = self.products_in(for_rows_of_f32(format, self.arithmetic));
        own.or_else(|| self.products_in(Format::F32)).unwrap_or(&self.gemm[0])
    }

    /// The products that are computed in that very format, if there are kernels for it.
    pub fn products_in(&self, format: Format) -> Option<&Products> {
        self.gemm.iter().find(|products| products.format == format)
    }
}

impl Products {
    /// The kernel for `m` rows.
    pub fn for_rows(&self, m: usize) -> &GemmChoice {
        let last = self.choices.len() - 1;
        self.choices.iter().find(|c| m <= c.m_max).unwrap_or(&self.choices[last])
    }
}

impl GemmChoice {
    /// What a product of M × N with depth K runs.
    pub fn at(&self, (m, n, k): (usize, usize, usize)) -> Run<'_> {
        let holds = |row: &&When| row.upto.iter().zip([m, n, k]).all(|(most, extent)| extent <= *most);
        self.table.iter().find(holds).map_or_else(|| self.own(), When::run)
    }

    /// All that it may run: its own and what the rows of its table have.
    pub fn all(&self) -> impl Iterator<Item = Run<'_>> {
        std::iter::once(self.own()).chain(self.table.iter().map(When::run))
    }

    /// What it runs where no row of its table holds the shape.
    pub fn own(&self) -> Run<'_> {
        Run { kernel: &*self.kernel, blocking: self.blocking, split: self.split }
    }
}

impl When {
    /// What it has.
    pub fn run(&self) -> Run<'_> {
        Run { kernel: &*self.kernel, blocking: self.blocking, split: self.split }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_runs_what_the_first_row_that_holds_its_shape_has() {
        let Some(kernel) = kiln_kernels::gemm::F32::<kiln_kernels::isa::Scalar, 4, 4, 1>::handle() else {
            panic!("plain Rust runs everywhere");
        };
        let kernel: Arc<dyn LinearKernel> = Arc::new(kernel);
        let blocking = |kc| Blocking { kc, mc: 64, nc: 64, order: kiln_kernels::gemm::Order::Panels };
        let row = |upto, kc, split| When { upto, kernel: kernel.clone(), blocking: blocking(kc), split };
        let split = Some(Split { rows: 2, cols: 1 });
        let choice = GemmChoice {
            m_max: usize::MAX,
            kernel: kernel.clone(),
            blocking: blocking(512),
            split: None,
            spin: None,
            table: vec![row([64, 900, usize::MAX], 128, None), row([usize::MAX, 900, usize::MAX], 256, split)],
        };
        let runs = [(64, 900, 5000), (65, 900, 5000), (64, 901, 1)].map(|shape| choice.at(shape));
        assert_eq!(runs.map(|run| (run.blocking.kc, run.split)), [(128, None), (256, split), (512, None)]);
        assert_eq!(choice.all().map(|run| run.blocking.kc).collect::<Vec<_>>(), [512, 128, 256]);
    }
}

//! `tuned.toml`: the winners of a CPU with the reason for each.

pub use crate::sizes::{BlockSizes, Order, Parts};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the schema that this crate reads and writes.
pub const SCHEMA: u32 = 1;

/// Where a figure comes from. Tiers are never mixed in a ranking and always printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Wall clock or hardware counters on the CPU itself.
    Measured,
    /// Instructions, under emulation or callgrind.
    Counted,
    /// A model's word.
    Predicted,
}

impl Tier {
    /// Its name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Measured => "measured",
            Tier::Counted => "counted",
            Tier::Predicted => "predicted",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The shapes that a choice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A matrix product with M = 1.
    Decode,
    /// A matrix product with M from 2 to 31: it reads weights for about as long as it multiplies, or longer.
    Few,
    /// A matrix product with more rows.
    Prefill,
    /// Rows of any length.
    Row,
}

impl Class {
    /// Those of matrix products, by rising M.
    pub const PRODUCTS: [Class; 3] = [Class::Decode, Class::Few, Class::Prefill];

    /// Its name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Decode => "decode",
            Class::Few => "few",
            Class::Prefill => "prefill",
            Class::Row => "row",
        }
    }

    /// The class of a matrix product with `m` rows.
    pub const fn of_rows(m: usize) -> Class {
        match m {
            0 | 1 => Class::Decode,
            2..=31 => Class::Few,
            _ => Class::Prefill,
        }
    }

    /// Whether a call spends its time on reading weights, which then come out of memory.
    pub const fn reads_weights(self) -> bool {
        matches!(self, Class::Decode | Class::Few)
    }

    /// Whether a tile of `mr` rows is made for it.
    pub const fn takes_tile(self, mr: usize) -> bool {
        match self {
            Class::Decode => mr == 1,
            Class::Few => mr > 1 && mr <= 4,
            Class::Prefill => mr > 1,
            Class::Row => true,
        }
    }

    /// The largest M that a matrix product of this class has.
    pub const fn m_max(self) -> usize {
        match self {
            Class::Decode => 1,
            Class::Few => 31,
            Class::Prefill | Class::Row => usize::MAX,
        }
    }
}

/// A tuned profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The CPU's name.
    pub cpu: String,
    /// Rust's name of the architecture.
    pub arch: String,
    /// The weakest tier among its choices.
    pub tier: Tier,
    /// The key of the machine that it was tuned on; empty when no machine was needed.
    #[serde(default)]
    pub machine: String,
    /// Compiler and flags of the kernels that were compared.
    #[serde(default)]
    pub compiler: String,
    /// When, RFC 3339.
    #[serde(default)]
    pub created: String,
    /// In order of preference: the first whose instruction sets are all there is used. A tuned CPU
    /// has one, a generic profile one for each level of its architecture.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
}

/// A complete set of choices for CPUs with certain instruction sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What it needs, by name.
    pub isas: Vec<String>,
    /// One for each operation, format and class. What is missing is taken from the first later variant that has it
    /// and needs no other instruction sets, and of products from [`crate::defaults`].
    #[serde(rename = "choice", default)]
    pub choices: Vec<Choice>,
}

/// A winner and why it won.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Operation, by name.
    pub op: String,
    /// Format of the operands, by name.
    pub format: String,
    /// The shapes it is for.
    pub class: Class,
    /// Threads it was compared with.
    pub threads: usize,
    /// The kernel's name.
    pub kernel: String,
    /// The type that instantiates it, relative to `kiln_kernels`.
    #[serde(rename = "type")]
    pub rust_type: String,
    /// Fingerprint of the sources that were compared, in hexadecimal.
    pub fingerprint: String,
    /// Layout of its packed operands.
    pub layout: String,
    /// The largest M that it is for, if that is not its class's: few rows end where prefill's kernel is faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m_max: Option<usize>,
    /// Cache blocking, for matrix products.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocking: Option<BlockSizes>,
    /// How matrix products are shared out over the threads, where that is not computed for each shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Parts>,
    /// Turns that threads spin for between matrix products before they sleep, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spin: Option<u32>,
    /// The best of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<String>,
    /// Time of the runner-up over time of the winner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// 95 % confidence interval of the margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_ci: Option<[f64; 2]>,
    /// Worst time over the best candidate's, over held-out shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret: Option<f64>,
    /// Worst time over the best candidate's, over the very shapes that were compared, each run as the table has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_regret: Option<f64>,
    /// Where the figures come from.
    pub tier: Tier,
    /// The reason in a few words.
    pub note: String,
    /// A decision table for matrix products: of these rows the first that holds a shape says what runs there; where none
    /// does, it is what the choice itself says.
    #[serde(rename = "when", default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<When>,
}

/// A row of a decision table: what matrix products up to certain extents run in place of what their choice says. Threads and
/// their spin are the choice's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The largest M that it holds; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m_max: Option<usize>,
    /// The largest N.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_max: Option<usize>,
    /// The largest K.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k_max: Option<usize>,
    /// The kernel's name.
    pub kernel: String,
    /// The type that instantiates it, relative to `kiln_kernels`.
    #[serde(rename = "type")]
    pub rust_type: String,
    /// Fingerprint of the sources that were compared, in hexadecimal.
    pub fingerprint: String,
    /// Layout of its packed operands: that of its choice.
    pub layout: String,
    /// Cache blocking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocking: Option<BlockSizes>,
    /// How products are shared out over the threads, where that is not computed for each shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Parts>,
}

impl When {
    /// The largest M, N and K that it holds, if there are such.
    pub fn bounds(&self) -> [Option<usize>; 3] {
        [self.m_max, self.n_max, self.k_max]
    }

    /// Whether it holds a product of M × N with depth K.
    pub fn holds(&self, (m, n, k): (usize, usize, usize)) -> bool {
        self.bounds().iter().zip([m, n, k]).all(|(most, extent)| most.is_none_or(|most| extent <= most))
    }
}

/// `M up to 64, N up to 2087`, or `any`.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&extents(self.bounds()))
    }
}

/// Bounds of M, N and K in words: `M up to 64, N up to 2087`, or `any`.
pub fn extents(upto: [Option<usize>; 3]) -> String {
    let named = ["M", "N", "K"].into_iter().zip(upto);
    let bounds: Vec<String> = named.filter_map(|(name, most)| most.map(|most| format!("{name} up to {most}"))).collect();
    if bounds.is_empty() { "any".into() } else { bounds.join(", ") }
}

/// A kernel as choices name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its name.
    pub kernel: &'a str,
    /// The type that instantiates it, relative to `kiln_kernels`.
    pub rust_type: &'a str,
    /// Fingerprint of the sources that were compared, in hexadecimal; empty if none were.
    pub fingerprint: &'a str,
    /// Layout of its packed operands.
    pub layout: &'a str,
}

impl Choice {
    /// A kernel that was not compared with others: its name and type, and what is said of it.
    pub fn unmeasured(
        (op, format, class): (&str, &str, Class),
        (kernel, rust_type): (String, String),
        layout: String,
        note: &str,
    ) -> Choice {
        Choice {
            op: op.into(),
            format: format.into(),
            class,
            threads: 1,
            kernel,
            rust_type,
            fingerprint: String::new(),
            layout,
            m_max: None,
            blocking: None,
            split: None,
            spin: None,
            runner_up: None,
            margin: None,
            margin_ci: None,
            regret: None,
            worst_regret: None,
            tier: Tier::Predicted,
            note: note.into(),
            table: Vec::new(),
        }
    }

    /// The row of the decision table that holds a product of M × N with depth K, if one does.
    pub fn row(&self, shape: (usize, usize, usize)) -> Option<&When> {
        self.table.iter().find(|row| row.holds(shape))
    }

    /// All kernels that it may run: its own, and those of its table.
    pub fn kernels(&self) -> impl Iterator<Item = Named<'_>> {
        let Choice { kernel, rust_type, fingerprint, layout, .. } = self;
        let rows =
            self.table.iter().map(|When { kernel, rust_type, fingerprint, layout, .. }| Named { kernel, rust_type, fingerprint, layout });
        std::iter::once(Named { kernel, rust_type, fingerprint, layout }).chain(rows)
    }

    /// What it comes to for a product of M × N with depth K: itself, with what that row says in place of its own, and no table.
    pub fn at(&self, shape: (usize, usize, usize)) -> Choice {
        let plain = Choice { table: Vec::new(), ..self.clone() };
        let Some(row) = self.row(shape).cloned() else { return plain };
        let When { kernel, rust_type, fingerprint, layout, blocking, split, .. } = row;
        Choice { kernel, rust_type, fingerprint, layout, blocking, split, ..plain }
    }

    /// The largest M that it is for.
    pub fn rows(&self) -> usize {
        self.m_max.unwrap_or(self.class.m_max())
    }
}

impl Variant {
    /// The choice for products of a format with `m` rows: by their names and by rising M.
    pub fn product(&self, op: &str, format: &str, m: usize) -> Option<&Choice> {
        let mine = self.choices.iter().filter(|c| c.op == op && c.format == format && m <= c.rows());
        mine.min_by_key(|c| c.rows())
    }

    /// The choice for an operation, format and class, by their names.
    pub fn choice(&self, op: &str, format: &str, class: Class) -> Option<&Choice> {
        self.choices.iter().find(|c| c.op == op && c.format == format && c.class == class)
    }

    /// Whether this CPU has every instruction set that it needs.
    pub fn runs_here(&self) -> bool {
        self.isas.iter().all(|i| i.parse::<kiln_kernels::isa::IsaId>().is_ok_and(|i| i.runs_here()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICE: &str = "op = 'gemm'\nformat = 'f32'\nclass = 'prefill'\nthreads = 2\nkernel = 'k'\ntype = 't'\n\
        fingerprint = ''\nlayout = 'l'\ntier = 'measured'\nnote = ''\n";

    #[test]
    fn a_choice_may_have_a_split_and_a_spin_and_older_ones_have_neither() {
        let old: Choice = toml::from_str(CHOICE).unwrap();
        assert_eq!((old.split, old.spin), (None, None));
        let new: Choice = toml::from_str(&format!("{CHOICE}split = '2x1'\nspin = 0\n")).unwrap();
        assert_eq!((new.split, new.spin), (Some(Parts { rows: 2, cols: 1 }), Some(0)));
        assert_eq!(toml::from_str::<Choice>(&toml::to_string(&new).unwrap()).unwrap(), new);
    }

    #[test]
    fn products_are_chosen_by_rows() {
        let of = |class: &str, more: &str| {
            toml::from_str(
                &CHOICE.replace("prefill", class).replace("'k'", &format!("'{class}'")).replace("note = ''", &format!("note = ''\n{more}")),
            )
            .unwrap()
        };
        let choices: Vec<Choice> = vec![of("prefill", ""), of("few", "m_max = 20"), of("decode", "")];
        let variant = Variant { isas: vec![], choices };
        let names = [1, 2, 20, 21].map(|m| variant.product("gemm", "f32", m).map(|c| c.kernel.as_str()));
        assert_eq!(names, [Some("decode"), Some("few"), Some("few"), Some("prefill")]);
        assert!(variant.product("gemm", "s8", 1).is_none());
    }

    #[test]
    fn the_first_row_that_holds_a_shape_says_what_runs_there_and_older_choices_have_none() {
        let row =
            |bounds: &str, kernel: &str| format!("[[when]]\n{bounds}\nkernel = '{kernel}'\ntype = 't'\nfingerprint = ''\nlayout = 'l'\n");
        let text = format!(
            "{CHOICE}worst_regret = 1.25\n{}blocking = {{ kc = 1, mc = 2, nc = 3 }}\n{}split = '1x2'\n",
            row("m_max = 64\nn_max = 900", "small"),
            row("k_max = 1000", "flat")
        );
        let choice: Choice = toml::from_str(&text).unwrap();
        let names = [(64, 900, 5000), (65, 900, 1000), (64, 901, 1001)].map(|shape| choice.at(shape).kernel);
        assert_eq!(names, ["small", "flat", "k"]);
        let small = choice.at((1, 1, 1));
        assert_eq!((small.blocking.map(|b| b.kc), small.split, small.table.len()), (Some(1), None, 0));
        assert_eq!(choice.table.iter().map(When::to_string).collect::<Vec<_>>(), ["M up to 64, N up to 900", "K up to 1000"]);
        assert_eq!(toml::from_str::<Choice>(&toml::to_string(&choice).unwrap()).unwrap(), choice);
        let old: Choice = toml::from_str(CHOICE).unwrap();
        assert_eq!((old.worst_regret, old.at((1, 1, 1))), (None, old.clone()));
        assert!(toml::from_str::<Choice>(&format!("{CHOICE}[[when]]\nrows = 3\n")).is_err());
    }

    #[test]
    fn classes_of_products_share_out_all_rows() {
        for m in [1, 2, 31, 32, 1000] {
            let first = Class::PRODUCTS.into_iter().find(|c| m <= c.m_max());
            assert_eq!(first, Some(Class::of_rows(m)), "{m} rows");
        }
    }
}

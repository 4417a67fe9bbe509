//! `tuned.toml`: the winners of a CPU with the reason for each.

use kiln_kernels::gemm::{MOST_THREADS, Split};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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
    /// Where the figures come from.
    pub tier: Tier,
    /// The reason in a few words.
    pub note: String,
}

/// KC, MC and NC in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSizes {
    /// Depth of packed blocks.
    pub kc: usize,
    /// Rows of the packed block of A.
    pub mc: usize,
    /// Columns of the packed block of B.
    pub nc: usize,
    /// The order of the inner loops, if it is not the usual one.
    #[serde(default, skip_serializing_if = "Order::is_usual")]
    pub order: Order,
}

/// Which of the two inner loops of a matrix product is the outer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A panel of B stays in the first cache.
    #[default]
    Panels,
    /// A strip of A does.
    Strips,
}

impl Order {
    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Order::Panels => "panels",
            Order::Strips => "strips",
        }
    }

    /// Whether it is what most products run in.
    pub fn is_usual(&self) -> bool {
        *self == Order::Panels
    }
}

impl From<kiln_kernels::gemm::Order> for Order {
    fn from(order: kiln_kernels::gemm::Order) -> Order {
        match order {
            kiln_kernels::gemm::Order::Panels => Order::Panels,
            kiln_kernels::gemm::Order::Strips => Order::Strips,
        }
    }
}

impl From<Order> for kiln_kernels::gemm::Order {
    fn from(order: Order) -> kiln_kernels::gemm::Order {
        match order {
            Order::Panels => kiln_kernels::gemm::Order::Panels,
            Order::Strips => kiln_kernels::gemm::Order::Strips,
        }
    }
}

/// `kc 256 mc 96 nc 1024`, and the order if it is not the usual one.
impl fmt::Display for BlockSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kc {} mc {} nc {}", self.kc, self.mc, self.nc)?;
        if self.order.is_usual() { Ok(()) } else { write!(f, " {}", self.order.name()) }
    }
}

impl From<kiln_kernels::gemm::Blocking> for BlockSizes {
    fn from(b: kiln_kernels::gemm::Blocking) -> Self {
        BlockSizes { kc: b.kc, mc: b.mc, nc: b.nc, order: b.order.into() }
    }
}

impl From<BlockSizes> for kiln_kernels::gemm::Blocking {
    fn from(b: BlockSizes) -> Self {
        kiln_kernels::gemm::Blocking { kc: b.kc, mc: b.mc, nc: b.nc, order: b.order.into() }
    }
}

/// How a matrix product is shared out over threads: parts of its rows × parts of its columns, written `RxC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Parts {
    /// Parts of the rows.
    pub rows: usize,
    /// Parts of the columns.
    pub cols: usize,
}

impl Parts {
    /// Threads that it is for.
    pub fn threads(self) -> usize {
        Split::from(self).threads()
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}", self.rows, self.cols))
    }
}

impl FromStr for Parts {
    type Err = String;
    fn from_str(text: &str) -> Result<Parts, String> {
        let numbers: Vec<usize> = text.split('x').map(|n| n.trim().parse().unwrap_or(0)).collect();
        match numbers[..] {
            [rows @ 1..=MOST_THREADS, cols @ 1..=MOST_THREADS] if rows * cols <= MOST_THREADS => Ok(Parts { rows, cols }),
            _ => Err(format!("'{text}' is no split: write RxC, parts of the rows and of the columns, at most {MOST_THREADS} in all")),
        }
    }
}

impl TryFrom<String> for Parts {
    type Error = String;
    fn try_from(text: String) -> Result<Parts, String> {
        text.parse()
    }
}

impl From<Parts> for String {
    fn from(parts: Parts) -> String {
        parts.to_string()
    }
}

impl From<Split> for Parts {
    fn from(Split { rows, cols }: Split) -> Parts {
        Parts { rows, cols }
    }
}

impl From<Parts> for Split {
    fn from(Parts { rows, cols }: Parts) -> Split {
        Split { rows, cols }
    }
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
            tier: Tier::Predicted,
            note: note.into(),
        }
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
    fn a_split_is_two_numbers_from_1_that_threads_suffice_for() {
        assert_eq!("2x3".parse(), Ok(Parts { rows: 2, cols: 3 }));
        assert_eq!(Parts { rows: 8, cols: 8 }.threads(), MOST_THREADS);
        for wrong in ["", "2", "0x2", "2x0", "1x2x3", "ax1", "-1x1", "9x8", "99999999999999999999x1", "9223372036854775807x3"] {
            assert!(wrong.parse::<Parts>().is_err(), "{wrong}");
        }
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
    fn classes_of_products_share_out_all_rows() {
        for m in [1, 2, 31, 32, 1000] {
            let first = Class::PRODUCTS.into_iter().find(|c| m <= c.m_max());
            assert_eq!(first, Some(Class::of_rows(m)), "{m} rows");
        }
    }
}

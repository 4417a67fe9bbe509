//! How a matrix product is cut up, as profiles and stores write it: its cache blocking with the order of its loops, and the
//! parts that threads share it out in.

use kiln_kernels::gemm::{MOST_THREADS, Split};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_two_numbers_from_1_that_threads_suffice_for() {
        assert_eq!("2x3".parse(), Ok(Parts { rows: 2, cols: 3 }));
        assert_eq!(Parts { rows: 8, cols: 8 }.threads(), MOST_THREADS);
        for wrong in ["", "2", "0x2", "2x0", "1x2x3", "ax1", "-1x1", "9x8", "99999999999999999999x1", "9223372036854775807x3"] {
            assert!(wrong.parse::<Parts>().is_err(), "{wrong}");
        }
    }
}

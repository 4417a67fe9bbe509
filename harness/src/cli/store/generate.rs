//! `kiln store generate`: a store of any size that was not measured.

use crate::cli::{emit, emit_json};
use crate::store::{self, GenerateOptions};
use std::path::PathBuf;
use std::str::FromStr;

/// Makes up a store of any size, to try out what reads stores: none of it was measured, and all of it says so
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln store generate --size 10G big.jsonl\n  \
kiln store generate --size 5M --machines 3 --torn 20 --foreign 20 --seed 7 small.jsonl\n\n\
The keys of its machines begin with 'generated/', its compiler is 'generated' and its tier 'predicted'; nothing is ever baked from it.")]
pub struct Args {
    /// Bytes: 5000, or with K, M, G, T for thousands, Ki, Mi, Gi, Ti for 1024s
    #[arg(long)]
    size: Size,
    /// What everything is drawn from: the same seed gives the same store
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Machines of the fleet
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    machines: u16,
    /// Lines that were torn by a crash
    #[arg(long, default_value_t = 0, value_name = "N")]
    torn: u32,
    /// Lines of other programs and other schemas
    #[arg(long, default_value_t = 0, value_name = "N")]
    foreign: u32,
    /// The store, which must not be there
    file: PathBuf,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let (letters, binary) = unit.strip_suffix('i').map_or((unit, false), |letters| (letters, true));
        let power = ["", "K", "M", "G", "T"].iter().position(|u| *u == letters).filter(|power| !binary || *power > 0);
        let bytes = power.and_then(|power| {
            let thousand: u64 = if binary { 1024 } else { 1000 };
            number.parse::<u64>().ok()?.checked_mul(thousand.checked_pow(u32::try_from(power).ok()?)?)
        });
        bytes.filter(|b| *b > 0).map(Size).ok_or_else(|| format!("'{text}' is no size: write one such as 500K, 20M or 10G"))
    }
}

/// Does it.
///
/// # Errors
/// If the file is there or cannot be written.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let options = GenerateOptions {
        bytes: args.size.0,
        seed: args.seed,
        machines: args.machines.into(),
        torn: args.torn.into(),
        foreign: args.foreign.into(),
    };
    let made = store::generate(&args.file, &options)?;
    if args.json {
        return emit_json(&made);
    }
    emit(&format!(
        "{}: {} bytes, {} results of {} problems ({} in pairs, {} wrong answers, {} of changed kernels), {} torn lines, {} foreign ones; \
         none of it was measured",
        args.file.display(),
        made.bytes,
        made.results,
        made.problems,
        made.paired,
        made.invalid,
        made.stale,
        made.torn,
        made.foreign
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let size = |text: &str| text.parse::<Size>().map(|s| s.0);
        assert_eq!(["5000", "20M", "10G", "3Ki", "1Ti"].map(|t| size(t).ok()), [5000, 20_000_000, 10_000_000_000, 3072, 1 << 40].map(Some));
        for wrong in ["", "0", "G", "10GB", "1.5G", "-1", "5i", "99999999999T"] {
            assert!(size(wrong).is_err_and(|e| e.contains("10G")), "{wrong}");
        }
    }
}

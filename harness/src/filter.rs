//! Which kernels of the registry are meant: by operation, instruction set and format.

use kiln_kernels::format::Format;
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::{self, Entry, Meta, Op};

/// A choice of kernels; an empty list means all.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Operations, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "OP")]
    pub op: Vec<Op>,
    /// Instruction sets, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "ISA")]
    pub isa: Vec<IsaId>,
    /// Formats, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "FORMAT", value_parser = format)]
    pub format: Vec<Format>,
}

impl Filter {
    /// Whether a kernel is meant.
    pub fn takes(&self, meta: &Meta) -> bool {
        (self.op.is_empty() || self.op.contains(&meta.op))
            && (self.isa.is_empty() || self.isa.contains(&meta.isa))
            && (self.format.is_empty() || self.format.contains(&meta.format))
    }

    /// The kernels that are meant, of every architecture, in the registry's order.
    ///
    /// # Errors
    /// If there are none.
    pub fn entries(&self) -> anyhow::Result<Vec<&'static Entry>> {
        let entries: Vec<_> = registry::all().filter(|e| self.takes(e.meta)).collect();
        anyhow::ensure!(!entries.is_empty(), "no kernel has that operation, instruction set and format; 'kiln list' shows all");
        Ok(entries)
    }
}

/// Finds a format by its name.
///
/// # Errors
/// If no format has it; the message names those that are known.
pub fn format(name: &str) -> Result<Format, String> {
    Format::ALL.iter().copied().find(|f| f.name() == name).ok_or_else(|| {
        let known: Vec<_> = Format::ALL.iter().map(|f| f.name()).collect();
        format!("unknown format; known are {}", known.join(" "))
    })
}

/// Whether kernels of an instruction set belong to the architecture of this build.
pub fn of_this_architecture(isa: IsaId) -> bool {
    isa.arch() == "any" || isa.arch() == std::env::consts::ARCH
}

/// The entry of that name.
///
/// # Errors
/// If there is none.
pub fn by_name(name: &str) -> anyhow::Result<&'static Entry> {
    registry::all().find(|e| e.meta.name == name).ok_or_else(|| anyhow::anyhow!("unknown kernel '{name}'; 'kiln list' shows all"))
}

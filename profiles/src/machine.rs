//! `machine.toml`: what a CPU is called, how it is recognised, and what is known of it without
//! measuring.

use crate::cpu::CpuId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One CPU, or the generic stand-in of an architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The profile's name, as its folder is called.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Rust's name of the architecture.
    pub arch: String,
    /// LLVM's name of the core, for predictions.
    pub llvm_cpu: String,
    /// Bits of its SVE vectors; 128 where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sve_bits: Option<usize>,
    /// Data caches of one core.
    pub caches: Caches,
    /// Multiply-add instructions that take so many times as long as LLVM's model of the core has it, by what their names begin
    /// with: as measured, beside others of the same pipes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slower: BTreeMap<String, f64>,
    /// Instructions, by name or by name and kind of register, such as `vpbroadcastd zmm`, that predictions let LLVM's model of the
    /// core take for others, which go where these really go; broadcasts only where they load.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub simulated_as: BTreeMap<String, String>,
    /// What moving operands costs, for predictions of whole products.
    #[serde(default, skip_serializing_if = "Rates::is_default")]
    pub rates: Rates,
    /// How it is recognised; empty for a generic profile.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
}

/// What moving the operands of a product costs beside multiplying them. What a CPU's profile does not say was fitted on an Ice
/// Lake Xeon, with the kernels of f32 and s8 (those of bf16 and q8_0 were held out), but for what says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Bytes in a cycle of operands from the second level, packed so that they are read one after another: what Intel gives as
    /// sustained for its servers since Skylake. The fit takes 48 to 64.
    pub from_l2: f64,
    /// The same from the last level. Twice what Intel gives as sustained (15), since prefetchers bring the next of it while
    /// what is there is multiplied.
    pub from_l3: f64,
    /// The same from memory: what one core of a server has of it. Not fitted: no product that was measured waits for memory.
    pub from_memory: f64,
    /// The part of what is the shorter of multiplying and moving that the longer does not hide.
    pub exposed: f64,
    /// Cycles for each row of a tile of C that comes from the last level and goes back: rows lie too far apart for prefetchers, so
    /// that each is waited for, for about the level's latency (50 to 70 cycles by Intel).
    pub row_of_c: f64,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { from_l2: 52.0, from_l3: 32.0, from_memory: 4.0, exposed: 0.5, row_of_c: 60.0 }
    }
}

impl Rates {
    fn is_default(&self) -> bool {
        *self == Rates::default()
    }
}

/// Data cache sizes in bytes; the last level as one core's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caches {
    /// First level.
    pub l1: usize,
    /// Second level.
    pub l2: usize,
    /// Last level, 0 when there is none.
    pub l3: usize,
}

impl From<Caches> for kiln_kernels::gemm::Caches {
    fn from(c: Caches) -> Self {
        kiln_kernels::gemm::Caches { l1: c.l1, l2: c.l2, l3: c.l3 }
    }
}

/// CPUs that a profile is meant for. On Arm, family is the part number and model the variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Vendor string, or implementer in hexadecimal.
    pub vendor: String,
    /// Family, or part number.
    pub family: u32,
    /// Ranges of models, both ends included; empty means any.
    #[serde(default)]
    pub models: Vec<[u32; 2]>,
}

impl Match {
    /// Whether it covers a CPU.
    pub fn covers(&self, cpu: &CpuId) -> bool {
        self.vendor == cpu.vendor
            && self.family == cpu.family
            && (self.models.is_empty() || self.models.iter().any(|[low, high]| (*low..=*high).contains(&cpu.model)))
    }
}

impl Machine {
    /// Whether this is that CPU's profile.
    pub fn recognises(&self, cpu: &CpuId) -> bool {
        self.arch == cpu.arch && self.matches.iter().any(|m| m.covers(cpu))
    }
}

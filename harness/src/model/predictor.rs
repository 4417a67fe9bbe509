//! Predicted times of candidates on one CPU: what searches are ordered by, and what is tuned by where the CPU is not here.

use super::call::{self, Cycles};
use super::{Tools, predict, predict_rows};
use crate::filter::Filter;
use crate::store::Config;
use anyhow::Context;
use kiln_kernels::gemm::Caches;
use kiln_kernels::registry::Op;
use kiln_profiles::lookup;
use kiln_profiles::machine::{Machine, Rates};
use std::collections::HashMap;
use std::path::Path;

/// What is known of the kernels of one CPU.
pub struct Predictor {
    /// Multiply-adds, or bytes, that a kernel's main loop does in a cycle, by its name.
    rates: HashMap<String, f64>,
    caches: Caches,
    costs: Rates,
}

impl Predictor {
    /// Predicts the loops of all kernels that the filter takes, from a binary that has them; `note` hears of each.
    ///
    /// # Errors
    /// If a tool is missing or fails, the binary is not of that architecture, or nothing can be predicted.
    pub fn new(machine: &Machine, binary: &Path, filter: &Filter, note: impl Fn(&str)) -> anyhow::Result<Predictor> {
        let tools = Tools::find()?;
        let rates = match filter.op[..] {
            [Op::Gemm] => {
                let all = predict(&tools, machine, binary, |m| filter.takes(m), note)?;
                all.into_iter().map(|p| (p.kernel, p.mac_per_cycle)).collect()
            }
            [op] if op.is_rows() => {
                let all = predict_rows(&tools, machine, binary, |m| filter.takes(m), note)?;
                all.into_iter().map(|p| (p.kernel, p.bytes_per_cycle)).collect()
            }
            _ => anyhow::bail!("the model knows gemm and operations on rows, one at a time, and nothing else"),
        };
        Ok(Predictor { rates, caches: machine.caches.into(), costs: machine.rates })
    }

    /// As [`Predictor::new`], of this CPU and this program.
    ///
    /// # Errors
    /// Those of [`Predictor::new`]; if this CPU has no profile that says by which name LLVM knows it.
    pub fn here(filter: &Filter, note: impl Fn(&str)) -> anyhow::Result<Predictor> {
        let id = kiln_profiles::cpu::here().context("this CPU does not say what it is, so the model does not know it")?;
        let known = lookup::machines(lookup::default_root())?;
        let machine = known.iter().find(|m| m.recognises(&id)).with_context(|| {
            format!("no profile in profiles/ is of this CPU ({id}), so the model does not know it: add one with its llvm_cpu")
        })?;
        Predictor::new(machine, &std::env::current_exe()?, filter, note)
    }

    /// The time of a configuration in cycles; `None` if nothing is known of its kernel.
    pub fn cycles(&self, config: &Config) -> Option<f64> {
        let rate = *self.rates.get(&config.kernel)?;
        match self.product(config) {
            Some(cycles) => Some(cycles.total(self.costs.exposed)),
            None => Some(config.problem()?.bytes() / rate),
        }
    }

    /// The same by what takes them, of products.
    pub fn product(&self, config: &Config) -> Option<Cycles> {
        call::product(config, *self.rates.get(&config.kernel)?, self.caches, &self.costs)
    }
}

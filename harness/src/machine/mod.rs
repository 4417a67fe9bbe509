//! The machine a result was made on: what it is ([`Machine`]), by which key results of it are found
//! again ([`Machine::key`]), and what it can do at most ([`limits`]).
//!
//! Identification never reads a clock and never guesses: what cannot be read is absent. The key holds
//! only what survives a reboot.

pub mod bandwidth;
pub mod cache;
pub mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpuid;
pub mod limits;
pub mod lock;
pub mod numa;
pub mod others;
pub mod peak;
pub mod system;
pub mod timing;
pub mod tlb;

use kiln_profiles::cpu::CpuId;
use kiln_profiles::lookup;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A description of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// How results of this machine are found again; see [`Machine::key`].
    pub key: String,
    /// What the CPU says of itself. `None` if it does not.
    pub cpu: Option<CpuId>,
    /// The name of the profile that is made for this CPU, if there is one (`zen3`).
    pub profile: Option<String>,
    /// The vendor's name of the CPU.
    pub brand: Option<String>,
    /// Instruction set extensions that kernels may use here.
    pub features: Vec<String>,
    /// Bytes in an SVE vector; `None` without SVE.
    pub sve_bytes: Option<u32>,
    /// Caches of the first CPU, nearest first; empty if unknown.
    pub caches: Vec<cache::Cache>,
    /// TLBs, nearest first; empty if the CPU does not tell.
    #[serde(default)]
    pub tlbs: Vec<tlb::Tlb>,
    /// The system around it.
    pub system: system::System,
}

impl Machine {
    /// Looks at the machine this runs on.
    pub fn detect() -> Machine {
        Self::detect_in(Path::new("/sys"), Path::new("/proc"))
    }

    fn detect_in(sys: &Path, proc: &Path) -> Machine {
        let system = system::system(sys, proc);
        let cpu = cpu::identify(sys, proc);
        let mut machine = Machine {
            key: String::new(),
            // Profiles that cannot be read are another command's error; here the CPU is then not known.
            profile: cpu.as_ref().and_then(|id| lookup::recognise(lookup::default_root(), id).ok()?).map(|known| known.name),
            cpu,
            brand: cpu::brand(proc, system.emulator.is_some()),
            features: cpu::features(),
            sve_bytes: cpu::sve_bytes(),
            // Under a user-mode emulator sysfs tells of the host's caches, which nothing emulated has.
            caches: if system.emulator.is_some() { Vec::new() } else { cache::caches(sys) },
            tlbs: if system.emulator.is_some() { Vec::new() } else { tlb::tlbs() },
            system,
        };
        machine.key = machine.make_key();
        machine
    }

    /// The key: CPU identity, data caches, instruction set, vector length, and whether it is emulated.
    /// `x86_64/AuthenticAMD/25/1/1/l1d32K-l2512K-l332M/avx2,fma,f16c`.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn make_key(&self) -> String {
        let cpu = match &self.cpu {
            Some(id) => id.to_string(),
            None => format!("{}/unknown", std::env::consts::ARCH),
        };
        let caches: Vec<_> = self.caches.iter().filter(|c| c.holds_data()).map(|c| format!("{}{}", c.name(), c.size())).collect();
        let caches = if caches.is_empty() { "caches-unknown".into() } else { caches.join("-") };
        let mut key = format!("{cpu}/{caches}/{}", self.features.join(","));
        if let Some(bytes) = self.sve_bytes {
            key.push_str(&format!("/vl{bytes}"));
        }
        if self.system.emulator.is_some() {
            key.push_str("/emulated");
        }
        key
    }

    /// The size in bytes of the data cache of `level`, if known.
    pub fn cache_bytes(&self, level: u32) -> Option<u64> {
        self.caches.iter().find(|c| c.level == level && c.holds_data()).map(|c| c.bytes)
    }

    /// Refuses to time anything where that would say nothing: under an emulator, or with more threads
    /// than can run at once.
    ///
    /// # Errors
    /// One line that says why not.
    pub fn allow_timing(&self, threads: &[usize]) -> anyhow::Result<()> {
        if let Some(emulator) = &self.system.emulator {
            anyhow::bail!("this runs under {emulator}, whose times say nothing of a CPU: measure on the machine itself");
        }
        let usable = self.system.cores.usable;
        for threads in threads {
            anyhow::ensure!((1..=usable).contains(threads), "{threads} threads asked for, but from 1 to {usable} can run here at once");
        }
        Ok(())
    }

    /// Memory this process may count on: the control group's limit or all there is.
    pub fn usable_memory(&self) -> Option<u64> {
        self.system.memory.group_limit.or(self.system.memory.total)
    }

    /// The description in words: `(name, value)` lines; `None` is for a thing that is not available.
    pub fn rows(&self) -> Vec<(&'static str, Option<String>)> {
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        let system = &self.system;
        let caches: Vec<_> = self.caches.iter().map(|c| format!("{} {}{}", c.name(), c.size(), sharing(c.shared_by))).collect();
        let pages = &system.memory;
        let huge = match (pages.huge_page, &pages.transparent_huge_pages) {
            (Some(bytes), Some(mode)) => format!(", huge pages {} KiB ({mode})", bytes >> 10),
            _ => ", huge pages not available".into(),
        };
        vec![
            ("CPU", self.brand.clone().or_else(|| self.cpu.as_ref().map(|id| id.to_string()))),
            ("identity", self.cpu.as_ref().map(|id| id.to_string())),
            ("profile", self.profile.clone()),
            (
                "cores",
                Some(match system.cores.physical {
                    Some(n) => format!("{n} physical, {} logical, {} usable", system.cores.logical, system.cores.usable),
                    None => format!("{} logical, {} usable", system.cores.logical, system.cores.usable),
                }),
            ),
            ("instructions", Some(self.features.join(" ")).filter(|s| !s.is_empty())),
            ("SVE vector", self.sve_bytes.map(|bytes| format!("{} bits", bytes * 8))),
            ("caches", Some(caches.join(", ")).filter(|s| !s.is_empty())),
            ("TLB", tlb::describe(&self.tlbs)),
            ("memory", pages.total.map(gib)),
            ("memory limit", pages.group_limit.map(gib)),
            ("pages", Some(format!("{} KiB{huge}", pages.page >> 10))),
            ("NUMA", system.emulator.is_none().then(|| numa::describe(&system.nodes))),
            ("governor", system.governor.clone()),
            ("virtualisation", system.virtualisation.clone()),
            ("emulator", system.emulator.clone()),
            ("kernel", system.kernel.clone()),
            ("system", system.os.clone()),
            ("machine key", Some(self.key.clone())),
        ]
    }
}

fn sharing(cpus: u32) -> String {
    if cpus > 1 { format!(" (shared by {cpus})") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_same_at_every_look() {
        let (first, second) = (Machine::detect(), Machine::detect());
        assert_eq!(first.key, second.key);
        assert!(first.key.starts_with(std::env::consts::ARCH), "{}", first.key);
        assert!(!first.key.contains(char::is_whitespace), "{}", first.key);
    }

    #[test]
    fn the_key_has_nothing_of_clock_kernel_or_memory() {
        let mut machine = Machine::detect();
        (machine.sve_bytes, machine.system.emulator) = (None, None);
        let plain = machine.make_key();
        machine.system.kernel = Some("99.9".into());
        machine.system.governor = Some("powersave".into());
        machine.system.memory.total = Some(1);
        machine.system.cores.usable += 1;
        machine.system.nodes.push(numa::Node { id: 99, cpus: vec![99], memory: None, distances: Vec::new() });
        machine.tlbs.push(tlb::Tlb { level: 1, kind: tlb::TlbKind::Data, page_bytes: vec![4096], entries: 64, ways: None });
        assert_eq!(machine.make_key(), plain);
        machine.sve_bytes = Some(32);
        assert_eq!(machine.make_key(), format!("{plain}/vl32"));
        machine.system.emulator = Some("an emulator".into());
        assert_eq!(machine.make_key(), format!("{plain}/vl32/emulated"));
    }

    #[test]
    fn a_machine_survives_json() {
        let machine = Machine::detect();
        let text = serde_json::to_string(&machine).expect("JSON");
        assert_eq!(serde_json::from_str::<Machine>(&text).expect("a machine"), machine);
    }
}

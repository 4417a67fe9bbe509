//! Which CPU this is.
//!
//! x86 answers by CPUID, Arm by MIDR_EL1: from sysfs, else from `/proc/cpuinfo`, which holds the same
//! four fields and which user-mode emulators fill in as well. Nothing here reads a clock, a frequency
//! or a microcode revision, since those change without the machine changing. On machines with unlike
//! cores (big.LITTLE) the first core answers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// What a CPU says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuId {
    /// Rust's name of the architecture: `x86_64` or `aarch64`.
    pub arch: String,
    /// x86: the vendor string (`AuthenticAMD`). Arm: the implementer in hexadecimal (`0x41`).
    pub vendor: String,
    /// x86: family, extended part included. Arm: part number.
    pub family: u32,
    /// x86: model, extended part included. Arm: variant.
    pub model: u32,
    /// x86: stepping. Arm: revision.
    pub stepping: u32,
}

impl fmt::Display for CpuId {
    /// `x86_64/AuthenticAMD/25/1/1`, or `aarch64/0x41/0xd49/0/1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CpuId { arch, vendor, family, model, stepping } = self;
        match arch.as_str() {
            "aarch64" => write!(f, "{arch}/{vendor}/{family:#x}/{model}/{stepping}"),
            _ => write!(f, "{arch}/{vendor}/{family}/{model}/{stepping}"),
        }
    }
}

impl CpuId {
    /// Takes MIDR_EL1 apart: implementer in bits 31..24, variant 23..20, part 15..4, revision 3..0.
    pub fn from_midr(midr: u64) -> CpuId {
        let field = |shift: u32, bits: u32| (midr >> shift) as u32 & ((1 << bits) - 1);
        CpuId {
            arch: "aarch64".into(),
            vendor: format!("{:#04x}", field(24, 8)),
            family: field(4, 12),
            model: field(20, 4),
            stepping: field(0, 4),
        }
    }

    /// Takes the family, model and stepping of CPUID leaf 1's EAX apart.
    pub fn from_cpuid(vendor: &str, eax: u32) -> CpuId {
        let (family, model) = ((eax >> 8) & 15, (eax >> 4) & 15);
        let extended_family = (eax >> 20) & 0xff;
        let extended_model = (eax >> 16) & 15;
        CpuId {
            arch: "x86_64".into(),
            vendor: vendor.into(),
            family: if family == 15 { family + extended_family } else { family },
            model: if family == 15 || family == 6 { model | extended_model << 4 } else { model },
            stepping: eax & 15,
        }
    }

    /// Reads the four fields of an Arm `/proc/cpuinfo`'s first processor. `None` if one is missing.
    pub fn from_arm_cpuinfo(text: &str) -> Option<CpuId> {
        let number = |key: &str| -> Option<u32> {
            let value = cpuinfo_field(text, key)?;
            match value.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => value.parse().ok(),
            }
        };
        Some(CpuId {
            arch: "aarch64".into(),
            vendor: format!("{:#04x}", number("CPU implementer")?),
            family: number("CPU part")?,
            model: number("CPU variant")?,
            stepping: number("CPU revision")?,
        })
    }
}

/// The first value of `key` in a text of the form of `/proc/cpuinfo`.
fn cpuinfo_field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
}

/// This CPU. `sys` and `proc` are where sysfs and procfs are mounted. `None`: it does not say.
#[cfg(target_arch = "x86_64")]
pub fn identify(_sys: &Path, _proc: &Path) -> Option<CpuId> {
    let id = core::arch::x86_64::__cpuid(0);
    let vendor: Vec<u8> = [id.ebx, id.edx, id.ecx].iter().flat_map(|r| r.to_le_bytes()).collect();
    let signature = core::arch::x86_64::__cpuid(1).eax;
    Some(CpuId::from_cpuid(String::from_utf8_lossy(&vendor).trim_end_matches('\0'), signature))
}

/// This CPU. `sys` and `proc` are where sysfs and procfs are mounted. `None`: it does not say.
#[cfg(target_arch = "aarch64")]
pub fn identify(sys: &Path, proc: &Path) -> Option<CpuId> {
    let midr = sys.join("devices/system/cpu/cpu0/regs/identification/midr_el1");
    let from_sysfs = std::fs::read_to_string(midr)
        .ok()
        .and_then(|text| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok())
        .map(CpuId::from_midr);
    from_sysfs.or_else(|| CpuId::from_arm_cpuinfo(&std::fs::read_to_string(proc.join("cpuinfo")).ok()?))
}

/// This CPU, from where Linux mounts its file systems.
pub fn here() -> Option<CpuId> {
    identify(Path::new("/sys"), Path::new("/proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midr_and_cpuid_come_apart() {
        assert_eq!(CpuId::from_midr(0x410f_d490).to_string(), "aarch64/0x41/0xd49/0/0");
        assert_eq!(CpuId::from_midr(0x413f_d0c1).to_string(), "aarch64/0x41/0xd0c/3/1");
        // Zen 3 (Milan), Zen 4 (Genoa) and Skylake-X, as their leaf 1 reads.
        assert_eq!(CpuId::from_cpuid("AuthenticAMD", 0x00a0_0f11).to_string(), "x86_64/AuthenticAMD/25/1/1");
        assert_eq!(CpuId::from_cpuid("AuthenticAMD", 0x00a1_0f11).to_string(), "x86_64/AuthenticAMD/25/17/1");
        assert_eq!(CpuId::from_cpuid("GenuineIntel", 0x0005_0654).to_string(), "x86_64/GenuineIntel/6/85/4");
    }

    #[test]
    fn arm_cpuinfo_is_read_or_refused() {
        let text = "processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n\
                    CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n";
        assert_eq!(CpuId::from_arm_cpuinfo(text).map(|id| id.to_string()).as_deref(), Some("aarch64/0x41/0xd0c/3/1"));
        assert_eq!(CpuId::from_arm_cpuinfo("processor\t: 0\nCPU part\t: 0xd0c\n"), None);
        assert_eq!(CpuId::from_arm_cpuinfo(""), None);
    }

    #[test]
    fn this_cpu_identifies_itself_the_same_way_twice() {
        let ask = || identify(Path::new("/sys"), Path::new("/proc"));
        assert_eq!(ask(), ask());
        #[cfg(target_arch = "x86_64")]
        assert!(ask().is_some_and(|id| id.arch == "x86_64" && id.vendor.len() == 12));
    }
}

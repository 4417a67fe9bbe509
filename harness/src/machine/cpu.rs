//! The CPU's name and which of its instructions the operating system lets us use. Its identity
//! (vendor, family, model; or implementer, part, variant) is `kiln_profiles::cpu`'s matter; here it only
//! gets one more source.
//!
//! Nothing here reads a clock or a frequency.

use kiln_profiles::cpu::{self, CpuId};
use std::path::Path;

/// This CPU's identity. `sys` and `proc` are where sysfs and procfs are mounted. `None`: it is not told.
pub fn identify(sys: &Path, proc: &Path) -> Option<CpuId> {
    cpu::identify(sys, proc).or_else(from_register)
}

/// The CPU that a machine's key begins with. `None` if it does not say.
pub fn of_key(key: &str) -> Option<CpuId> {
    let mut parts = key.split('/');
    let (arch, vendor) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut number = || {
        let part = parts.next()?;
        part.strip_prefix("0x").map_or_else(|| part.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
    };
    Some(CpuId { arch, vendor, family: number()?, model: number()?, stepping: number()? })
}

/// MIDR_EL1 itself, which Linux (and user-mode emulators) lets programs read where it says so. It is the
/// last resort: on machines with unlike cores it tells of whichever core this happens to run on.
#[cfg(target_arch = "aarch64")]
fn from_register() -> Option<CpuId> {
    const HWCAP_CPUID: usize = 1 << 11;
    if rustix::param::linux_hwcap().0 & HWCAP_CPUID == 0 {
        return None;
    }
    let midr: u64;
    // SAFETY: the kernel announces by HWCAP_CPUID that it emulates reads of this register for programs;
    // the instruction touches no memory, no stack and no flags.
    unsafe { std::arch::asm!("mrs {}, midr_el1", out(reg) midr, options(nomem, nostack, preserves_flags)) };
    Some(CpuId::from_midr(midr))
}

/// Only Arm has such a register.
#[cfg(not(target_arch = "aarch64"))]
fn from_register() -> Option<CpuId> {
    None
}

/// The first value of `key` in a text of the form of `/proc/cpuinfo`.
fn cpuinfo_field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
}

/// The name the vendor gave it: `AMD EPYC 7763 64-Core Processor`. Arm cores have none. When `emulated`,
/// `/proc/cpuinfo` may be the host's and is not asked.
pub fn brand(proc: &Path, emulated: bool) -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    if let Some(brand) = super::cpuid::brand() {
        return Some(brand);
    }
    if emulated {
        return None;
    }
    let text = std::fs::read_to_string(proc.join("cpuinfo")).ok()?;
    cpuinfo_field(&text, "model name").filter(|name| !name.is_empty()).map(str::to_owned)
}

macro_rules! detected {
    ($detect:ident: $($name:tt)+) => {
        [$(($name, std::arch::$detect!($name))),+].into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect()
    };
}

/// The instruction set extensions that matter to kernels and that may be used here, in a fixed order.
pub fn features() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    return detected!(is_x86_feature_detected:
        "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16" "avx512fp16");
    #[cfg(target_arch = "aarch64")]
    return detected!(is_aarch64_feature_detected:
        "neon" "dotprod" "fp16" "fhm" "i8mm" "bf16" "sve" "sve2" "f32mm");
}

/// Bytes in an SVE vector as this process sees it. `None` without SVE.
pub fn sve_bytes() -> Option<u32> {
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("sve") {
        return rustix::thread::sve_vector_length_configuration().ok().map(|config| config.vector_length_in_bytes);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_cpuinfo_is_found_by_its_whole_name() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC: a test\n";
        assert_eq!(cpuinfo_field(text, "model name"), Some("AMD EPYC: a test"));
        assert_eq!(cpuinfo_field(text, "model"), Some("1"));
        assert_eq!(cpuinfo_field(text, "name"), None);
    }

    #[test]
    fn a_key_tells_the_cpu_it_begins_with() {
        for key in ["x86_64/AuthenticAMD/25/1/1/l1d32K-l2512K-l332M/avx2,fma", "aarch64/0x41/0xd49/0/1/caches-unknown/neon/vl16"] {
            let cpu = of_key(key).expect("a CPU");
            assert!(key.starts_with(&format!("{cpu}/")), "{cpu}");
        }
        for key in ["x86_64/unknown/caches-unknown/avx2", "", "x86_64/AuthenticAMD/25", "a/b/-1/99999999999/0x"] {
            assert_eq!(of_key(key), None, "{key}");
        }
    }

    #[test]
    fn features_do_not_change() {
        assert_eq!(features(), features());
        assert_eq!(sve_bytes().is_some(), features().iter().any(|name| name == "sve"));
    }
}

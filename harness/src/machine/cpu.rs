//! The CPU's name and which of its instructions the operating system lets us use. Its identity
//! (vendor, family, model; or implementer, part, variant) is `kiln_profiles::cpu`'s matter.
//!
//! Nothing here reads a clock or a frequency.

use std::path::Path;

/// The first value of `key` in a text of the form of `/proc/cpuinfo`.
fn cpuinfo_field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
}

/// The name the vendor gave it: `AMD EPYC 7763 64-Core Processor`. Arm cores have none.
pub fn brand(proc: &Path) -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    if let Some(brand) = super::cpuid::brand() {
        return Some(brand);
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
    fn features_do_not_change() {
        assert_eq!(features(), features());
        assert_eq!(sve_bytes().is_some(), features().iter().any(|name| name == "sve"));
    }
}

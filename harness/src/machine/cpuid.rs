//! The few CPUID leaves the laboratory asks: vendor, brand, caches, TLBs, hypervisor. x86-64 alone.

use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

/// One leaf, or `None` where the CPU does not have it (it would answer with another leaf's values).
pub fn leaf(leaf: u32, subleaf: u32) -> Option<CpuidResult> {
    let base = leaf & 0xffff_0000;
    (leaf <= __cpuid(base).eax).then(|| __cpuid_count(leaf, subleaf))
}

/// The bytes of registers as text, up to the first NUL.
fn text(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|r| r.to_le_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// `AuthenticAMD`, `GenuineIntel`, …
pub fn vendor() -> String {
    let r = __cpuid(0);
    text(&[r.ebx, r.edx, r.ecx])
}

/// The marketing name, where there is one.
pub fn brand() -> Option<String> {
    let parts = [leaf(0x8000_0002, 0)?, leaf(0x8000_0003, 0)?, leaf(0x8000_0004, 0)?];
    let registers: Vec<u32> = parts.iter().flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx]).collect();
    Some(text(&registers)).filter(|name| !name.is_empty())
}

/// The signature of the hypervisor we run under (`KVMKVMKVM`), if the CPU says that there is one.
pub fn hypervisor() -> Option<String> {
    let announced = leaf(1, 0)?.ecx >> 31 & 1 == 1;
    announced.then(|| {
        let r = __cpuid(0x4000_0000);
        text(&[r.ebx, r.ecx, r.edx])
    })
}

/// The raw cache descriptions: leaf 0x8000001D (AMD) or 4 (Intel), which have one layout.
pub fn cache_leaves() -> Vec<CpuidResult> {
    let number = if matches!(vendor().as_str(), "AuthenticAMD" | "HygonGenuine") { 0x8000_001d } else { 4 };
    (0..16).map_while(|index| leaf(number, index).filter(|r| r.eax & 31 != 0)).collect()
}

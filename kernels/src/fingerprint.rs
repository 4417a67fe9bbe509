//! Source fingerprints, computed at compile time: they tie a stored result to the code it timed.

/// FNV-1a, 64 bits, continued from `state`.
pub(crate) const fn fnv1a(mut state: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        state ^= bytes[i] as u64;
        state = state.wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    state
}

/// Hash of one source. Make it a `const` of its own where it is used: the compiler then evaluates
/// it once, not once a kernel.
pub(crate) const fn of_source(bytes: &[u8]) -> u64 {
    fnv1a(0xcbf2_9ce4_8422_2325, bytes)
}

/// Fingerprint of a kernel: the hash of its family's source continued by that of its ISA's.
pub(crate) const fn of_kernel(family: u64, isa: u64) -> u64 {
    fnv1a(family, &isa.to_le_bytes())
}

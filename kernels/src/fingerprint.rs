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

/// The start value of [`fnv1a`].
pub(crate) const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// Fingerprint of a kernel body: the family's source continued by the ISA's source.
pub(crate) const fn body(family: &[u8], isa: &[u8]) -> u64 {
    fnv1a(fnv1a(SEED, family), isa)
}

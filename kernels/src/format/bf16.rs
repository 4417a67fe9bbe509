//! bfloat16, the upper half of binary32, in integer arithmetic: the reference that every conversion kernel must
//! equal, bit for bit, and the conversion of the scalar ISA.

/// Widens. Exact; a NaN keeps its bits.
#[inline]
pub const fn to_f32(h: u16) -> f32 {
    f32::from_bits((h as u32) << 16)
}

/// Rounds to the nearest, ties to even; overflow gives infinity, a NaN becomes quiet and keeps the top bits of its
/// payload, as hardware does.
#[inline]
pub const fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn every_one_survives_the_way_there_and_back() {
        for h in 0..=u16::MAX {
            let back = super::from_f32(super::to_f32(h));
            assert!(back == h || super::to_f32(h).is_nan() && back == h | 0x40, "{h:#x}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_that_of_the_half_crate(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assert_eq!(super::from_f32(x), half::bf16::from_f32(x).to_bits());
        }
    }
}

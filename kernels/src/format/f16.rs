//! IEEE binary16 in integer arithmetic: the reference that every conversion kernel must equal, bit
//! for bit, and the conversion of the scalar ISA.

/// Widens a half. Exact; a signalling NaN becomes quiet and keeps its payload, as hardware does.
#[inline]
pub const fn to_f32(h: u16) -> f32 {
    let sign = ((h & 0x8000) as u32) << 16;
    let exponent = ((h >> 10) & 0x1f) as u32;
    let fraction = (h & 0x3ff) as u32;
    let bits = match (exponent, fraction) {
        (0, 0) => sign,
        (0, _) => {
            // A subnormal half is a normal float: shift its leading one up to the implicit place.
            let shift = fraction.leading_zeros() - 21;
            sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)
        }
        (0x1f, 0) => sign | 0x7f80_0000,
        (0x1f, _) => sign | 0x7fc0_0000 | (fraction << 13),
        _ => sign | ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(bits)
}

/// Rounds to the nearest half, ties to even; overflow gives infinity, a NaN becomes quiet and
/// keeps the top bits of its payload, as hardware does.
#[inline]
pub const fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00 | ((magnitude >> 13) & 0x1ff) as u16;
    }
    // 65520 is the first value that rounds to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude >= 0x3880_0000 {
        let half = (magnitude - 0x3800_0000) >> 13;
        return sign | round(half, magnitude & 0x1fff, 0x1000);
    }
    // Subnormal: the significand, shifted until its unit is 2^-24. At or below 2^-25 all is rounded away.
    if magnitude <= 0x3300_0000 {
        return sign;
    }
    let shift = 126 - (magnitude >> 23);
    let significand = (magnitude & 0x7f_ffff) | 0x80_0000;
    sign | round(significand >> shift, significand & ((1 << shift) - 1), 1 << (shift - 1))
}

/// `half` rounded up when the part cut off is above `tie`, or equals it and `half` is odd.
const fn round(half: u32, rest: u32, tie: u32) -> u16 {
    (half + (rest > tie || (rest == tie && half & 1 == 1)) as u32) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn every_half_widens_as_the_half_crate_does_and_comes_back() {
        for h in 0..=u16::MAX {
            let x = super::to_f32(h);
            assert_eq!(x.to_bits(), half::f16::from_bits(h).to_f32().to_bits(), "{h:#06x}");
            let quiet = if x.is_nan() { h | 0x0200 } else { h };
            assert_eq!(super::from_f32(x), quiet, "{h:#06x}");
        }
    }

    #[test]
    fn ties_and_their_neighbours_round_to_even() {
        for h in 0..0x7c00u16 {
            let (low, high) = (super::to_f32(h) as f64, super::to_f32(h + 1) as f64);
            if high.is_infinite() {
                continue;
            }
            let tie = ((low + high) / 2.0) as f32;
            let even = h + (h & 1);
            assert_eq!(super::from_f32(tie), even);
            assert_eq!(super::from_f32(tie.next_down()), h);
            assert_eq!(super::from_f32(tie.next_up()), h + 1);
        }
    }

    proptest! {
        #[test]
        fn any_float_rounds_as_the_half_crate_does(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assert_eq!(super::from_f32(x), half::f16::from_f32(x).to_bits());
        }
    }
}

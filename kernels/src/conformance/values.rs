//! Operand values: reproducible random numbers and the extremes that each family must survive.

/// A small generator (xorshift64*, Vigna 2016), so that a failing case can be run again.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in −1..1.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// How operands are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Uniform in −1..1.
    Uniform,
    /// Magnitudes from 1e-15 to 1e15.
    Wide,
    /// Around the smallest normal f32, and below it.
    Tiny,
    /// Zeros, of both signs.
    Zero,
    /// Mostly uniform with an infinity and a NaN.
    NonFinite,
}

impl Values {
    pub(super) const ALL: [Values; 5] = [Values::Uniform, Values::Wide, Values::Tiny, Values::Zero, Values::NonFinite];

    pub(super) fn fill(self, seed: u64, out: &mut [f32]) {
        let mut random = Random::new(seed);
        for x in out.iter_mut() {
            let u = random.unit();
            *x = match self {
                Values::Uniform | Values::NonFinite => u,
                Values::Wide => u * 10f32.powi((random.bits() % 31) as i32 - 15),
                Values::Tiny => u * f32::MIN_POSITIVE * 4.0,
                Values::Zero => 0.0f32.copysign(u),
            };
        }
        if let (Values::NonFinite, n @ 1..) = (self, out.len()) {
            out[n / 2] = f32::INFINITY;
            out[n / 3] = f32::NAN;
        }
    }
}

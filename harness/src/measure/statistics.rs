//! Robust statistics of small samples: medians, and percentile bootstrap intervals of them.
//!
//! All of it is deterministic: the bootstrap draws from a generator with a fixed seed, so the same
//! samples always give the same interval. Nothing here reads a clock.

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;
/// The seed of every bootstrap.
const SEED: u64 = 0x6b69_6c6e;

/// A small generator of uniform 64-bit numbers (splitmix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; the same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, or 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Uniform in −1..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// The middle value, or the mean of the two middle ones. `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    median_in_place(&mut sorted)
}

fn median_in_place(samples: &mut [f64]) -> Option<f64> {
    let n = samples.len();
    if n == 0 {
        return None;
    }
    let (below, upper, _) = samples.select_nth_unstable_by(n / 2, f64::total_cmp);
    let upper = *upper;
    if n % 2 == 1 {
        return Some(upper);
    }
    below.iter().copied().max_by(f64::total_cmp).map(|lower| lower + (upper - lower) / 2.0)
}

/// The median absolute deviation from the median, unscaled. `None` of nothing.
pub fn mad(samples: &[f64]) -> Option<f64> {
    let centre = median(samples)?;
    let deviations: Vec<f64> = samples.iter().map(|x| (x - centre).abs()).collect();
    median(&deviations)
}

/// The 95 % percentile bootstrap interval of the median. `None` of nothing.
pub fn median_ci(samples: &[f64]) -> Option<(f64, f64)> {
    bootstrap(samples.len(), |draw| {
        let mut chosen: Vec<f64> = draw.iter().map(|i| samples[*i]).collect();
        median_in_place(&mut chosen)
    })
}

/// A ratio with its interval: 95 %, where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// Its interval, low end first.
    pub ci: (f64, f64),
}

impl Ratio {
    /// Whether it cannot be told from 1: the interval holds 1, or the ratio is within `band` of it.
    pub fn is_tie(&self, band: f64) -> bool {
        (self.ci.0 <= 1.0 && 1.0 <= self.ci.1) || (self.value - 1.0).abs() <= band
    }

    /// Whether it is above 1 beyond doubt.
    pub fn is_above(&self, band: f64) -> bool {
        self.value > 1.0 && !self.is_tie(band)
    }

    /// 1 over it.
    pub fn inverse(&self) -> Ratio {
        Ratio { value: 1.0 / self.value, ci: (1.0 / self.ci.1, 1.0 / self.ci.0) }
    }

    /// It over another one that was measured independently: how far either's interval reaches, in logarithms, adds up by squares (Zou
    /// and Donner 2008, for differences).
    pub fn over(&self, other: &Ratio) -> Ratio {
        let below = (self.value / self.ci.0).ln().hypot((other.ci.1 / other.value).ln());
        let above = (self.ci.1 / self.value).ln().hypot((other.value / other.ci.0).ln());
        let value = self.value / other.value;
        Ratio { value, ci: (value * (-below).exp(), value * above.exp()) }
    }
}

/// The median of a/b over pairs, with the bootstrap interval over pairs. `None` of nothing.
pub fn paired_ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let ratios: Vec<f64> = pairs.iter().map(|(a, b)| a / b).collect();
    let value = median(&ratios)?;
    median_ci(&ratios).map(|ci| Ratio { value, ci })
}

/// Of comparisons that are called different, so many are of what is the same: of a hundred one.
///
/// A sweep makes hundreds of comparisons, so one in twenty would be too many.
const FALSE_ALARMS: f64 = 0.01;

/// Pairs that an interval is computed of, whatever a store has: it takes memory by their square.
const MOST_PAIRS: usize = 1000;

/// The ratio a/b of pairs that were each taken anew, with its 99 % interval: the Hodges-Lehmann estimate of the centre of the ratios'
/// logarithms and the interval that inverts Wilcoxon's signed-rank test (Hodges and Lehmann 1963). It is exact for whatever
/// distribution, as long as a ratio is as likely as its inverse where there is no difference, which taking turns sees to.
/// Of eight pairs or fewer the interval is all of their range; of more than a thousand only so many count. `None` of nothing.
pub fn signed_rank_ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let logs: Vec<f64> = pairs.iter().take(MOST_PAIRS).map(|(a, b)| (a / b).ln()).collect();
    let mut means: Vec<f64> =
        (0..logs.len()).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| f64::midpoint(logs[i], logs[j])).collect();
    means.sort_by(f64::total_cmp);
    // The quantile's own value is the first that the test accepts, counted from 1.
    let out = signed_rank_quantile(logs.len(), FALSE_ALARMS / 2.0).saturating_sub(1);
    let (low, high) = (*means.get(out)?, *means.get(means.len().checked_sub(out + 1)?)?);
    Some(Ratio { value: median(&means)?.exp(), ci: (low.exp(), high.exp()) })
}

/// How many values, from 0 up, the sum of the positive ranks of `n` has with a probability of no more than `share`.
fn signed_rank_quantile(n: usize, share: f64) -> usize {
    // The distribution of the sum: each rank is in it or not, with even chances.
    let mut chance = vec![1.0];
    for rank in 1..=n {
        let mut next = vec![0.0; chance.len() + rank];
        for (sum, p) in chance.iter().enumerate() {
            next[sum] += p / 2.0;
            next[sum + rank] += p / 2.0;
        }
        chance = next;
    }
    let mut below = 0.0;
    chance
        .iter()
        .take_while(|p| {
            below += **p;
            below <= share
        })
        .count()
}

/// The ratio of the median of `a` to that of `b`, which were taken apart, each in one or more processes: the interval resamples
/// each side by itself, and also reaches to the ratio of every process's median of `a` to every one's of `b`. `None` of nothing.
pub fn ratio_apart(a: &[Vec<f64>], b: &[Vec<f64>]) -> Option<Ratio> {
    let Ratio { value, mut ci } = pooled_ratio(&[Place::Apart(&a.concat(), &b.concat())])?;
    for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
        let ratio = median(a)? / median(b)?;
        ci = (ci.0.min(ratio), ci.1.max(ratio));
    }
    Some(Ratio { value, ci })
}

/// Pairs, as many from each of so many processes, one after another.
pub type Pairs<'a> = (&'a [(f64, f64)], usize);

/// One place where two things were measured, such as a shape.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In pairs.
    Paired(Pairs<'a>),
    /// Each in pairs with a third one.
    Through([Pairs<'a>; 2]),
    /// Each by itself.
    Apart(&'a [f64], &'a [f64]),
}

impl Place<'_> {
    /// The ratio of a resample, or of the samples themselves without a generator.
    fn ratio(&self, random: Option<&mut Random>) -> Option<f64> {
        let of = |samples: &[f64], random: &mut Random| {
            let mut chosen: Vec<f64> = (0..samples.len()).map(|_| samples[random.below(samples.len())]).collect();
            median_in_place(&mut chosen)
        };
        match (self, random) {
            (Place::Through([one, other]), mut random) => {
                let one = Place::Paired(*one).ratio(random.as_deref_mut())?;
                Some(one / Place::Paired(*other).ratio(random)?)
            }
            (Place::Paired((pairs, processes)), random) => {
                let ratios: Vec<f64> = pairs.iter().map(|(a, b)| a / b).collect();
                let Some(random) = random else { return median(&ratios) };
                // Processes are drawn first, then pairs of each: what a process has of its own is in all of its pairs.
                let of_process: Vec<&[f64]> = ratios.chunks(ratios.len().div_ceil((*processes).max(1)).max(1)).collect();
                let mut chosen = Vec::with_capacity(ratios.len());
                for _ in 0..of_process.len() {
                    let mine = of_process[random.below(of_process.len())];
                    chosen.extend((0..mine.len()).map(|_| mine[random.below(mine.len())]));
                }
                median_in_place(&mut chosen)
            }
            (Place::Apart(a, b), None) => Some(median(a)? / median(b)?),
            (Place::Apart(a, b), Some(random)) => Some(of(a, random)? / of(b, random)?),
        }
    }
}

/// The ratio a/b, geometrically averaged over places; the interval resamples each place by itself.
/// `None` of nothing.
pub fn pooled_ratio(places: &[Place]) -> Option<Ratio> {
    weighted_ratio(&places.iter().map(|place| (*place, 1.0)).collect::<Vec<_>>())
}

/// As [`pooled_ratio`], of places that count by their weights.
pub fn weighted_ratio(places: &[(Place, f64)]) -> Option<Ratio> {
    let whole: f64 = places.iter().map(|p| p.1).sum();
    if places.is_empty() || whole <= 0.0 {
        return None;
    }
    let mean = |random: &mut Option<Random>| {
        let logs = places.iter().map(|(place, weight)| place.ratio(random.as_mut()).map(|r| weight * r.ln())).sum::<Option<f64>>()?;
        Some((logs / whole).exp())
    };
    let value = mean(&mut None)?;
    let mut random = Some(Random::new(SEED));
    let mut means: Vec<f64> = (0..RESAMPLES).filter_map(|_| mean(&mut random)).collect();
    percentiles(&mut means).map(|ci| Ratio { value, ci: (ci.0.min(value), ci.1.max(value)) })
}

/// The 2.5 % and 97.5 % percentiles of a statistic over resamples of `n` indices.
fn bootstrap(n: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    let mut random = Random::new(SEED);
    let mut draw = vec![0; n];
    let mut values = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        draw.iter_mut().for_each(|i| *i = random.below(n));
        values.extend(statistic(&draw));
    }
    let whole: Vec<usize> = (0..n).collect();
    let centre = statistic(&whole)?;
    // Few samples can leave the percentiles on one side of the statistic itself.
    percentiles(&mut values).map(|(low, high)| (low.min(centre), high.max(centre)))
}

fn percentiles(values: &mut [f64]) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len().checked_sub(1)?) as f64 * share).round() as usize).copied();
    Some((at(0.025)?, at(0.975)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(1.0f64..1e9, 1..40)
    }

    proptest! {
        #[test]
        fn the_median_lies_within_its_interval_and_the_samples(s in samples()) {
            let m = median(&s).expect("a median");
            let (low, high) = median_ci(&s).expect("an interval");
            let min = s.iter().copied().fold(f64::MAX, f64::min);
            let max = s.iter().copied().fold(f64::MIN, f64::max);
            prop_assert!(min <= low && low <= m && m <= high && high <= max);
        }

        #[test]
        fn order_does_not_matter_and_scale_carries_through(mut s in samples(), factor in 0.01f64..100.0) {
            let (m, spread) = (median(&s), mad(&s));
            s.reverse();
            prop_assert_eq!((median(&s), mad(&s)), (m, spread));
            let scaled: Vec<f64> = s.iter().map(|x| x * factor).collect();
            let (got, want) = (median(&scaled).expect("a median"), m.expect("a median") * factor);
            prop_assert!((got - want).abs() <= 1e-9 * want);
        }

        #[test]
        fn half_of_the_samples_are_on_each_side(s in samples()) {
            let m = median(&s).expect("a median");
            prop_assert!(s.iter().filter(|x| **x <= m).count() * 2 >= s.len());
            prop_assert!(s.iter().filter(|x| **x >= m).count() * 2 >= s.len());
        }

        #[test]
        fn a_thing_against_itself_is_a_tie(s in samples()) {
            let pairs: Vec<_> = s.iter().map(|x| (*x, *x)).collect();
            prop_assert_eq!(paired_ratio(&pairs), Some(Ratio { value: 1.0, ci: (1.0, 1.0) }));
            prop_assert_eq!(signed_rank_ratio(&pairs), Some(Ratio { value: 1.0, ci: (1.0, 1.0) }));
            for place in [Place::Apart(&s, &s), Place::Paired((&pairs, 1)), Place::Paired((&pairs, 3))] {
                let r = pooled_ratio(&[place]).expect("a ratio");
                prop_assert!(r.value == 1.0 && r.is_tie(0.0));
            }
        }

        #[test]
        fn a_steady_factor_is_found_whatever_the_drift(s in samples(), factor in 1.1f64..3.0) {
            let pairs: Vec<_> = s.iter().map(|x| (*x * factor, *x)).collect();
            let r = paired_ratio(&pairs).expect("a ratio");
            prop_assert!((r.value - factor).abs() < 1e-9 && !r.is_tie(0.02));
            prop_assert!((r.inverse().value * factor - 1.0).abs() < 1e-9);
            let pooled = pooled_ratio(&[Place::Paired((&pairs, 1)), Place::Paired((&pairs, 2))]).expect("a ratio");
            prop_assert!((pooled.value - factor).abs() < 1e-9);
        }

        #[test]
        fn the_same_samples_give_the_same_interval(s in samples()) {
            prop_assert_eq!(median_ci(&s), median_ci(&s));
        }
    }

    #[test]
    fn signed_ranks_have_the_quantiles_of_the_tables() {
        // Two-sided 1 %: critical values of tables are one less than the number of sums at or below them.
        for (n, critical) in [(8, 0), (10, 3), (12, 7), (15, 15), (20, 37), (25, 68), (30, 109)] {
            assert_eq!(signed_rank_quantile(n, 0.005), critical + 1, "{n}");
        }
        assert_eq!(signed_rank_quantile(7, 0.005), 0);
        // Of eight the interval is their range, of ten it begins at the fourth mean.
        let pairs = |n: i32| (1..=n).map(|i| (f64::from(i * i).exp2(), 1.0)).collect::<Vec<_>>();
        let low = |n| signed_rank_ratio(&pairs(n)).expect("a ratio").ci.0.log2();
        assert!((low(8) - 1.0).abs() < 1e-9 && (low(10) - 5.0).abs() < 1e-9, "{} {}", low(8), low(10));
    }

    #[test]
    fn one_pair_in_twenty_that_was_disturbed_changes_little() {
        let mut pairs: Vec<(f64, f64)> = (0..20).map(|i| (1.03 + 0.001 * f64::from(i % 5), 1.0)).collect();
        pairs[7] = (9.0, 1.0);
        let ratio = signed_rank_ratio(&pairs).expect("a ratio");
        assert!((1.031..1.034).contains(&ratio.value) && ratio.ci.0 > 1.03 && ratio.ci.1 < 1.04, "{ratio:?}");
    }

    #[test]
    fn equals_are_called_different_once_in_a_hundred_times_and_a_difference_is_found() {
        let mut random = Random::new(5);
        // As noisy as it gets, with a long tail on either side.
        let mut noise = || (f64::from(random.unit()) / 0.2).sinh() * 1e-3;
        let mut found = |shift: f64, n: usize| {
            let is_found = |_: &i32| {
                let pairs: Vec<(f64, f64)> = (0..n).map(|_| ((noise() - noise() + shift).exp(), 1.0)).collect();
                let ci = signed_rank_ratio(&pairs).expect("a ratio").ci;
                ci.0 > 1.0 || ci.1 < 1.0
            };
            (0..1000).filter(is_found).count()
        };
        assert!((1..=20).contains(&found(0.0, 24)), "one in a hundred is ten");
        assert!(found(0.03, 24) > 900);
    }

    #[test]
    fn a_quotient_of_ratios_is_less_sure_than_either() {
        let a = Ratio { value: 1.1, ci: (1.1 / 1.03, 1.1 * 1.04) };
        let b = Ratio { value: 0.9, ci: (0.9 / 1.03, 0.9 * 1.04) };
        let quotient = a.over(&b);
        assert!((quotient.value - 1.1 / 0.9).abs() < 1e-12);
        let reach = 1.03f64.ln().hypot(1.04f64.ln()).exp();
        assert!(
            (quotient.ci.0 * reach / quotient.value - 1.0).abs() < 1e-12 && (quotient.ci.1 / reach / quotient.value - 1.0).abs() < 1e-12
        );
        // Over what is sure, it is as sure as it was.
        let same = a.over(&Ratio { value: 1.0, ci: (1.0, 1.0) });
        assert!((same.ci.0 - a.ci.0).abs() < 1e-12 && (same.ci.1 - a.ci.1).abs() < 1e-12);
    }

    #[test]
    fn through_a_third_one_the_ratio_is_that_of_the_two_ratios() {
        let with = |ratio: f64| (0..24).map(|i| (ratio * (1.0 + 0.01 * f64::from(i % 3 - 1)), 1.0)).collect::<Vec<_>>();
        let (one, other) = (with(1.2), with(1.5));
        let through = pooled_ratio(&[Place::Through([(&one, 3), (&other, 3)])]).expect("a ratio");
        assert!((through.value - 0.8).abs() < 1e-9 && through.ci.0 < 0.8 && through.ci.1 > 0.8, "{through:?}");
    }

    #[test]
    fn apart_the_interval_reaches_to_every_process() {
        let steady = |at: f64| vec![at, at * 1.001, at * 0.999];
        let slower = ratio_apart(&[steady(12.0), steady(13.0)], &[steady(10.0), steady(10.0)]).expect("a ratio");
        assert!(slower.ci.0 < 1.21 && slower.ci.1 > 1.29 && !slower.is_tie(0.02), "{slower:?}");
        let once = ratio_apart(&[steady(12.0), steady(12.0), steady(9.9)], &[steady(10.0)]).expect("a ratio");
        assert!(once.is_tie(0.02) && once.value > 1.1, "{once:?}");
        assert_eq!((ratio_apart(&[], &[steady(1.0)]), ratio_apart(&[vec![]], &[steady(1.0)])), (None, None));
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!((median(&[]), mad(&[]), median_ci(&[]), paired_ratio(&[]), pooled_ratio(&[])), (None, None, None, None, None));
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
    }
}

//! Where few rows end: up to how many the kernel that was chosen for them is not slower than prefill's.
//!
//! Kernels are swept at every shape, whatever class it is of; so the times of both are there for numbers of
//! rows on either side of where the classes meet. What cannot be told apart stays as the classes have it: few rows end
//! within their class only where prefill's kernel is faster beyond the tie band, and go on beyond it only as long as it is
//! slower beyond that band. One row is no matter of either.

use super::way::Way;
use crate::ranking::BAND;
use crate::store::Record;
use kiln_profiles::schema::{Choice, Class};
use std::collections::BTreeMap;

/// The largest M that was measured up to which `few` is to serve, by the times of both at all shapes of each M; `None` if
/// they were not measured, or the smallest M already is `prefill`'s, so that the class's own bound has to do.
pub(super) fn rows(records: &[&Record], few: &Choice, prefill: &Choice) -> Option<usize> {
    let mut logs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for record in records.iter().filter(|r| is_of(r, few)) {
        let same =
            |r: &&&Record| r.config.shape == record.config.shape && is_of(r, prefill) && r.config.problem() == record.config.problem();
        let other = records.iter().find(same).and_then(|r| r.cost());
        if let (Some(m), Some(mine), Some(other)) = (record.config.shape.product_rows(), record.cost(), other) {
            logs.entry(m).or_default().push((mine / other).ln());
        }
    }
    let stays = |(m, logs): &(usize, Vec<f64>)| {
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        if *m <= few.class.m_max() { mean <= BAND.ln_1p() } else { mean < -BAND.ln_1p() }
    };
    logs.into_iter().filter(|(m, _)| Class::of_rows(*m) != Class::Decode).take_while(stays).last().map(|(m, _)| m)
}

/// Whether it is a time of that choice.
fn is_of(record: &Record, choice: &Choice) -> bool {
    record.config.threads == choice.threads && Way::at(choice, record.config.shape).is_of(&record.config) && record.cost().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;
    use kiln_profiles::schema::{Class, Tier};

    fn choice(kernel: &str, class: Class) -> Choice {
        let blocking = record("a", "8x8x8", &[1.0]).config.blocking.map(Into::into);
        let unmeasured = Choice::unmeasured(("gemm", "f32", class), (kernel.into(), String::new()), String::new(), "");
        Choice { blocking, tier: Tier::Measured, ..unmeasured }
    }

    #[test]
    fn few_rows_end_where_the_other_kernel_is_faster() {
        let records = [
            record("few", "4x64x64", &[10.0]),
            record("many", "4x64x64", &[20.0]),
            // Over both shapes few is faster with 16 rows too, though not at each.
            record("few", "16x64x64", &[30.0]),
            record("many", "16x64x64", &[29.0]),
            record("few", "16x99x64", &[20.0]),
            record("many", "16x99x64", &[29.0]),
            record("few", "128x64x64", &[90.0]),
            record("many", "128x64x64", &[80.0]),
            // Beyond that nothing counts any more.
            record("few", "256x64x64", &[90.0]),
            record("many", "256x64x64", &[99.0]),
        ];
        let records: Vec<&Record> = records.iter().collect();
        let (few, many) = (choice("few", Class::Few), choice("many", Class::Prefill));
        assert_eq!(rows(&records, &few, &many), Some(16));
        assert_eq!(rows(&records[..1], &few, &many), None);
        assert_eq!(rows(&records, &many, &few), None);
    }

    /// The number of rows up to which "few" serves, by its time for each M where the other one's is 100.
    fn few_rows(times: &[(usize, f64)]) -> Option<usize> {
        let of = |(m, ns): &(usize, f64)| {
            let shape = format!("{m}x64x64");
            [record("few", &shape, &[*ns]), record("many", &shape, &[100.0])]
        };
        let records: Vec<Record> = times.iter().flat_map(of).collect();
        rows(&records.iter().collect::<Vec<_>>(), &choice("few", Class::Few), &choice("many", Class::Prefill))
    }

    #[test]
    fn within_the_tie_band_rows_stay_where_the_classes_have_them() {
        assert_eq!(few_rows(&[(4, 101.5), (16, 101.9), (128, 99.0)]), Some(16));
        assert_eq!(few_rows(&[(4, 99.0), (16, 103.0), (24, 90.0)]), Some(4));
        assert_eq!(few_rows(&[(4, 99.0), (64, 97.0), (128, 98.5), (256, 50.0)]), Some(64));
    }

    #[test]
    fn one_row_ends_nothing() {
        assert_eq!(few_rows(&[(1, 200.0), (4, 50.0), (64, 200.0)]), Some(4));
        assert_eq!(few_rows(&[(1, 50.0)]), None);
    }

    #[test]
    fn an_older_choice_that_names_no_spin_is_of_the_usual() {
        let shared = |kernel: &str| {
            let mut record = record(kernel, "4x64x64", &[10.0]);
            (record.config.threads, record.config.spin) = (2, Some(kiln_kernels::team::DEFAULT_SPIN));
            record
        };
        let records = [shared("few"), shared("many")];
        let of = |kernel, class| Choice { threads: 2, ..choice(kernel, class) };
        assert_eq!(rows(&records.iter().collect::<Vec<_>>(), &of("few", Class::Few), &of("many", Class::Prefill)), Some(4));
    }
}

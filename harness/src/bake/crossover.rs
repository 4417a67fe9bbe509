//! Where few rows end: up to how many the kernel that was chosen for them is not slower than prefill's.
//!
//! Kernels are swept at every shape, whatever class it is of; so the times of both are there for numbers of
//! rows on either side of where the classes meet.

use super::choose::Way;
use crate::store::Record;
use kiln_profiles::schema::Choice;
use std::collections::BTreeMap;

/// The largest M up to which `few` takes no longer than `prefill`, over all shapes of each M that both were
/// measured at; `None` if there are none.
pub(super) fn rows(records: &[&Record], few: &Choice, prefill: &Choice) -> Option<usize> {
    let mut ratios: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for record in records.iter().filter(|r| is_of(r, few)) {
        let same = |r: &&&Record| is_of(r, prefill) && r.config.problem() == record.config.problem();
        let other = records.iter().find(same).and_then(|r| r.cost());
        if let (Some(m), Some(mine), Some(other)) = (record.config.shape.product_rows(), record.cost(), other) {
            ratios.entry(m).or_default().push(mine / other);
        }
    }
    let not_slower = |ratios: &[f64]| ratios.iter().map(|r| r.ln()).sum::<f64>() <= 0.0;
    ratios.into_iter().take_while(|(_, ratios)| not_slower(ratios)).last().map(|(m, _)| m)
}

/// Whether it is a time of that choice.
fn is_of(record: &Record, choice: &Choice) -> bool {
    let way = Way { kernel: choice.kernel.clone(), blocking: choice.blocking.map(Into::into), split: choice.split, spin: choice.spin };
    record.config.threads == choice.threads && way.is_of(record) && record.cost().is_some()
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
}

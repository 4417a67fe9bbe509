//! Stores in the formats of other tools, and back: T1 and T4 of FAIR auto-tuning, CSV, Parquet. One file a format.
//!
//! A document of T1 or T4 is about one [group](Group): a problem on a machine, with figures of one tier. Nothing is
//! measured, chosen or ranked here, and no figure leaves without its provenance or enters without it.

mod columns;
mod csv;
mod export;
mod files;
mod group;
mod import;
mod parameters;
#[cfg(feature = "parquet")]
mod parquet;
mod t1;
mod t4;

pub use export::{Exported, Format, export};
pub use files::Place;
pub use group::{Group, Wanted};
pub use import::{Imported, import};

#[cfg(test)]
mod tests {
    use crate::store::tests::record;
    use crate::store::{Outcome, Record, Thoroughness};
    use kiln_kernels::registry::{self, Op};
    use kiln_profiles::schema::Tier;

    /// A timed result of a kernel that there is, with everything that a result can have; `scale` makes it another.
    pub(super) fn timed(scale: f64) -> Record {
        let samples: Vec<f64> = [5.0, 5.25, 4.75, 5.1, 5.03].iter().map(|s| s * scale).collect();
        let mut record = record("gemm_f32_scalar", "8x16x32", &samples);
        let is = |m: &registry::Meta| m.op == Op::Gemm && m.format.name() == "f32" && m.isa.name() == "scalar";
        let meta = registry::all().map(|e| e.meta).find(|m| is(m)).expect("a kernel");
        record.config.kernel = meta.name.into();
        record.config.isa = meta.isa.name().into();
        record.config.fingerprint = "b6a9780a086ad869".into();
        record.config.split = Some("2x1".parse().expect("a split"));
        (record.config.split_varied, record.config.spin, record.config.threads) = (true, Some(4000), 2);
        (record.default, record.forced) = (true, true);
        record.effort = Some(Thoroughness::Quick);
        record.outcome = Outcome::timed(&samples, Some("time ran out".into())).expect("samples").drifted(1.25);
        record
    }

    /// The same kernel compared with another, which takes 1 / `ratio` of its time.
    pub(super) fn paired(ratio: f64) -> Record {
        let pairs = [4.0, 5.0, 4.5, 4.25].map(|ns| (1000.0 * ns * ratio, 1000.0 * ns));
        let outcome = Outcome::paired("gemm_f32_other".into(), "default", &pairs, 2).expect("pairs");
        Record { outcome: outcome.with(&timed(1.0).config), ..timed(1.0) }
    }

    /// The same kernel, found to be wrong.
    pub(super) fn invalid(reason: &str) -> Record {
        Record { outcome: Outcome::Invalid { reason: reason.into() }, ..timed(1.0) }
    }

    /// The same kernel, as a model has it.
    pub(super) fn predicted() -> Record {
        let outcome = Outcome::Predicted { cycles: 1234.5, limit: "loads".into() };
        Record { outcome, tier: Tier::Predicted, ..timed(1.0) }
    }
}

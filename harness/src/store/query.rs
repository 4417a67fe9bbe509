//! Which results of a store are meant: by what was run, where, when, and what came of it.

use super::{Outcome, Record};
use crate::filter::Filter;
use crate::space::Shape;
use kiln_profiles::schema::Tier;
use std::time::SystemTime;

/// A choice of results; what is not given means all.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Query {
    /// Operations, instruction sets and formats.
    #[command(flatten)]
    pub filter: Filter,
    /// Kernels whose names contain this
    #[arg(long, value_name = "TEXT")]
    pub kernel: Option<String>,
    /// Shapes, separated by commas: MxNxK, ROWSxCOLS, TOKENSxCONTEXTxHEADSxKVHEADSxDIM [default: all]
    #[arg(long, value_delimiter = ',')]
    pub shape: Vec<Shape>,
    /// Numbers of threads, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "T")]
    pub threads: Vec<usize>,
    /// Machines whose keys contain this; 'here': this one
    #[arg(long, value_name = "TEXT")]
    pub machine: Option<String>,
    /// The tier of the figures: measured, counted or predicted [default: all]
    #[arg(long, value_parser = tier)]
    pub tier: Option<Tier>,
    /// What came of it [default: all]
    #[arg(long)]
    pub result: Option<Kind>,
    /// From then on: 2026-01-31, 2026-01-31T12:00:00Z, or so long ago, as in 7d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<SystemTime>,
    /// Before then, written in the same way
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<SystemTime>,
}

/// What can come of running a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// It was timed by itself.
    Timed,
    /// It was compared with another in pairs.
    Paired,
    /// It was predicted.
    Predicted,
    /// It gave a wrong answer.
    Invalid,
}

impl Query {
    /// Whether a result is meant; `here` is the key of this machine.
    pub fn takes(&self, record: &Record, here: &str) -> bool {
        let config = &record.config;
        let Filter { op, isa, format } = &self.filter;
        (op.is_empty() || op.iter().any(|o| o.name() == config.op))
            && (isa.is_empty() || isa.iter().any(|i| i.name() == config.isa))
            && (format.is_empty() || format.iter().any(|f| f.name() == config.format))
            && self.kernel.as_ref().is_none_or(|text| config.kernel.contains(text))
            && (self.shape.is_empty() || self.shape.contains(&config.shape))
            && (self.threads.is_empty() || self.threads.contains(&config.threads))
            && self.machine.as_ref().is_none_or(|text| if text == "here" { record.machine == here } else { record.machine.contains(text) })
            && self.tier.is_none_or(|tier| record.tier == tier)
            && self.result.is_none_or(|kind| kind == Kind::of(&record.outcome))
            && self.in_time(&record.time)
    }

    fn in_time(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = humantime::parse_rfc3339(time) else { return false };
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }
}

impl Kind {
    fn of(outcome: &Outcome) -> Kind {
        match outcome {
            Outcome::Timed { .. } => Kind::Timed,
            Outcome::Paired { .. } => Kind::Paired,
            Outcome::Predicted { .. } => Kind::Predicted,
            Outcome::Invalid { .. } => Kind::Invalid,
        }
    }
}

fn tier(name: &str) -> Result<Tier, String> {
    let all = [Tier::Measured, Tier::Counted, Tier::Predicted];
    all.into_iter().find(|t| t.name() == name).ok_or_else(|| "no tier: write measured, counted or predicted".into())
}

/// A date, a moment in UTC, or how long ago.
fn moment(text: &str) -> Result<SystemTime, String> {
    let date = || humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok();
    let ago = || humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    let moment = humantime::parse_rfc3339(text).ok().or_else(date).or_else(ago);
    moment.ok_or_else(|| "no time: write 2026-01-31, 2026-01-31T12:00:00Z, or how long ago, as in 7d".into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use kiln_kernels::registry::Op;

    #[test]
    fn every_filter_takes_what_it_names_and_nothing_else() {
        let mut one = record("gemm_f32_avx2_6x2v_u4", "8x8x8", &[1.0]);
        one.time = "2026-03-01T10:00:00Z".into();
        let all = Query::default;
        let takes = |query: Query| query.takes(&one, "this machine");
        assert!(takes(all()));
        for (query, taken) in [
            (Query { filter: Filter { op: vec![Op::Gemm], ..Filter::default() }, ..all() }, true),
            (Query { filter: Filter { op: vec![Op::Softmax], ..Filter::default() }, ..all() }, false),
            (Query { filter: Filter { format: vec![kiln_kernels::format::Format::F16], ..Filter::default() }, ..all() }, false),
            (Query { filter: Filter { isa: vec![kiln_kernels::isa::IsaId::Scalar], ..Filter::default() }, ..all() }, false),
            (Query { kernel: Some("6x2v".into()), ..all() }, true),
            (Query { kernel: Some("6x3v".into()), ..all() }, false),
            (Query { shape: vec!["4x4".parse().expect("a shape"), one.config.shape], ..all() }, true),
            (Query { shape: vec!["4x4".parse().expect("a shape")], ..all() }, false),
            (Query { threads: vec![2, 1], ..all() }, true),
            (Query { threads: vec![2], ..all() }, false),
            (Query { machine: Some("AuthenticAMD".into()), ..all() }, true),
            (Query { machine: Some("here".into()), ..all() }, false),
            (Query { tier: Some(Tier::Measured), ..all() }, true),
            (Query { tier: Some(Tier::Predicted), ..all() }, false),
            (Query { result: Some(Kind::Timed), ..all() }, true),
            (Query { result: Some(Kind::Paired), ..all() }, false),
            (Query { since: moment("2026-03-01").ok(), until: moment("2026-03-02").ok(), ..all() }, true),
            (Query { since: moment("2026-03-01T10:00:01Z").ok(), ..all() }, false),
            (Query { until: moment("2026-03-01T10:00:00Z").ok(), ..all() }, false),
        ] {
            assert_eq!(takes(query.clone()), taken, "{query:?}");
        }
        assert!(Query { machine: Some("here".into()), ..all() }.takes(&one, &one.machine));
    }

    #[test]
    fn times_are_dates_moments_or_so_long_ago() {
        assert_eq!(moment("2026-01-31"), moment("2026-01-31T00:00:00Z"));
        assert!(moment("7d").expect("a time") < moment("1h").expect("a time"));
        for wrong in ["yesterday", "31.1.2026", "2026-13-01", ""] {
            assert!(moment(wrong).is_err_and(|e| e.contains("2026-01-31")), "{wrong}");
        }
    }
}

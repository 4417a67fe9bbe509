//! Whether a kernel got slower, from two sessions' figures. It measures nothing.
//!
//! Times: slower only where the whole interval of the ratio lies beyond 1 by more than either session's noise floor and than
//! the band of ties. Instructions have no noise to speak of: more of them by more than a tolerance is slower.

use super::counts::Counter;
use super::{Baseline, Figures, Row, Wanted};
use crate::measure::statistics::{Ratio, ratio_apart};
use crate::peers::Task;
use crate::ranking;
use crate::space::{Shape, Temperature};
use crate::store::Config;
use anyhow::{bail, ensure};
use kiln_profiles::schema::Tier;
use serde::Serialize;

/// What became of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It takes longer, or more instructions.
    Slower,
    /// It cannot be told apart from what it was.
    Same,
    /// It takes less.
    Faster,
    /// There is nothing to compare it with.
    NotInBaseline,
    /// The baseline is of another machine, which runs what this one does not.
    MachineDiffers,
}

impl Verdict {
    /// By the ratio of now to before, and what it must at least differ from 1 by.
    pub fn of(ratio: Ratio, band: f64) -> Verdict {
        match ratio.ci {
            (low, _) if low > 1.0 + band => Verdict::Slower,
            (_, high) if high < 1.0 / (1.0 + band) => Verdict::Faster,
            _ => Verdict::Same,
        }
    }

    /// The word of tables.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Slower => "SLOWER",
            Verdict::Same => "same",
            Verdict::Faster => "faster",
            Verdict::NotInBaseline => "not in baseline",
            Verdict::MachineDiffers => "machine differs",
        }
    }
}

/// One problem, before and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The extents.
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// What is run now, and its parameters.
    pub kernel: String,
    /// What was run before.
    pub kernel_before: Option<String>,
    /// Whether the sources of the kernel are what they were; `None` for another kernel.
    pub same_sources: Option<bool>,
    /// What a call took before.
    pub before: Option<f64>,
    /// What it takes now.
    pub now: f64,
    /// Now over before: above 1 is slower.
    pub ratio: Option<f64>,
    /// Its 95 % interval; of counted instructions there is none.
    pub ratio_ci: Option<(f64, f64)>,
    /// What the ratio must at least differ from 1 by, as a fraction.
    pub band: Option<f64>,
    /// The smallest slow-down, as a fraction, that would have been found here: by the width of the interval, and the band.
    pub smallest_regression: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

impl Judged {
    /// One that nothing follows of yet.
    fn unjudged(now: &Row, before: Option<&Row>, verdict: Verdict) -> Judged {
        let same_kernel = before.filter(|b| b.config.kernel == now.config.kernel);
        Judged {
            shape: now.config.shape,
            threads: now.config.threads,
            kernel: now.config.label(),
            kernel_before: before.map(|b| b.config.label()),
            same_sources: same_kernel.map(|b| b.config.fingerprint == now.config.fingerprint),
            before: before.map(|b| b.figures.middle()),
            now: now.figures.middle(),
            ratio: None,
            ratio_ci: None,
            band: None,
            smallest_regression: None,
            verdict,
        }
    }

    /// One of a ratio.
    pub(super) fn by(now: &Row, before: &Row, ratio: Ratio, band: f64) -> Judged {
        let timed = matches!(now.figures, Figures::Timed { .. });
        Judged {
            ratio: Some(ratio.value),
            ratio_ci: timed.then_some(ratio.ci),
            band: Some(band),
            smallest_regression: Some((1.0 + band) * (ratio.value / ratio.ci.0) - 1.0),
            ..Judged::unjudged(now, Some(before), Verdict::of(ratio, band))
        }
    }

    /// Whether it looks the same only because nothing smaller than a large slow-down could be seen.
    fn is_blind(&self) -> bool {
        self.ratio_ci.is_some() && self.verdict == Verdict::Same && self.smallest_regression.is_some_and(|least| least > BLIND)
    }
}

/// A slow-down of this size must be found, or the machine is too noisy to judge by its clock.
pub const BLIND: f64 = 0.2;

/// A problem of the baseline that was not measured now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Missing {
    /// The extents.
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
}

/// The whole judgement.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// The key of the machine of now.
    pub machine: String,
    /// That of the baseline.
    pub machine_before: String,
    /// When the baseline was made.
    pub time_before: String,
    /// Compiler and flags of now.
    pub compiler: String,
    /// Those of the baseline.
    pub compiler_before: String,
    /// Where the figures come from.
    pub tier: Tier,
    /// What counted, if it was not a clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<Counter>,
    /// Both were run in turn; otherwise the baseline's session is long over.
    pub alternated: bool,
    /// The operation.
    pub op: String,
    /// The format.
    pub format: String,
    /// Hot or cold operands.
    pub operands: Temperature,
    /// What `before` and `now` count: `ns` or `instructions`, of one call.
    pub unit: &'static str,
    /// The largest noise floor of now, as a fraction; none of counted instructions.
    pub noise_floor: Option<f64>,
    /// One for each problem that was measured.
    pub rows: Vec<Judged>,
    /// The smallest slow-down, as a fraction, that would have been found wherever there was something to compare with.
    pub smallest_regression: Option<f64>,
    /// How many got slower.
    pub slower: usize,
    /// How many were measured that the baseline lacks.
    pub not_in_baseline: usize,
    /// How many could not be judged since the baseline is of another machine.
    pub machine_differs: usize,
    /// How many look the same where noise hides even a slow-down by a fifth.
    pub too_noisy: usize,
    /// What the baseline has and was not measured.
    pub not_measured: Vec<Missing>,
}

impl Judgement {
    /// Why it says nothing of whether kernels got slower, where that is so; with `anyway` noise is no reason.
    pub fn nothing_said(&self, anyway: bool) -> Option<String> {
        if self.rows.iter().all(|r| r.ratio.is_none()) {
            return Some(format!(
                "nothing could be judged: {} not in the baseline, {} of another machine, which runs other kernels; write a baseline here \
                 with --write-baseline",
                self.not_in_baseline, self.machine_differs
            ));
        }
        let least = |r: &Judged| r.smallest_regression.unwrap_or(f64::INFINITY);
        let worst = self.rows.iter().filter(|r| r.is_blind()).max_by(|a, b| least(a).total_cmp(&least(b)))?;
        (!anyway).then(|| {
            format!(
                "too noisy to judge: at {} of {} problems a slow-down by {:.0} % would not have been found, at {}, {} thread(s), not even by \
                 {:.0} %; stop what else runs, have instructions counted with --counts, or take it as it is with --force",
                self.too_noisy,
                self.rows.len(),
                100.0 * BLIND,
                worst.shape,
                worst.threads,
                100.0 * least(worst)
            )
        })
    }
}

/// Refuses a baseline that figures of this kind cannot be judged by, before anything is measured.
///
/// # Errors
/// If it is of another tier, operation, format or temperature, or of nothing that is wanted; or, of times, of another machine.
pub fn comparable(before: &Baseline, wanted: &Wanted, counter: Option<Counter>, machine: &str) -> anyhow::Result<()> {
    let Wanted { task, operands, .. } = *wanted;
    let (of, temperature) = before.of()?;
    ensure!(
        of == task,
        "the baseline is of {} {}, not of {} {}: give the one that was written for it",
        of.format,
        of.op,
        task.format,
        task.op
    );
    ensure!(
        temperature == operands,
        "the baseline is of {} operands: {} --cold",
        temperature.name(),
        if operands == Temperature::Cold { "leave out" } else { "add" }
    );
    ensure!(
        wanted.at.iter().any(|(shape, threads)| before.row(*shape, *threads).is_some()),
        "nothing that is asked for is in the baseline, so there is nothing to judge by: leave --sizes and --threads out, or write a new one"
    );
    match (before.counter, counter) {
        (Some(was), Some(is)) => {
            ensure!(was == is, "the baseline was counted by {was}, which counts otherwise than {is}: ask for --counts {was}")
        }
        (None, None) => ensure!(
            before.machine == machine,
            "the baseline was measured on another machine ({}, and this is {machine}), whose clock says nothing of this one: \
             write a baseline here with --write-baseline, or have instructions counted with --counts, then and now",
            before.machine
        ),
        (Some(was), None) => bail!("the baseline is of tier counted, and this run would be measured: ask for --counts {was}"),
        (None, Some(_)) => {
            bail!("the baseline is of tier measured, and this run is counted: leave --counts out, or write a baseline with it")
        }
    }
    Ok(())
}

/// Judges one session by another; `tolerance` is for counted instructions, as a fraction.
///
/// # Errors
/// If nothing was measured.
pub fn judge(before: &Baseline, now: &Baseline, tolerance: f64) -> anyhow::Result<Judgement> {
    let rows = now.rows.iter().map(|row| {
        let Some(was) = before.row(row.config.shape, row.config.threads) else {
            return Judged::unjudged(row, None, Verdict::NotInBaseline);
        };
        if before.machine != now.machine && !same_code_path(&was.config, &row.config) {
            return Judged::unjudged(row, Some(was), Verdict::MachineDiffers);
        }
        match ratio(&row.figures, &was.figures) {
            Some(ratio) => Judged::by(row, was, ratio, band(&row.figures, &was.figures, tolerance)),
            None => Judged::unjudged(row, Some(was), Verdict::NotInBaseline),
        }
    });
    judgement(before, now, rows.collect(), false)
}

/// Puts it together.
pub(super) fn judgement(before: &Baseline, now: &Baseline, rows: Vec<Judged>, alternated: bool) -> anyhow::Result<Judgement> {
    let count = |verdict| rows.iter().filter(|r| r.verdict == verdict).count();
    let at = |r: &Row| Missing { shape: r.config.shape, threads: r.config.threads };
    let not_measured = before.rows.iter().map(at).filter(|m| now.row(m.shape, m.threads).is_none()).collect();
    let (Task { op, format }, operands) = now.of()?;
    Ok(Judgement {
        machine: now.machine.clone(),
        machine_before: before.machine.clone(),
        time_before: before.time.clone(),
        compiler: format!("{}, {}", now.compiler, now.flags),
        compiler_before: format!("{}, {}", before.compiler, before.flags),
        tier: now.tier,
        counter: now.counter,
        alternated,
        op: op.name().into(),
        format: format.name().into(),
        operands,
        unit: if now.tier == Tier::Counted { "instructions" } else { "ns" },
        noise_floor: now.noise_floor(),
        smallest_regression: rows.iter().filter_map(|r| r.smallest_regression).max_by(f64::total_cmp),
        slower: count(Verdict::Slower),
        not_in_baseline: count(Verdict::NotInBaseline),
        machine_differs: count(Verdict::MachineDiffers),
        too_noisy: rows.iter().filter(|r| r.is_blind()).count(),
        not_measured,
        rows,
    })
}

/// Whether two machines ran the same: kernels may have changed, but not which, nor how the problem was cut up.
pub(super) fn same_code_path(one: &Config, other: &Config) -> bool {
    let way = |c: &Config| (c.kernel.clone(), c.tile, c.blocking, c.split, c.spin);
    way(one) == way(other)
}

/// Now over before. `None` of nothing, or of figures of two kinds.
fn ratio(now: &Figures, before: &Figures) -> Option<Ratio> {
    match (now, before) {
        (Figures::Counted { instructions: now, .. }, Figures::Counted { instructions: before, .. }) => {
            Some(Ratio { value: now / before, ci: (now / before, now / before) })
        }
        (
            Figures::Timed { samples_ns: now, median_ns, ci_ns, .. },
            Figures::Timed { samples_ns: before, median_ns: median_before, ci_ns: ci_before, .. },
        ) => {
            if now.is_empty() || before.is_empty() {
                return Some(Ratio { value: median_ns / median_before, ci: (ci_ns.0 / ci_before.1, ci_ns.1 / ci_before.0) });
            }
            ratio_apart(now, before)
        }
        _ => None,
    }
}

fn band(now: &Figures, before: &Figures, tolerance: f64) -> f64 {
    match now {
        Figures::Counted { .. } => tolerance,
        Figures::Timed { .. } => now.noise_floor().max(before.noise_floor()).max(ranking::BAND),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{counted, timed};
    use super::*;
    use crate::peers::Choice;
    use kiln_kernels::format::Format;
    use kiln_kernels::registry::Op;

    const GEMM: Task = Task { op: Op::Gemm, format: Format::F32 };

    fn verdict(before: &Baseline, now: &Baseline) -> Verdict {
        judge(before, now, 0.005).expect("a judgement").rows[0].verdict
    }

    #[test]
    fn the_interval_must_leave_the_band_behind() {
        let of = |low: f64, high: f64| Verdict::of(Ratio { value: (low + high) / 2.0, ci: (low, high) }, 0.05);
        assert_eq!([of(1.06, 1.2), of(1.04, 1.9), of(0.9, 1.1), of(0.5, 0.96), of(0.5, 0.94)], {
            use Verdict::*;
            [Slower, Same, Same, Same, Faster]
        });
    }

    #[test]
    fn times_are_judged_by_their_intervals_and_the_larger_noise_floor() {
        let before = timed("8x8x8", 1000.0);
        assert_eq!(verdict(&before, &timed("8x8x8", 1100.0)), Verdict::Slower);
        assert_eq!(verdict(&before, &timed("8x8x8", 1015.0)), Verdict::Same);
        assert_eq!(verdict(&before, &timed("8x8x8", 900.0)), Verdict::Faster);
        for noisy_before in [true, false] {
            let (mut before, mut now) = (before.clone(), timed("8x8x8", 1100.0));
            let noisy = if noisy_before { &mut before } else { &mut now };
            if let Figures::Timed { noise_floor, .. } = &mut noisy.rows[0].figures {
                *noise_floor = 0.2;
            }
            assert_eq!(verdict(&before, &now), Verdict::Same);
        }
    }

    #[test]
    fn one_process_that_was_as_fast_as_before_is_enough_to_doubt() {
        let mut now = timed("8x8x8", 1200.0);
        let ns = 1200.0;
        now.rows[0].figures = Figures::timed(&[vec![ns; 5], vec![ns; 5], vec![1000.0; 5]], 0.01).expect("samples");
        assert_eq!(verdict(&timed("8x8x8", 1000.0), &now), Verdict::Same);
    }

    #[test]
    fn without_samples_median_and_interval_decide() {
        let mut before = timed("8x8x8", 1000.0);
        before.rows[0].figures = Figures::Timed { samples_ns: Vec::new(), median_ns: 1000.0, ci_ns: (900.0, 1050.0), noise_floor: 0.0 };
        assert_eq!(verdict(&before, &timed("8x8x8", 1100.0)), Verdict::Slower);
        assert_eq!(verdict(&before, &timed("8x8x8", 1060.0)), Verdict::Same);
    }

    #[test]
    fn instructions_are_judged_by_the_tolerance() {
        let before = counted("8x8x8", 1000.0);
        assert_eq!(verdict(&before, &counted("8x8x8", 1006.0)), Verdict::Slower);
        assert_eq!(verdict(&before, &counted("8x8x8", 1004.0)), Verdict::Same);
        assert_eq!(verdict(&before, &counted("8x8x8", 990.0)), Verdict::Faster);
        let judged = judge(&before, &counted("8x8x8", 1020.0), 0.03).expect("a judgement");
        assert_eq!((judged.slower, judged.rows[0].verdict, judged.rows[0].ratio_ci, judged.unit), (0, Verdict::Same, None, "instructions"));
    }

    #[test]
    fn what_is_missing_on_either_side_is_told() {
        let mut before = timed("8x8x8", 1000.0);
        before.rows.extend(timed("4x4x4", 10.0).rows);
        let mut now = timed("8x8x8", 1300.0);
        now.rows.extend(timed("5x5x5", 10.0).rows);
        let judged = judge(&before, &now, 0.0).expect("a judgement");
        assert_eq!(judged.rows.iter().map(|r| r.verdict).collect::<Vec<_>>(), [Verdict::Slower, Verdict::NotInBaseline]);
        assert_eq!((judged.slower, judged.not_in_baseline), (1, 1));
        assert_eq!(judged.not_measured, [Missing { shape: "4x4x4".parse().expect("a shape"), threads: 1 }]);
    }

    #[test]
    fn where_noise_hides_large_slow_downs_nothing_is_said_unless_it_is_wanted_all_the_same() {
        let before = timed("8x8x8", 1000.0);
        let quiet = judge(&before, &timed("8x8x8", 1010.0), 0.0).expect("a judgement");
        assert!(quiet.smallest_regression.is_some_and(|least| (0.02..0.05).contains(&least)), "{:?}", quiet.smallest_regression);
        assert_eq!((quiet.too_noisy, quiet.nothing_said(false)), (0, None));
        let noisy = |ns: f64, floor: f64| {
            let mut now = timed("8x8x8", ns);
            if let Figures::Timed { noise_floor, .. } = &mut now.rows[0].figures {
                *noise_floor = floor;
            }
            judge(&before, &now, 0.0).expect("a judgement")
        };
        let judged = noisy(1010.0, 0.3);
        let why = judged.nothing_said(false).expect("a reason");
        assert!(judged.too_noisy == 1 && why.contains("too noisy") && why.contains("8x8x8, 1 thread(s), not even by 30 %"), "{why}");
        assert_eq!(judged.nothing_said(true), None);
        // An interval that is wide hides as much as a floor that is high.
        let mut now = timed("8x8x8", 1000.0);
        now.rows[0].figures = Figures::timed(&[vec![700.0; 5], vec![1000.0; 5], vec![1400.0; 5]], 0.01).expect("samples");
        assert_eq!(judge(&before, &now, 0.0).expect("a judgement").too_noisy, 1);
        // What is found in spite of noise is found.
        assert_eq!((noisy(2000.0, 0.3).slower, noisy(2000.0, 0.3).nothing_said(false)), (1, None));
        assert_eq!(noisy(500.0, 0.3).nothing_said(false), None);
        // Counts have a tolerance, and no noise.
        let counted = judge(&counted("8x8x8", 1000.0), &counted("8x8x8", 1001.0), 0.3).expect("a judgement");
        assert_eq!((counted.smallest_regression, counted.nothing_said(false)), (Some(1.3 - 1.0), None));
    }

    #[test]
    fn where_no_row_can_be_judged_that_is_said() {
        let before = counted("8x8x8", 1000.0);
        let mut now = Baseline { machine: "other".into(), ..counted("8x8x8", 1100.0) };
        now.rows[0].config.blocking = None;
        let judged = judge(&before, &now, 0.0).expect("a judgement");
        assert!(
            judged.nothing_said(true).is_some_and(|why| why.contains("nothing could be judged") && why.contains("1 of another machine"))
        );
        now.rows.extend(counted("8x8x8", 1000.0).rows.into_iter().map(|mut row| {
            row.config.shape = "4x4x4".parse().expect("a shape");
            row
        }));
        let mut before = before;
        before.rows.extend(now.rows[1..].to_vec());
        assert_eq!(judge(&before, &now, 0.0).expect("a judgement").nothing_said(false), None);
    }

    #[test]
    fn another_machine_is_judged_only_where_it_runs_the_same() {
        let before = counted("8x8x8", 1000.0);
        let mut now = Baseline { machine: "other".into(), ..counted("8x8x8", 1100.0) };
        assert_eq!(verdict(&before, &now), Verdict::Slower);
        now.rows[0].config.fingerprint = "01".into();
        let judged = judge(&before, &now, 0.0).expect("a judgement");
        assert_eq!((judged.rows[0].verdict, judged.rows[0].same_sources), (Verdict::Slower, Some(false)));
        now.rows[0].config.blocking = None;
        let judged = judge(&before, &now, 0.0).expect("a judgement");
        assert_eq!((judged.slower, judged.machine_differs, judged.rows[0].ratio), (0, 1, None));
        // On the same machine another kernel is another choice, and judged.
        now.machine = before.machine.clone();
        now.rows[0].config.kernel = "b".into();
        let judged = judge(&before, &now, 0.0).expect("a judgement");
        assert_eq!((judged.slower, judged.rows[0].same_sources), (1, None));
    }

    #[test]
    fn tiers_counters_machines_and_problems_are_never_mixed() {
        let refused_at = |shape: &str, before: &Baseline, task, operands, counter, machine: &str| {
            let at = vec![(shape.parse().expect("a shape"), 1)];
            let wanted = Wanted { task, at, operands, choice: Choice::default() };
            comparable(before, &wanted, counter, machine).err().map(|e| e.to_string()).unwrap_or_default()
        };
        let refused =
            |before: &Baseline, task, operands, counter, machine: &str| refused_at("8x8x8", before, task, operands, counter, machine);
        let (clock, counts) = (timed("8x8x8", 1.0), counted("8x8x8", 1.0));
        let hot = Temperature::Hot;
        assert_eq!(refused(&clock, GEMM, hot, None, "m"), "");
        assert_eq!(refused(&counts, GEMM, hot, Some(Counter::Callgrind), "another"), "");
        assert!(refused(&clock, GEMM, hot, None, "another").contains("--write-baseline"));
        assert!(refused(&clock, GEMM, hot, Some(Counter::Qemu), "m").contains("tier measured"));
        assert!(refused(&counts, GEMM, hot, None, "m").contains("ask for --counts callgrind"));
        assert!(refused(&counts, GEMM, hot, Some(Counter::Qemu), "m").contains("counted by callgrind"));
        assert!(refused(&clock, GEMM, Temperature::Cold, None, "m").contains("leave out --cold"));
        assert!(refused_at("4x4x4", &clock, GEMM, hot, None, "m").contains("nothing that is asked for is in the baseline"));
        assert!(refused(&clock, Task { op: Op::Softmax, ..GEMM }, hot, None, "m").contains("not of f32 softmax"));
    }
}

//! The choice for one operation and class of shapes: the candidate with the lowest time over all of
//! the class's shapes, each counted relative to the best there; and for products a table of shapes where another one is faster.

use super::class::Class;
use super::objective::Objective;
use super::table::{self, Gated, Taken};
use super::way::Way;
use crate::measure::statistics::Ratio;
use crate::space::Shape;
use crate::store::Record;

/// What was chosen and why.
#[derive(Clone, Debug)]
pub(super) struct Chosen<'a> {
    /// The winner's result at the first shape: its configuration.
    pub winner: &'a Record,
    /// The winner over the class.
    pub way: Way,
    /// The best over the class, whether or not it took the default's place.
    pub best: Way,
    /// What takes less than that over the class, if anything does, and its time over that of the best: as good as that at every
    /// shape, but not as simple.
    pub faster: Option<(Way, f64)>,
    /// Time of the default over that of the best, over the class.
    pub behind: Option<f64>,
    /// What runs in its place at some shapes: the first row that holds one has it.
    pub table: Vec<Row<'a>>,
    /// The best way of another kernel.
    pub runner_up: Option<String>,
    /// Time of the runner-up over time of the winner.
    pub margin: Option<Ratio>,
    /// Time of the default over time of what was chosen, if that is another way at some shape.
    pub gain: Option<Ratio>,
    /// The default stayed, because nothing was shown to be faster.
    pub default_stays: bool,
    /// It stayed although another was faster over all shapes, because that one is slower at this.
    pub harmed: Option<Shape>,
    /// Something finer was refused, because it is slower at this shape when it is learnt without: a table with more rows, or
    /// whatever is not the default.
    pub refused: Option<Shape>,
    /// Of what was chosen at any shape, what of its layout takes least over all shapes, what does at each or may do so, and the default:
    /// those at shapes where they were not compared in pairs, which would decide.
    pub open: Vec<(&'a Record, &'a Record)>,
    /// Worst time over the best one's when each shape in turn is held out of the choice.
    pub regret: Option<f64>,
    /// Worst time over the best one's at the shapes that counted.
    pub worst: f64,
    /// The shapes that counted.
    pub shapes: Vec<Shape>,
    /// They counted by how much time a model spends on them.
    pub weighed: bool,
}

/// A row of a table.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// The largest M, N and K, where there are such.
    pub upto: [Option<usize>; 3],
    /// What runs there.
    pub way: Way,
    /// Its result at one of the shapes.
    pub record: &'a Record,
}

/// Chooses among `records`, which are of one operation, class, number of threads and temperature.
/// `allowed` restricts the kernels. `None` if no candidate is left.
pub(super) fn choose<'a>(records: &[&'a Record], allowed: &dyn Fn(&str) -> bool, objective: Objective) -> Option<Chosen<'a>> {
    let class = Class::new(records, allowed, objective)?;
    let (shapes, default): (Vec<usize>, _) = (class.all(), class.default);
    let everyone: Vec<usize> = (0..class.ways.len()).collect();
    let leading = table::leading(&class, &shapes);
    let Taken { best, way: winner, harmed, .. } = table::take(&class, default, &leading, &shapes)?;
    let Gated { rows, refused, regret } = table::learn(&class, winner);
    let served: Vec<(usize, usize)> = table::served(&rows).collect();
    // With one row the winner may have lost its place to the default; with several it is the one that they were split from.
    let winner = if let [only] = rows.as_slice() { only.way } else { winner };
    let default_stays = default.is_some_and(|default| served.iter().all(|(_, way)| *way == default));
    let over_default = |default| served.iter().map(move |(shape, way)| (*shape, default, *way)).collect::<Vec<_>>();
    let gain = default.filter(|_| !default_stays).and_then(|default| class.ratio(&over_default(default)));

    let others: Vec<usize> = everyone.iter().copied().filter(|way| class.ways[*way].kernel != class.ways[winner].kernel).collect();
    let runner_up = class.best(&others, &shapes);
    let margin = runner_up.and_then(|other| class.ratio(&shapes.iter().map(|s| (*s, other, winner)).collect::<Vec<_>>()));
    let mut undecided: Vec<(usize, usize, usize)> = refused.into_iter().collect();
    // The default may have stayed though it is of another layout: then what has its layout may part its shapes.
    let least = class.least(&leading, &shapes);
    let rivals = table::mates(&class, winner);
    for (shape, way) in served.iter().copied() {
        let rival = class.least(&rivals, &[shape]);
        if let Some(default) = default {
            let contenders = [Some(way), Some(best), least, rival, class.least(&leading, &[shape])];
            undecided.extend(contenders.into_iter().flatten().map(|way| (shape, way, default)));
        }
        // What runs at other shapes may be faster here as well.
        undecided.extend(rival.into_iter().chain(served.iter().map(|elsewhere| elsewhere.1)).map(|other| (shape, other, way)));
        // Times alone tell too little of kernels that take about as long.
        let unsure = class.unsure(&rivals, shape, way).into_iter();
        undecided.extend(unsure.map(|other| (shape, other, default.unwrap_or(way))));
    }
    undecided.extend(table::parted(&rows, winner));
    // One comparison of two, whichever is the one and the other.
    let two = |(shape, one, other): &(usize, usize, usize)| (*shape, *one.min(other), *one.max(other));
    undecided.sort_by_key(two);
    undecided.dedup_by_key(|place| two(place));
    let last = rows.len() - usize::from(rows.last().is_some_and(|row| row.way == winner));
    let row =
        |row: &table::Row| Some(Row { upto: row.upto, way: class.ways[row.way].clone(), record: class.at(*row.shapes.first()?, row.way) });
    let over_best = |way: usize| class.mean_ratio(way, best, &shapes);
    Some(Chosen {
        winner: class.at(*shapes.first()?, winner),
        way: class.ways[winner].clone(),
        best: class.ways[best].clone(),
        faster: least.map(|way| (class.ways[way].clone(), over_best(way))).filter(|(_, ratio)| *ratio < 1.0),
        behind: default.map(over_best),
        table: rows[..last].iter().filter_map(row).collect(),
        runner_up: runner_up.map(|way| class.ways[way].kernel.clone()),
        margin,
        gain,
        default_stays,
        harmed: harmed.filter(|_| default_stays).map(|shape| class.shapes[shape]),
        refused: refused.map(|(shape, ..)| class.shapes[shape]),
        open: undecided.into_iter().filter_map(|place| class.open(place)).collect(),
        regret,
        worst: served.iter().map(|(shape, way)| class.over_best(*shape, *way)).fold(1.0, f64::max),
        weighed: class.weighed,
        shapes: class.shapes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;
    use crate::store::{Config, Outcome};
    use kiln_kernels::team::DEFAULT_SPIN;

    fn all(records: &[Record]) -> Chosen<'_> {
        choose(&records.iter().collect::<Vec<_>>(), &|_| true, Objective::Time).expect("a choice")
    }

    #[test]
    fn the_best_over_all_shapes_wins_not_the_best_at_one() {
        let records = [
            record("a", "8x8x8", &[10.0; 5]),
            record("a", "9x9x9", &[10.0; 5]),
            record("b", "8x8x8", &[8.0; 5]),
            record("b", "9x9x9", &[20.0; 5]),
        ];
        let chosen = all(&records);
        assert_eq!((chosen.way.kernel.as_str(), chosen.runner_up.as_deref()), ("a", Some("b")));
        let margin = chosen.margin.expect("a margin");
        assert!((margin.value - 1.6f64.sqrt()).abs() < 1e-9, "{margin:?}");
        // Choosing from one shape alone costs a factor of 2 at the other, or of 1.25.
        assert!(chosen.regret.is_some_and(|regret| (regret - 2.0).abs() < 1e-9), "{:?}", chosen.regret);
    }

    #[test]
    fn the_default_stays_unless_the_gain_is_shown() {
        let mut default = record("d", "8x8x8", &[10.0, 10.4, 9.6]);
        default.default = true;
        let slight = [default.clone(), record("a", "8x8x8", &[9.7, 10.1, 9.3])];
        assert!(all(&slight).default_stays && all(&slight).way.kernel == "d");
        let clear = [default, record("a", "8x8x8", &[5.0, 5.1, 4.9])];
        let chosen = all(&clear);
        assert!(!chosen.default_stays && chosen.way.kernel == "a" && chosen.gain.is_some_and(|g| g.value > 1.9));
    }

    #[test]
    fn what_was_not_compared_in_pairs_is_asked_for_and_harm_at_a_shape_keeps_the_default() {
        let default = |shape: &str| Record { default: true, ..record("d", shape, &[10.0; 5]) };
        let mut records = vec![default("8x8x8"), default("9x9x9"), record("a", "8x8x8", &[5.0; 5]), record("a", "9x9x9", &[9.0; 5])];
        let open = |records: &[Record]| -> Vec<String> { all(records).open.iter().map(|(a, _)| a.config.shape.to_string()).collect() };
        assert_eq!((open(&records), all(&records).way.kernel.as_str()), (vec!["8x8x8".to_owned(), "9x9x9".to_owned()], "a"));
        let mut answer = |shape: &str, ratio: f64| {
            let mut pair = record("a", shape, &[1.0]);
            pair.outcome = Outcome::paired(default(shape).config.label(), "class", &[(10.0 * ratio, 10.0); 9], 3).expect("pairs");
            records.push(pair);
            let chosen = all(&records);
            (chosen.way.kernel.clone(), chosen.harmed.map(|s| s.to_string()), chosen.open.len())
        };
        assert_eq!(answer("8x8x8", 0.5), ("a".into(), None, 1));
        assert_eq!(answer("9x9x9", 1.2), ("d".into(), Some("9x9x9".into()), 0));
    }

    #[test]
    fn a_table_that_is_hardly_ahead_of_the_default_is_not_taken_unless_it_is_far_ahead_at_a_shape() {
        let shapes = ["512x512x512", "512x512x1024", "512x512x2048", "512x512x4096", "512x512x8192", "512x512x16384"];
        let at = |ratio: f64| {
            let default = |shape: &str| Record { default: true, ..record("gemm_f32_scalar_4x4v_u1", shape, &[10.0; 5]) };
            let mut records: Vec<Record> = shapes.iter().map(|shape| default(shape)).collect();
            for (shape, ratio) in shapes.iter().zip([ratio, 1.0, 1.0, 1.0, 1.0, 1.0]) {
                let timed = record("gemm_f32_scalar_2x4v_u1", shape, &[10.0 * ratio; 5]);
                let mut pair = timed.clone();
                pair.outcome = Outcome::paired(default(shape).config.label(), "class", &[(10.0 * ratio, 10.0); 9], 3).expect("pairs");
                records.extend([timed, pair]);
            }
            let chosen = all(&records);
            chosen.default_stays
        };
        assert_eq!([at(0.97), at(0.95)], [true, false]);
    }

    #[test]
    fn candidates_without_all_shapes_do_not_win() {
        let records = [record("a", "8x8x8", &[10.0]), record("a", "9x9x9", &[10.0]), record("b", "8x8x8", &[1.0])];
        assert_eq!(all(&records).way.kernel, "a");
    }

    #[test]
    fn a_shape_that_time_did_not_suffice_for_does_not_count() {
        let mut records = vec![record("d", "8x8x8", &[10.0])];
        for (name, ns) in [("a", 4.0), ("b", 6.0), ("c", 7.0), ("d", 10.0)] {
            records.push(record(name, "9x9x9", &[ns]));
        }
        let chosen = all(&records);
        assert_eq!((chosen.way.kernel.as_str(), chosen.shapes.len()), ("a", 1));
    }

    /// A result on two threads.
    fn shared(shape: &str, split: &str, split_varied: bool, spin: u32, ns: f64) -> Record {
        let mut record = record("a", shape, &[ns; 5]);
        let config = Config { threads: 2, split: split.parse().ok(), split_varied, spin: Some(spin), ..record.config };
        record.config = config;
        record
    }

    #[test]
    fn a_split_wins_at_all_shapes_or_the_computed_one_at_each_and_spins_are_kept() {
        let computed = [("8x8x8", "1x2", "2x1"), ("9x9x9", "2x1", "1x2")];
        let base = |ns: f64| computed.map(|(shape, split, _)| shared(shape, split, false, DEFAULT_SPIN, ns));
        let varied = |ns: [f64; 2]| [0, 1].map(|i| shared(computed[i].0, computed[i].2, true, DEFAULT_SPIN, ns[i]));
        // 1x2 takes 10 where it is computed and 4 where it is not: over both it beats what is computed.
        let records: Vec<Record> = base(10.0).into_iter().chain(varied([10.0, 4.0])).collect();
        let chosen = all(&records);
        assert_eq!((chosen.way.split, chosen.way.spin), ("1x2".parse().ok(), Some(DEFAULT_SPIN)));
        let records: Vec<Record> = base(10.0).into_iter().chain(varied([20.0, 20.0])).collect();
        assert_eq!(all(&records).way.split, None);
        let parked = computed.map(|(shape, split, _)| shared(shape, split, false, 0, 5.0));
        let records: Vec<Record> = base(10.0).into_iter().chain(varied([9.0, 9.0])).chain(parked).collect();
        assert_eq!((all(&records).way.split, all(&records).way.spin), (None, Some(0)));
    }

    #[test]
    fn results_without_split_and_spin_are_of_the_computed_and_the_usual() {
        let mut old = record("a", "8x8x8", &[9.0; 5]);
        old.config.threads = 2;
        let records = [old, shared("9x9x9", "2x1", false, DEFAULT_SPIN, 10.0), shared("9x9x9", "1x2", true, DEFAULT_SPIN, 1.0)];
        let chosen = all(&records);
        assert_eq!((chosen.shapes.len(), chosen.way.split, chosen.way.spin), (2, None, Some(DEFAULT_SPIN)));
    }

    #[test]
    fn where_size_counts_ties_go_to_less_code() {
        let (small, large) = ("gemm_f32_scalar_1x4v_u1", "gemm_f32_scalar_4x4v_u1");
        let mut few_accumulators = record(large, "8x8x8", &[10.0; 5]);
        few_accumulators.config.tile = (1, 1);
        let records = [few_accumulators, record(small, "8x8x8", &[10.05; 5])];
        let records: Vec<&Record> = records.iter().collect();
        let by = |objective| choose(&records, &|_| true, objective).expect("a choice").way.kernel;
        let sizes = crate::bake::Sizes::here().expect("sizes");
        assert_eq!((by(Objective::Time).as_str(), by(Objective::TimeAndSize(sizes)).as_str()), (large, small));
    }

    #[test]
    fn nothing_allowed_gives_nothing() {
        let records = [record("a", "8x8x8", &[10.0])];
        assert!(choose(&records.iter().collect::<Vec<_>>(), &|_| false, Objective::Time).is_none());
    }

    /// Results of a way at several shapes: the kernel's blocking has that KC.
    fn timed(kernel: &str, kc: usize, times: &[(&str, f64)]) -> Vec<Record> {
        let of = |(shape, ns): &(&str, f64)| {
            let mut record = record(kernel, shape, &[*ns; 5]);
            record.config.blocking = Some(crate::store::Blocks(kc, 252, 1024, Default::default()));
            Record { default: kernel == "d", ..record }
        };
        times.iter().map(of).collect()
    }

    const FOUR: [&str; 4] = ["64x512x512", "128x512x512", "64x2048x512", "128x2048x512"];

    /// Those at [`FOUR`].
    fn at_four(kernel: &str, kc: usize, ns: [f64; 4]) -> Vec<Record> {
        timed(kernel, kc, &std::array::from_fn::<_, 4, _>(|i| (FOUR[i], ns[i])))
    }

    /// Results of a default and of two ways of one kernel, each of which is the fastest at two of [`FOUR`].
    fn to_be_parted() -> Vec<Record> {
        [at_four("d", 256, [100.0; 4]), at_four("a", 128, [50.0, 50.0, 80.0, 80.0]), at_four("a", 400, [70.0, 70.0, 60.0, 60.0])].concat()
    }

    /// The bounds and KC of each row of the table.
    fn table(chosen: &Chosen) -> Vec<([Option<usize>; 3], usize)> {
        chosen.table.iter().map(|row| (row.upto, row.way.blocking.map_or(0, |b| b.0))).collect()
    }

    #[test]
    fn a_table_parts_shapes_where_another_way_is_shown_to_be_faster() {
        let records = to_be_parted();
        let chosen = all(&records);
        // Over all shapes KC 128 is the best; between 512 and 2048 columns the other takes over.
        assert_eq!((chosen.way.blocking.map(|b| b.0), chosen.worst), (Some(128), 1.0));
        assert_eq!(table(&chosen), [([None, Some(1024), None], 128), ([None; 3], 400)]);
        assert!(chosen.gain.is_some_and(|g| (g.value - (1.0f64 / (0.5 * 0.6)).sqrt()).abs() < 1e-9), "{:?}", chosen.gain);
        // Whatever two shapes say, they have no table.
        let few: Vec<Record> = records.into_iter().filter(|r| r.config.shape.product_rows() == Some(64)).collect();
        assert_eq!((all(&few).shapes.len(), table(&all(&few)).len()), (2, 0));
    }

    #[test]
    fn of_cuts_that_save_as_much_one_is_taken_that_harms_no_shape_that_it_was_learnt_without() {
        let shapes = ["256x256x256", "512x896x896", "512x896x4864", "512x4864x896", "1024x1024x1024"];
        let of = |kernel: &str, kc: usize, ns: [f64; 5]| timed(kernel, kc, &std::array::from_fn::<_, 5, _>(|i| (shapes[i], ns[i])));
        let (mut records, shallow) = (of("d", 256, [100.0; 5]), of("a", 128, [100.0, 95.0, 104.0, 97.5, 96.0]));
        let mut pair = shallow[2].clone();
        pair.outcome = Outcome::paired(records[2].config.label(), "class", &[(104.0, 100.0); 9], 3).expect("pairs");
        records.extend(shallow.into_iter().chain(of("a", 400, [99.7, 95.2, 97.0, 100.2, 98.7])).chain([pair]));
        // Parted by N they save 0.1 % more than by K; but then the one shape of large K stands among others of which KC 128 is as good.
        let chosen = all(&records);
        assert_eq!(table(&chosen), [([None, None, Some(2231)], 128), ([None; 3], 400)]);
        assert!(!chosen.default_stays && chosen.refused.is_none());
    }

    #[test]
    fn within_the_tie_band_nothing_is_parted() {
        let records = [at_four("a", 128, [100.0, 100.0, 101.5, 101.5]), at_four("a", 400, [101.0, 101.0, 100.0, 100.0])].concat();
        let chosen = all(&records);
        assert_eq!((table(&chosen).len(), chosen.way.blocking.map(|b| b.0)), (0, Some(400)));
        assert!((chosen.worst - 1.01).abs() < 1e-9);
    }

    #[test]
    fn what_is_as_good_at_every_shape_is_a_tie_and_what_only_is_over_all_is_not() {
        // KC 128 comes first where nothing else tells the two apart.
        let slower_by = |percent: [f64; 4]| {
            let records = [at_four("a", 128, percent.map(|p| 100.0 + p)), at_four("a", 400, [100.0; 4])].concat();
            all(&records).way.blocking.map(|b| b.0)
        };
        assert_eq!(slower_by([0.9; 4]), Some(128));
        assert_eq!(slower_by([0.0, 0.0, 0.0, 3.0]), Some(400));
    }

    #[test]
    fn pairs_at_one_shape_show_what_is_faster_where_it_is_slower_at_none() {
        let chosen = |ratios: [f64; 4]| {
            let mut records = [at_four("d", 256, [100.0; 4]), at_four("a", 128, ratios.map(|ratio| 100.0 * ratio))].concat();
            let unpaired = all(&records).open.len();
            let pair = |at: usize| Record {
                outcome: Outcome::paired(records[at].config.label(), "class", &[(100.0 * ratios[at], 100.0); 9], 3).expect("pairs"),
                ..records[4 + at].clone()
            };
            let pairs: Vec<Record> = (0..4).map(pair).collect();
            records.extend(pairs);
            let with = all(&records);
            let rows = with.table.iter().map(|row| row.way.kernel.clone()).collect::<String>();
            (unpaired, with.way.kernel.clone(), rows, with.open.len())
        };
        // Over all shapes it gains less than the band.
        assert_eq!(chosen([0.995, 0.995, 0.995, 0.97]), (4, "a".into(), String::new(), 0));
        assert_eq!(chosen([0.992; 4]), (4, "d".into(), String::new(), 0));
        // What is slower at one loses that to the default, by a row of its own: within the band too, and beyond it.
        assert_eq!(chosen([0.95, 0.95, 0.95, 1.015]), (4, "a".into(), "aad".into(), 0));
        assert_eq!(chosen([0.95, 0.95, 0.95, 1.03]), (4, "d".into(), "aa".into(), 0), "the last row is the default's own");
    }

    #[test]
    fn where_the_best_does_harm_at_a_shape_the_next_best_that_does_none_takes_the_place() {
        let ratios = [("a", 128, [0.8, 0.8, 0.8, 1.05]), ("b", 192, [0.9; 4])];
        let times = ratios.map(|(kernel, kc, ratios)| at_four(kernel, kc, ratios.map(|ratio| 100.0 * ratio)));
        let mut records = [vec![at_four("d", 256, [100.0; 4])], times.to_vec()].concat().concat();
        let pair = |at: usize, ratio: f64| Record {
            outcome: Outcome::paired(records[at % 4].config.label(), "class", &[(100.0 * ratio, 100.0); 9], 3).expect("pairs"),
            ..records[at].clone()
        };
        let pairs = (4..12).map(|at| pair(at, ratios[at / 4 - 1].2[at % 4])).collect::<Vec<_>>();
        records.extend(pairs);
        let chosen = all(&records);
        assert_eq!((chosen.best.kernel.as_str(), chosen.way.kernel.as_str(), chosen.harmed), ("a", "b", None));
    }

    #[test]
    fn what_was_chosen_at_one_shape_is_asked_about_at_all_others() {
        let records = to_be_parted();
        let chosen = all(&records);
        assert_eq!(chosen.table.len(), 2);
        let of_both = |(one, other): &&(&Record, &Record)| one.config.kernel == "a" && other.config.kernel == "a";
        let shapes: std::collections::BTreeSet<Shape> = chosen.open.iter().filter(of_both).map(|(one, _)| one.config.shape).collect();
        assert_eq!(shapes.len(), 4);
    }

    #[test]
    fn kernels_that_are_about_as_fast_by_their_times_are_asked_about_at_each_shape_unless_one_of_their_ways_was() {
        let near = |kernel: &str, kc: usize, ratio: f64| at_four(kernel, kc, [100.0 * ratio; 4]);
        let mut records =
            [near("d", 256, 1.0), near("a", 128, 0.98), near("b", 128, 1.02), near("b", 400, 1.04), near("c", 128, 1.08)].concat();
        let asked = |records: &[Record]| -> Vec<(String, usize)> {
            let chosen = all(records);
            assert!(chosen.open.iter().all(|(one, other)| one.default || other.default));
            let others = chosen.open.iter().map(|(one, other)| if one.default { other } else { one });
            let mut kernels: Vec<(String, usize)> = Vec::new();
            for other in others.map(|other| (other.config.kernel.clone(), other.config.blocking.map_or(0, |b| b.0))) {
                kernels.extend((!kernels.contains(&other)).then_some(other));
            }
            kernels
        };
        assert_eq!(asked(&records), [("a".to_owned(), 128), ("b".to_owned(), 128)], "c is too far behind");
        let of_other = records.iter().filter(|r| r.config.kernel == "b" && r.config.blocking.is_some_and(|b| b.0 == 400));
        let label = records[0].config.label();
        let outcome = Outcome::paired(label, "best", &[(104.0, 100.0); 9], 3).expect("pairs");
        let pairs: Vec<Record> = of_other.map(|r| Record { outcome: outcome.clone(), ..r.clone() }).collect();
        records.extend(pairs);
        assert_eq!(asked(&records), [("a".to_owned(), 128)]);
        // Another way of the kernel that is chosen, which was compared itself.
        let outcome = Outcome::paired(records[0].config.label(), "class", &[(90.0, 100.0); 9], 3).expect("pairs");
        let of_chosen = records.iter().filter(|r| r.config.kernel == "a").map(|r| Record { outcome: outcome.clone(), ..r.clone() });
        let pairs: Vec<Record> = of_chosen.chain(near("a", 400, 0.92)).collect();
        records.extend(pairs);
        assert_eq!((all(&records).way.kernel.as_str(), asked(&records)), ("a", vec![("a".to_owned(), 400)]));
    }

    #[test]
    fn a_row_keeps_to_the_layout_and_the_spin_of_its_class() {
        let by_name = |kernel: &str, ns| at_four(kernel, 256, ns);
        let (narrow, wide) = ("gemm_f32_scalar_4x4v_u1", "gemm_f32_scalar_1x4v_u1");
        let other =
            kiln_kernels::registry::all().map(|e| e.meta).find(|m| m.op == kiln_kernels::registry::Op::Gemm && m.layout != "b4v-scalar");
        let other = other.expect("another layout").name;
        let base = by_name(narrow, [50.0, 50.0, 80.0, 80.0]);
        let with = |kernel: &str| [base.clone(), by_name(kernel, [90.0, 90.0, 60.0, 60.0])].concat();
        assert_eq!(all(&with(wide)).table.iter().map(|row| row.way.kernel.as_str()).collect::<Vec<_>>(), [narrow, wide]);
        assert_eq!(all(&with(other)).table.len(), 0);
        let mut spinning = with(wide);
        spinning
            .iter_mut()
            .for_each(|r| (r.config.threads, r.config.spin) = (2, Some(if r.config.kernel == wide { 0 } else { DEFAULT_SPIN })));
        assert_eq!(all(&spinning).table.len(), 0);
    }

    #[test]
    fn another_layout_takes_the_place_of_the_defaults_only_if_it_is_ahead_by_more_than_the_band() {
        let other = "gemm_f32_scalar_4x4v_u1";
        let chosen = |ratio: f64| {
            let records = [at_four("d", 256, [100.0; 4]), at_four("a", 256, [95.0; 4]), at_four(other, 256, [95.0 * ratio; 4])].concat();
            all(&records).way.kernel
        };
        assert_eq!([0.985, 0.97].map(chosen), ["a", other]);
    }

    /// The same on two threads, where the default parks its own: so no row of a table can have it.
    fn parked(mut records: Vec<Record>) -> Vec<Record> {
        records.iter_mut().for_each(|r| (r.config.threads, r.config.spin) = (2, Some(if r.default { 0 } else { DEFAULT_SPIN })));
        records
    }

    #[test]
    fn what_is_learnt_without_a_shape_must_not_be_slower_there_than_the_default() {
        // Beyond 1024 columns KC 400 is the faster. Learnt without the last shape it is slower there than the default: so there
        // is no such row, and KC 128 stays, which is slower than the default nowhere beyond doubt.
        let mut noisy = timed("a", 128, &[(FOUR[0], 50.0), (FOUR[1], 50.0), (FOUR[2], 75.0), (FOUR[3], 81.0)]);
        noisy[3].outcome = Outcome::timed(&[70.0, 75.0, 81.0, 88.0, 95.0], None).expect("samples");
        let records = [at_four("d", 256, [100.0, 100.0, 100.0, 80.0]), noisy, at_four("a", 400, [80.0, 80.0, 40.0, 84.0])];
        let records = parked(records.concat());
        let chosen = all(&records);
        assert_eq!((chosen.table.len(), chosen.way.blocking.map(|b| b.0), chosen.default_stays), (0, Some(128), false));
        assert_eq!(chosen.refused.map(|s| s.to_string()).as_deref(), Some(FOUR[3]));
        assert!(chosen.open.iter().any(|(a, b)| a.config.blocking.map(|b| b.0) == Some(400) && b.default), "pairs are asked for");
    }

    #[test]
    fn where_nothing_else_is_harmless_the_default_stays() {
        let at = |kernel, ns: [f64; 3]| timed(kernel, 128, &[("64x512x512", ns[0]), ("96x512x512", ns[1]), ("128x512x512", ns[2])]);
        let records = [at("d", [100.0; 3]), at("a", [40.0, 40.0, 110.0])].concat();
        // As a row of a table the default may stay where it is the faster.
        let rows = all(&records).table.iter().map(|row| (row.upto[0], row.way.kernel.clone())).collect::<Vec<_>>();
        assert_eq!(rows, [(Some(110), "a".to_owned()), (None, "d".to_owned())]);
        let records = parked(records);
        let chosen = all(&records);
        assert!(chosen.default_stays && chosen.table.is_empty() && chosen.gain.is_none(), "{chosen:?}");
        assert_eq!(chosen.refused.map(|s| s.to_string()).as_deref(), Some("128x512x512"));
    }

    #[test]
    fn a_models_calls_decide_which_shapes_count_and_for_how_much() {
        let model = crate::space::models::find("embedded").expect("a model");
        // Of the model are 256 x 256 and 1536 x 256, four times each; at 512 rows, which 128 stand for.
        let shapes = ["128x256x256", "128x1536x256", "64x1536x256", "128x999x256"];
        let of = |kernel, ns: [f64; 4]| timed(kernel, 128, &std::array::from_fn::<_, 4, _>(|i| (shapes[i], ns[i])));
        let records = [of("a", [10.0, 110.0, 10.0, 10.0]), of("b", [14.0, 100.0, 99.0, 99.0])].concat();
        let records: Vec<&Record> = records.iter().collect();
        let chosen = choose(&records, &|_| true, Objective::EndToEnd(model)).expect("a choice");
        assert_eq!(chosen.shapes.iter().map(|s| s.to_string()).collect::<Vec<_>>(), ["128x256x256", "128x1536x256"]);
        // In all b takes 114 where a takes 120, although by the mean of ratios a is the faster.
        assert!(chosen.weighed && chosen.way.kernel == "b");
        assert_eq!(choose(&records, &|_| true, Objective::Time).expect("a choice").way.kernel, "a");
        // Of a class that it does not call, all count.
        let few = [record("a", "4x256x256", &[1.0]), record("a", "16x99x99", &[1.0])];
        let chosen = choose(&few.iter().collect::<Vec<_>>(), &|_| true, Objective::EndToEnd(model)).expect("a choice");
        assert!(!chosen.weighed && chosen.shapes.len() == 2);
    }
}

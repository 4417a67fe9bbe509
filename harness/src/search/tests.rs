use super::*;
use std::cell::Cell;

/// Candidates whose times are given; a negative one is not valid. Counts samples.
struct Fake {
    times: Vec<f64>,
    sampled: usize,
    verdicts: Vec<(usize, Verdict)>,
    asked: Cell<usize>,
    until: usize,
    /// Looks at the machine that find it changed, by number from 0.
    restless: Vec<usize>,
    looks: usize,
    /// Times that everything becomes slower from look to look.
    slower: f64,
    /// What the look makes of the machine that comes before the first sample.
    opening: f64,
}

impl Sampler for Fake {
    fn samples(&mut self, candidate: usize, count: usize) -> anyhow::Result<Result<Vec<f64>, String>> {
        self.sampled += count;
        // Half way to the next look.
        let time = self.times[candidate] * self.drift() * self.slower.sqrt();
        Ok(if time < 0.0 { Err("wrong".into()) } else { Ok(vec![time; count]) })
    }

    fn finish(&mut self, candidate: usize, verdict: Verdict) -> anyhow::Result<()> {
        self.verdicts.push((candidate, verdict));
        Ok(())
    }

    fn is_steady(&mut self) -> anyhow::Result<bool> {
        self.looks += 1;
        Ok(!self.restless.contains(&(self.looks - 1)))
    }

    fn drift(&self) -> f64 {
        self.slower.powi(self.looks as i32) * if self.sampled > 0 { self.opening } else { 1.0 }
    }

    fn out_of_time(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.asked.get() > self.until
    }
}

impl Fake {
    fn new(times: &[f64], until: usize) -> Fake {
        let (times, asked) = (times.to_vec(), Cell::new(0));
        Fake { times, sampled: 0, verdicts: Vec::new(), asked, until, restless: Vec::new(), looks: 0, slower: 1.0, opening: 1.0 }
    }
}

/// What a search came to.
struct Found {
    order: Order,
    verdicts: Vec<(usize, Verdict)>,
    sampled: usize,
}

impl Found {
    fn known(&self) -> HashMap<usize, Option<f64>> {
        self.verdicts.iter().map(|(c, v)| (*c, v.time())).collect()
    }
}

/// Candidates side by side along one parameter.
fn line(count: usize) -> Landscape {
    Landscape {
        places: (0..count).map(|i| vec![i]).collect(),
        parents: vec![None; count],
        predicted: vec![None; count],
        hopeless: vec![false; count],
    }
}

fn search_in(landscape: &Landscape, strategy: Strategy, times: &[f64], known: HashMap<usize, Option<f64>>, until: usize) -> Found {
    let mut fake = Fake::new(times, until);
    let search = Search { strategy, samples: 8, evaluations: None, seed: 1, known, landscape };
    let order = search.run(&mut fake).expect("an order");
    Found { order, verdicts: fake.verdicts, sampled: fake.sampled }
}

fn search(strategy: Strategy, times: &[f64], known: &[(usize, Option<f64>)], until: usize) -> Found {
    search_in(&line(times.len()), strategy, times, known.iter().copied().collect(), until)
}

/// Those that leave nothing out of a line of candidates.
const WHOLE: [Strategy; 2] = [Strategy::Exhaustive, Strategy::Halving];

#[test]
fn the_fastest_comes_first_and_each_candidate_has_one_verdict() {
    let times = [9.0, 7.0, 3.0, 100.0, 4.0, 5.0, -1.0, 3.5, 8.0, 6.0, 2.0, 11.0];
    for strategy in WHOLE {
        let Found { order, verdicts, .. } = search(strategy, &times, &[], usize::MAX);
        assert_eq!(order.ranking[0], (10, 2.0), "{strategy:?}");
        assert_eq!((order.ranking.len(), order.unmeasured, order.passed_over), (11, 0, 0));
        let mut seen: Vec<_> = verdicts.iter().map(|v| v.0).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
        assert!(verdicts.contains(&(6, Verdict::Invalid("wrong".into()))));
        let full =
            |c| verdicts.iter().any(|v| v.0 == c && matches!(&v.1, Verdict::Timed { samples, dropped: None, .. } if samples.len() == 8));
        assert!(full(10) && full(0), "{strategy:?}");
        assert!(!full(3), "a hopeless one was measured in full by {strategy:?}");
    }
}

#[test]
fn halving_takes_fewer_samples() {
    let times: Vec<f64> = (0..64).map(|i| 10.0 + f64::from(i) / 10.0).collect();
    let [all, half] = WHOLE.map(|strategy| search(strategy, &times, &[], usize::MAX).sampled);
    assert!(half < all, "{half} {all}");
}

#[test]
fn halving_measures_in_full_what_a_few_samples_cannot_tell_from_the_best() {
    let times: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 100.0 + f64::from(i) / 20.0 } else { 120.0 }).collect();
    let found = search(Strategy::Halving, &times, &[], usize::MAX);
    let whole = |(c, verdict): &(usize, Verdict)| matches!(verdict, Verdict::Timed { dropped: None, .. }).then_some(*c);
    let mut whole: Vec<usize> = found.verdicts.iter().filter_map(whole).collect();
    whole.sort_unstable();
    assert_eq!(whole, (0..20).map(|i| 2 * i).collect::<Vec<usize>>());
}

#[test]
fn what_is_known_is_not_measured_again() {
    for strategy in WHOLE {
        let Found { order, verdicts, .. } = search(strategy, &[5.0, 4.0, 3.0], &[(0, Some(5.0)), (2, None)], usize::MAX);
        assert_eq!(verdicts.iter().map(|v| v.0).collect::<Vec<_>>(), [1]);
        assert_eq!(order.ranking, [(1, 4.0), (0, 5.0)]);
    }
}

#[test]
fn when_time_runs_out_the_default_is_there_and_the_rest_is_counted() {
    for strategy in WHOLE {
        let order = search(strategy, &[5.0, 4.0, 3.0, 2.0, 1.0, 6.0], &[], 0).order;
        assert_eq!(order.ranking, [(0, 5.0)], "{strategy:?}");
        assert_eq!(order.unmeasured, 5);
    }
}

#[test]
fn halving_passes_over_what_was_hopeless_at_a_smaller_problem_but_never_the_default() {
    let times = [30.0, 7.0, 3.0, 2.0, 90.0];
    let mut landscape = line(times.len());
    landscape.hopeless = vec![true, false, false, false, true];
    let Found { order, verdicts, .. } = search_in(&landscape, Strategy::Halving, &times, HashMap::new(), usize::MAX);
    let mut measured: Vec<usize> = verdicts.iter().map(|v| v.0).collect();
    measured.sort_unstable();
    assert_eq!((measured, order.passed_over, order.ranking[0]), (vec![0, 1, 2, 3], 1, (3, 2.0)));
    let all = search_in(&landscape, Strategy::Exhaustive, &times, HashMap::new(), usize::MAX);
    assert_eq!(all.order.ranking.len(), times.len());
}

#[test]
fn of_a_list_these_are_measured_and_no_others() {
    let (mut fake, landscape) = (Fake::new(&[5.0, 4.0, 3.0, 2.0, 1.0], usize::MAX), line(5));
    let known = HashMap::from([(0, Some(5.0))]);
    let search = Search { strategy: Strategy::Model, samples: 8, evaluations: None, seed: 1, known, landscape: &landscape };
    let order = search.only(vec![2, 3], &mut fake).expect("an order");
    assert_eq!((order.ranking, order.passed_over), (vec![(3, 2.0), (2, 3.0), (0, 5.0)], 2));
}

#[test]
fn what_is_measured_beside_a_search_is_left_as_soon_as_it_is_told_apart_from_the_best() {
    let (mut fake, landscape) = (Fake::new(&[100.0, 103.0, 108.0, 115.0], usize::MAX), line(4));
    let known = HashMap::from([(0, Some(100.0))]);
    let search = Search { strategy: Strategy::Halving, samples: 8, evaluations: None, seed: 1, known, landscape: &landscape };
    search.only(vec![1, 2, 3], &mut fake).expect("an order");
    let samples = fake.verdicts.iter().map(|(c, verdict)| match verdict {
        Verdict::Timed { samples, dropped, .. } => (*c, samples.len(), dropped.is_some()),
        Verdict::Invalid(why) => panic!("{why}"),
    });
    assert_eq!(samples.collect::<Vec<_>>(), [(1, 8, false), (2, 6, true), (3, 2, true)]);
}

#[test]
fn the_first_that_is_measured_counts_for_what_the_look_before_it_says() {
    let (times, landscape) = ([100.0, 101.0], line(2));
    let known = HashMap::from([(0, Some(100.0))]);
    for strategy in WHOLE {
        let mut fake = Fake { opening: 1.08, ..Fake::new(&times, usize::MAX) };
        let search = Search { strategy, samples: 8, evaluations: None, seed: 1, known: known.clone(), landscape: &landscape };
        match strategy {
            Strategy::Exhaustive => search.only(vec![1], &mut fake),
            _ => search.run(&mut fake),
        }
        .expect("an order");
        let (candidate, verdict) = &fake.verdicts[0];
        assert!(*candidate == 1 && matches!(verdict, Verdict::Timed { dropped: None, .. }), "{strategy:?}: {verdict:?}");
        assert!(verdict.time().is_some_and(|time| (time - 101.0).abs() < 1e-9), "{strategy:?}: {verdict:?}");
    }
}

#[test]
fn what_is_dropped_for_a_few_percent_on_a_restless_machine_says_that() {
    let (mut fake, landscape) = (Fake { restless: vec![0, 1, 2], ..Fake::new(&[100.0, 108.0], usize::MAX) }, line(2));
    let known = HashMap::from([(0, Some(100.0))]);
    let search = Search { strategy: Strategy::Halving, samples: 8, evaluations: None, seed: 1, known, landscape: &landscape };
    search.only(vec![1], &mut fake).expect("an order");
    assert!(matches!(&fake.verdicts[0].1, Verdict::Timed { dropped: Some(why), .. } if why == UNSTEADY), "{:?}", fake.verdicts);
}

#[test]
fn halving_measures_a_default_that_is_a_variation() {
    let mut landscape = line(12);
    landscape.parents[0] = Some(1);
    let times: Vec<f64> = (0..12).map(|at| if at < 2 { 150.0 } else { 100.0 }).collect();
    let found = search_in(&landscape, Strategy::Halving, &times, HashMap::new(), usize::MAX);
    let default = found.verdicts.iter().find(|v| v.0 == 0);
    assert!(matches!(default, Some((_, Verdict::Timed { dropped: None, .. }))), "{default:?}");
}

#[test]
fn variations_have_to_stand_beside_the_kernels_that_are_left() {
    // Of each of eight kernels the own configuration and three variations, which are slower.
    let mut landscape = line(32);
    landscape.parents = (0..32).map(|at| (at % 4 > 0).then_some(at - at % 4)).collect();
    let times: Vec<f64> = (0..32).map(|at| f64::from(100 + 5 * (at / 4) + 20 * (at % 4))).collect();
    let found = search_in(&landscape, Strategy::Halving, &times, HashMap::new(), usize::MAX);
    let whole = |(_, verdict): &&(usize, Verdict)| matches!(verdict, Verdict::Timed { dropped: None, .. });
    let mut whole: Vec<usize> = found.verdicts.iter().filter(whole).map(|v| v.0).collect();
    whole.sort_unstable();
    assert_eq!(whole, [0, 4, 8, 12]);
    assert_eq!(found.verdicts.len(), 8 + 2 * 3, "the variations of two kernels joined");
    let of_round = |round: &str| {
        let is_of =
            |(_, verdict): &&(usize, Verdict)| matches!(verdict, Verdict::Timed { dropped: Some(why), .. } if why.starts_with(round));
        found.verdicts.iter().filter(is_of).count()
    };
    assert_eq!((of_round("round 1:"), of_round("round 2:")), (4, 6));
}

/// Two parameters of twenty values each: one valley, whose bottom is at (13, 6), and a third that makes variations of each
/// kernel, of which the second is a little better.
fn valley() -> (Landscape, Vec<f64>) {
    let (mut landscape, mut times) = (Landscape::default(), Vec::new());
    for (x, y) in (0..20).flat_map(|x| (0..20).map(move |y| (x, y))) {
        for variation in 0..3usize {
            let time = 100.0 + (x as f64 - 13.0).powi(2) + (y as f64 - 6.0).powi(2) + [2.0, 0.0, 4.0][variation];
            landscape.parents.push((variation > 0).then_some(times.len() - variation));
            landscape.places.push(vec![x, y, variation]);
            // A model that is right in the main.
            landscape.predicted.push(Some(time + (x * 7 + y * 3) as f64 % 5.0));
            landscape.hopeless.push(false);
            times.push(time);
        }
    }
    (landscape, times)
}

#[test]
fn every_strategy_comes_near_the_best_and_all_but_one_measure_few() {
    let (landscape, times) = valley();
    for strategy in Strategy::ALL {
        let found = search_in(&landscape, strategy, &times, HashMap::new(), usize::MAX);
        let best = found.order.ranking[0].1;
        let allowed = if matches!(strategy, Strategy::Random | Strategy::Genetic) { 120.0 } else { 101.0 };
        assert!((100.0..allowed).contains(&best), "{strategy:?}: {best}");
        assert!(found.known().contains_key(&0), "{strategy:?} left the default out");
        let measured = found.verdicts.len();
        assert_eq!(measured + found.order.passed_over, times.len(), "{strategy:?}");
        assert!(strategy == Strategy::Exhaustive || measured < times.len() / 2, "{strategy:?} measured {measured}");
    }
}

#[test]
fn the_same_seed_takes_the_same_way_and_a_search_that_is_taken_up_again_measures_nothing_twice() {
    let (landscape, times) = valley();
    for strategy in Strategy::ALL {
        let first = search_in(&landscape, strategy, &times, HashMap::new(), usize::MAX);
        let second = search_in(&landscape, strategy, &times, HashMap::new(), usize::MAX);
        assert_eq!(first.verdicts, second.verdicts, "{strategy:?}");
        let whole = first.known();
        let again = search_in(&landscape, strategy, &times, whole.clone(), usize::MAX);
        assert!(again.verdicts.iter().all(|(c, _)| !whole.contains_key(c)), "{strategy:?}");
        assert!(again.order.ranking[0].1 <= first.order.ranking[0].1, "{strategy:?}");
    }
}

#[test]
fn a_number_of_evaluations_is_kept_to() {
    let (landscape, times) = valley();
    for strategy in Strategy::ALL {
        let mut fake = Fake::new(&times, usize::MAX);
        let search = Search { strategy, samples: 8, evaluations: Some(7), seed: 3, known: HashMap::new(), landscape: &landscape };
        let order = search.run(&mut fake).expect("an order");
        assert!(fake.verdicts.len() <= 7, "{strategy:?}: {}", fake.verdicts.len());
        assert_eq!(order.ranking.len() + order.unmeasured + order.passed_over, times.len(), "{strategy:?}");
        assert!(order.ranking.iter().any(|r| r.0 == 0), "{strategy:?} left the default out");
    }
}

#[test]
fn a_number_of_evaluations_counts_what_is_known_of_an_earlier_search() {
    let (landscape, times) = valley();
    let search = |strategy, known| {
        let mut fake = Fake::new(&times, usize::MAX);
        let search = Search { strategy, samples: 8, evaluations: Some(20), seed: 3, known, landscape: &landscape };
        search.run(&mut fake).expect("an order");
        fake.verdicts
    };
    for strategy in Strategy::ALL {
        let known: HashMap<usize, Option<f64>> =
            search(strategy, HashMap::new()).iter().take(12).map(|(c, v)| (*c, v.time())).chain([(0, Some(times[0]))]).collect();
        let more = search(strategy, known.clone());
        assert!(!more.is_empty() && more.len() + known.len() <= 20, "{strategy:?}: {} and {}", known.len(), more.len());
    }
}

#[test]
fn what_time_did_not_suffice_for_is_not_said_to_be_passed_over() {
    let (landscape, times) = valley();
    for strategy in [Strategy::Descent, Strategy::Genetic] {
        // Each of them would measure a number of candidates: what time leaves of it is unmeasured, the rest it never wanted.
        let wanted = usual_number(times.len()).max(times.len() / 2);
        for until in [0, 5] {
            let order = search_in(&landscape, strategy, &times, HashMap::new(), until).order;
            assert_eq!(order.ranking.len() + order.unmeasured, wanted, "{strategy:?}");
            assert_eq!(order.passed_over, times.len() - wanted);
        }
    }
}

#[test]
fn on_a_machine_that_becomes_slower_the_fastest_is_found_all_the_same() {
    // By the clock each block takes a fifth longer than the one before, and later candidates are only a little faster.
    let times: Vec<f64> = (0..24).map(|i| 100.0 - f64::from(i)).collect();
    for strategy in WHOLE {
        let mut fake = Fake { slower: 1.2, ..Fake::new(&times, usize::MAX) };
        let search = Search { strategy, samples: 8, evaluations: None, seed: 0, known: HashMap::new(), landscape: &line(times.len()) };
        let order = search.run(&mut fake).expect("an order");
        assert_eq!(order.ranking[0].0, 23, "{strategy:?}");
        let is_level = |(c, verdict): &(usize, Verdict)| verdict.time().is_some_and(|time| (time / times[*c] - 1.0).abs() < 1e-9);
        assert!(fake.verdicts.iter().all(is_level), "{strategy:?}: not what they would have taken at first");
        let taken = |c: usize| {
            fake.verdicts.iter().find(|v| v.0 == c).map(|v| match &v.1 {
                Verdict::Timed { samples, .. } => median(samples).expect("samples"),
                Verdict::Invalid(why) => panic!("{why}"),
            })
        };
        assert!(taken(23) > Some(times[23]), "{strategy:?}: samples are not as they were taken");
    }
}

#[test]
fn a_search_by_model_needs_a_model() {
    let mut fake = Fake::new(&[1.0; 3], usize::MAX);
    let landscape = line(3);
    let search = Search { strategy: Strategy::Model, samples: 8, evaluations: None, seed: 0, known: HashMap::new(), landscape: &landscape };
    assert!(search.run(&mut fake).unwrap_err().to_string().contains("no candidate has a prediction"));
}

#[test]
fn what_was_measured_while_the_machine_changed_is_measured_again() {
    let times: Vec<f64> = (0..8).map(|i| 10.0 + f64::from(i)).collect();
    for strategy in WHOLE {
        let run = |restless: Vec<usize>| {
            let mut fake = Fake { restless, ..Fake::new(&times, usize::MAX) };
            let search = Search { strategy, samples: 8, evaluations: None, seed: 0, known: HashMap::new(), landscape: &line(times.len()) };
            let order = search.run(&mut fake).expect("an order");
            assert_eq!((order.ranking.len(), fake.verdicts.len()), (8, 8), "{strategy:?}");
            fake
        };
        let (calm, once, never) = (run(Vec::new()), run(vec![0]), run((0..99).collect()));
        assert!(calm.sampled < once.sampled && once.sampled < never.sampled, "{strategy:?}");
        let unsteady = |fake: &Fake| {
            fake.verdicts.iter().filter(|v| matches!(&v.1, Verdict::Timed { dropped: Some(why), .. } if why == UNSTEADY)).count()
        };
        assert_eq!((unsteady(&calm), unsteady(&once)), (0, 0));
        assert!(unsteady(&never) >= 4, "it is not said of those that could not be measured in peace");
    }
}

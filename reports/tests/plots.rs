//! The plots one by one: where things stand, and inputs at the edge of what can be drawn.

use kiln_reports::gflops::{GflopsPlot, Peak, Point, Series, Unit};
use kiln_reports::heatmap::{Cell, Heatmap};
use kiln_reports::roofline::{Bandwidth, KernelPoint, Roofline};
use kiln_reports::scatter::{Axis, Cloud, Scatter};
use kiln_reports::{ReportError, Tier};
use roxmltree::Document;

/// Size, median, interval.
type Raw = (f64, f64, Option<(f64, f64)>);

fn plot(points: &[Raw]) -> GflopsPlot {
    GflopsPlot {
        unlike: false,
        unit: Unit::Gflops,
        title: "t".into(),
        x_label: "n".into(),
        series: vec![Series { label: "s".into(), points: points.iter().map(|&(x, median, ci)| Point { x, median, ci }).collect() }],
        peaks: vec![],
        tier: Tier::Measured,
    }
}

/// Fails unless everything stands on the paper.
fn on_paper(svg: &str) {
    let doc = Document::parse(svg).unwrap();
    let number = |v: &str| v.parse::<f64>().unwrap();
    let view: Vec<f64> = doc.root_element().attribute("viewBox").unwrap().split(' ').map(number).collect();
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for n in doc.descendants() {
        let get = |names: [&str; 4]| names.into_iter().filter_map(|a| n.attribute(a)).map(number).collect::<Vec<_>>();
        xs.extend(get(["x", "x1", "x2", "cx"]));
        ys.extend(get(["y", "y1", "y2", "cy"]));
        for pair in n.attribute("points").unwrap_or("").split_whitespace() {
            let (x, y) = pair.split_once(',').unwrap();
            xs.push(number(x));
            ys.push(number(y));
        }
    }
    assert!(xs.len() > 4 && ys.len() > 4);
    assert!(xs.iter().all(|x| (0.0..=view[2]).contains(x)), "{svg}");
    assert!(ys.iter().all(|y| (0.0..=view[3]).contains(y)), "{svg}");
}

#[test]
fn gflops_at_the_edges() {
    for points in [
        &[(256.0, 0.0, None)][..],
        &[(1.0, 1e-9, Some((0.0, 1e-9)))],
        &[(512.0, 100.0, Some((90.0, 500.0))), (256.0, 1.0, None), (512.0, 3.0, None)],
        &[(1e-15, 1e15, None), (1e15, 1e-15, None)],
    ] {
        on_paper(&plot(points).svg().unwrap());
    }
    let many = GflopsPlot { series: vec![plot(&[(256.0, 50.0, None)]).series[0].clone(); 60], ..plot(&[]) };
    on_paper(&many.svg().unwrap());
}

/// Two points that are joined are one line with a corner at each; unlike ones have a mark each and no line between.
#[test]
fn unlike_points_are_not_joined() {
    let lines = |unlike: bool| {
        let p = GflopsPlot { unlike, ..plot(&[(256.0, 50.0, None), (300.0, 70.0, None), (512.0, 60.0, None)]) };
        let svg = p.svg().unwrap();
        let doc = Document::parse(&svg).unwrap();
        let corners = |n: roxmltree::Node| n.attribute("points").unwrap_or("").split_whitespace().count();
        let long = doc.descendants().filter(|n| n.tag_name().name() == "polyline" && corners(*n) == 3).count();
        (long, doc.descendants().filter(|n| n.tag_name().name() == "circle").count())
    };
    let ((joined, marks), (apart, same_marks)) = (lines(false), lines(true));
    assert!(joined > apart && marks == same_marks && marks >= 3, "{joined} {apart} {marks} {same_marks}");
}

#[test]
fn the_unit_is_on_the_axis_and_at_the_limits() {
    let limit = vec![Peak { label: "limit".into(), gflops: 60.0 }];
    let of = |unit| GflopsPlot { unit, peaks: limit.clone(), ..plot(&[(256.0, 50.0, None)]) }.svg().unwrap();
    let (operations, bytes) = (of(Unit::Gflops), of(Unit::Gbytes));
    assert_eq!((operations.matches("GFLOP/s").count(), operations.matches("GB/s").count()), (2, 0));
    assert_eq!((bytes.matches("GFLOP/s").count(), bytes.matches("GB/s").count()), (0, 2));
}

#[test]
fn gflops_refuses_what_it_cannot_place() {
    assert!(matches!(plot(&[]).svg(), Err(ReportError::Empty(_))));
    for p in [
        (0.0, 1.0, None),
        (-4.0, 1.0, None),
        (256.0, f64::NAN, None),
        (256.0, -1.0, None),
        (256.0, f64::INFINITY, None),
        (256.0, 1.0, Some((2.0, 1.0))),
        (256.0, 1.0, Some((0.0, f64::NAN))),
    ] {
        let e = plot(&[p]).svg().unwrap_err();
        assert!(matches!(e, ReportError::Value(_)) && e.to_string().contains("series 's'"), "{p:?}: {e}");
    }
    let mut p = plot(&[(256.0, 1.0, None)]);
    p.peaks.push(Peak { label: "peak".into(), gflops: 0.0 });
    assert!(p.svg().unwrap_err().to_string().contains("the peak 'peak' is 0"));
}

#[test]
fn larger_sizes_stand_further_right_and_higher_rates_higher() {
    let svg = plot(&[(256.0, 10.0, None), (512.0, 20.0, None), (1024.0, 40.0, None)]).svg().unwrap();
    let doc = Document::parse(&svg).unwrap();
    let at: Vec<(f64, f64)> = doc
        .descendants()
        .filter(|n| n.has_tag_name("circle"))
        .map(|n| (n.attribute("cx").unwrap().parse().unwrap(), n.attribute("cy").unwrap().parse().unwrap()))
        // The first marker is the legend's.
        .skip(1)
        .collect();
    assert_eq!(at.len(), 3);
    assert!((at[1].0 - at[0].0 - (at[2].0 - at[1].0)).abs() <= 4.0, "each doubling is the same distance: {at:?}");
    assert!((2.0 * (at[0].1 - at[1].1) - (at[1].1 - at[2].1)).abs() <= 8.0, "rates are linear: {at:?}");
}

#[test]
fn heat_map_at_the_edges() {
    let map = |cells: Vec<(usize, &str, f64)>| Heatmap {
        title: "t".into(),
        row_name: "MR".into(),
        col_name: "NR".into(),
        cells: cells.into_iter().map(|(row, col, gflops)| Cell { row, col: col.into(), gflops }).collect(),
        tier: Tier::Predicted,
    };
    on_paper(&map(vec![(1, "", 0.0)]).svg().unwrap());
    let two = map(vec![(6, "2v", 90.0), (6, "2v", 95.5), (4, "3v", 80.0)]).svg().unwrap();
    on_paper(&two);
    assert!(two.contains("95.5") && !two.contains("90.0") && two.contains("up to 2 variants") && two.contains('–'));
    let wide: Vec<_> = (0..64).map(|i| (i, ["1v", "2v", "3v"][i % 3], i as f64)).collect();
    on_paper(&map(wide).svg().unwrap());
    assert!(matches!(map(vec![]).svg(), Err(ReportError::Empty(_))));
    assert!(matches!(map(vec![(1, "a", f64::NAN)]).svg(), Err(ReportError::Value(_))));
    let many: Vec<_> = (0..65).map(|i| (i, "a", 1.0)).collect();
    assert!(map(many).svg().unwrap_err().to_string().contains("at most 64"));
    let cols: Vec<String> = (0..64).map(|i| format!("{i}v")).collect();
    on_paper(&map(cols.iter().map(|c| (1, c.as_str(), 1.0)).collect()).svg().unwrap());
}

#[test]
fn roofline_at_the_edges() {
    let roof = |peaks: &[f64], bands: &[f64], points: &[(f64, f64)]| Roofline {
        title: "t".into(),
        peaks: peaks.iter().map(|g| Peak { label: "p".into(), gflops: *g }).collect(),
        bandwidths: bands.iter().map(|b| Bandwidth { label: "b".into(), gbytes_per_s: *b }).collect(),
        points: points.iter().map(|p| KernelPoint { label: "k".into(), intensity: p.0, gflops: p.1 }).collect(),
        tier: Tier::Measured,
    };
    on_paper(&roof(&[100.0], &[20.0], &[]).svg().unwrap());
    on_paper(&roof(&[100.0, 200.0, 3000.0], &[20.0, 300.0, 1.0], &[(1e-6, 1e-6), (1e6, 2999.0)]).svg().unwrap());
    // A point above its ceilings (a cache holds the operands) still stands on the paper.
    on_paper(&roof(&[10.0], &[1.0], &[(0.01, 5000.0)]).svg().unwrap());
    on_paper(&roof(&[100.0], &[20.0], &[(1.0, 1.0); 80]).svg().unwrap());
    assert!(matches!(roof(&[], &[20.0], &[]).svg(), Err(ReportError::Empty(_))));
    assert!(matches!(roof(&[100.0], &[], &[]).svg(), Err(ReportError::Empty(_))));
    for bad in [roof(&[0.0], &[1.0], &[]), roof(&[1.0], &[f64::NAN], &[]), roof(&[1.0], &[1.0], &[(0.0, 1.0)])] {
        assert!(matches!(bad.svg(), Err(ReportError::Value(_))));
    }
}

fn scatter(clouds: &[&[(f64, f64)]]) -> Scatter {
    let axis = |tier| Axis { label: "time".into(), tier };
    Scatter {
        title: "t".into(),
        note: "n".into(),
        x: axis(Tier::Predicted),
        y: axis(Tier::Measured),
        clouds: clouds.iter().map(|points| Cloud { label: "c".into(), points: points.to_vec() }).collect(),
    }
}

#[test]
fn scatter_at_the_edges() {
    for clouds in [
        &[&[(5.0, 5.0)][..]][..],
        &[&[], &[(1e3, 1e9), (1e3, 2e9)]],
        &[&[(1.0, 1e12)], &[(1e12, 1.0)]],
        &[&[(1e-15, 1e15), (1e15, 1e-15)]],
        &[&[(1e3, 1e3); 10][..]; 60],
    ] {
        on_paper(&scatter(clouds).svg().unwrap());
    }
    assert!(matches!(scatter(&[]).svg(), Err(ReportError::Empty(_))));
    assert!(matches!(scatter(&[&[], &[]]).svg(), Err(ReportError::Empty(_))));
    for bad in [(0.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        let e = scatter(&[&[bad]]).svg().unwrap_err();
        assert!(matches!(e, ReportError::Value(_)) && e.to_string().contains("of 'c' on the"), "{e}");
    }
}

#[test]
fn each_axis_says_its_tier_and_equal_times_lie_on_the_diagonal() {
    let svg = scatter(&[&[(1e6, 1e6), (2e6, 2e6), (8e6, 8e6), (4e6, 1e6)]]).svg().unwrap();
    assert!(svg.contains("time in ms, predicted") && svg.contains("time in ms, measured"), "{svg}");
    let doc = Document::parse(&svg).unwrap();
    let number = |n: &roxmltree::Node, name| n.attribute(name).unwrap().parse::<f64>().unwrap();
    let dots: Vec<(f64, f64)> =
        doc.descendants().filter(|n| n.has_tag_name("circle")).skip(1).map(|n| (number(&n, "cx"), number(&n, "cy"))).collect();
    let octave = |a: usize, b: usize| (dots[b].0 - dots[a].0, dots[a].1 - dots[b].1);
    let ((x1, y1), (x3, y3)) = (octave(0, 1), octave(0, 2));
    assert!((x1 - y1).abs() <= 8.0 && (x3 - 3.0 * x1).abs() <= 16.0 && (y3 - x3).abs() <= 8.0, "{dots:?}");
    assert!(dots[3].0 > dots[1].0 && (dots[3].1 - dots[0].1).abs() <= 4.0, "below the diagonal: {dots:?}");
}

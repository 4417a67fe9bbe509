//! The page as a whole: well-formed, self-contained, complete about what is missing, and deaf to hostile text.

use std::collections::BTreeMap;

use kiln_reports::gflops::{Peak, Point, Series, Unit};
use kiln_reports::heatmap::Cell;
use kiln_reports::page::{Comparison, Counter, Generated, Residual, Row, Section, Side, Verdict, Verification, VerifiedIsa};
use kiln_reports::roofline::{Bandwidth, KernelPoint};
use kiln_reports::scatter::{Axis, Cloud};
use kiln_reports::{Flame, GflopsPlot, Heatmap, Page, Roofline, Scatter, Tier};
use roxmltree::{Document, ParsingOptions};

const EVIL: &str = "</text></svg></title></script><script>alert(1)</script>\" onload='x' & <!-- ]]> \u{0}\u{1b}{{ 7*7 }}";

/// A page that uses every part, with `s` for every text.
fn full(s: &str, tier: Tier) -> Page {
    let t = || s.to_string();
    let side = || Side { name: t(), median: Some(10.0), ci: Some((9.0, 11.0)) };
    let comparison = || Comparison {
        what: t(),
        shape: t(),
        threads: 2,
        unit: t(),
        default: side(),
        winner: side(),
        ratio: Some(1.5),
        ratio_ci: Some((1.4, 1.6)),
        verdict: Verdict::Faster,
        tier,
    };
    let residual = || Residual {
        what: t(),
        shape: t(),
        candidates: 40,
        note: t(),
        rank_of_tiles: Some(0.875),
        rank: None,
        first: t(),
        regret: 0.031,
        median: 0.12,
        ninth: 0.4,
        noise_floor: 0.01,
    };
    Page {
        title: t(),
        subtitle: Some(t()),
        notices: vec![t()],
        machine: vec![Row::new(t(), t()), Row::missing(t())],
        gflops: vec![GflopsPlot {
            unlike: false,
            unit: Unit::Gflops,
            title: t(),
            x_label: t(),
            series: vec![Series { label: t(), points: vec![Point { x: 256.0, median: 50.0, ci: Some((49.0, 51.0)) }] }],
            peaks: vec![Peak { label: t(), gflops: 100.0 }],
            tier,
        }],
        kernels: vec![comparison()],
        tokens: vec![comparison()],
        verification: Some(Verification {
            rows: vec![VerifiedIsa { isa: t(), place: t(), passed: 3, failed: 1, skipped: 2, note: Some(t()) }],
            failures: vec![t()],
        }),
        heatmaps: vec![Heatmap { title: t(), row_name: t(), col_name: t(), cells: vec![Cell { row: 4, col: t(), gflops: 1.0 }], tier }],
        rooflines: vec![Roofline {
            title: t(),
            peaks: vec![Peak { label: t(), gflops: 100.0 }],
            bandwidths: vec![Bandwidth { label: t(), gbytes_per_s: 20.0 }],
            points: vec![KernelPoint { label: t(), intensity: 10.0, gflops: 80.0 }],
            tier,
        }],
        scatters: vec![Scatter {
            title: t(),
            note: t(),
            x: Axis { label: t(), tier: Tier::Predicted },
            y: Axis { label: t(), tier },
            clouds: vec![Cloud { label: t(), points: vec![(1e3, 2e3), (4e3, 3e3)] }],
        }],
        residuals: vec![residual()],
        residual: Some(residual()),
        counters: vec![
            Counter { what: t(), name: t(), value: Some(5.0), unit: t(), source: t(), counted: Some(0.5), tier },
            Counter { what: t(), name: t(), value: None, unit: t(), source: t(), counted: None, tier },
        ],
        flames: vec![Flame { title: t(), folded: format!("{s};{s} 3\nmain 1"), before: None, how: Some(t()), tier }],
        generated: Some(Generated { model: t(), profile: None, prompt: t(), text: t(), how: Some(t()) }),
        provenance: vec![Row::new(t(), t())],
        missing: BTreeMap::new(),
    }
}

/// The page is written so that it is XML as well: nothing is left open and nothing needs guessing.
fn parse(html: &str) -> Document<'_> {
    Document::parse_with_options(html, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() }).unwrap()
}

/// The text inside one section.
fn section(doc: &Document<'_>, id: &str) -> String {
    let node = doc.descendants().find(|n| n.attribute("id") == Some(id) && n.has_tag_name("section")).unwrap();
    node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect()
}

const SECTIONS: [&str; 12] =
    ["machine", "gflops", "kernels", "tokens", "verification", "heatmaps", "roofline", "model", "counters", "flame", "text", "provenance"];

#[test]
fn nothing_is_loaded_from_anywhere() {
    let html = full("x", Tier::Measured).html().unwrap();
    let doc = parse(&html);
    let frame = doc.descendants().find_map(|n| n.attribute("srcdoc")).unwrap();
    for text in [&html, frame] {
        for what in ["@import", "url(http", "url(//", "url('", "url(\"", "srcset", "<object", "<embed", "<base", "DTD", "fetch(", "XMLHttp"]
        {
            assert!(!text.contains(what), "{what}");
        }
        for (attribute, fine) in [(" src=\"", &[][..]), (" href=\"", &["#", "data:,"]), ("xlink:href=\"", &["#"])] {
            for (at, _) in text.match_indices(attribute) {
                let value = &text[at + attribute.len()..];
                assert!(fine.iter().any(|f| value.starts_with(f)), "{attribute}{}", &value[..value.len().min(60)]);
            }
        }
    }
    let policy = doc.descendants().find(|n| n.attribute("http-equiv").is_some()).unwrap();
    assert!(policy.attribute("content").unwrap().starts_with("default-src 'none'"));
}

#[test]
fn hostile_text_stays_text() {
    let html = full(EVIL, Tier::Measured).html().unwrap();
    assert!(!html.contains("<script>alert"));
    let doc = parse(&html);
    // The page itself has no script at all; the flame graph's are inside its frame's document.
    assert_eq!(doc.descendants().filter(|n| n.has_tag_name("script")).count(), 0);
    let handlers = doc.descendants().flat_map(|n| n.attributes()).filter(|a| a.name().starts_with("on"));
    assert_eq!(handlers.count(), 0);
    assert!(section(&doc, "text").contains("{{ 7*7 }}"));
    let frame = doc.descendants().find_map(|n| n.attribute("srcdoc")).unwrap();
    assert!(!frame.contains("<script>alert"));
    let svg = Document::parse(&frame[frame.find("<svg").unwrap()..]).unwrap();
    assert_eq!(svg.descendants().filter(|n| n.has_tag_name("script")).count(), 1);
}

#[test]
fn every_picture_is_a_document_of_its_own() {
    for text in [EVIL, "", "a much longer label than any plot has room for, repeated and repeated and repeated and repeated"] {
        let page = full(text, Tier::Counted);
        for svg in [page.gflops[0].svg(), page.heatmaps[0].svg(), page.rooflines[0].svg(), page.scatters[0].svg(), page.flames[0].svg()] {
            let svg = svg.unwrap();
            let doc = Document::parse(&svg).unwrap();
            assert!(doc.root_element().has_tag_name("svg"));
            assert!(svg.contains("counted"), "the tier is printed");
        }
    }
}

#[test]
fn the_tier_stands_beside_every_figure() {
    for tier in [Tier::Measured, Tier::Counted, Tier::Predicted] {
        let html = full("x", tier).html().unwrap();
        let doc = parse(&html);
        for id in ["gflops", "kernels", "tokens", "heatmaps", "roofline", "model", "counters"] {
            assert!(section(&doc, id).contains(tier.name()), "{id}: {tier}");
        }
        let frame = doc.descendants().find_map(|n| n.attribute("srcdoc")).unwrap();
        assert!(frame.contains(tier.name()));
        assert_eq!(tier.name().parse::<Tier>().unwrap(), tier);
    }
    assert!("guessed".parse::<Tier>().unwrap_err().to_string().contains("unknown tier 'guessed'"));
}

#[test]
fn a_missing_part_keeps_its_place_and_says_why() {
    let why = BTreeMap::from([(Section::Flames, "perf events are not permitted here".to_string())]);
    let html = Page { title: "empty".into(), missing: why, ..Page::default() }.html().unwrap();
    let doc = parse(&html);
    for id in SECTIONS {
        assert!(section(&doc, id).contains("Not available: "), "{id}");
    }
    assert!(section(&doc, "flame").contains("perf events are not permitted here"));
    let html = full("x", Tier::Measured).html().unwrap();
    let doc = parse(&html);
    for id in SECTIONS {
        assert!(!section(&doc, id).contains("Not available: "), "{id}");
    }
    for id in ["machine", "counters", "text"] {
        assert!(section(&doc, id).contains("not available"), "{id}");
    }
}

#[test]
fn what_cannot_be_drawn_is_replaced_by_the_reason() {
    let mut page = full("x", Tier::Measured);
    page.gflops[0].series[0].points[0].median = f64::NAN;
    page.heatmaps[0].cells.clear();
    page.rooflines[0].bandwidths.clear();
    page.scatters[0].clouds.clear();
    page.flames[0].folded.clear();
    page.kernels[0].default.median = None;
    page.kernels[0].ratio = Some(f64::NAN);
    page.kernels[0].ratio_ci = None;
    let html = page.html().unwrap();
    let doc = parse(&html);
    for (id, reason) in [
        ("gflops", "the rate of series 'x' at 256 is NaN"),
        ("heatmaps", "the heat map 'x' has no cells"),
        ("roofline", "a roofline needs a peak and a bandwidth"),
        ("model", "the plot 'x' has no points"),
        ("flame", "the folded stacks hold no sample"),
    ] {
        let text = section(&doc, id);
        assert!(text.contains("could not be drawn") && text.contains(reason), "{id}: {text}");
    }
    assert_eq!(section(&doc, "kernels").matches("not available").count(), 3);
}

#[test]
fn a_model_is_a_line_a_problem_and_a_line_of_medians() {
    let html = full("x", Tier::Measured).html().unwrap();
    let words = section(&parse(&html), "model");
    // The residuals are factors: e to the power of 0.12 and of 0.4. What has no rank correlation says so.
    assert_eq!(words.matches("0.88of all –x3.1 %noise 1.0 %1.127×9 in 10: 1.492×").count(), 2, "{words}");
}

#[test]
fn verification_adds_up_and_names_what_ran() {
    let row =
        |isa: &str, passed, failed, skipped| VerifiedIsa { isa: isa.into(), place: "native".into(), passed, failed, skipped, note: None };
    let verification = Verification { rows: vec![row("avx2", 20, 1, 0), row("avx512", 0, 0, 24)], failures: vec!["gemm_x: off".into()] };
    let html = Page { verification: Some(verification), ..Page::default() }.html().unwrap();
    let doc = parse(&html);
    let words = section(&doc, "verification").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("gemm_x: off"), "{words}");
    let cells: Vec<Vec<&str>> = doc
        .descendants()
        .filter(|n| n.has_tag_name("tr"))
        .map(|r| r.children().filter_map(|c| c.text()).map(str::trim).filter(|t| !t.is_empty()).collect())
        .collect();
    assert!(cells.contains(&vec!["avx2", "native", "yes", "20", "1", "0"]), "{cells:?}");
    assert!(cells.contains(&vec!["avx512", "native", "no", "0", "0", "24"]), "{cells:?}");
    assert!(cells.contains(&vec!["all", "20", "1", "24"]), "{cells:?}");
}

#[test]
fn an_unwritable_path_is_named() {
    let e = Page::default().write("/no/such/folder/page.html".as_ref()).unwrap_err().to_string();
    assert!(e.starts_with("cannot write /no/such/folder/page.html: ") && !e.contains('\n'), "{e}");
}

//! From [`Page`] to HTML: builds a plain view of headings, tables and figures and fills the template with it.
//!
//! All wording and number formatting happens here, all layout in `templates/`. Text is escaped by the template
//! engine; the only markup passed through is that of the pictures drawn by this crate.

mod model;

use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use serde::Serialize;

use crate::page::{Comparison, Counter, Generated, Page, Row, Section, Verdict, Verification};
use crate::text::{self, MISSING};
use crate::{Flame, GflopsPlot, ReportError, Tier, canvas};

const PAGE: &str = include_str!("../templates/page.html");
const STYLE: &str = include_str!("../templates/style.css");

/// The page as one HTML document.
pub(crate) fn html(page: &Page) -> Result<String, ReportError> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.add_template("page.html", PAGE)?;
    env.add_template("style.css", STYLE)?;
    let view = View {
        title: &page.title,
        subtitle: page.subtitle.as_deref(),
        notices: &page.notices,
        tiles: tiles(page),
        sections: sections(page),
    };
    let html = env.get_template("page.html")?.render(Serde(&view))?;
    // What neither HTML nor XML may hold, should a label or a model have written it.
    let allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\n' | '\t');
    Ok(html.chars().filter(|c| *c != '\r').map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect())
}

#[derive(Serialize)]
struct View<'a> {
    title: &'a str,
    subtitle: Option<&'a str>,
    notices: &'a [String],
    tiles: Vec<Tile>,
    sections: Vec<Part>,
}

/// One figure of the summary at the top.
#[derive(Serialize)]
struct Tile {
    label: &'static str,
    value: String,
    note: String,
    class: &'static str,
}

#[derive(Serialize)]
struct Part {
    id: &'static str,
    heading: &'static str,
    intro: &'static str,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Block {
    /// Names and values.
    Pairs {
        rows: Vec<Row>,
    },
    Table(Table),
    /// A picture, and its figures as a table to unfold.
    Figure {
        svg: String,
        table: Option<Table>,
    },
    /// An interactive picture in a frame of its own, so that its style and script touch nothing else.
    Frame {
        title: String,
        document: String,
        height: u32,
    },
    Text {
        before: String,
        after: String,
    },
    List {
        items: Vec<String>,
    },
    Missing {
        why: String,
    },
    Failed {
        why: String,
    },
}

#[derive(Serialize)]
struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
    foot: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    text: String,
    /// A second, smaller line.
    sub: String,
    class: &'static str,
}

fn cell(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), sub: String::new(), class: "" }
}

fn number(text: impl Into<String>) -> Cell {
    Cell { class: "num", ..cell(text) }
}

fn tier(t: Tier) -> Cell {
    let class = match t {
        Tier::Measured => "tier measured",
        Tier::Counted => "tier counted",
        Tier::Predicted => "tier predicted",
    };
    Cell { class, ..cell(t.name()) }
}

fn verdict(v: Verdict) -> Cell {
    let class = match v {
        Verdict::Faster => "verdict good",
        Verdict::Slower => "verdict bad",
        Verdict::Tie | Verdict::Undecided => "verdict even",
    };
    Cell { class, ..cell(v.name()) }
}

/// All sections, each with at least one block.
fn sections(page: &Page) -> Vec<Part> {
    let part = |section, id, heading, intro, mut blocks: Vec<Block>| {
        if blocks.is_empty() {
            let why = page.missing.get(&section).map_or("it is not part of this report", String::as_str);
            blocks.push(Block::Missing { why: format!("{}: {why}", capital(MISSING)) });
        }
        Part { id, heading, intro, blocks }
    };
    vec![
        part(Section::Machine, "machine", "Machine", "", pairs(&page.machine)),
        part(
            Section::Gflops,
            "gflops",
            "GFLOP/s over size",
            "GFLOP/s counts 2·M·N·K per product. Dashed lines are the machine's limits.",
            page.gflops.iter().map(|p| figure(p.svg(), Some(points(p)))).collect(),
        ),
        part(Section::Kernels, "kernels", "Kernels: default against winner", COMPARED, comparisons(&page.kernels)),
        part(Section::Tokens, "tokens", "Tokens per second: default against winner", COMPARED, comparisons(&page.tokens)),
        part(
            Section::Verification,
            "verification",
            "Verification",
            "Every kernel against a reference in double precision. A kernel that fails is never timed.",
            page.verification.as_ref().map(verification).unwrap_or_default(),
        ),
        part(Section::Heatmaps, "heatmaps", "Tiles", "", page.heatmaps.iter().map(|h| figure(h.svg(), None)).collect()),
        part(
            Section::Rooflines,
            "roofline",
            "Roofline",
            "Intensity counts the bytes the algorithm must move once, not those the caches moved.",
            page.rooflines.iter().map(|r| figure(r.svg(), None)).collect(),
        ),
        part(Section::Model, "model", "Model against measurement", model::INTRO, model::blocks(page)),
        part(
            Section::Counters,
            "counters",
            "Counters",
            "A counter that did not count is shown as missing, never as 0. One that had to share the hardware is scaled up; \
             the share of the run it was counting is shown.",
            counters(&page.counters),
        ),
        part(
            Section::Flames,
            "flame",
            "Where the time goes",
            "Wider is more time; click to zoom, Ctrl+F to search.",
            page.flames.iter().map(flame).collect(),
        ),
        part(Section::Generated, "text", "Generated text", "", page.generated.as_ref().map(generated).unwrap_or_default()),
        part(Section::Provenance, "provenance", "Provenance", "", pairs(&page.provenance)),
    ]
}

const COMPARED: &str = "Medians with their 95 % intervals; the ratio is winner over default in paired runs. \
    Tie: the interval of the ratio holds 1, or the ratio lies within 2 % of 1.";

fn capital(s: &str) -> String {
    let mut c = s.chars();
    c.next().map_or_else(String::new, |first| first.to_uppercase().chain(c).collect())
}

fn pairs(rows: &[Row]) -> Vec<Block> {
    if rows.is_empty() { Vec::new() } else { vec![Block::Pairs { rows: rows.to_vec() }] }
}

fn figure(svg: Result<String, ReportError>, table: Option<Table>) -> Block {
    match svg {
        Ok(svg) => Block::Figure { svg, table },
        Err(e) => Block::Failed { why: e.to_string() },
    }
}

/// The figures of a plot: one row per size, one column per series.
fn points(plot: &GflopsPlot) -> Table {
    let mut sizes: Vec<f64> = plot.series.iter().flat_map(|s| &s.points).map(|p| p.x).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let head = std::iter::once(cell(&plot.x_label)).chain(plot.series.iter().map(|s| number(&s.label))).collect();
    let rows = sizes
        .iter()
        .map(|x| {
            let at = plot.series.iter().map(|s| match s.points.iter().find(|p| p.x == *x) {
                Some(p) => Cell { sub: text::interval(p.ci, text::num), ..number(text::num(p.median)) },
                None => number("–"),
            });
            std::iter::once(cell(text::tick(*x))).chain(at).collect()
        })
        .collect();
    Table { head, rows, foot: Vec::new() }
}

fn comparisons(all: &[Comparison]) -> Vec<Block> {
    if all.is_empty() {
        return Vec::new();
    }
    let head = vec![cell("what"), number("threads"), number("default"), number("winner"), number("ratio"), cell("verdict"), cell("tier")];
    let side = |s: &crate::page::Side, unit: &str| match s.median {
        Some(m) if m.is_finite() => {
            Cell { sub: format!("{} · {}", s.name, text::interval(s.ci, text::num)), ..number(format!("{} {unit}", text::num(m))) }
        }
        _ => Cell { sub: s.name.clone(), ..number(MISSING) },
    };
    let rows = all
        .iter()
        .map(|c| {
            vec![
                Cell { sub: c.shape.clone(), ..cell(&c.what) },
                number(c.threads.to_string()),
                side(&c.default, &c.unit),
                side(&c.winner, &c.unit),
                Cell {
                    sub: text::interval(c.ratio_ci, |v| format!("{v:.3}")),
                    ..number(c.ratio.map_or_else(|| MISSING.to_string(), text::ratio))
                },
                verdict(c.verdict),
                tier(c.tier),
            ]
        })
        .collect();
    vec![Block::Table(Table { head, rows, foot: Vec::new() })]
}

fn verification(v: &Verification) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !v.rows.is_empty() {
        let head = vec![cell("ISA"), cell("where"), cell("ran"), number("passed"), number("failed"), number("skipped"), cell("note")];
        let failed = |n: usize| Cell { class: if n > 0 { "num bad" } else { "num" }, ..cell(n.to_string()) };
        let rows = v.rows.iter().map(|r| {
            let ran = if r.passed + r.failed > 0 { "yes" } else { "no" };
            vec![
                cell(&r.isa),
                cell(&r.place),
                cell(ran),
                number(r.passed.to_string()),
                failed(r.failed),
                number(r.skipped.to_string()),
                cell(r.note.as_deref().unwrap_or("")),
            ]
        });
        let (passed, bad, skipped) = totals(v);
        let foot = vec![cell("all"), cell(""), cell(""), number(passed.to_string()), failed(bad), number(skipped.to_string()), cell("")];
        blocks.push(Block::Table(Table { head, rows: rows.collect(), foot }));
    }
    if !v.failures.is_empty() {
        blocks.push(Block::List { items: v.failures.clone() });
    }
    blocks
}

fn totals(v: &Verification) -> (usize, usize, usize) {
    v.rows.iter().fold((0, 0, 0), |t, r| (t.0 + r.passed, t.1 + r.failed, t.2 + r.skipped))
}

fn counters(all: &[Counter]) -> Vec<Block> {
    if all.is_empty() {
        return Vec::new();
    }
    let head = vec![cell("counter"), number("value"), cell("from"), number("counted for"), cell("tier")];
    let row = |c: &Counter| {
        let value = c.value.filter(|v| v.is_finite());
        vec![
            Cell { sub: c.what.clone(), ..cell(&c.name) },
            match value {
                Some(v) => number(format!("{} {}", text::num(v), c.unit).trim_end()),
                None => Cell { class: "num absent", ..cell(MISSING) },
            },
            cell(&c.source),
            number(value.and(c.counted).map_or_else(|| "–".to_string(), |f| format!("{:.0} %", f * 100.0))),
            value.map_or_else(|| cell("–"), |_| tier(c.tier)),
        ]
    };
    let rows = all.iter().map(row).collect();
    vec![Block::Table(Table { head, rows, foot: Vec::new() })]
}

/// A flame graph as a document of its own. Two things its script expects of a document it does not find in a
/// frame: an address to write the zoom into (that call is switched off), and a width at the moment it starts
/// (it is told once more when there is one).
fn flame(f: &Flame) -> Block {
    match f.svg() {
        Ok(svg) => {
            let height = attribute(&svg, "height").unwrap_or(600);
            let document = format!(
                "<!doctype html><meta charset=\"utf-8\"><title>{}</title>\
                 <style>html,body{{margin:0;background:#fff}}svg{{display:block;min-width:100%}}</style>\
                 <script>history.replaceState=function(){{}};addEventListener('load',function(){{\
                 setTimeout(function(){{dispatchEvent(new Event('resize'))}},100)}})</script>{svg}",
                canvas::escape(&text::clean(&f.title))
            );
            Block::Frame { title: f.title.clone(), document, height: height + 8 }
        }
        Err(e) => Block::Failed { why: e.to_string() },
    }
}

/// A whole-number attribute of the root element.
fn attribute(svg: &str, name: &str) -> Option<u32> {
    let root = svg.get(..svg.find('>')?)?;
    let (_, value) = root.split_once(&format!(" {name}=\""))?;
    value.split('"').next()?.parse().ok()
}

fn generated(g: &Generated) -> Vec<Block> {
    let mut rows = vec![Row::new("model", &g.model), Row { key: "profile".into(), value: g.profile.clone() }];
    rows.extend(g.how.iter().map(|how| Row::new("how", how)));
    vec![Block::Pairs { rows }, Block::Text { before: g.prompt.clone(), after: g.text.clone() }]
}

/// The summary: what was verified, how many winners won, what the model gained.
fn tiles(page: &Page) -> Vec<Tile> {
    let verified = match &page.verification {
        Some(v) if !v.rows.is_empty() => {
            let (passed, failed, skipped) = totals(v);
            let class = if failed > 0 || !v.failures.is_empty() { "bad" } else { "good" };
            Tile { label: "kernels verified", value: passed.to_string(), note: format!("{failed} failed, {skipped} skipped"), class }
        }
        _ => absent("kernels verified"),
    };
    vec![verified, tally("kernels faster than default", &page.kernels), gain(&page.tokens)]
}

fn absent(label: &'static str) -> Tile {
    Tile { label, value: "–".into(), note: MISSING.into(), class: "even" }
}

fn tally(label: &'static str, all: &[Comparison]) -> Tile {
    if all.is_empty() {
        return absent(label);
    }
    let count = |v| all.iter().filter(|c| c.verdict == v).count();
    let (faster, slower) = (count(Verdict::Faster), count(Verdict::Slower));
    let mut note = format!("{} tie, {slower} slower", count(Verdict::Tie));
    if count(Verdict::Undecided) > 0 {
        note += &format!(", {} undecided", count(Verdict::Undecided));
    }
    let class = if slower > 0 { "bad" } else { "good" };
    Tile { label, value: format!("{faster} of {}", all.len()), note: note + &tiers(all), class }
}

/// The first tokens/s comparison that has a ratio.
fn gain(all: &[Comparison]) -> Tile {
    let label = "tokens/s, winner over default";
    let first = all.iter().find_map(|c| c.ratio.filter(|r| r.is_finite()).map(|r| (c, r)));
    let Some((c, r)) = first else { return absent(label) };
    let class = match c.verdict {
        Verdict::Faster => "good",
        Verdict::Slower => "bad",
        Verdict::Tie | Verdict::Undecided => "even",
    };
    let ci = text::interval(c.ratio_ci, |v| format!("{v:.3}"));
    Tile { label, value: text::ratio(r), note: format!("{}: {}, interval {ci}; {}", c.what, c.verdict.name(), c.tier), class }
}

/// The tiers that occur, for a summary that spans several rows.
fn tiers(all: &[Comparison]) -> String {
    let set: std::collections::BTreeSet<Tier> = all.iter().map(|c| c.tier).collect();
    set.iter().map(|t| format!("; {t}")).collect()
}

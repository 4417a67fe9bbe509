//! The section that holds a model against measurement: its pictures, and a line for each problem.

use super::{Block, Cell, Table, cell, figure, number};
use crate::page::{Page, Residual};
use crate::text::{self, MISSING};

/// What the section's figures mean.
pub(super) const INTRO: &str = "Predicted cycles against measured times; the model chooses nothing here. Its cycles are put \
    on the clock's scale by the median ratio of each problem; the factor that a candidate is off beyond that, either way, is its \
    residual, of which the median is shown. Rank correlation is Spearman's, over tiles each by its best, and below it over all \
    candidates. \
    Regret is what the model's first choice takes longer than the fastest that was measured, which noise alone makes positive.";

/// The pictures and the table; empty without either.
pub(super) fn blocks(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = page.scatters.iter().map(|s| figure(s.svg(), None)).collect();
    if !page.residuals.is_empty() {
        let head = vec![
            cell("problem"),
            number("candidates"),
            number("rank correlation"),
            cell("the model's first choice"),
            number("its regret"),
            number("residual"),
        ];
        let rows = page.residuals.iter().map(row).collect();
        blocks.push(Block::Table(Table { head, rows, foot: page.residual.as_ref().map(row).unwrap_or_default() }));
    }
    blocks
}

fn row(r: &Residual) -> Vec<Cell> {
    let rank = |rank: Option<f64>| rank.filter(|r| r.is_finite()).map_or_else(|| "–".to_owned(), |r| format!("{r:.2}"));
    let percent = |share: f64| if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { MISSING.to_owned() };
    let factor = |log: f64| text::ratio(log.exp());
    vec![
        Cell { sub: r.shape.clone(), ..cell(&r.what) },
        Cell { sub: r.note.clone(), ..number(r.candidates.to_string()) },
        Cell { sub: format!("of all {}", rank(r.rank)), ..number(rank(r.rank_of_tiles)) },
        cell(&r.first),
        Cell { sub: format!("noise {}", percent(r.noise_floor)), ..number(percent(r.regret)) },
        Cell { sub: format!("9 in 10: {}", factor(r.ninth)), ..number(factor(r.median)) },
    ]
}

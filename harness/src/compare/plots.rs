//! A comparison as plots of rates over size. It writes no file.

use super::{Comparison, Row};
use crate::measure::statistics::median;
use crate::space::Shape;
use kiln_kernels::registry::Op;
use kiln_reports::GflopsPlot;
use kiln_reports::gflops::{Peak as Limit, Point, Series, Unit};

impl Comparison {
    /// The rates over size, one plot for each number of threads.
    pub fn plots(&self) -> Vec<(usize, GflopsPlot)> {
        let mut threads: Vec<usize> = self.rows.iter().map(|r| r.threads).collect();
        threads.dedup();
        threads.into_iter().map(|t| (t, self.plot(t))).collect()
    }

    fn plot(&self, threads: usize) -> GflopsPlot {
        let rows: Vec<&Row> = self.rows.iter().filter(|r| r.threads == threads).collect();
        let mut systems: Vec<&str> = Vec::new();
        rows.iter().for_each(|r| {
            if !systems.contains(&r.system) {
                systems.push(r.system)
            }
        });
        let axis = Axis::of(&rows);
        let point = |r: &&&Row| Point { x: axis.place(r.shape), median: r.rate.median(), ci: Some(r.rate.ci()) };
        let of = |system: &str| rows.iter().filter(|r| r.system == system).map(|r| point(&r)).collect();
        let peaks: Vec<f64> = rows.iter().filter_map(|r| r.peak_gflops).collect();
        let what = match self.op {
            Op::Gemm => format!("{} GEMM", self.format),
            op if op.is_rows() => op.to_string(),
            op => format!("{op}, {} cache", self.format),
        };
        GflopsPlot {
            title: format!("{what} beside other libraries, {threads} thread(s)"),
            x_label: axis.label(),
            unit: rows.first().map_or(Unit::default(), |r| r.rate.unit()),
            unlike: axis.is_unlike(),
            series: systems.into_iter().map(|s| Series { label: s.into(), points: of(s) }).collect(),
            peaks: median(&peaks).map(|gflops| Limit { label: "measured peak".into(), gflops }).into_iter().collect(),
            tier: kiln_reports::Tier::Measured,
        }
    }
}

/// What the sizes of a plot are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Axis {
    /// Edges of cubes.
    Cubes,
    /// Edges of cubes of as many operations, of products of any shape.
    Products,
    /// Columns, of problems of so many rows.
    Columns(usize),
    /// Elements, of problems of any number of rows.
    Elements,
    /// Tokens whose keys and values there are.
    Context,
}

impl Axis {
    fn of(rows: &[&Row]) -> Axis {
        match rows.first().map(|r| r.shape) {
            Some(Shape::Rows { rows: first, .. }) => {
                let alike = rows.iter().all(|r| matches!(r.shape, Shape::Rows { rows, .. } if rows == first));
                if alike { Axis::Columns(first) } else { Axis::Elements }
            }
            Some(Shape::Attention { .. }) => Axis::Context,
            _ if rows.iter().all(|r| r.shape.is_cube()) => Axis::Cubes,
            _ => Axis::Products,
        }
    }

    fn place(self, shape: Shape) -> f64 {
        match (self, shape) {
            (Axis::Elements, Shape::Rows { rows, cols }) => rows as f64 * cols as f64,
            _ => shape.size(),
        }
    }

    fn label(self) -> String {
        match self {
            Axis::Cubes => "M = N = K".into(),
            Axis::Products => "cube root of M·N·K".into(),
            Axis::Columns(rows) => format!("columns, {rows} row(s)"),
            Axis::Elements => "rows × columns".into(),
            Axis::Context => "context".into(),
        }
    }

    /// Between its sizes there is nothing.
    fn is_unlike(self) -> bool {
        matches!(self, Axis::Products | Axis::Elements)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, comparison, rows};
    use kiln_kernels::registry::Op;

    #[test]
    fn each_number_of_threads_has_a_plot_of_all_systems() {
        let comparison = comparison(Op::Gemm, rows("2x3x4", &["kiln", "other"].map(about)));
        let plots = comparison.plots();
        assert_eq!((plots.len(), plots[0].0, plots[0].1.series.len()), (1, 2, 2));
        assert!(plots[0].1.svg().is_ok_and(|svg| svg.contains("measured peak") && svg.contains("other") && svg.contains("GFLOP/s")));
        assert_eq!(serde_json::to_value(&comparison.rows[0]).expect("JSON")["size"], "2x3x4");
    }

    #[test]
    fn rows_are_drawn_over_columns_or_elements_in_bytes() {
        let of = |shapes: &[&str]| {
            let rows = shapes.iter().flat_map(|s| rows(s, &[about("kiln")])).collect();
            comparison(Op::Softmax, rows).plots().remove(0).1
        };
        let (alike, other) = (of(&["4x64", "4x128"]), of(&["4x64", "5x64"]));
        assert_eq!((alike.x_label.as_str(), alike.unlike, alike.series[0].points[1].x), ("columns, 4 row(s)", false, 128.0));
        assert_eq!((other.x_label.as_str(), other.unlike, other.series[0].points[1].x), ("rows × columns", true, 320.0));
        assert!(alike.svg().is_ok_and(|svg| svg.contains("GB/s") && !svg.contains("GFLOP/s") && svg.contains("softmax")));
    }
}

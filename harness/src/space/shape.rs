//! Shapes: how they are written, what they cost, and which are refused.

use super::models;
use kiln_kernels::attention::Layout;
use kiln_kernels::format::Format;
use kiln_kernels::gemm::product::Product;
use kiln_kernels::registry::Op;
use kiln_kernels::with_product;
use kiln_profiles::schema::Class;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The extents of one problem, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shape {
    /// A matrix product: C is M × N, the depth is K.
    Product {
        /// Rows of A and C.
        m: usize,
        /// Columns of B and C.
        n: usize,
        /// Columns of A, rows of B.
        k: usize,
    },
    /// Rows, each handled by itself.
    Rows {
        /// How many.
        rows: usize,
        /// Elements in each.
        cols: usize,
    },
    /// Attention, causal: the last tokens of a context attend to what comes up to them.
    Attention {
        /// Tokens that attend.
        tokens: usize,
        /// Tokens that there are.
        context: usize,
        /// Query heads.
        heads: usize,
        /// Heads of keys and values.
        kv_heads: usize,
        /// Elements of a head.
        dim: usize,
    },
}

/// A shape and whether its right operand comes packed beforehand, as weights do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spec {
    /// The extents.
    pub shape: Shape,
    /// B is packed once, outside of what is timed.
    pub packed: bool,
}

/// No extent may be larger.
const LARGEST: usize = 1 << 20;
/// Rows of a row operation whose shape is written as a single number.
const USUAL_ROWS: usize = 128;
/// Tokens that attend where a context alone is written: a prompt is read so many at a time.
const MOST_TOKENS: usize = 512;
/// More shapes than this are a typing error.
const MOST: usize = 512;

impl Shape {
    /// Floating-point operations of one call: 2·M·N·K for a product, and for attention those of its two products with
    /// what the mask shows; none are counted for rows, whose cost is the bytes they move.
    pub fn flops(self) -> Option<f64> {
        match self {
            Shape::Product { m, n, k } => Some(2.0 * m as f64 * n as f64 * k as f64),
            Shape::Attention { tokens, context, heads, dim, .. } => {
                let (tokens, context) = (tokens as f64, context as f64);
                let seen = tokens * context - tokens * (tokens - 1.0) / 2.0;
                Some(4.0 * (heads * dim) as f64 * seen)
            }
            Shape::Rows { .. } => None,
        }
    }

    /// Bytes that the algorithm must move: every operand once.
    pub fn bytes(self, op: Op, format: Format) -> f64 {
        let (rows, cols) = match self {
            Shape::Product { m, n, k } => {
                let (a, b) = with_product!(format, P => (size_of::<<P as Product>::A>(), P::b_bytes(k)));
                return (m * k * a + n * b + 4 * m * n) as f64;
            }
            Shape::Attention { tokens, context, heads, kv_heads, dim } => {
                let layout = Layout::new(format, context, dim);
                let cache = 4 * kv_heads * (layout.key_words() + layout.value_words());
                return (cache + 2 * 4 * tokens * heads * dim) as f64;
            }
            Shape::Rows { rows, cols } => (rows, cols),
        };
        op.operands(format).unwrap_or_default().iter().map(|o| o.traffic(rows, cols) as f64).sum()
    }

    /// The class of choices that it counts for.
    pub fn class(self) -> Class {
        match self {
            Shape::Product { m, .. } => Class::of_rows(m),
            Shape::Rows { .. } | Shape::Attention { .. } => Class::Row,
        }
    }

    /// M of a product.
    pub fn product_rows(self) -> Option<usize> {
        match self {
            Shape::Product { m, .. } => Some(m),
            Shape::Rows { .. } | Shape::Attention { .. } => None,
        }
    }

    /// M, N and K of a product.
    pub fn product(self) -> Option<(usize, usize, usize)> {
        match self {
            Shape::Product { m, n, k } => Some((m, n, k)),
            Shape::Rows { .. } | Shape::Attention { .. } => None,
        }
    }

    /// The extent that plots put on their axis: the edge of a cube of as many operations, the columns, or the context.
    pub fn size(self) -> f64 {
        match self {
            Shape::Product { m, n, k } => (m as f64 * n as f64 * k as f64).cbrt(),
            Shape::Rows { cols, .. } => cols as f64,
            Shape::Attention { context, .. } => context as f64,
        }
    }

    /// Whether M = N = K.
    pub fn is_cube(self) -> bool {
        matches!(self, Shape::Product { m, n, k } if m == n && n == k)
    }

    /// Its extents in the order that they are written in.
    pub(crate) fn extents(self) -> Vec<usize> {
        match self {
            Shape::Product { m, n, k } => vec![m, n, k],
            Shape::Rows { rows, cols } => vec![rows, cols],
            Shape::Attention { tokens, context, heads, kv_heads, dim } => vec![tokens, context, heads, kv_heads, dim],
        }
    }

    fn of_extents(extents: &[usize]) -> Option<Shape> {
        match *extents {
            [m, n, k] => Some(Shape::Product { m, n, k }),
            [rows, cols] => Some(Shape::Rows { rows, cols }),
            [tokens, context, heads, kv_heads, dim] => Some(Shape::Attention { tokens, context, heads, kv_heads, dim }),
            _ => None,
        }
    }
}

impl fmt::Display for Shape {
    /// `MxNxK`, `ROWSxCOLS`, or `TOKENSxCONTEXTxHEADSxKVHEADSxDIM`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents: Vec<_> = self.extents().iter().map(ToString::to_string).collect();
        f.pad(&extents.join("x"))
    }
}

impl FromStr for Shape {
    type Err = String;
    fn from_str(text: &str) -> Result<Shape, String> {
        let extents = text.split('x').map(extent).collect::<Result<Vec<_>, _>>()?;
        Shape::of_extents(&extents)
            .ok_or_else(|| format!("'{text}' is no shape: write MxNxK, ROWSxCOLS, or TOKENSxCONTEXTxHEADSxKVHEADSxDIM"))
    }
}

impl TryFrom<String> for Shape {
    type Error = String;
    fn try_from(text: String) -> Result<Shape, String> {
        text.parse()
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> String {
        shape.to_string()
    }
}

fn extent(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(0) => Err("an extent of 0 leaves nothing to measure".into()),
        Ok(n) if n <= LARGEST => Ok(n),
        Ok(n) => Err(format!("extent {n} is beyond {LARGEST}, the largest that is measured")),
        Err(_) => Err(format!("'{text}' is no extent: write whole numbers from 1")),
    }
}

/// Reads a list of shapes for an operation, without repetitions, in the order given:
/// `256..8192` (doubling), `512`, `MxNxK`, `ROWSxCOLS`, `model:NAME`.
///
/// # Errors
/// One line that says what is wrong with the text.
pub fn parse(text: &str, op: Op) -> Result<Vec<Spec>, String> {
    let mut specs = Vec::new();
    for part in text.split(',').map(str::trim) {
        let new: Vec<Spec> = if let Some(name) = part.strip_prefix("model:") {
            models::specs(models::find(name)?, op)
        } else if let Some((from, to)) = part.split_once("..") {
            let (from, to) = (extent(from)?, extent(to)?);
            if from > to {
                return Err(format!("the range '{part}' is empty: write the smaller number first"));
            }
            let sizes = std::iter::successors(Some(from), |n| Some(n * 2)).take_while(|n| *n <= to);
            sizes.map(|n| plain(single(n, op))).collect()
        } else if part.contains('x') {
            vec![plain(fitting(part, op)?)]
        } else if part.is_empty() {
            return Err("no shape given: write 256..2048, 512, MxNxK, ROWSxCOLS or model:NAME".into());
        } else {
            vec![plain(single(extent(part)?, op))]
        };
        for spec in new {
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        if specs.len() > MOST {
            return Err(format!("more than {MOST} shapes: choose fewer"));
        }
    }
    Ok(specs)
}

fn plain(shape: Shape) -> Spec {
    Spec { shape, packed: false }
}

fn single(n: usize, op: Op) -> Shape {
    match op {
        Op::Gemm => Shape::Product { m: n, n, k: n },
        Op::Attention => Shape::Attention { tokens: n.min(MOST_TOKENS), context: n, heads: 14, kv_heads: 2, dim: 64 },
        Op::AttentionDecode => Shape::Attention { tokens: 1, context: n, heads: 14, kv_heads: 2, dim: 64 },
        _ => Shape::Rows { rows: USUAL_ROWS, cols: n },
    }
}

fn fitting(text: &str, op: Op) -> Result<Shape, String> {
    let shape: Shape = text.parse()?;
    match (op, shape) {
        (Op::Gemm, Shape::Product { .. }) => Ok(shape),
        (Op::Gemm, _) => Err(format!("'{text}' is no shape of {op}: write MxNxK")),
        (Op::Attention | Op::AttentionDecode, Shape::Attention { tokens, context, heads, kv_heads, dim }) => {
            let most = if op == Op::AttentionDecode { 1 } else { context };
            let fits = tokens <= most && heads.is_multiple_of(kv_heads) && dim.is_multiple_of(2);
            if fits {
                Ok(shape)
            } else {
                Err(format!("'{text}' is no shape of {op}: at most {most} tokens, heads in groups, an even dimension"))
            }
        }
        (Op::Attention | Op::AttentionDecode, _) => {
            Err(format!("'{text}' is no shape of {op}: write a context, or TOKENSxCONTEXTxHEADSxKVHEADSxDIM"))
        }
        (_, Shape::Rows { .. }) => Ok(shape),
        (_, _) => Err(format!("'{text}' is no shape of {op}: write ROWSxCOLS")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(text: &str, op: Op) -> Vec<String> {
        parse(text, op).expect("shapes").iter().map(|s| s.shape.to_string()).collect()
    }

    #[test]
    fn every_way_of_writing_is_read() {
        assert_eq!(shapes("256..1024,512", Op::Gemm), ["256x256x256", "512x512x512", "1024x1024x1024"]);
        assert_eq!(shapes("300..1000", Op::Gemm), ["300x300x300", "600x600x600"]);
        assert_eq!(shapes("1x896x4864", Op::Gemm), ["1x896x4864"]);
        assert_eq!(shapes("896, 4x64", Op::RmsNorm), ["128x896", "4x64"]);
        assert!(parse("model:embedded", Op::Gemm).expect("shapes").iter().all(|s| s.packed));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (text, op, part) in [
            ("", Op::Gemm, "no shape given"),
            ("0", Op::Gemm, "nothing to measure"),
            ("9999999999999999999999", Op::Gemm, "no extent"),
            ("2000000", Op::Gemm, "beyond"),
            ("512..256", Op::Gemm, "smaller number first"),
            ("64x64", Op::Gemm, "MxNxK"),
            ("64x64x64", Op::RmsNorm, "ROWSxCOLS"),
            ("1x2x3x4", Op::Gemm, "no shape"),
            ("-3", Op::Gemm, "no extent"),
            ("model:llama", Op::Gemm, "known are"),
        ] {
            let error = parse(text, op).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn costs_are_counted_as_promised() {
        let s = Shape::Product { m: 2, n: 3, k: 5 };
        assert_eq!((s.flops(), s.bytes(Op::Gemm, Format::F32)), (Some(60.0), 4.0 * 31.0));
        assert_eq!(Shape::Rows { rows: 2, cols: 10 }.bytes(Op::F16ToF32, Format::F16), 120.0);
    }
}

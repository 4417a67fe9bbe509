//! What cannot win at a problem, told before any clock is read: by what is known of a kernel, of the shape and of the caches.
//! A reason that is not beyond doubt is none, and the default is never left out.

use super::{Candidate, Problem, Shape, effective};
use kiln_kernels::gemm::{Caches, Geometry, Order};
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::{Kernel, Meta, Op};
use kiln_profiles::schema::Class;

/// Elements that a tile multiplies, padding included, over those of the best tile, beyond which it cannot win.
const PADDING: f64 = 3.0;

/// What candidates are judged by.
pub(super) struct Judge {
    shape: Shape,
    caches: Caches,
    has_vectors: bool,
    least_padding: f64,
}

impl Judge {
    /// For the candidates of a problem.
    pub(super) fn new(problem: &Problem, caches: Caches, all: &[Candidate]) -> Judge {
        let shape = problem.shape;
        Judge {
            shape,
            caches,
            has_vectors: all.iter().any(|c| c.entry.meta.isa != IsaId::Scalar),
            least_padding: all.iter().map(|c| padding(&c.kernel, shape)).fold(f64::INFINITY, f64::min),
        }
    }

    /// Why a candidate cannot win. `None` if it may.
    pub(super) fn reason(&self, candidate: &Candidate) -> Option<&'static str> {
        let meta = candidate.entry.meta;
        match () {
            () if candidate.default => None,
            () if self.has_vectors && meta.isa == IsaId::Scalar => Some("scalar code where there are vectors"),
            () if spills(meta) => Some("more accumulators and operands than there are vector registers"),
            () if candidate.tile.0 == 1 && self.shape.class() == Class::Prefill => {
                Some("a tile of one row, so that each row would read all of B")
            }
            () if padding(&candidate.kernel, self.shape) > PADDING * self.least_padding => {
                Some("a tile that multiplies three times as many elements as another")
            }
            () => self.beyond_caches(candidate),
        }
    }

    /// What a blocking needs in a cache that is too small for it. What is read once need not stay in any.
    fn beyond_caches(&self, candidate: &Candidate) -> Option<&'static str> {
        let (Kernel::Gemm(gemm), Some(blocking), Shape::Product { m, n, .. }) = (candidate.kernel, candidate.blocking, self.shape) else {
            return None;
        };
        let geometry = gemm.geometry();
        let blocks = effective(blocking.into(), self.shape, (geometry.mr, geometry.nr));
        let bytes = |words: usize| words.saturating_mul(4);
        let Caches { l1, l2, .. } = self.caches;
        if m <= geometry.mr || n <= geometry.nr {
            None
        } else if bytes(geometry.panel(blocks.kc) + geometry.strip(blocks.kc)) > l1 + l2 {
            Some("a panel of B and a strip of A that exceed the first two caches")
        } else if blocking.order == Order::Panels && bytes(geometry.strips(blocks.mc, blocks.kc)) > l2 {
            Some("a block of A that exceeds the second cache")
        } else {
            None
        }
    }
}

/// Elements multiplied, padding included, over elements there are.
fn padding(kernel: &Kernel, shape: Shape) -> f64 {
    let (Kernel::Gemm(g), Shape::Product { m, n, .. }) = (kernel, shape) else { return 1.0 };
    let Geometry { mr, nr, .. } = g.geometry();
    (m.next_multiple_of(mr) * n.next_multiple_of(nr)) as f64 / (m * n) as f64
}

/// Whether the accumulators of a product's tile and the operands of one multiply-add cannot all be in registers. Of block
/// formats, which keep sums of spans beside, and of scalar code nothing is said.
fn spills(meta: &Meta) -> bool {
    let tile = meta.param("MR").zip(meta.param("NV"));
    meta.op == Op::Gemm
        && !meta.format.is_blocks()
        && tile.zip(registers(meta.isa)).is_some_and(|((mr, nv), r)| mr * nv + r.operands > r.all)
}

/// Vector registers of an instruction set, and those that the operands of a multiply-add need at least: x86 takes one of them
/// from memory.
struct Registers {
    all: usize,
    operands: usize,
}

fn registers(isa: IsaId) -> Option<Registers> {
    let (all, operands) = match (isa, isa.arch()) {
        (IsaId::Scalar, _) => return None,
        (IsaId::Avx2 | IsaId::AvxVnni, _) => (16, 1),
        (_, "x86_64") => (32, 1),
        (_, "aarch64") => (32, 2),
        _ => return None,
    };
    Some(Registers { all, operands })
}

#[cfg(test)]
mod tests {
    use super::super::{Blockings, Temperature, all_candidates};
    use super::*;
    use kiln_kernels::gemm::Blocking;
    use kiln_kernels::registry;

    const CACHES: Caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 16 << 20 };

    #[test]
    fn a_tile_spills_that_leaves_no_register_for_an_operand() {
        let of = |isa: &str, mr: usize, nv: usize| -> Meta {
            let like = registry::all().map(|e| e.meta).find(|m| m.op == Op::Gemm && m.isa.name() == isa).expect("a kernel");
            let params = Box::leak(Box::new([("MR", mr), ("NV", nv)]));
            Meta { params, ..*like }
        };
        for (isa, fits, too_many) in [("avx2", (5, 3), (4, 4)), ("avx512", (31, 1), (8, 4)), ("neon", (10, 3), (31, 1))] {
            assert!(!spills(&of(isa, fits.0, fits.1)) && spills(&of(isa, too_many.0, too_many.1)), "{isa}");
        }
        // Whoever adds such a tile is told so by its absence from every sweep.
        let spilt: Vec<&str> = registry::all().map(|e| e.meta).filter(|m| spills(m)).map(|m| m.name).collect();
        assert!(spilt.is_empty(), "tiles on the list that no sweep would try: {spilt:?}");
    }

    #[test]
    fn blocks_that_do_not_fit_their_cache_are_left_out_unless_they_are_read_once() {
        let reasons = |shape: &str, blocking: Blocking| -> Vec<Option<&str>> {
            let shape = shape.parse().expect("a shape");
            let problem = Problem { op: Op::Gemm, format: Op::Gemm.format(), shape, packed: false, threads: 1, operands: Temperature::Hot };
            let mut all =
                all_candidates(&problem, &registry::all().collect::<Vec<_>>(), Blockings::Analytical, CACHES).expect("candidates");
            all.retain(|c| c.tile.0 == 4 && c.entry.meta.isa != IsaId::Scalar || c.default);
            let judge = Judge::new(&problem, CACHES, &all);
            all.iter_mut().for_each(|c| c.blocking = Some(blocking));
            assert_eq!(all.iter().filter(|c| c.default).filter_map(|c| judge.reason(c)).count(), 0, "the default is never left out");
            all.iter().filter(|c| !c.default).map(|c| judge.reason(c)).collect()
        };
        let all = |reasons: Vec<Option<&str>>, part: Option<&str>| {
            assert!(
                reasons.iter().all(|r| r.is_some() == part.is_some() && r.is_none_or(|r| r.contains(part.unwrap_or("")))),
                "{reasons:?}"
            );
        };
        let blocking = |kc: usize, mc: usize| Blocking::new(kc, mc, 1 << 20);
        all(reasons("512x512x65536", blocking(256, 128)), None);
        all(reasons("512x512x65536", blocking(256, 1024)), None);
        all(reasons("1024x512x65536", blocking(256, 1024)), Some("a block of A"));
        all(reasons("1024x512x65536", Blocking { order: Order::Strips, ..blocking(256, 1024) }), None);
        all(reasons("512x512x65536", blocking(65536, 4)), Some("a panel of B"));
        // With one strip or one panel nothing is read again.
        all(reasons("4x512x65536", blocking(65536, 4)), None);
    }
}

//! What a whole product takes: the inner loop, as llvm-mca has it, and what comes on top of it by the blocking model of
//! Low et al., "Analytical modeling is enough for high-performance BLIS" (ACM TOMS 43, 2016), with the CPU's own cache
//! sizes: operands that stream from where they fit, C that is written, blocks that are packed.
//!
//! It orders candidates. Its rates from cache to cache are of no CPU in particular, so that what it says in cycles is no
//! claim; how far it is off is measured wherever results are.

use crate::space::{Shape, Temperature};
use crate::store::{Blocks, Config};
use kiln_kernels::format::Format;
use kiln_kernels::gemm::Caches;
use kiln_profiles::schema::{BlockSizes, Order};

/// Cycles of one call, by what takes them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Cycles {
    /// The inner loops, padding included.
    pub multiply: f64,
    /// Operands on their way to the first cache, which goes on beside that.
    pub traffic: f64,
    /// Beginning and ending tiles: their elements of C, and what an inner loop takes to get going.
    pub tiles: f64,
    /// Packing blocks.
    pub packing: f64,
}

/// Bytes in a cycle that one core reads from each level: what current cores do when it is all that they do.
const FROM_L2: f64 = 28.0;
const FROM_L3: f64 = 10.0;
const FROM_MEMORY: f64 = 4.0;
/// Bytes of C in a cycle, to be read or written.
const OF_C: f64 = 32.0;
/// Cycles until the first multiply-adds of a tile are done and after its last ones.
const TILE: f64 = 20.0;
/// Cycles for each element that is packed.
const PACKED: f64 = 0.6;
/// The part of what is the shorter of multiplying and moving that the longer does not hide.
const EXPOSED: f64 = 0.25;
/// The part of a cache that operands keep for themselves.
const USABLE: f64 = 0.75;

impl Cycles {
    /// All of them.
    pub fn total(&self) -> f64 {
        let (longer, shorter) = (self.multiply.max(self.traffic), self.multiply.min(self.traffic));
        longer + EXPOSED * shorter + self.tiles + self.packing
    }

    /// What takes most.
    pub fn limit(&self) -> &'static str {
        let all =
            [(self.multiply, "multiplying"), (self.traffic, "moving operands"), (self.tiles, "C and edges"), (self.packing, "packing")];
        all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |most| most.1)
    }
}

/// Predicts one call of a product whose inner loop does that many multiply-adds in a cycle; on several threads that of the
/// busiest. `None` if it is no product.
pub fn product(config: &Config, mac_per_cycle: f64, caches: Caches) -> Option<Cycles> {
    let (Shape::Product { m, n, k }, (mr, nr)) = (config.shape, config.tile) else { return None };
    let format: Format = crate::filter::format(&config.format).ok()?;
    let Blocks(kc, mc, nc, order) = config.blocking?;
    let (rows, cols) = config.split.map_or((1, config.threads), |split| (split.rows, split.cols));
    // Whole tiles of the busiest part.
    let m = m.div_ceil(mr).div_ceil(rows) * mr;
    let n = n.div_ceil(nr).div_ceil(cols) * nr;
    let BlockSizes { kc, mc, nc, .. } = crate::space::effective(BlockSizes { kc, mc, nc, order }, Shape::Product { m, n, k }, config.tile);
    let [m, n, k, mr, nr, kc, mc, nc] = [m, n, k, mr, nr, kc, mc, nc].map(|size| size as f64);
    let (a, b) = packed_bytes(format);
    let multiply = m * n * k / mac_per_cycle;
    let depths = (k / kc).ceil();
    let count = m / mr * (n / nr) * depths;
    let tiles = count * (mr * nr * 4.0 * (2.0 * depths - 1.0) / depths / OF_C + TILE);
    let packs_of_a = (n / nc).ceil();
    let packing = PACKED * (m * k * packs_of_a + if config.packed { 0.0 } else { n * k });

    // One of the two stays in the first cache while the other's pieces go by.
    let (strip, panel, block_a, block_b) = (mr * kc * a, nr * kc * b, mc * kc * a, nc * kc * b);
    let cold = config.packed && config.operands == Temperature::Cold;
    let from = |bytes: f64| rate(bytes, caches);
    let b_rate = if cold { FROM_MEMORY } else { from(if config.packed { n * k * b } else { block_b }) };
    let (kept, passing, turns) = match order {
        Order::Panels => (panel, strip, mc / mr),
        Order::Strips => (strip, panel, nc / nr),
    };
    let (kept_rate, passing_rate, passing_block) = match order {
        Order::Panels => (b_rate, from(block_a + panel), block_a),
        Order::Strips => (from(block_a), b_rate.max(from(block_b)), block_b),
    };
    let first_cache = USABLE * caches.l1 as f64;
    let stays = kept + passing <= first_cache;
    // What is not in the first cache when its next turn comes is read again, from where it fits beside what passes.
    let again = if stays { 0.0 } else { count * (1.0 - 1.0 / turns.max(1.0)) * kept / from(kept + passing_block) };
    let passes = if passing_block + kept <= first_cache { 0.0 } else { count * passing / passing_rate };
    let traffic = count / turns.max(1.0) * kept / kept_rate + again + passes;
    Some(Cycles { multiply, traffic, tiles, packing })
}

/// Bytes in a cycle from where so many fit.
fn rate(bytes: f64, Caches { l2, l3, .. }: Caches) -> f64 {
    match bytes / USABLE {
        bytes if bytes <= l2 as f64 => FROM_L2,
        bytes if bytes <= l3 as f64 => FROM_L3,
        _ => FROM_MEMORY,
    }
}

/// Bytes for each element of the left and of the right operand, packed.
fn packed_bytes(format: Format) -> (f64, f64) {
    let b = format.bytes() as f64 / format.depth() as f64;
    // Rows that meet blocks of weights are quantised to bytes, those that meet 16-bit weights stay f32.
    let a = match format {
        _ if format.is_blocks() => 1.125,
        _ if format.arithmetic() != format => 4.0,
        _ => b,
    };
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    const CACHES: Caches = Caches { l1: 32 << 10, l2: 1 << 20, l3: 4 << 20 };

    fn at(shape: &str, tile: (usize, usize), blocking: Blocks) -> Cycles {
        let config = Config { tile, blocking: Some(blocking), packed: false, ..record("a", shape, &[1.0]).config };
        product(&config, 32.0, CACHES).expect("a product")
    }

    #[test]
    fn a_large_product_of_a_fair_tile_is_bound_by_multiplying_and_a_narrow_one_by_what_passes() {
        let blocking = Blocks(256, 240, 2048, Order::Panels);
        let (fair, narrow) = (at("1024x1024x1024", (12, 32), blocking), at("1024x1024x1024", (1, 32), blocking));
        assert_eq!(fair.limit(), "multiplying");
        assert!(fair.multiply < 1024f64.powi(3) / 32.0 * 1.02 && fair.multiply >= 1024f64.powi(3) / 32.0, "{fair:?}");
        assert!(narrow.total() > 1.3 * fair.total(), "{narrow:?}");
    }

    #[test]
    fn padding_and_depths_that_are_cut_short_cost() {
        let whole = Blocks(256, 240, 2048, Order::Panels);
        assert!(at("13x1024x1024", (12, 32), whole).multiply > 1.8 * at("12x1024x1024", (12, 32), whole).multiply);
        let short = Blocks(16, 240, 2048, Order::Panels);
        assert!(at("240x1024x1024", (12, 32), short).tiles > 8.0 * at("240x1024x1024", (12, 32), whole).tiles);
    }

    #[test]
    fn rows_have_no_such_prediction() {
        assert_eq!(product(&record("a", "8x8", &[1.0]).config, 32.0, CACHES), None);
    }
}

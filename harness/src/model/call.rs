//! What a whole product takes: the inner loop, as llvm-mca has it, and what comes on top of it by the blocking model of
//! Low et al., "Analytical modeling is enough for high-performance BLIS" (ACM TOMS 43, 2016), with the CPU's own cache
//! sizes: operands that stream from where they fit, C that is written, blocks that are packed.
//!
//! It orders candidates. Its constants are few, each of something that a CPU does: those that are most the CPU's own are in its
//! profile ([`Rates`]), the others here. They were fitted to few CPUs, so that what it says in cycles is no claim; how far it is
//! off is measured wherever results are.

use crate::space::{Shape, Temperature};
use crate::store::{Blocks, Config};
use kiln_kernels::format::Format;
use kiln_kernels::gemm::Caches;
use kiln_profiles::machine::Rates;
use kiln_profiles::schema::{BlockSizes, Order};

/// Cycles of one call, by what takes them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Cycles {
    /// The inner loops, padding included.
    pub multiply: f64,
    /// Operands on their way to the first cache, which goes on beside that.
    pub traffic: f64,
    /// Beginning and ending tiles, above all bringing and writing their rows of C, during which nothing is multiplied.
    pub tiles: f64,
    /// Packing blocks.
    pub packing: f64,
}

/// The part of what a row of C costs where what is met of C between two depths fits the second level. Fitted at 256x256x256
/// alone, which can hardly tell it from a third.
const NEAR_C: f64 = 0.5;
/// How many times that where it does not fit the last level. Not fitted.
const FAR_C: f64 = 2.0;
/// Cycles for each tile and depth, whatever its size: the end of the inner loop, which is mispredicted, and what its last
/// multiply-adds take to come out. The fit cannot tell 0 from 60.
const TILE: f64 = 30.0;
/// Cycles for each element that is packed. Not fitted: nearly the same for all candidates of a problem.
const PACKED: f64 = 0.6;
/// The part of a cache that operands keep for themselves.
const USABLE: f64 = 0.75;

impl Cycles {
    /// All of them; `exposed` is the part of the shorter of multiplying and moving that the longer does not hide.
    pub fn total(&self, exposed: f64) -> f64 {
        let (longer, shorter) = (self.multiply.max(self.traffic), self.multiply.min(self.traffic));
        longer + exposed * shorter + self.tiles + self.packing
    }

    /// What takes most.
    pub fn limit(&self) -> &'static str {
        let all = [(self.multiply, "multiplying"), (self.traffic, "moving operands"), (self.tiles, "C"), (self.packing, "packing")];
        all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |most| most.1)
    }
}

/// Predicts one call of a product whose inner loop does that many multiply-adds in a cycle; on several threads that of the
/// busiest. `None` if it is no product.
pub fn product(config: &Config, mac_per_cycle: f64, caches: Caches, rates: &Rates) -> Option<Cycles> {
    let (Shape::Product { m, n, k }, (mr, nr)) = (config.shape, config.tile) else { return None };
    let format: Format = crate::filter::format(&config.format).ok()?;
    let Blocks(kc, mc, nc, order) = config.blocking?;
    let (rows, cols) = config.split.map_or((1, config.threads), |split| (split.rows, split.cols));
    // Whole tiles of the busiest part.
    let m = m.div_ceil(mr).div_ceil(rows) * mr;
    let n = n.div_ceil(nr).div_ceil(cols) * nr;
    let BlockSizes { kc, mc, nc, .. } = crate::space::effective(BlockSizes { kc, mc, nc, order }, Shape::Product { m, n, k }, config.tile);
    let [m, n, k, mr, nr, kc, mc, nc] = [m, n, k, mr, nr, kc, mc, nc].map(|size| size as f64);
    let (a, b) = packed_bytes(format, &config.isa);
    let multiply = m * n * k / mac_per_cycle;
    let depths = (k / kc).ceil();
    let count = m / mr * (n / nr) * depths;
    let tiles = count * (TILE + mr * rates.row_of_c * by_level(m * nc * 4.0, caches, [NEAR_C, 1.0, FAR_C]));
    let packs_of_a = (n / nc).ceil();
    let packing = PACKED * (m * k * packs_of_a + if config.packed { 0.0 } else { n * k });

    // One of the two stays in the first cache while the other's pieces go by.
    let (strip, panel, block_a, block_b) = (mr * kc * a, nr * kc * b, mc * kc * a, nc * kc * b);
    let cold = config.packed && config.operands == Temperature::Cold;
    let from = |bytes: f64| by_level(bytes, caches, [rates.from_l2, rates.from_l3, rates.from_memory]);
    let b_rate = if cold { rates.from_memory } else { from(if config.packed { n * k * b } else { block_b }) };
    let (kept, passing, turns) = match order {
        Order::Panels => (panel, strip, mc / mr),
        Order::Strips => (strip, panel, nc / nr),
    };
    // B comes from where it lies once; where its panels pass strip after strip, the other times from where its block fits.
    let (kept_rate, passing_rate, passing_block, fresh) = match order {
        Order::Panels => (b_rate, from(block_a + panel), block_a, 0.0),
        Order::Strips => (from(block_a), from(block_b), block_b, 1.0 / (mc / mr).max(1.0)),
    };
    let first_cache = USABLE * caches.l1 as f64;
    let stays = kept + passing <= first_cache;
    // What is not in the first cache when its next turn comes is read again, from where it fits beside what passes.
    let again = if stays { 0.0 } else { count * (1.0 - 1.0 / turns.max(1.0)) * kept / from(kept + passing_block) };
    let passes = if passing_block + kept <= first_cache { 0.0 } else { count * (1.0 - fresh) * passing / passing_rate };
    let passes = passes + count * fresh * passing / b_rate;
    let traffic = count / turns.max(1.0) * kept / kept_rate + again + passes;
    Some(Cycles { multiply, traffic, tiles, packing })
}

/// Which of the three it is for so many bytes: that of the second level, of the last, or of memory, by where they fit.
fn by_level(bytes: f64, Caches { l2, l3, .. }: Caches, [second, last, memory]: [f64; 3]) -> f64 {
    match bytes / USABLE {
        bytes if bytes <= l2 as f64 => second,
        bytes if bytes <= l3 as f64 => last,
        _ => memory,
    }
}

/// Bytes for each element of the left and of the right operand, packed for kernels of an instruction set.
fn packed_bytes(format: Format, isa: &str) -> (f64, f64) {
    let b = format.bytes() as f64 / format.depth() as f64;
    // Rows that meet blocks of weights are quantised to bytes, those that meet 16-bit weights stay f32, and 16-bit elements are
    // f32 wherever an instruction set does not multiply them as they are.
    let widens = matches!(format, Format::F16 | Format::Bf16) && matches!(isa, "scalar" | "avx2" | "avx512" | "neon" | "sve");
    let a = match format {
        _ if format.is_blocks() => 1.125,
        _ if widens || format.arithmetic() != format => 4.0,
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
        product(&config, 32.0, CACHES, &Rates::default()).expect("a product")
    }

    #[test]
    fn a_large_product_of_a_fair_tile_is_bound_by_multiplying_and_a_narrow_one_by_what_passes() {
        let blocking = Blocks(256, 240, 2048, Order::Panels);
        let (fair, narrow) = (at("1024x1024x1024", (12, 32), blocking), at("1024x1024x1024", (1, 32), blocking));
        let exposed = Rates::default().exposed;
        assert_eq!(fair.limit(), "multiplying");
        assert!(fair.multiply < 1024f64.powi(3) / 32.0 * 1.02 && fair.multiply >= 1024f64.powi(3) / 32.0, "{fair:?}");
        assert!(narrow.total(exposed) > 1.3 * fair.total(exposed), "{narrow:?}");
    }

    #[test]
    fn padding_and_depths_that_are_cut_short_cost() {
        let whole = Blocks(256, 240, 2048, Order::Panels);
        assert!(at("13x1024x1024", (12, 32), whole).multiply > 1.8 * at("12x1024x1024", (12, 32), whole).multiply);
        let short = Blocks(16, 240, 2048, Order::Panels);
        assert!(at("240x1024x1024", (12, 32), short).tiles > 8.0 * at("240x1024x1024", (12, 32), whole).tiles);
    }

    #[test]
    fn c_that_is_met_again_costs_by_where_it_fits_and_wide_tiles_meet_fewer_rows_of_it() {
        let blocking = Blocks(256, 240, 8192, Order::Panels);
        let tiles = |shape: &str, tile: (usize, usize)| at(shape, tile, blocking).tiles;
        // 256 KiB of C fit what is usable of the second level, 1 MiB of the last alone, 64 MiB neither; elements are 4 and 64 times
        // as many.
        let [near, far, memory] = ["256x256x512", "512x512x512", "4096x4096x512"].map(|shape| tiles(shape, (8, 32)));
        assert!(far > 6.0 * near && memory > 100.0 * far, "{near} {far} {memory}");
        assert!(tiles("512x512x512", (8, 16)) > 1.8 * tiles("512x512x512", (4, 32)));
    }

    #[test]
    fn weights_come_out_of_memory_once_in_either_order() {
        let few = |order| {
            let blocking = Some(Blocks(1024, 240, 256, order));
            let config =
                Config { tile: (1, 32), blocking, packed: true, operands: Temperature::Cold, ..record("a", "4x128x896", &[1.0]).config };
            product(&config, 32.0, CACHES, &Rates::default()).expect("a product").traffic
        };
        let weights = 128.0 * 896.0 * 4.0 / Rates::default().from_memory;
        for order in [Order::Panels, Order::Strips] {
            assert!(few(order) >= weights && few(order) < 1.5 * weights, "{order:?}: {} {weights}", few(order));
        }
    }

    #[test]
    fn sixteen_bits_are_packed_as_an_instruction_set_multiplies_them() {
        assert_eq!(packed_bytes(Format::Bf16, "avx512"), (4.0, 2.0));
        assert_eq!(packed_bytes(Format::Bf16, "svebf16"), (2.0, 2.0));
        assert_eq!(packed_bytes(Format::F16Weights, "neonfhm"), (4.0, 2.0));
        assert_eq!(packed_bytes(Format::S8, "avx2"), (1.0, 1.0));
    }

    #[test]
    fn rows_have_no_such_prediction() {
        assert_eq!(product(&record("a", "8x8", &[1.0]).config, 32.0, CACHES, &Rates::default()), None);
    }
}

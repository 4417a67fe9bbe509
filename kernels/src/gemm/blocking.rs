//! Cache blocking: KC, MC and NC, given or derived from cache sizes.

use super::Geometry;
use crate::format::SPAN;

/// Data cache sizes of one core, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// First level, data.
    pub l1: usize,
    /// Second level.
    pub l2: usize,
    /// This core's share of the last level; 0 when there is none.
    pub l3: usize,
}

/// Common sizes, for programs that do not know their machine's: 32 KiB, 512 KiB, and 2 MiB of the last level.
impl Default for Caches {
    fn default() -> Caches {
        Caches { l1: 32 << 10, l2: 512 << 10, l3: 2 << 20 }
    }
}

/// Which of the two inner loops is the outer one: whose part stays in the first cache while the other's go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order {
    /// A panel of B stays, the strips of the block of A go by: GotoBLAS's order.
    #[default]
    Panels,
    /// A strip of A stays, the panels of the block of B go by. Panels that are unpacked first keep the other order.
    Strips,
}

/// Block sizes in elements, and the order of loops. Values that do not fit a tile are rounded when used, so any will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocking {
    /// Depth of packed blocks.
    pub kc: usize,
    /// Rows of the packed block of A.
    pub mc: usize,
    /// Columns of the packed block of B.
    pub nc: usize,
    /// The order of the inner loops.
    pub order: Order,
}

impl Blocking {
    /// A KC that no model's depth exceeds. A longer one is multiplied in blocks of it, and as right.
    pub const WHOLE: usize = 1 << 20;

    /// The largest size of a block: larger ones are taken for it, and could not be rounded up.
    pub(super) const MOST: usize = 1 << 30;

    /// Those sizes, in the usual order.
    pub const fn new(kc: usize, mc: usize, nc: usize) -> Blocking {
        Blocking { kc, mc, nc, order: Order::Panels }
    }

    /// The analytical model of Low et al., "Analytical modeling is enough for high-performance
    /// BLIS" (ACM TOMS 43, 2016), simplified to associativity-free fractions: a KC × NR panel of B
    /// takes half of L1 (three quarters where a step is a whole block of weights, so that C is seldom read
    /// again), an MC × KC block of A half of L2, a KC × NC block of B half of the L3 share. For one row
    /// no panel is used twice: the whole depth of each is read before the next.
    pub fn analytical(tile: Geometry, caches: Caches) -> Blocking {
        Blocking::of_unpacked(tile, tile.b_words, caches)
    }

    /// As [`Blocking::analytical`], of tiles that take a step of a panel as `taken` words: so many count in L1, and those
    /// that it was packed as in the last level.
    pub(super) fn of_unpacked(tile: Geometry, taken: usize, caches: Caches) -> Blocking {
        let Geometry { mr, nr, step, a_words, b_words, .. } = tile;
        // Bytes for each depth, of a panel as it is taken and as it is packed, and of a strip.
        let [taken, panel, strip] = [taken, b_words, a_words].map(|words| (words * 4).div_ceil(step));
        let kc = if step < SPAN { (caches.l1 / 2 / taken).clamp(64, 512) / 8 * 8 } else { (caches.l1 / 4 * 3 / taken).clamp(64, 1024) };
        let kc = kc.next_multiple_of(step);
        let mc = (caches.l2 / 2 / (if mr == 1 { LONG } else { kc } * strip)).max(1) * mr;
        let last = if caches.l3 > 0 { caches.l3 } else { 4 * caches.l2 };
        let nc = (last / 2 / (kc * panel)).clamp(1, 8192 / nr.min(8192)) * nr;
        Blocking::new(if mr == 1 { Blocking::WHOLE } else { kc }, mc, nc)
    }
}

/// A depth that is long for a model: what rows are counted on to have where they are whole.
const LONG: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_the_caches_they_are_meant_for() {
        let caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 16 << 20 };
        for (mr, nr) in [(6, 16), (12, 32), (8, 12), (4, 4), (8, 192)] {
            let tile = Geometry { mr, nr, step: 1, a_head: 0, a_words: mr, b_words: nr };
            let b = Blocking::analytical(tile, caches);
            assert!(b.kc * nr * 4 <= caches.l1 / 2 || b.kc == 64, "{b:?}");
            assert!(b.mc * b.kc * 4 <= caches.l2 / 2 || b.mc == mr, "{b:?}");
            assert!(b.nc * b.kc * 4 <= caches.l3 / 2 && b.nc.is_multiple_of(nr) && b.mc.is_multiple_of(mr), "{b:?}");
        }
    }
}

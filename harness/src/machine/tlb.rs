//! The TLBs, which keep the addresses of pages at hand, as CPUID tells of them. Arm CPUs do not tell, nor
//! do many virtual machines, whose CPUID says zero. The list is then empty, which means 'not known': nothing
//! here has a table of what some CPU ought to have, and nothing is measured. On a CPU of unlike cores it is
//! the TLBs of whichever core asks.

use super::cache;
use serde::{Deserialize, Serialize};

/// What a TLB is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlbKind {
    /// Data alone.
    Data,
    /// Data that is read.
    Load,
    /// Data that is written.
    Store,
    /// Instructions alone.
    Instruction,
    /// Data and instructions.
    Unified,
}

/// One TLB, or what it holds of pages of one size: AMD tells of each size apart, and not whether they share room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tlb {
    /// 1 is nearest to the core.
    pub level: u32,
    /// What it is asked for.
    pub kind: TlbKind,
    /// The sizes in bytes of the pages whose addresses it holds, ascending.
    pub page_bytes: Vec<u64>,
    /// How many pages it knows at once, at least 1.
    pub entries: u32,
    /// Ways of associativity: as many as entries if any page may be in any of them. `None` if not told.
    pub ways: Option<u32>,
}

impl Tlb {
    /// `l1d`, `l1i`, `l1 load`, `l1 store`, `l2`.
    pub fn name(&self) -> String {
        let suffix = match self.kind {
            TlbKind::Data => "d",
            TlbKind::Load => " load",
            TlbKind::Store => " store",
            TlbKind::Instruction => "i",
            TlbKind::Unified => "",
        };
        format!("l{}{suffix}", self.level)
    }
}

/// The TLBs, nearest first; empty if the CPU does not tell.
pub fn tlbs() -> Vec<Tlb> {
    let mut found = told();
    found.sort_by(|a, b| (a.level, a.kind, &a.page_bytes).cmp(&(b.level, b.kind, &b.page_bytes)));
    found
}

#[cfg(target_arch = "x86_64")]
fn told() -> Vec<Tlb> {
    use super::cpuid::{leaf, vendor};
    match vendor().as_str() {
        "AuthenticAMD" | "HygonGenuine" => {
            // The registers for large pages come before those for small ones; a leaf that is not there tells of nothing.
            let pair = |number| leaf(number, 0).map_or([0; 2], |r| [r.eax, r.ebx]);
            from_amd(pair(0x8000_0005), pair(0x8000_0006), pair(0x8000_0019))
        }
        "GenuineIntel" => {
            // An empty sub-leaf may stand before one that is not.
            let last = leaf(0x18, 0).map_or(0, |r| r.eax.min(63));
            (0..=last).filter_map(|index| leaf(0x18, index)).filter_map(|r| from_intel([r.ebx, r.ecx, r.edx])).collect()
        }
        _ => Vec::new(),
    }
}

/// Only x86 tells.
#[cfg(not(target_arch = "x86_64"))]
fn told() -> Vec<Tlb> {
    Vec::new()
}

/// One sub-leaf of CPUID 0x18: EBX, ECX, EDX.
#[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
fn from_intel([ebx, ecx, edx]: [u32; 3]) -> Option<Tlb> {
    let kind = match edx & 31 {
        1 => TlbKind::Data,
        2 => TlbKind::Instruction,
        3 => TlbKind::Unified,
        4 => TlbKind::Load,
        5 => TlbKind::Store,
        _ => return None,
    };
    let sizes = [4 << 10, 2 << 20, 4 << 20, 1 << 30];
    let page_bytes: Vec<u64> = sizes.into_iter().enumerate().filter(|(bit, _)| ebx >> bit & 1 == 1).map(|(_, size)| size).collect();
    let ways = ebx >> 16;
    let entries = ways.checked_mul(ecx).filter(|n| *n > 0)?;
    (!page_bytes.is_empty()).then_some(Tlb { level: edx >> 5 & 7, kind, page_bytes, entries, ways: Some(ways) })
}

/// CPUID 0x80000005 (level 1), 0x80000006 (level 2) and 0x80000019 (pages of 1 GiB, level 1 and 2): EAX and EBX.
/// Pages of 4 MiB, which 64-bit programs do not have, take two entries and are left out.
#[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
fn from_amd(first: [u32; 2], second: [u32; 2], giant: [u32; 2]) -> Vec<Tlb> {
    let registers = [
        (1, 2 << 20, halves_of_bytes(first[0])),
        (1, 4 << 10, halves_of_bytes(first[1])),
        (1, 1 << 30, halves_of_codes(giant[0])),
        (2, 2 << 20, halves_of_codes(second[0])),
        (2, 4 << 10, halves_of_codes(second[1])),
        (2, 1 << 30, halves_of_codes(giant[1])),
    ];
    let mut found = Vec::new();
    for (level, page, [data, instructions]) in registers {
        // At level 2 a half of data that is empty means that the other one is for both.
        let of_rest = if level == 2 && data.is_none() { TlbKind::Unified } else { TlbKind::Instruction };
        for (half, kind) in [(data, TlbKind::Data), (instructions, of_rest)] {
            found.extend(half.map(|Half { entries, ways }| Tlb { level, kind, page_bytes: vec![page], entries, ways }));
        }
    }
    found
}

/// What half a register of AMD's says.
#[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
#[derive(Clone, Copy)]
struct Half {
    entries: u32,
    ways: Option<u32>,
}

/// Data and instructions of a register with eight bits of ways and eight of entries for each.
#[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
fn halves_of_bytes(register: u32) -> [Option<Half>; 2] {
    [register >> 16, register & 0xffff].map(|half| {
        let (ways, entries) = (half >> 8, half & 0xff);
        let ways = match ways {
            0 => None,
            0xff => Some(entries),
            n => Some(n),
        };
        (entries > 0).then_some(Half { entries, ways })
    })
}

/// Data and instructions of a register with four bits of a code for the ways and twelve of entries for each.
#[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
fn halves_of_codes(register: u32) -> [Option<Half>; 2] {
    [register >> 16, register & 0xffff].map(|half| {
        let (code, entries) = (half >> 12, half & 0xfff);
        let ways = match code {
            1..=4 => Some(code),
            5 => Some(6),
            6 => Some(8),
            8 => Some(16),
            10 => Some(32),
            11 => Some(48),
            12 => Some(64),
            13 => Some(96),
            14 => Some(128),
            15 => Some(entries),
            _ => None,
        };
        // Code 0: there is none, or it is off.
        (code > 0 && entries > 0).then_some(Half { entries, ways })
    })
}

/// The TLBs in words: `l1d 64 of 4K (4-way), …`. `None` if none is known.
pub fn describe(tlbs: &[Tlb]) -> Option<String> {
    let one = |tlb: &Tlb| {
        let pages: Vec<String> = tlb.page_bytes.iter().map(|bytes| page(*bytes)).collect();
        let ways = match tlb.ways {
            Some(ways) if ways == tlb.entries => " (fully associative)".into(),
            Some(ways) => format!(" ({ways}-way)"),
            None => String::new(),
        };
        format!("{} {} of {}{ways}", tlb.name(), tlb.entries, pages.join("/"))
    };
    (!tlbs.is_empty()).then(|| tlbs.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A page's size as it is called: `4K`, `2M`, `1G`.
fn page(bytes: u64) -> String {
    if bytes > 0 && bytes.is_multiple_of(1 << 30) { format!("{}G", bytes >> 30) } else { cache::size(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_as(tlbs: &[Tlb]) -> Vec<String> {
        tlbs.iter().filter_map(|tlb| describe(std::slice::from_ref(tlb))).collect()
    }

    #[test]
    fn intel_tells_of_all_page_sizes_of_a_tlb_at_once() {
        let leaves = [
            [0, 0, 0],
            [0x0008_0001, 32, 0x4122],
            [0x0010_000f, 1, 0x4125],
            [0x0004_0001, 16, 0x4024],
            [0x0008_0009, 128, 0x4043],
            [0x0004_0001, 16, 0x4021],
        ];
        let found: Vec<Tlb> = leaves.into_iter().filter_map(from_intel).collect();
        let expected = [
            "l1i 256 of 4K (8-way)",
            "l1 store 16 of 4K/2M/4M/1G (fully associative)",
            "l1 load 64 of 4K (4-way)",
            "l2 1024 of 4K/1G (8-way)",
            "l1d 64 of 4K (4-way)",
        ];
        assert_eq!(told_as(&found), expected);
        assert_eq!(from_intel([0x0004_0001, 0, 0x4021]), None, "no sets");
        assert_eq!(from_intel([0x0004_0000, 16, 0x4021]), None, "no page size");
        assert_eq!(from_intel([0xffff_0001, u32::MAX, 0x4021]), None, "beyond all numbers");
    }

    #[test]
    fn amd_tells_of_each_page_size_apart() {
        let found = from_amd([0xff40_ff40; 2], [0x4800_2200, 0x6800_4200], [0xf040_f040, 0]);
        let expected = [
            "l1d 64 of 2M (fully associative)",
            "l1i 64 of 2M (fully associative)",
            "l1d 64 of 4K (fully associative)",
            "l1i 64 of 4K (fully associative)",
            "l1d 64 of 1G (fully associative)",
            "l1i 64 of 1G (fully associative)",
            "l2d 2048 of 2M (4-way)",
            "l2i 512 of 2M (2-way)",
            "l2d 2048 of 4K (8-way)",
            "l2i 512 of 4K (4-way)",
        ];
        assert_eq!(told_as(&found), expected);
    }

    #[test]
    fn amd_codes_of_ways_that_say_nothing_are_not_guessed() {
        let found = from_amd([0, 0x0040_0420], [0, 0x0000_6400], [0, 0x7040_0000]);
        let expected = ["l1d 64 of 4K", "l1i 32 of 4K (4-way)", "l2 1024 of 4K (8-way)", "l2d 64 of 1G"];
        assert_eq!(told_as(&found), expected);
        assert!(from_amd([0; 2], [0x0800_0200; 2], [0; 2]).is_empty(), "switched off");
    }

    #[test]
    fn zeros_are_no_tlb() {
        assert!(from_amd([0; 2], [0; 2], [0; 2]).is_empty());
        assert_eq!(from_intel([0; 3]), None);
        assert_eq!(describe(&[]), None);
    }

    #[test]
    fn what_is_told_here_is_whole_and_in_order() {
        let found = tlbs();
        assert!(found.is_sorted_by_key(|tlb| tlb.level));
        for tlb in &found {
            assert!(tlb.entries > 0 && !tlb.page_bytes.is_empty() && tlb.ways.is_none_or(|ways| ways <= tlb.entries), "{tlb:?}");
        }
    }
}

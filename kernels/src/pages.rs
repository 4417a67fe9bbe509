//! Memory for packed weights: whole pages from the system, zeroed, on huge pages where it gives them.
//!
//! A product of one row streams its weights once, and with pages of 4 KiB each megabyte of them costs 256
//! look-ups of an address. Nothing else of this crate asks the system for memory; callers that have their
//! own may well use it instead.

use bytemuck::Pod;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// Bytes of a huge page, as x86-64 and Arm (with 4 KiB pages) have it.
pub const HUGE: usize = 2 << 20;

/// `len` elements, zero at first. From [`HUGE`] bytes on they begin at a huge page's boundary, and the
/// system is asked for huge pages (`MADV_HUGEPAGE`); where it refuses, they lie on ordinary ones.
#[derive(Debug)]
pub struct Pages<T> {
    map: memmap2::MmapMut,
    /// Bytes before the first element.
    start: usize,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> Pages<T> {
    /// Memory for `len` elements. None of it is touched, so it costs nothing yet.
    ///
    /// # Errors
    /// If the system has no such room of addresses.
    pub fn zeroed(len: usize) -> std::io::Result<Pages<T>> {
        Self::mapped(len, true)
    }

    /// As [`Pages::zeroed`], but on ordinary pages whatever the length: the system is asked to keep huge ones
    /// away (`MADV_NOHUGEPAGE`). It is there to measure what those are worth.
    ///
    /// # Errors
    /// If the system has no such room of addresses.
    pub fn zeroed_on_ordinary(len: usize) -> std::io::Result<Pages<T>> {
        Self::mapped(len, false)
    }

    fn mapped(len: usize, huge: bool) -> std::io::Result<Pages<T>> {
        let too_much = || std::io::Error::new(std::io::ErrorKind::OutOfMemory, format!("{len} elements exceed all addresses"));
        let bytes = len.checked_mul(size_of::<T>()).filter(|b| *b <= isize::MAX as usize - HUGE).ok_or_else(too_much)?;
        let slack = if bytes >= HUGE { HUGE } else { 0 };
        let map = memmap2::MmapMut::map_anon(bytes.max(1) + slack)?;
        let start = if slack > 0 { map.as_ptr().align_offset(HUGE).min(slack) } else { 0 };
        #[cfg(target_os = "linux")]
        if slack > 0 || !huge {
            // A kernel that was built without them refuses either: `huge_share` then says so.
            let _ = map.advise(if huge { memmap2::Advice::HugePage } else { memmap2::Advice::NoHugePage });
        }
        Ok(Pages { map, start, len, elements: PhantomData })
    }

    /// The share of them that lies on huge pages, by the system's own account of the mapping: what has not
    /// been written yet does not, but of neighbours that the system made one mapping of, all get what all have.
    /// `None` if the system does not say.
    pub fn huge_share(&self) -> Option<f64> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let huge = huge_bytes(&smaps, self.as_ptr() as usize)?;
        let bytes = self.len * size_of::<T>();
        Some(if bytes == 0 { 0.0 } else { (huge as f64 / bytes as f64).min(1.0) })
    }
}

impl<T: Pod> Deref for Pages<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[self.start..][..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map[self.start..][..self.len * size_of::<T>()])
    }
}

/// `AnonHugePages` of the mapping that holds address `at`, in bytes.
fn huge_bytes(smaps: &str, at: usize) -> Option<u64> {
    let mut here = false;
    for line in smaps.lines() {
        let range = line.split_whitespace().next().and_then(|word| word.split_once('-'));
        let range = range.and_then(|(from, to)| Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?));
        if let Some(range) = range {
            here = range.contains(&at);
        } else if let Some(value) = line.strip_prefix("AnonHugePages:").filter(|_| here) {
            return value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_ones_begin_at_a_huge_page_and_all_are_zero() {
        for len in [0, 1, 1000, HUGE / 4, HUGE / 4 + 1, 3 * HUGE / 4] {
            let mut pages = Pages::<u32>::zeroed(len).expect("memory");
            assert!(pages.len() == len && pages.iter().all(|x| *x == 0));
            assert!(4 * len < HUGE || (pages.as_ptr() as usize).is_multiple_of(HUGE));
            pages.fill(7);
            assert!(pages.iter().all(|x| *x == 7));
            assert!(pages.huge_share().is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }

    #[test]
    fn ordinary_ones_are_never_huge() {
        let mut pages = Pages::<u8>::zeroed_on_ordinary(3 * HUGE).expect("memory");
        assert!(pages.iter().all(|x| *x == 0));
        pages.fill(7);
        assert!((pages.as_ptr() as usize).is_multiple_of(HUGE) && pages.iter().all(|x| *x == 7));
        assert!(pages.huge_share().is_none_or(|share| share == 0.0));
    }

    #[test]
    fn more_than_there_are_addresses_is_refused() {
        assert!(Pages::<u32>::zeroed(usize::MAX / 2).is_err());
        assert!(Pages::<u8>::zeroed(isize::MAX as usize).is_err());
        assert!(Pages::<u8>::zeroed_on_ordinary(isize::MAX as usize).is_err());
    }

    #[test]
    fn smaps_are_read_by_address() {
        let smaps = "1000-2000 rw-p 00000000 00:00 0 \nAnonHugePages:         0 kB\n\
                     2000-400000 rw-p 00000000 00:00 0 \nAnonHugePages:      2048 kB\nVmFlags: rd wr\n";
        assert_eq!(huge_bytes(smaps, 0x2000), Some(2 << 20));
        assert_eq!(huge_bytes(smaps, 0x1fff), Some(0));
        assert_eq!(huge_bytes(smaps, 0x500000), None);
    }
}

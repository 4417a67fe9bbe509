//! What lies where in a process's memory: executable mappings, by address.

use std::collections::BTreeMap;

/// The executable mappings of one process. Later ones cover earlier ones, as in the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    by_start: BTreeMap<u64, Mapping>,
}

/// A piece of a file in memory.
#[derive(Clone, Debug, PartialEq)]
struct Mapping {
    end: u64,
    file_offset: u64,
    file: u32,
}

impl Space {
    /// Adds `len` bytes at `start`, which hold file number `file` from `file_offset` on.
    pub fn map(&mut self, start: u64, len: u64, file_offset: u64, file: u32) {
        let end = start.saturating_add(len);
        if end == start {
            return;
        }
        let covered: Vec<u64> = self.by_start.range(..end).filter(|(_, old)| old.end > start).map(|(from, _)| *from).collect();
        for from in covered {
            let Some(old) = self.by_start.remove(&from) else { continue };
            if from < start {
                self.by_start.insert(from, Mapping { end: start, ..old.clone() });
            }
            if old.end > end {
                self.by_start.insert(end, Mapping { file_offset: old.file_offset + (end - from), ..old });
            }
        }
        self.by_start.insert(start, Mapping { end, file_offset, file });
    }

    /// The file at `address`, and the offset in that file.
    pub fn find(&self, address: u64) -> Option<(u32, u64)> {
        let (start, mapping) = self.by_start.range(..=address).next_back()?;
        (address < mapping.end).then(|| (mapping.file, mapping.file_offset + (address - start)))
    }
}

/// One executable line of `/proc/PID/maps`: start, length, offset, path.
pub fn parse_maps_line(line: &str) -> Option<(u64, u64, u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let (mode, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    let mut device_node_path = rest.splitn(3, ' ');
    let path = device_node_path.nth(2).unwrap_or_default().trim_start();
    let executable = mode.as_bytes().get(2) == Some(&b'x');
    let offset = u64::from_str_radix(offset, 16).ok()?;
    end.checked_sub(start).filter(|len| executable && *len > 0).map(|len| (start, len, offset, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_mappings_cover_earlier_ones() {
        let mut space = Space::default();
        space.map(0x1000, 0x3000, 0x100, 1);
        space.map(0x2000, 0x1000, 0, 2);
        assert_eq!(space.find(0x0fff), None);
        assert_eq!(space.find(0x1004), Some((1, 0x104)));
        assert_eq!(space.find(0x2000), Some((2, 0)));
        assert_eq!(space.find(0x3000), Some((1, 0x2100)));
        assert_eq!(space.find(0x4000), None);
        space.map(0, u64::MAX, 0, 3);
        assert_eq!(space.find(0x1000), Some((3, 0x1000)));
        space.map(5, 0, 0, 4);
        assert_eq!(space.find(5), Some((3, 5)));
    }

    #[test]
    fn maps_lines_are_read_and_junk_is_not() {
        let line = "55d0c0a2c000-55d0c0b00000 r-xp 0002c000 fe:01 1234                       /usr/bin/a b";
        assert_eq!(parse_maps_line(line), Some((0x55d0_c0a2_c000, 0xd_4000, 0x2c000, "/usr/bin/a b")));
        assert_eq!(parse_maps_line("7ffc0-7ffd0 rw-p 0 00:00 0 [stack]"), None);
        assert_eq!(parse_maps_line("7f00-7f10 r-xp 00000000 00:00 0 "), Some((0x7f00, 0x10, 0, "")));
        for junk in ["", "x", "1-2", "1-2 r-xp", "zz-1 r-xp 0 0 0 /x", "2-1 r-xp 0 0:0 0 /x"] {
            assert_eq!(parse_maps_line(junk), None, "{junk}");
        }
    }
}

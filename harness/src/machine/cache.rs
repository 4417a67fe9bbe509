//! The caches of the first CPU: from sysfs, else from CPUID. Where neither tells, the list is empty,
//! which means 'not known', never 'no cache'.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// Data alone.
    Data,
    /// Instructions alone.
    Instruction,
    /// Both.
    Unified,
}

/// One cache as the first CPU sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes in a line, 0 if unknown.
    pub line_bytes: u32,
    /// Ways of associativity, 0 if unknown.
    pub ways: u32,
    /// How many logical CPUs of this system share it (at least 1).
    pub shared_by: u32,
}

impl Cache {
    /// `l1d`, `l1i`, `l2`, `l3`.
    pub fn name(&self) -> String {
        let suffix = match self.kind {
            CacheKind::Data => "d",
            CacheKind::Instruction => "i",
            CacheKind::Unified => "",
        };
        format!("l{}{suffix}", self.level)
    }

    /// Its size in the largest unit that keeps it a whole number: `32K`, `512K`, `32M`.
    pub fn size(&self) -> String {
        size(self.bytes)
    }

    /// Whether data goes through it.
    pub fn holds_data(&self) -> bool {
        self.kind != CacheKind::Instruction
    }
}

/// Bytes in the largest unit up to M that keeps them a whole number.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{}K", b >> 10),
        b => format!("{b}B"),
    }
}

/// The caches of CPU 0, nearest first. `sys` is where sysfs is mounted.
pub fn caches(sys: &Path) -> Vec<Cache> {
    let mut found = from_sysfs(sys);
    #[cfg(target_arch = "x86_64")]
    if found.is_empty() {
        found = super::cpuid::cache_leaves().iter().filter_map(|r| from_cpuid([r.eax, r.ebx, r.ecx])).collect();
    }
    found.sort_by_key(|cache| (cache.level, cache.kind == CacheKind::Instruction));
    found
}

fn from_sysfs(sys: &Path) -> Vec<Cache> {
    let folder = sys.join("devices/system/cpu/cpu0/cache");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("index"))
        .filter_map(|entry| {
            let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok().map(|s| s.trim().to_owned());
            let number = |name: &str| read(name).and_then(|s| s.parse().ok());
            let kind = match read("type")?.as_str() {
                "Data" => CacheKind::Data,
                "Instruction" => CacheKind::Instruction,
                "Unified" => CacheKind::Unified,
                _ => return None,
            };
            Some(Cache {
                level: number("level")?,
                kind,
                bytes: parse_size(&read("size")?).filter(|bytes| *bytes > 0)?,
                line_bytes: number("coherency_line_size").unwrap_or(0),
                ways: number("ways_of_associativity").unwrap_or(0),
                shared_by: read("shared_cpu_list").map_or(1, |list| parse_cpu_list(&list).len().max(1) as u32),
            })
        })
        .collect()
}

/// One sub-leaf of CPUID 4 or 0x8000001D: EAX, EBX, ECX. It names how many CPUs *could* share the
/// cache; that is the best this source has.
#[cfg_attr(not(target_arch = "x86_64"), cfg(test))]
fn from_cpuid([eax, ebx, ecx]: [u32; 3]) -> Option<Cache> {
    let kind = match eax & 31 {
        1 => CacheKind::Data,
        2 => CacheKind::Instruction,
        3 => CacheKind::Unified,
        _ => return None,
    };
    let (line, partitions, ways) = ((ebx & 0xfff) + 1, ((ebx >> 12) & 0x3ff) + 1, (ebx >> 22) + 1);
    Some(Cache {
        level: (eax >> 5) & 7,
        kind,
        bytes: u64::from(line) * u64::from(partitions) * u64::from(ways) * (u64::from(ecx) + 1),
        line_bytes: line,
        ways,
        shared_by: ((eax >> 14) & 0xfff) + 1,
    })
}

/// `32K`, `1M`, `33554432` in bytes.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `0-3,8,10-11` as numbers, ascending. Parts that are no numbers are left out.
pub fn parse_cpu_list(text: &str) -> Vec<usize> {
    let mut cpus: Vec<usize> = text
        .trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some(from.trim().parse::<usize>().ok()?..=to.trim().parse::<usize>().ok()?)
        })
        .flatten()
        .collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_parse() {
        assert_eq!(parse_size("32K"), Some(32 << 10));
        assert_eq!(parse_size("32768K"), Some(32 << 20));
        assert_eq!(parse_size("junk"), None);
        assert_eq!(parse_size("99999999999999G"), None);
        assert_eq!(parse_cpu_list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(parse_cpu_list(""), Vec::<usize>::new());
    }

    #[test]
    fn a_folder_like_sysfs_is_read_in_order() {
        let sys = tempfile::tempdir().expect("a temporary folder");
        let write = |index: &str, fields: &[(&str, &str)]| {
            let folder = sys.path().join("devices/system/cpu/cpu0/cache").join(index);
            std::fs::create_dir_all(&folder).expect("folder");
            for (name, value) in fields {
                std::fs::write(folder.join(name), value).expect("file");
            }
        };
        write("index2", &[("type", "Unified\n"), ("level", "2\n"), ("size", "1024K\n"), ("shared_cpu_list", "0-1\n")]);
        write("index0", &[("type", "Data\n"), ("level", "1\n"), ("size", "64K\n"), ("coherency_line_size", "64\n")]);
        write("index1", &[("type", "Instruction\n"), ("level", "1\n"), ("size", "64K\n")]);
        write("index3", &[("type", "Unified\n"), ("level", "3\n")]);
        let found = caches(sys.path());
        let described: Vec<_> = found.iter().map(|c| format!("{}{}/{}", c.name(), c.size(), c.shared_by)).collect();
        assert_eq!(described, ["l1d64K/1", "l1i64K/1", "l21M/2"]);
    }

    #[test]
    fn cpuid_leaf_of_a_zen_3_l3_reads_right() {
        // 32 MiB, 16 ways, 64-byte lines, shared by up to 16.
        let cache = from_cpuid([0x0003_c163, 0x03c0_003f, 0x0000_7fff]).expect("a cache");
        assert_eq!((cache.level, cache.bytes, cache.ways, cache.shared_by), (3, 32 << 20, 16, 16));
        assert_eq!(from_cpuid([0, 0, 0]), None);
    }
}

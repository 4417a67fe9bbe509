//! How many threads to compute on: one per physical core that this process may use. Two hardware threads of one core
//! share its multipliers, so a second one only costs.

use std::collections::BTreeSet;
use std::fs;

/// Number of physical cores, at least 1; the number of logical ones where the system does not tell.
pub fn physical_cores() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    siblings().map_or(logical, |cores| cores.clamp(1, logical))
}

/// Number of distinct sets of hardware threads that share a core.
fn siblings() -> Option<usize> {
    let mut cores = BTreeSet::new();
    for entry in fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        if let Ok(list) = fs::read_to_string(entry.path().join("topology/thread_siblings_list")) {
            cores.insert(list);
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_core() {
        assert!(super::physical_cores() >= 1);
    }
}

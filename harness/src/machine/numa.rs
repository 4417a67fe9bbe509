//! The NUMA nodes as sysfs tells of them: which CPUs and how much memory each has, and how far they are
//! from one another. It never measures a distance, and where the system tells of no nodes there are none.

use super::cache::parse_cpu_list;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// CPUs and the memory that is near to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The system's number of it; numbers may be left out.
    pub id: usize,
    /// Its logical CPUs that are online, ascending. A node of memory alone has none.
    pub cpus: Vec<usize>,
    /// Bytes of its memory, 0 if it is one of CPUs alone. `None` if the system does not tell.
    pub memory: Option<u64>,
    /// How far each node is, in the order of the nodes: 10 is near, 20 twice as far, by the firmware's
    /// word. Empty if the system does not tell.
    pub distances: Vec<u32>,
}

/// The nodes that are online, by their numbers; empty if the system tells of none. `sys` is where sysfs is mounted.
pub fn nodes(sys: &Path) -> Vec<Node> {
    let Ok(entries) = std::fs::read_dir(sys.join("devices/system/node")) else { return Vec::new() };
    let mut nodes: Vec<Node> = entries
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
            Some(Node {
                id,
                cpus: parse_cpu_list(&read("cpulist")?),
                memory: read("meminfo").and_then(|text| total(&text)),
                distances: read("distance").and_then(|text| text.split_whitespace().map(|d| d.parse().ok()).collect()).unwrap_or_default(),
            })
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

/// `MemTotal` in bytes of lines that each begin with `Node 0`.
fn total(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.split_once("MemTotal:"))?.1;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The nodes in words; that there is one or none is said too.
pub fn describe(nodes: &[Node]) -> String {
    match nodes {
        [] => "the system tells of no nodes".into(),
        [_] => "one node: all memory is equally near to all CPUs".into(),
        many => {
            let each: Vec<String> = many.iter().map(one).collect();
            format!("{} nodes: {}", many.len(), each.join("; "))
        }
    }
}

fn one(node: &Node) -> String {
    let cpus = match node.cpus.as_slice() {
        [] => "no CPUs".into(),
        cpus => format!("CPUs {}", ranges(cpus)),
    };
    let memory = node.memory.map_or("memory not available".into(), |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
    let distances: Vec<String> = node.distances.iter().map(u32::to_string).collect();
    let distances = if distances.is_empty() { "not available".into() } else { distances.join(" ") };
    format!("{} with {cpus}, {memory}, distances {distances}", node.id)
}

/// Ascending numbers as `0-3,8`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b).filter_map(|run| Some((*run.first()?, *run.last()?)));
    let texts: Vec<String> = runs.map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") }).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(nodes: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let sys = tempfile::tempdir().expect("a temporary folder");
        for (name, files) in nodes {
            let folder = sys.path().join("devices/system/node").join(name);
            std::fs::create_dir_all(&folder).expect("folder");
            for (file, text) in *files {
                std::fs::write(folder.join(file), text).expect("file");
            }
        }
        sys
    }

    #[test]
    fn nodes_are_read_in_the_order_of_their_numbers() {
        let sys = folder(&[
            ("node10", &[("cpulist", "\n"), ("meminfo", "Node 10 MemTotal:       2097152 kB\n"), ("distance", "20 10\n")]),
            (
                "node2",
                &[
                    ("cpulist", "0-3,8-9,12\n"),
                    ("meminfo", "Node 2 MemFree: 1 kB\nNode 2 MemTotal:        1048576 kB\n"),
                    ("distance", "10 20\n"),
                ],
            ),
            ("power", &[("cpulist", "0\n")]),
            ("node3", &[("meminfo", "Node 3 MemTotal: 1 kB\n")]),
        ]);
        let found = nodes(sys.path());
        assert_eq!(
            found,
            [
                Node { id: 2, cpus: vec![0, 1, 2, 3, 8, 9, 12], memory: Some(1 << 30), distances: vec![10, 20] },
                Node { id: 10, cpus: vec![], memory: Some(2 << 30), distances: vec![20, 10] },
            ]
        );
        assert_eq!(
            describe(&found),
            "2 nodes: 2 with CPUs 0-3,8-9,12, 1.0 GiB, distances 10 20; 10 with no CPUs, 2.0 GiB, distances 20 10"
        );
    }

    #[test]
    fn what_is_not_told_is_absent_and_one_or_none_is_said() {
        let sys = folder(&[("node0", &[("cpulist", "0\n"), ("meminfo", "Node 0 MemTotal: much kB\n"), ("distance", "10 near\n")])]);
        let found = nodes(sys.path());
        assert_eq!(found, [Node { id: 0, cpus: vec![0], memory: None, distances: vec![] }]);
        assert!(describe(&found).starts_with("one node"), "{}", describe(&found));
        let none = nodes(folder(&[]).path());
        assert!(none.is_empty() && describe(&none).contains("no nodes"));
        assert_eq!(total("Node 0 MemTotal: 18446744073709551615 kB"), None);
    }
}

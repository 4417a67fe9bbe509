//! `kiln probe --json` end to end: it tells of nodes, TLBs and both kinds of pages, or leaves out what the system does not tell.

mod common;

use common::{can_time, run};
use serde_json::Value;
use std::collections::BTreeSet;

fn probe(args: &[&str]) -> Value {
    let dir = tempfile::tempdir().expect("a folder");
    let (code, out, err) = run(dir.path(), args);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("not one JSON document ({e}): {out}"))
}

fn list<'a>(value: &'a Value, what: &str) -> &'a Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{what} is no list: {value}"))
}

#[test]
fn nodes_have_cpus_memory_and_distances_and_tlbs_have_pages_and_entries() {
    let machine = &probe(&["probe", "--no-measure", "--json"])["machine"];
    let nodes = list(&machine["system"]["nodes"], "nodes");
    for node in nodes {
        assert!(node["id"].is_u64() && (node["memory"].is_u64() || node["memory"].is_null()), "{node}");
        assert!(list(&node["cpus"], "cpus").iter().all(Value::is_u64), "{node}");
        let distances = list(&node["distances"], "distances").len();
        assert!(distances == 0 || distances == nodes.len(), "{node}");
    }
    for tlb in list(&machine["tlbs"], "tlbs") {
        assert!(tlb["entries"].as_u64() > Some(0) && !list(&tlb["page_bytes"], "pages").is_empty(), "{tlb}");
        assert!(tlb["level"].as_u64() > Some(0) && tlb["kind"].is_string(), "{tlb}");
    }
}

#[test]
fn the_table_says_how_many_nodes_there_are_and_whether_tlbs_are_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let (code, out, err) = run(dir.path(), &["probe", "--no-measure"]);
    assert_eq!(code, 0, "{err}");
    let row = |name: &str| {
        let found = out.lines().find(|line| line.split_whitespace().any(|word| word == name));
        found.unwrap_or_else(|| panic!("no row {name}: {out}"))
    };
    assert!(["node", "not available"].iter().any(|text| row("NUMA").contains(text)), "{out}");
    assert!(["l1", "l2", "not available"].iter().any(|text| row("TLB").contains(text)), "{out}");
}

#[test]
fn memory_is_measured_on_ordinary_pages_beside_huge_ones() {
    let report = probe(&["probe", "--quick", "--json"]);
    if !can_time() {
        assert_eq!(report["limits"]["status"], "not_available");
        return;
    }
    let bandwidths = list(&report["limits"]["bandwidths"], "bandwidths");
    // What was measured, by the pages it lay on.
    let lines = |pages: &str| -> BTreeSet<String> {
        let of_kind = bandwidths.iter().filter(|b| b["pages"] == pages);
        of_kind.map(|b| format!("{} {} {}", b["level"], b["access"], b["threads"])).collect()
    };
    let (huge, ordinary) = (lines("huge"), lines("ordinary"));
    assert_eq!(huge.len() + ordinary.len(), bandwidths.len(), "a line is of one kind, and there once: {bandwidths:?}");
    assert!(huge.is_subset(&ordinary), "{huge:?} {ordinary:?}");
    let never = report["machine"]["system"]["memory"]["transparent_huge_pages"] == "never";
    for memory in ordinary.iter().filter(|line| line.contains("dram")) {
        assert!(never || huge.contains(memory), "{memory}");
    }
    for b in bandwidths.iter().filter(|b| b["pages"] == "ordinary") {
        assert!(b["huge_share"].is_null() || b["huge_share"] == 0.0, "{b}");
    }
}

//! T1, a tuning problem of FAIR auto-tuning: the parameters that configurations of a group have in a store, with the values
//! that occur, and which combinations of them there are.
//!
//! It is the space that was searched, told by its results: a tool that reads it finds a result in T4 for everything that it
//! may ask for. A kernel of Kiln is no GPU's: of the languages that the format knows none is its own, and its work items are
//! its threads. Operands are made by Kiln, so there are no arguments.

use super::group::{Group, Setting};
use super::parameters;
use crate::space::Shape;
use crate::store::Record;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The table of all kernels: parameters named `kernel` choose from it.
const KERNEL_FILE: &str = "kernels/src/registry.rs";
/// The format's word for what is measured by running a program on this machine.
const LANGUAGE: &str = "Hypertuner";

/// What results of one group say of their space.
#[derive(Debug, Default)]
pub struct Space {
    settings: BTreeSet<Vec<Setting>>,
    flags: BTreeSet<String>,
}

impl Space {
    /// Takes a result of the group.
    pub fn add(&mut self, group: &Group, record: &Record) {
        self.settings.insert(parameters::settings(parameters::of(group), &record.config));
        if !self.flags.contains(&record.flags) {
            self.flags.insert(record.flags.clone());
        }
    }

    /// The document.
    pub fn document(&self, group: &Group) -> Value {
        let parameters = parameters::of(group);
        let values: Vec<BTreeSet<&Setting>> = (0..parameters.len()).map(|at| self.settings.iter().map(|s| &s[at]).collect()).collect();
        let described: Vec<Value> = parameters
            .iter()
            .zip(&values)
            .map(|(p, values)| json!({ "Name": p.name, "Type": p.kind, "Values": format!("[{}]", listed(values.iter().copied())) }))
            .collect();
        let all: usize = values.iter().map(BTreeSet::len).fold(1, usize::saturating_mul);
        let conditions = if all == self.settings.len() { Vec::new() } else { vec![self.condition(group)] };
        let threads = group.threads.to_string();
        json!({
            "General": { "FormatVersion": 1, "OutputFormat": "JSON" },
            "ConfigurationSpace": { "TuningParameters": described, "Conditions": conditions },
            "Search": { "Name": "brute_force" },
            "KernelSpecification": {
                "Language": LANGUAGE,
                "KernelName": format!("{}_{}", group.op, group.format),
                "KernelFile": KERNEL_FILE,
                "CompilerOptions": self.flags,
                "Device": { "Name": group.machine },
                "ProblemSize": extents(group.shape),
                "GlobalSize": { "X": threads },
                "LocalSize": { "X": "1" },
                "Arguments": [],
            },
            "Problem": group,
        })
    }

    /// What allows the combinations that occur, and no others.
    fn condition(&self, group: &Group) -> Value {
        let names: Vec<&str> = parameters::of(group).iter().map(|p| p.name).collect();
        let rows: Vec<String> = self.settings.iter().map(|row| format!("({})", listed(row.iter()))).collect();
        json!({ "Parameters": names, "Expression": format!("({}) in {{{}}}", names.join(", "), rows.join(", ")) })
    }
}

/// Values as Python writes them, which T1's expressions are in.
fn listed<'a>(settings: impl Iterator<Item = &'a Setting>) -> String {
    let one = |setting: &Setting| match setting {
        Setting::Number(number) => number.to_string(),
        Setting::Name(name) => Value::from(name.as_str()).to_string(),
    };
    settings.map(one).collect::<Vec<_>>().join(", ")
}

fn extents(shape: Shape) -> Vec<usize> {
    match shape {
        Shape::Product { m, n, k } => vec![m, n, k],
        Shape::Rows { rows, cols } => vec![rows, cols],
        Shape::Attention { tokens, context, heads, kv_heads, dim } => vec![tokens, context, heads, kv_heads, dim],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::timed;
    use super::*;

    fn space(records: &[Record]) -> Value {
        let (group, mut space) = (Group::of(&records[0]), Space::default());
        records.iter().for_each(|r| space.add(&group, r));
        space.document(&group)
    }

    #[test]
    fn values_are_those_that_occur_and_combinations_too() {
        let mut other = timed(1.0);
        other.config.blocking = other.config.blocking.map(|b| crate::store::Blocks(512, 64, b.2, b.3));
        let one = space(&[timed(1.0), timed(2.0)]);
        assert_eq!(one["ConfigurationSpace"]["Conditions"], json!([]), "there is one configuration");
        let two = space(&[timed(1.0), other]);
        let parameters = two["ConfigurationSpace"]["TuningParameters"].as_array().expect("parameters");
        let values = |name: &str| parameters.iter().find(|p| p["Name"] == name).map(|p| p["Values"].clone());
        assert_eq!((values("kc"), values("mc")), (Some("[256, 512]".into()), Some("[64, 252]".into())));
        let expression = two["ConfigurationSpace"]["Conditions"][0]["Expression"].as_str().expect("a condition");
        assert!(expression.contains("(kernel, kc, mc, nc, order, split, spin) in {(\"gemm_f32_scalar"), "{expression}");
        assert!(expression.contains("256, 252, ") && expression.contains("512, 64, ") && !expression.contains("256, 64, "));
    }

    #[test]
    fn names_of_a_store_cannot_end_a_string() {
        let mut evil = timed(1.0);
        evil.config.kernel = "a\", __import__(\"os\")]\n".into();
        let document = space(&[evil]);
        assert_eq!(document["ConfigurationSpace"]["TuningParameters"][0]["Values"], "[\"a\\\", __import__(\\\"os\\\")]\\n\"]");
    }
}

//! Folded stacks as a profile that the Firefox profiler opens (its "processed profile" JSON).
//!
//! The format is tables of columns that point at one another by index. Folded stacks hold no time, so samples
//! stand one after the other, each stack once, weighted by its count: call tree and flame graph are exact, the
//! time line shows only proportions. Written as version 48, which every later viewer upgrades on loading.

use std::collections::HashMap;

use serde::Serialize;

use crate::ReportError;
use crate::folded::Folded;

/// What the profile says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// The program that was sampled.
    pub product: String,
    /// The thread's name.
    pub thread: String,
    /// Milliseconds between two samples, above 0.
    pub interval_ms: f64,
    /// When sampling began, in milliseconds since 1970; 0 when unknown.
    pub start_ms: f64,
}

/// The profile as JSON.
///
/// # Errors
/// [`ReportError::Value`] for an interval that is not a finite number above 0 or a start that is not finite.
pub fn profile(stacks: &Folded, about: &About) -> Result<String, ReportError> {
    crate::scale::check(about.interval_ms, false, || "the sampling interval".into())?;
    crate::scale::check(about.start_ms, true, || "the start of sampling".into())?;
    let thread = Builder::default().thread(stacks, about);
    let profile = Profile {
        meta: Meta {
            interval: about.interval_ms,
            start_time: about.start_ms,
            process_type: 0,
            product: &about.product,
            stackwalk: 1,
            version: 29,
            preprocessed_profile_version: 48,
            symbolicated: true,
            categories: [Category { name: "Other", color: "grey", subcategories: ["Other"] }],
            marker_schema: [],
        },
        libs: [],
        threads: [thread],
    };
    Ok(serde_json::to_string(&profile)?)
}

#[derive(Serialize)]
struct Profile<'a> {
    meta: Meta<'a>,
    libs: [(); 0],
    threads: [Thread<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    interval: f64,
    start_time: f64,
    process_type: u32,
    product: &'a str,
    stackwalk: u32,
    version: u32,
    preprocessed_profile_version: u32,
    symbolicated: bool,
    categories: [Category; 1],
    marker_schema: [(); 0],
}

#[derive(Serialize)]
struct Category {
    name: &'static str,
    color: &'static str,
    subcategories: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Thread<'a> {
    name: &'a str,
    process_type: &'static str,
    process_name: &'a str,
    is_main_thread: bool,
    pid: &'static str,
    tid: u32,
    process_startup_time: f64,
    process_shutdown_time: Option<f64>,
    register_time: f64,
    unregister_time: Option<f64>,
    paused_ranges: [(); 0],
    samples: Samples,
    markers: Markers,
    stack_table: StackTable,
    frame_table: FrameTable,
    func_table: FuncTable,
    resource_table: ResourceTable,
    native_symbols: NativeSymbols,
    string_array: Vec<String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    stack: Vec<usize>,
    time: Vec<f64>,
    weight: Vec<u64>,
    weight_type: &'static str,
    length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Markers {
    data: [(); 0],
    name: [(); 0],
    start_time: [(); 0],
    end_time: [(); 0],
    phase: [(); 0],
    category: [(); 0],
    length: usize,
}

#[derive(Default, Serialize)]
struct StackTable {
    frame: Vec<usize>,
    prefix: Vec<Option<usize>>,
    category: Vec<u32>,
    subcategory: Vec<u32>,
    length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FrameTable {
    func: Vec<usize>,
    address: Vec<i32>,
    inline_depth: Vec<u32>,
    category: Vec<Option<u32>>,
    subcategory: Vec<Option<u32>>,
    native_symbol: Vec<Option<u32>>,
    #[serde(rename = "innerWindowID")]
    inner_window_id: Vec<Option<u32>>,
    implementation: Vec<Option<u32>>,
    line: Vec<Option<u32>>,
    column: Vec<Option<u32>>,
    length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FuncTable {
    name: Vec<usize>,
    #[serde(rename = "isJS")]
    is_js: Vec<bool>,
    #[serde(rename = "relevantForJS")]
    relevant_for_js: Vec<bool>,
    resource: Vec<i32>,
    file_name: Vec<Option<u32>>,
    line_number: Vec<Option<u32>>,
    column_number: Vec<Option<u32>>,
    length: usize,
}

#[derive(Default, Serialize)]
struct ResourceTable {
    lib: [(); 0],
    name: [(); 0],
    host: [(); 0],
    #[serde(rename = "type")]
    kind: [(); 0],
    length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct NativeSymbols {
    lib_index: [(); 0],
    address: [(); 0],
    name: [(); 0],
    function_size: [(); 0],
    length: usize,
}

/// Builds the tables; a function is a frame is a string here, so the three share their index.
#[derive(Default)]
struct Builder {
    frames: HashMap<String, usize>,
    strings: Vec<String>,
    nodes: HashMap<(Option<usize>, usize), usize>,
    stacks: StackTable,
    samples: Samples,
}

impl Builder {
    fn frame(&mut self, name: &str) -> usize {
        if let Some(i) = self.frames.get(name) {
            return *i;
        }
        let i = self.strings.len();
        self.strings.push(name.to_string());
        self.frames.insert(name.to_string(), i);
        i
    }

    fn node(&mut self, prefix: Option<usize>, frame: usize) -> usize {
        if let Some(i) = self.nodes.get(&(prefix, frame)) {
            return *i;
        }
        let i = self.stacks.length;
        self.stacks.frame.push(frame);
        self.stacks.prefix.push(prefix);
        self.stacks.category.push(0);
        self.stacks.subcategory.push(0);
        self.stacks.length += 1;
        self.nodes.insert((prefix, frame), i);
        i
    }

    fn thread<'a>(mut self, stacks: &Folded, about: &'a About) -> Thread<'a> {
        let mut before = 0u64;
        for (frames, count) in stacks.stacks() {
            let mut node = None;
            for name in frames {
                let frame = self.frame(name);
                node = Some(self.node(node, frame));
            }
            let Some(node) = node else { continue };
            self.samples.stack.push(node);
            self.samples.time.push(before as f64 * about.interval_ms);
            self.samples.weight.push(count);
            self.samples.length += 1;
            before += count;
        }
        self.samples.weight_type = "samples";
        let n = self.strings.len();
        Thread {
            name: &about.thread,
            process_type: "default",
            process_name: &about.product,
            is_main_thread: true,
            pid: "1",
            tid: 1,
            process_startup_time: 0.0,
            process_shutdown_time: None,
            register_time: 0.0,
            unregister_time: None,
            paused_ranges: [],
            samples: self.samples,
            markers: Markers::default(),
            stack_table: self.stacks,
            frame_table: FrameTable {
                func: (0..n).collect(),
                address: vec![-1; n],
                inline_depth: vec![0; n],
                category: vec![Some(0); n],
                subcategory: vec![Some(0); n],
                native_symbol: vec![None; n],
                inner_window_id: vec![None; n],
                implementation: vec![None; n],
                line: vec![None; n],
                column: vec![None; n],
                length: n,
            },
            func_table: FuncTable {
                name: (0..n).collect(),
                is_js: vec![false; n],
                relevant_for_js: vec![false; n],
                resource: vec![-1; n],
                file_name: vec![None; n],
                line_number: vec![None; n],
                column_number: vec![None; n],
                length: n,
            },
            resource_table: ResourceTable::default(),
            native_symbols: NativeSymbols::default(),
            string_array: self.strings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn about() -> About {
        About { product: "qwen2".into(), thread: "main".into(), interval_ms: 2.0, start_ms: 0.0 }
    }

    #[test]
    fn every_column_has_its_table_s_length_and_every_index_points_inside() {
        let stacks = Folded::parse("main;a;b 3\nmain;a 1\nmain;\"c\" 2\nother;a 4").unwrap();
        let v: Value = serde_json::from_str(&profile(&stacks, &about()).unwrap()).unwrap();
        let t = &v["threads"][0];
        for table in ["samples", "markers", "stackTable", "frameTable", "funcTable", "resourceTable", "nativeSymbols"] {
            let n = t[table]["length"].as_u64().unwrap();
            for (name, column) in t[table].as_object().unwrap() {
                if let Some(c) = column.as_array() {
                    assert_eq!(c.len() as u64, n, "{table}.{name}");
                }
            }
        }
        let inside = |table: &str, column: &str, of: usize| {
            for i in t[table][column].as_array().unwrap().iter().filter_map(Value::as_u64) {
                assert!((i as usize) < of, "{table}.{column}");
            }
        };
        let length = |table: &str| t[table]["length"].as_u64().unwrap() as usize;
        inside("samples", "stack", length("stackTable"));
        inside("stackTable", "frame", length("frameTable"));
        inside("stackTable", "prefix", length("stackTable"));
        inside("frameTable", "func", length("funcTable"));
        inside("funcTable", "name", t["stringArray"].as_array().unwrap().len());
    }

    #[test]
    fn stacks_unfold_again() {
        let stacks = Folded::parse("main;a;b 3\nmain;a 1\nmain;c 2\nother;a 4").unwrap();
        let v: Value = serde_json::from_str(&profile(&stacks, &about()).unwrap()).unwrap();
        let t = &v["threads"][0];
        let mut text = String::new();
        for i in 0..t["samples"]["length"].as_u64().unwrap() as usize {
            let mut at = t["samples"]["stack"][i].as_u64();
            let mut frames = Vec::new();
            while let Some(node) = at {
                let frame = t["stackTable"]["frame"][node as usize].as_u64().unwrap() as usize;
                frames.insert(0, t["stringArray"][frame].as_str().unwrap());
                at = t["stackTable"]["prefix"][node as usize].as_u64();
            }
            text += &format!("{} {}\n", frames.join(";"), t["samples"]["weight"][i]);
        }
        assert_eq!(Folded::parse(&text).unwrap(), stacks);
        assert_eq!(t["samples"]["time"], serde_json::json!([0.0, 2.0, 8.0, 12.0]));
    }

    #[test]
    fn a_bad_interval_is_named() {
        let stacks = Folded::parse("a 1").unwrap();
        for interval_ms in [0.0, -1.0, f64::NAN] {
            let e = profile(&stacks, &About { interval_ms, ..about() }).unwrap_err().to_string();
            assert!(e.starts_with("the sampling interval is "), "{e}");
        }
    }
}

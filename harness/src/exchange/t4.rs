//! T4, the results of FAIR auto-tuning: a result of a store as a document has it, and the way back.
//!
//! A result is turned into T4 by moving what T4 has a name for (the configuration, the times, the figures with their units)
//! out of it; the rest is its `environment`. So nothing is said twice, and nothing that a later version of the store adds
//! is lost. Times are in nanoseconds, as the store has them, and documents say so.
//!
//! Comparisons in pairs are not results of a search: they are of two configurations in turn. They stand in a list of their
//! own, `comparisons`, which other tools pass over.

use super::group::Group;
use super::parameters::{self, Settled};
use crate::filter;
use crate::measure::statistics::median;
use crate::store::{Config, Outcome, Record, SCHEMA};
use kiln_kernels::isa::IsaId;
use kiln_kernels::registry::Op;
use serde_json::{Map, Value, json};
use std::io::Write;

/// The version of T4 that is written.
const VERSION: &str = "1.0.0";
/// What times are in.
pub(super) const TIME_UNIT: &str = "nanoseconds";

/// Figures: the name in a document, the unit, and the name in a store.
const FIGURES: [(&str, &str, &str); 9] = [
    ("time", "ns", "median_ns"),
    ("time_ci95", "ns", "ci_ns"),
    ("cycles", "cycles", "cycles"),
    ("noise_floor", "fraction", "noise_floor"),
    ("verification_error", "fraction of the tolerance", "verification_error"),
    ("pairs", "ns", "pairs_ns"),
    ("ratio", "", "ratio"),
    ("ratio_ci", "", "ratio_ci"),
    ("page", "bytes", "page_bytes"),
];

/// Fields of a store's line that a document has in its configuration.
const IN_CONFIGURATION: [&str; 4] = ["kernel", "blocking", "split", "spin"];

/// The list of a document that results stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Those of single configurations.
    Results,
    /// Those of two in turn.
    Comparisons,
}

impl List {
    /// Where a result belongs.
    pub fn of(record: &Record) -> List {
        if matches!(record.outcome, Outcome::Paired { .. }) { List::Comparisons } else { List::Results }
    }

    /// Its name in documents.
    pub(super) const fn name(self) -> &'static str {
        match self {
            List::Results => "results",
            List::Comparisons => "comparisons",
        }
    }
}

/// Begins a document: all before its first result.
///
/// # Errors
/// If it cannot be written.
pub fn begin(out: &mut dyn Write, group: &Group) -> anyhow::Result<()> {
    let generator = json!({ "name": "kiln", "version": env!("CARGO_PKG_VERSION"), "store_schema": SCHEMA });
    let metadata = json!({ "timeunit": TIME_UNIT, "generator": generator, "problem": group });
    write!(out, "{{\"schema_version\":\"{VERSION}\",\n\"metadata\":{metadata},\n\"{}\":[", List::Results.name())?;
    Ok(())
}

/// Ends the list of results, and begins that of comparisons.
///
/// # Errors
/// If it cannot be written.
pub fn next_list(out: &mut dyn Write) -> anyhow::Result<()> {
    write!(out, "\n],\n\"{}\":[", List::Comparisons.name())?;
    Ok(())
}

/// Writes one element of a list.
///
/// # Errors
/// If it cannot be written.
pub fn element(out: &mut dyn Write, record: &Record, group: &Group, first: bool) -> anyhow::Result<()> {
    write!(out, "{}\n{}", if first { "" } else { "," }, from_record(record, group)?)?;
    Ok(())
}

/// Ends a document.
///
/// # Errors
/// If it cannot be written.
pub fn end(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "\n]}}")?;
    Ok(())
}

/// A result as T4 has it.
///
/// # Errors
/// If it cannot be said in JSON.
pub fn from_record(record: &Record, group: &Group) -> anyhow::Result<Value> {
    let Value::Object(mut rest) = serde_json::to_value(record)? else { anyhow::bail!("a result is no JSON object") };
    let parameters = parameters::of(group);
    let names = parameters.iter().map(|p| p.name);
    let configuration: Map<String, Value> = names
        .zip(parameters::settings(parameters, &record.config))
        .map(|(n, s)| Ok((n.into(), serde_json::to_value(s)?)))
        .collect::<anyhow::Result<_>>()?;
    let moved = if parameters.len() > 1 { &IN_CONFIGURATION[..] } else { &IN_CONFIGURATION[..1] };
    moved.iter().for_each(|field| drop(rest.remove(*field)));
    let runtimes = match &record.outcome {
        Outcome::Paired { pairs_ns, .. } => pairs_ns.iter().map(|p| p.0).collect(),
        _ => rest.remove("samples_ns").unwrap_or_else(|| json!([])),
    };
    let measurements: Vec<Value> = FIGURES
        .iter()
        .filter_map(|(name, unit, field)| Some(json!({ "name": name, "value": rest.remove(*field)?, "unit": unit })))
        .collect();
    Ok(json!({
        "timestamp": rest.remove("time"),
        "configuration": configuration,
        "objectives": [if matches!(record.outcome, Outcome::Predicted { .. }) { "cycles" } else { "time" }],
        "times": { "runtimes": runtimes },
        "invalidity": invalidity(record),
        "correctness": u8::from(!matches!(record.outcome, Outcome::Invalid { .. })),
        "measurements": measurements,
        "environment": rest,
    }))
}

/// T4's word for what is wrong: a process that a candidate ended is another thing than a wrong answer.
fn invalidity(record: &Record) -> &'static str {
    match &record.outcome {
        Outcome::Invalid { reason } if reason.contains("died of") || reason.contains("ended with") => "runtime",
        Outcome::Invalid { .. } => "correctness",
        Outcome::Timed { .. } | Outcome::Paired { .. } | Outcome::Predicted { .. } => "correct",
    }
}

/// What a document says as a result of ours again.
///
/// Nothing is guessed: it must name its machine, its tier, and a kernel of ours with the fingerprint that it had, and its
/// figures must follow from its samples.
///
/// # Errors
/// Why it is none.
pub fn to_record(element: Value) -> Result<Record, String> {
    let Value::Object(mut element) = element else { return Err("it is no object".into()) };
    let Some(Value::Object(mut fields)) = element.remove("environment") else {
        return Err("it has no environment that names its machine, its tier and its kernel's fingerprint".into());
    };
    for field in ["machine", "tier", "fingerprint", "compiler", "flags"] {
        let named = fields.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        named.then_some(()).ok_or_else(|| format!("its environment names no {field}"))?;
    }
    let Some(Value::Object(settings)) = element.remove("configuration") else { return Err("it has no configuration".into()) };
    let Settled { kernel, blocking, split, spin } = parameters::read(&settings)?;
    fields.insert("kernel".into(), kernel.into());
    fields.insert("time".into(), element.remove("timestamp").unwrap_or_default());
    let runtimes = element.get_mut("times").and_then(|times| times.get_mut("runtimes")).map(Value::take);
    if fields.get("result").is_some_and(|r| r == "timed") {
        fields.insert("samples_ns".into(), runtimes.ok_or("it has no runtimes")?);
    }
    let measurements = element.remove("measurements").unwrap_or_default();
    for mut figure in measurements.as_array().cloned().unwrap_or_default() {
        let named = FIGURES.iter().find(|f| figure["name"] == f.0);
        if let Some((name, unit, field)) = named {
            (figure["unit"] == *unit).then_some(()).ok_or_else(|| format!("its {name} is not in {unit}"))?;
            fields.insert((*field).into(), figure["value"].take());
        }
    }
    let mut record: Record = serde_json::from_value(Value::Object(fields)).map_err(|e| e.to_string())?;
    if blocking.is_some() || split.is_some() || spin.is_some() {
        (record.config.blocking, record.config.split, record.config.spin) = (blocking, split, spin);
    }
    check(&record)?;
    Ok(record)
}

/// Whether a result can be one of ours.
fn check(record: &Record) -> Result<(), String> {
    let holds = |is: bool, else_say: String| if is { Ok(()) } else { Err(else_say) };
    let config = &record.config;
    holds(record.schema == SCHEMA, format!("schema {} instead of {SCHEMA}", record.schema))?;
    check_kernel(config)?;
    let fingerprint = config.fingerprint.len() == 16 && config.fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
    holds(fingerprint, format!("'{}' is no fingerprint", config.fingerprint))?;
    let time = humantime::parse_rfc3339_weak(&record.time).is_ok();
    holds(time, format!("'{}' is no time", record.time))?;
    match &record.outcome {
        Outcome::Timed { samples_ns, median_ns, ci_ns, .. } => {
            // The evidence of a profile has samples of what won alone, and of the others what came of theirs.
            let follows = if samples_ns.is_empty() {
                ci_ns.0 <= *median_ns && *median_ns <= ci_ns.1
            } else {
                median(samples_ns).is_some_and(|m| (m - median_ns).abs() <= 1e-9 * m)
            };
            let times = samples_ns.iter().chain([median_ns]);
            holds(follows && times.copied().all(is_time), "its time is not the median of its runtimes".into())
        }
        Outcome::Paired { pairs_ns, ratio, ratio_ci, .. } => {
            let ratios = pairs_ns.iter().map(|(a, b)| a / b);
            let (low, high) =
                if pairs_ns.is_empty() { *ratio_ci } else { ratios.fold((f64::INFINITY, 0.0), |(l, h), r| (r.min(l), r.max(h))) };
            // Pairs are stored rounded, the ratio is of what they were before.
            let follows = (low * 0.95..=high * 1.05).contains(ratio);
            let times = pairs_ns.iter().flat_map(|(a, b)| [*a, *b]);
            holds(follows && times.chain([*ratio]).all(is_time), "its ratio does not follow from its pairs".into())
        }
        Outcome::Predicted { cycles, .. } => {
            let predicted = cycles.is_finite() && *cycles > 0.0 && record.tier.name() == "predicted";
            holds(predicted, "what is predicted is of that tier, and takes cycles".into())
        }
        Outcome::Invalid { .. } => Ok(()),
    }
}

/// Whether a kernel can be one of ours. One that this build does not have may be of another version: its name then says
/// its operation and its instruction set, as all our names do.
fn check_kernel(config: &Config) -> Result<(), String> {
    let Config { kernel, op, format, isa, .. } = config;
    let says = kernel.starts_with(&format!("{op}_")) && kernel.contains(&format!("_{isa}"));
    if op.parse::<Op>().is_err() || isa.parse::<IsaId>().is_err() || filter::format(format).is_err() || !says {
        return Err(format!("'{kernel}' is no kernel of Kiln's for {op} {format} by {isa}"));
    }
    match filter::by_name(kernel).map(|e| e.meta) {
        Ok(m) if m.format.name() != format => Err(format!("{kernel} is of format {}, not {format}", m.format.name())),
        _ => Ok(()),
    }
}

/// Whether a number can be a time, or a ratio of two.
fn is_time(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

#[cfg(test)]
mod tests {
    use super::super::tests::{invalid, paired, predicted, timed};
    use super::*;

    fn there_and_back(record: &Record) -> Result<Record, String> {
        to_record(from_record(record, &Group::of(record)).expect("T4"))
    }

    #[test]
    fn a_result_comes_back_as_it_was() {
        let mut older = timed(1.0);
        older.config.kernel = "gemm_f32_scalar_9x9v_u9".into();
        for record in [timed(1.0), paired(0.5), invalid("wrong"), invalid("its process died of SIGILL"), predicted(), older] {
            assert_eq!(there_and_back(&record), Ok(record));
        }
        let (mut left_out, mut pairs_left_out) = (timed(1.0), paired(0.5));
        for record in [&mut left_out, &mut pairs_left_out] {
            match &mut record.outcome {
                Outcome::Timed { samples_ns, .. } => samples_ns.clear(),
                Outcome::Paired { pairs_ns, .. } => pairs_ns.clear(),
                _ => {}
            }
            assert_eq!(there_and_back(record).as_ref(), Ok(&*record), "as the evidence of profiles has them");
        }
        let mut rounded = timed(1.0);
        if let Outcome::Timed { median_ns, .. } = &mut rounded.outcome {
            *median_ns = median_ns.next_up();
        }
        assert_eq!(there_and_back(&rounded), Ok(rounded), "a median that was written elsewhere differs in its last digit");
        let mut bare = timed(3.0);
        (bare.config.blocking, bare.config.split, bare.config.spin, bare.huge_pages) = (None, None, None, None);
        assert_eq!(there_and_back(&bare), Ok(bare));
    }

    #[test]
    fn t4_has_its_own_names_for_what_it_knows_and_says_nothing_twice() {
        let t4 = from_record(&timed(2.0), &Group::of(&timed(2.0))).expect("T4");
        assert_eq!((t4["invalidity"].as_str(), t4["correctness"].as_u64()), (Some("correct"), Some(1)));
        assert_eq!(t4["configuration"]["kc"], 256);
        assert_eq!(t4["times"]["runtimes"].as_array().map(Vec::len), Some(5));
        let text = t4.to_string();
        for once in ["gemm_f32_scalar", "b6a9780a086ad869"] {
            assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
        }
        let died = from_record(&invalid("its process died of SIGILL"), &Group::of(&timed(2.0))).expect("T4");
        assert_eq!((died["invalidity"].as_str(), died["correctness"].as_u64()), (Some("runtime"), Some(0)));
    }

    #[test]
    fn what_is_not_ours_is_refused_and_the_reason_said() {
        type Spoil = fn(&mut Value);
        let whole = from_record(&timed(1.0), &Group::of(&timed(1.0))).expect("T4");
        let spoilt = |spoil: Spoil| {
            let mut t4 = whole.clone();
            spoil(&mut t4);
            to_record(t4).expect_err("refused")
        };
        let cases: [(&str, Spoil); 13] = [
            ("no environment", |t| drop(t.as_object_mut().and_then(|t| t.remove("environment")))),
            ("names no machine", |t| t["environment"]["machine"] = "".into()),
            ("names no tier", |t| t["environment"]["tier"] = Value::Null),
            ("names no fingerprint", |t| t["environment"]["fingerprint"] = 7.into()),
            ("is no kernel", |t| t["configuration"]["kernel"] = "matmul_cuda".into()),
            ("names no kernel", |t| t["configuration"] = json!({ "block_size_x": 32 })),
            ("is no kernel", |t| t["environment"]["op"] = "rms_norm".into()),
            ("is of format f32", |t| t["environment"]["format"] = "f16".into()),
            ("not the median", |t| t["times"]["runtimes"] = json!([1.0])),
            ("not the median", |t| (t["times"]["runtimes"], t["measurements"][0]["value"]) = (json!([]), 9.0.into())),
            ("not in ns", |t| t["measurements"][0]["unit"] = "ms".into()),
            ("is no size", |t| t["configuration"]["kc"] = (-3).into()),
            ("is no time", |t| t["timestamp"] = "yesterday".into()),
        ];
        for (part, spoil) in cases {
            let why = spoilt(spoil);
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}

//! A configuration as tuning parameters, which is how T1 and T4 see it: the one list of them, and the way back.
//!
//! What a result leaves to be computed has a value of its own, because every configuration of a search space must say
//! something of each parameter.

use super::group::{Group, Setting};
use crate::store::{Blocks, Config};
use kiln_profiles::schema::{Order, Parts};
use serde_json::{Map, Value};

/// A size of blocks that there are none of.
const NO_BLOCKS: i64 = 0;
/// A split, or an order of loops, that is computed or the usual one.
const COMPUTED: &str = "computed";
/// Turns of the wait policy that was usual.
const USUAL_SPIN: i64 = -1;

/// One tuning parameter.
pub struct Parameter {
    /// Its name in documents.
    pub name: &'static str,
    /// T1's name of its type.
    pub kind: &'static str,
    get: fn(&Config) -> Setting,
}

/// All that there are; only products have more than the first.
const PARAMETERS: [Parameter; 7] = [
    Parameter { name: "kernel", kind: "string", get: |c| Setting::Name(c.kernel.clone()) },
    Parameter { name: "kc", kind: "int", get: |c| blocks(c, |b| b.0) },
    Parameter { name: "mc", kind: "int", get: |c| blocks(c, |b| b.1) },
    Parameter { name: "nc", kind: "int", get: |c| blocks(c, |b| b.2) },
    Parameter { name: "order", kind: "string", get: |c| Setting::Name(c.blocking.map_or(COMPUTED, |b| b.3.name()).into()) },
    Parameter { name: "split", kind: "string", get: |c| Setting::Name(c.split.map_or(COMPUTED.into(), |s| s.to_string())) },
    Parameter { name: "spin", kind: "int", get: |c| Setting::Number(c.spin.map_or(USUAL_SPIN, i64::from)) },
];

fn blocks(config: &Config, size: fn(Blocks) -> usize) -> Setting {
    Setting::Number(config.blocking.map_or(NO_BLOCKS, |b| i64::try_from(size(b)).unwrap_or(i64::MAX)))
}

/// The parameters of a group's configurations.
pub fn of(group: &Group) -> &'static [Parameter] {
    if group.is_product() { &PARAMETERS } else { &PARAMETERS[..1] }
}

/// What a configuration sets them to, in their order.
pub fn settings(parameters: &[Parameter], config: &Config) -> Vec<Setting> {
    parameters.iter().map(|p| (p.get)(config)).collect()
}

/// What the settings of a document say of a configuration beside its kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The kernel's name.
    pub kernel: String,
    /// KC, MC, NC and the order of loops.
    pub blocking: Option<Blocks>,
    /// How it is shared out.
    pub split: Option<Parts>,
    /// Turns that threads spin for.
    pub spin: Option<u32>,
}

/// Reads settings back.
///
/// # Errors
/// What is missing or no value of its parameter.
pub fn read(settings: &Map<String, Value>) -> Result<Settled, String> {
    let name = |of: &str| match settings.get(of) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(format!("{of} is {other}, which is no name")),
    };
    let number = |of: &str, none: i64| match settings.get(of).map(|v| (v, v.as_i64())) {
        None => Ok(None),
        Some((_, Some(n))) if n == none => Ok(None),
        Some((v, n)) => n.and_then(|n| usize::try_from(n).ok()).map(Some).ok_or_else(|| format!("{of} is {v}, which is no size")),
    };
    let kernel = name("kernel")?.ok_or("its configuration names no kernel")?.to_owned();
    let sizes = (number("kc", NO_BLOCKS)?, number("mc", NO_BLOCKS)?, number("nc", NO_BLOCKS)?);
    let order = match name("order")? {
        None | Some(COMPUTED) => None,
        Some(text) => Some(serde_json::from_value::<Order>(text.into()).map_err(|_| format!("'{text}' is no order of loops"))?),
    };
    let blocking = match sizes {
        (Some(kc), Some(mc), Some(nc)) => Some(Blocks(kc, mc, nc, order.unwrap_or_default())),
        (None, None, None) => None,
        _ => return Err("it has some of kc, mc and nc, and not all".into()),
    };
    let split = name("split")?.filter(|s| *s != COMPUTED).map(str::parse).transpose()?;
    let spin = number("spin", USUAL_SPIN)?.map(|s| u32::try_from(s).map_err(|_| format!("spin is {s}, which is too much")));
    Ok(Settled { kernel, blocking, split, spin: spin.transpose()? })
}

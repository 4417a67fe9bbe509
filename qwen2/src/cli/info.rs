//! `qwen2 info`: what a model file holds and needs, and which kernels this binary would run it with, and why.

use std::collections::BTreeMap;
use std::io::Write;

use qwen2::ModelFile;
use qwen2::baked::{self, Blocking, Ops, Reason, Run};
use qwen2::gguf::TensorType;
use qwen2::model::Plan;
use serde_json::{Value, json};

use super::load::{ComputeArgs, FileArgs};
use super::{Failure, print_json};

/// Options of `info`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Show the kernels in this binary instead of the model
    #[arg(long)]
    kernels: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let ops = args.compute.ops()?;
    let (value, text): (Value, String) = if args.kernels { kernels(&ops) } else { model(args, &ops)? };
    if args.json {
        return print_json(&value);
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn model(args: &Args, ops: &Ops) -> Result<(Value, String), Failure> {
    let name = args.file.name();
    let mut file = args.file.open()?;
    let tokenizer = file.tokenizer().map_err(Failure::about(&name))?;
    let config = file.config(tokenizer.len()).map_err(Failure::about(&name))?;
    let types = tensor_types(&file);
    let mut text = format!(
        "model       {name}: {}, {}, {}\n\
         shape       {} layers, hidden {}, FFN {}, {} heads of {} ({} for keys and values), vocabulary {}, context {}\n\
         constants   RMS eps {:e}, RoPE base {}\n\
         tokenizer   {} tokens, {} of them padding, ends at {:?}\n",
        config.name,
        file.container(),
        size(file.bytes()),
        config.layers,
        config.hidden,
        config.ffn,
        config.heads,
        config.head_dim,
        config.kv_heads,
        config.vocab,
        config.context,
        config.rms_eps,
        config.rope_base,
        tokenizer.len(),
        tokenizer.padding().len(),
        tokenizer.stops(),
    );
    for (kind, (count, elements, bytes)) in &types {
        text += &format!("tensors     {count} of {kind}: {elements} elements, {}\n", size(*bytes));
    }
    let (per_token, whole) = (config.kv_bytes_per_token(), config.kv_bytes_per_token().saturating_mul(config.context as u64));
    let mut parameters = None;
    let mut memory = None;
    if types.is_empty() {
        text += "tensors     none: a vocabulary alone\n";
    } else {
        let source = file.source().map_err(Failure::about(&name))?;
        let plan = Plan::new(&source, &config, ops).map_err(Failure::about(&name))?;
        source.check_all_used().map_err(Failure::about(&name))?;
        let split = plan.memory(ops);
        text += &format!(
            "parameters  {}\nmemory      layers {}, head {}, embedding {}, norms and biases {}; cache {} per token, {} for the whole context\n",
            plan.parameters(),
            size(split.layers),
            size(split.head),
            if split.embedding == 0 { "in the head".to_owned() } else { size(split.embedding) },
            size(split.vectors),
            size(per_token),
            size(whole),
        );
        parameters = Some(plan.parameters());
        memory = Some(split);
    }
    text += &format!(
        "profile     {} ({}), weights that are floats in {} arithmetic; see --kernels\n",
        ops.profile,
        ops.tier,
        ops.arithmetic.name()
    );
    let types: Vec<Value> = types
        .iter()
        .map(|(kind, (count, elements, bytes))| json!({ "type": kind.to_string(), "count": count, "elements": elements, "bytes": bytes }))
        .collect();
    let gguf_version = if let ModelFile::Gguf(file) = &file { Some(file.version()) } else { None };
    let value = json!({
        "model": name,
        "container": file.container(),
        "gguf_version": gguf_version,
        "file_bytes": file.bytes(),
        "config": config,
        "parameters": parameters,
        "tensors": types,
        "memory": memory,
        "cache_bytes_per_token": per_token,
        "cache_bytes_whole_context": whole,
        "tokenizer": { "tokens": tokenizer.len(), "padding": tokenizer.padding().len(), "stops": tokenizer.stops() },
        "profile": ops.profile,
        "tier": ops.tier,
        "arithmetic": ops.arithmetic.name(),
    });
    Ok((value, text))
}

/// Count, elements and bytes of the tensors of each type.
fn tensor_types(file: &ModelFile) -> BTreeMap<TensorType, (usize, u64, u64)> {
    let mut types = BTreeMap::new();
    for tensor in file.tensors() {
        let entry: &mut (usize, u64, u64) = types.entry(tensor.kind).or_default();
        entry.0 += 1;
        entry.1 += tensor.elements() as u64;
        entry.2 += tensor.len as u64;
    }
    types
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn kernels(ops: &Ops) -> (Value, String) {
    let rows = |m_max: usize| if m_max == usize::MAX { None } else { Some(m_max) };
    let arithmetic = ops.arithmetic.name();
    let mut text = format!("profile {} ({}), weights that are floats in {arithmetic} arithmetic\n", ops.profile, ops.tier);
    let choices = || ops.gemm.iter().flat_map(|products| products.choices.iter().map(|choice| (products.format, choice)));
    for (format, choice) in choices() {
        let upto = rows(choice.m_max).map_or("any number of".to_owned(), |m| format!("up to {m}"));
        let spin = choice.spin.map_or("usual".to_owned(), |spin| spin.to_string());
        for row in &choice.table {
            let bounds = kiln_profiles::schema::extents(row.upto.map(rows));
            text += &format!("  {format}, {upto} rows, {bounds}: {}\n", describe_run(row.run()));
        }
        // A last row for any extents leaves nothing to the choice itself.
        if choice.table.last().is_some_and(|row| row.upto.map(rows) == [None; 3]) {
            continue;
        }
        let what = if choice.table.is_empty() { "" } else { ", all others" };
        text += &format!("  {format}, {upto} rows{what}: {}, spin {spin}\n", describe_run(choice.own()));
    }
    text += "\n";
    for reason in ops.reasons {
        text += &describe(reason);
    }
    text += "\nprofiles in this binary:\n";
    let mut profiles = Vec::new();
    for candidate in baked::candidates() {
        let runs = (candidate.make)().is_some();
        let note = if runs { "runs here" } else { "needs another CPU" };
        text += &format!("  {} ({}): {note}\n", candidate.profile, candidate.isas.join(", "));
        profiles.push(json!({ "profile": candidate.profile, "isas": candidate.isas, "runs_here": runs }));
    }
    let gemm: Vec<Value> = choices()
        .map(|(format, choice)| {
            let table: Vec<Value> = choice
                .table
                .iter()
                .map(|row| {
                    let [m_max, n_max, k_max] = row.upto.map(rows);
                    with(json!({ "m_max": m_max, "n_max": n_max, "k_max": k_max }), row.run())
                })
                .collect();
            with(json!({ "format": format.name(), "m_max": rows(choice.m_max), "spin": choice.spin, "table": table }), choice.own())
        })
        .collect();
    let choices: Vec<Value> = ops
        .reasons
        .iter()
        .map(|reason| {
            json!({
                "op": reason.op, "format": reason.format, "class": reason.class, "threads": reason.threads,
                "kernel": reason.kernel, "runner_up": reason.runner_up, "margin": reason.margin,
                "margin_ci": reason.margin_ci, "regret": reason.regret, "worst_regret": reason.worst_regret, "tier": reason.tier, "note": reason.note,
                "stale": reason.stale,
            })
        })
        .collect();
    let value = json!({
        "profile": ops.profile, "tier": ops.tier, "arithmetic": arithmetic, "gemm": gemm, "choices": choices, "profiles": profiles,
    });
    (value, text)
}

/// What a product runs, in a few words.
fn describe_run(Run { kernel, blocking: Blocking { kc, mc, nc, .. }, split }: Run<'_>) -> String {
    let split = split.map_or("computed for each shape".to_owned(), |split| format!("{}x{}", split.rows, split.cols));
    format!("{}, kc {kc} mc {mc} nc {nc}, split over threads {split}", kernel.meta().name)
}

/// A document, and what a product runs in it.
fn with(mut document: Value, Run { kernel, blocking: Blocking { kc, mc, nc, .. }, split }: Run<'_>) -> Value {
    document["kernel"] = kernel.meta().name.into();
    document["blocking"] = json!({ "kc": kc, "mc": mc, "nc": nc });
    document["split"] = split.map_or(Value::Null, |split| json!({ "rows": split.rows, "cols": split.cols }));
    document
}

/// One choice with its reason, in two lines.
fn describe(reason: &Reason) -> String {
    let Reason { op, format, class, threads, kernel, tier, note, .. } = reason;
    let stale = if reason.stale { " STALE: its source has changed since" } else { "" };
    let mut line = format!("{op} {format} {class}, {threads} thread(s): {kernel} ({tier}){stale}\n    {note}");
    if let Some(other) = reason.runner_up {
        line += &format!("; runner-up {other}");
    }
    if let Some(margin) = reason.margin {
        line += &format!("; {margin:.3} times its speed");
    }
    if let Some((low, high)) = reason.margin_ci {
        line += &format!(" (95 % CI {low:.3} to {high:.3})");
    }
    if let Some(regret) = reason.regret {
        line += &format!("; on held-out shapes at worst {regret:.3} times the best one's time");
    }
    if let Some(worst) = reason.worst_regret {
        line += &format!("; on those that were compared at worst {worst:.3} times");
    }
    line + "\n"
}

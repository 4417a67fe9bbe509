//! The end-to-end part of a laboratory run: the engine built twice, compared, sampled and heard.

use crate::build::{self, Request};
use crate::measure::statistics::{Ratio, median, median_ci, paired_ratio};
use crate::progress::Progress;
use crate::sampling::{self, Profile};
use anyhow::{Context, bail};
use kiln_reports::Tier;
use kiln_reports::page::{Comparison, Generated, Side, Verdict};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A built engine, kept where the next build does not replace it.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The binary.
    pub binary: PathBuf,
    /// The profile it was built with, by name.
    pub profile: String,
}

impl Engine {
    /// Builds the engine with one profile and copies it to `folder`.
    ///
    /// # Errors
    /// As [`build::qwen2`], or if it cannot be copied.
    pub fn build(profile: &str, label: &str, folder: &Path) -> anyhow::Result<Engine> {
        let built = build::qwen2(&Request { profiles: &[profile.to_owned()], target: None })?;
        let binary = folder.join(format!("qwen2-{label}"));
        std::fs::copy(&built, &binary).with_context(|| binary.display().to_string())?;
        Ok(Engine { binary, profile: label.to_owned() })
    }

    /// Runs a command of the engine that prints one JSON document.
    fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let out = Command::new(&self.binary).args(args).stdin(Stdio::null()).output().with_context(|| self.binary.display().to_string())?;
        if !out.status.success() {
            bail!("{} {}: {}", self.binary.display(), args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
        }
        serde_json::from_slice(&out.stdout).with_context(|| format!("{} {} printed no JSON", self.binary.display(), args.join(" ")))
    }

    /// Tokens per second of reading a prompt and of generating, in one fresh process.
    fn speed(&self, plan: &Plan, threads: usize) -> anyhow::Result<(f64, f64)> {
        let (prompt, generate, threads) = (plan.prompt.to_string(), plan.generate.to_string(), threads.to_string());
        let tests = self.json(&["bench", "-p", &prompt, "-n", &generate, "-r", "1", "-t", &threads, "-o", "json"])?;
        let rate = |key: &str, other: &str| {
            let test = tests.as_array()?.iter().find(|t| t[key].as_u64() > Some(0) && t[other].as_u64() == Some(0))?;
            test["avg_ts"].as_f64()
        };
        rate("n_prompt", "n_gen").zip(rate("n_gen", "n_prompt")).context("the engine's bench lacks a test")
    }

    /// The text that the embedded model writes, greedily.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn generate(&self, prompt: &str, tokens: usize) -> anyhow::Result<Generated> {
        let count = tokens.to_string();
        let answer = self.json(&["run", "-p", prompt, "-n", &count, "--temp", "0", "--json"])?;
        let text = answer["text"].as_str().context("the engine's answer has no text")?;
        Ok(Generated {
            model: "embedded: Qwen2 of 4.2 million parameters, trained on Rust's documentation".into(),
            profile: Some(self.profile.clone()),
            prompt: prompt.into(),
            text: text.into(),
            how: Some(format!("greedy, {tokens} tokens")),
        })
    }

    /// Samples the engine while it generates, several times over so that there are enough samples.
    ///
    /// # Errors
    /// If sampling is not permitted or the engine cannot be started.
    pub fn sample(&self, tokens: usize) -> anyhow::Result<Profile> {
        let mut command = Command::new(&self.binary);
        command.args(["bench", "-p", "0", "-n", &tokens.to_string(), "-r", "6"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(sampling::sample_command(&mut command, &sampling::Options::default())?)
    }
}

/// How the engines are compared.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Prompt length in tokens.
    pub prompt: usize,
    /// Tokens to generate.
    pub generate: usize,
    /// Pairs of fresh processes, in the order A B B A.
    pub pairs: usize,
}

/// Default against winner in tokens per second, prefill and decode.
///
/// # Errors
/// If an engine fails.
pub fn compare(default: &Engine, winner: &Engine, plan: &Plan, threads: usize) -> anyhow::Result<Vec<Comparison>> {
    let progress = Progress::new(plan.pairs as u64, "comparing tokens/s");
    let mut pairs = Vec::new();
    default.speed(plan, threads)?;
    winner.speed(plan, threads)?;
    for turn in 0..plan.pairs {
        progress.at(format!("{} threads", threads));
        pairs.push(if turn % 2 == 0 {
            let a = default.speed(plan, threads)?;
            (a, winner.speed(plan, threads)?)
        } else {
            let b = winner.speed(plan, threads)?;
            (default.speed(plan, threads)?, b)
        });
        progress.advance(1);
    }
    let prefill: Vec<_> = pairs.iter().map(|(a, b)| (a.0, b.0)).collect();
    let decode: Vec<_> = pairs.iter().map(|(a, b)| (a.1, b.1)).collect();
    Ok(vec![
        comparison("prefill", format!("prompt of {}", plan.prompt), threads, (default, winner), &prefill),
        comparison("decode", format!("{} tokens", plan.generate), threads, (default, winner), &decode),
    ])
}

fn comparison(what: &str, shape: String, threads: usize, engines: (&Engine, &Engine), rates: &[(f64, f64)]) -> Comparison {
    // Rates, not times: the winner over the default is above 1 when the winner is faster.
    let ratio: Option<Ratio> = paired_ratio(&rates.iter().map(|(default, winner)| (*winner, *default)).collect::<Vec<_>>());
    let side = |engine: &Engine, rates: Vec<f64>| Side { name: engine.profile.clone(), median: median(&rates), ci: median_ci(&rates) };
    let (value, ci) = (ratio.map(|r| r.value), ratio.map(|r| r.ci));
    Comparison {
        what: what.into(),
        shape,
        threads,
        unit: "tokens/s".into(),
        default: side(engines.0, rates.iter().map(|r| r.0).collect()),
        winner: side(engines.1, rates.iter().map(|r| r.1).collect()),
        ratio: value,
        ratio_ci: ci,
        verdict: Verdict::of(value, ci),
        tier: Tier::Measured,
    }
}

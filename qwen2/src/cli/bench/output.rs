//! The forms that results are written in: a table as tests end, or documents for programs.

use std::io::Write;

use clap::ValueEnum;
use serde_json::Value;

use super::super::{Failure, print_json};
use super::Test;

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A table
    Md,
    /// Lines of comma-separated values under a line of names
    Csv,
    /// An array of tests
    Json,
    /// A test a line
    Jsonl,
}

/// Writes tests as they end, or all at the end.
pub(super) struct Writer {
    form: Output,
    tests: Vec<Test>,
}

impl Writer {
    /// # Errors
    /// The output cannot be written.
    pub(super) fn new(form: Output) -> Result<Self, Failure> {
        if form == Output::Md {
            writeln!(
                std::io::stdout(),
                "| model | size | params | profile | arithmetic | threads | cache | test | t/s | MB/token | of read bandwidth |\n\
                 | --- | ---: | ---: | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |"
            )?;
        }
        Ok(Self { form, tests: Vec::new() })
    }

    /// # Errors
    /// The output cannot be written.
    pub(super) fn write(&mut self, test: Test) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        match self.form {
            Output::Md => {
                writeln!(out, "{}", row(&test))?;
                self.tests.push(test);
            }
            Output::Json => self.tests.push(test),
            Output::Jsonl => {
                serde_json::to_writer(&mut out, &test).map_err(std::io::Error::from)?;
                writeln!(out)?;
            }
            Output::Csv => {
                let fields = fields(&test)?;
                if self.tests.is_empty() {
                    writeln!(out, "{}", fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","))?;
                }
                writeln!(out, "{}", fields.into_iter().map(|(_, value)| quoted(&value)).collect::<Vec<_>>().join(","))?;
                self.tests.push(test);
            }
        }
        Ok(out.flush()?)
    }

    /// # Errors
    /// The output cannot be written.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.form {
            Output::Json => print_json(&self.tests),
            Output::Md => {
                for test in &self.tests {
                    if let Some(stages) = &test.stages {
                        writeln!(std::io::stdout(), "\n{}{}", name(test), stages.text())?;
                    }
                }
                Ok(())
            }
            Output::Csv | Output::Jsonl => Ok(()),
        }
    }
}

/// `pp512`, `tg64 @ d4096`.
fn name(test: &Test) -> String {
    let what = if test.n_prompt > 0 { format!("pp{}", test.n_prompt) } else { format!("tg{}", test.n_gen) };
    if test.n_depth > 0 { format!("{what} @ d{}", test.n_depth) } else { what }
}

fn row(test: &Test) -> String {
    let (bytes, fraction) = test.read_fraction.map_or(("".to_owned(), "".to_owned()), |fraction| {
        (
            format!("{:.1}", test.bytes_per_token as f64 / 1e6),
            format!("{:.0} % of {:.1} GB/s", 100.0 * fraction, test.read_bytes_per_s / 1e9),
        )
    });
    format!(
        "| {} | {} | {} | {} ({}) | {} | {} | {} | {} | {:.2} ± {:.2} | {bytes} | {fraction} |",
        test.model_type,
        indicatif::BinaryBytes(test.model_size),
        short(test.model_n_params),
        test.profile,
        test.tier,
        test.arithmetic,
        test.n_threads,
        test.type_k,
        name(test),
        test.avg_ts,
        test.stddev_ts,
    )
}

/// The fields of a test that are one value each, with their names.
fn fields(test: &Test) -> Result<Vec<(String, Value)>, Failure> {
    let value = serde_json::to_value(test).map_err(std::io::Error::from)?;
    let Value::Object(fields) = value else { return Ok(Vec::new()) };
    Ok(fields.into_iter().filter(|(_, value)| !value.is_array() && !value.is_object()).collect())
}

/// A value of a line: in quotes, as llama-bench has them.
fn quoted(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A number of parameters in millions or billions.
pub(super) fn short(parameters: u64) -> String {
    let millions = parameters as f64 / 1e6;
    if millions < 100.0 { format!("{millions:.1}M") } else { format!("{:.2}B", millions / 1e3) }
}

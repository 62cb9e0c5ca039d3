//! `weir policy bench`: how long one decision takes, without the memory of earlier ones.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use regorus::Value;
use serde_json::json;

use super::{PolicyError, bundle, document, place};
use crate::clock;
use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::policy::Compiled;
use crate::policy::engines::Interpreted;
use crate::policy::rego::RegoFault;

/// Longest decision.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Decisions before any is measured.
const WARM_UP: usize = 100;
/// Decisions measured at most: their times are kept.
const SAMPLES_MAX: usize = 5_000_000;
/// Exit status where the policies can't answer.
const FAILED: u8 = 2;

/// Arguments of `weir policy bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Files and folders of policies and data; without policies among them the shipped ones
    #[arg(long = "data", short = 'd', value_name = "PATH")]
    pub data: Vec<PathBuf>,
    /// JSON file of the document `input`; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub input: PathBuf,
    /// The rule that decides
    #[arg(long, value_name = "RULE", default_value = super::ENTRYPOINT)]
    pub entrypoint: String,
    /// How long to measure
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Use the interpreter also where the faster machine may answer
    #[arg(long)]
    pub interpreter: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    let bundle = bundle(&args.data, &args.entrypoint)?;
    let input = Value::from(document(&args.input)?);
    let settings = PolicySettings::of_rule(
        &args.entrypoint,
        TIME_MAX,
        if args.interpreter { PolicyEngine::Interpreter } else { PolicyEngine::Auto },
    );
    let prepared = match bundle.wasm {
        Some(module) => Compiled::wasm(&module, &bundle.data, &settings),
        None => Compiled::new(bundle.policies, bundle.data, &settings),
    };
    let measured = prepared.map_err(RegoFault::from).and_then(|policy| {
        let times = measure(Duration::from_secs(args.seconds), &|| policy.answer(input.clone()))?;
        Ok((times, policy.engine(), policy.interpreted()))
    });
    match measured {
        Err(fault) => {
            writeln!(out, "{}", serde_json::to_string_pretty(&place::errors(&[fault])).unwrap_or_default())?;
            return Ok(FAILED);
        }
        Ok((times, engine, interpreted)) => write(&times, engine, interpreted.as_ref(), args.json, out)?,
    }
    Ok(0)
}

fn measure<T, E>(limit: Duration, ask: &dyn Fn() -> Result<T, E>) -> Result<Vec<Duration>, E> {
    for _ in 0..WARM_UP {
        ask()?;
    }
    let begun = clock::instant();
    let mut times = Vec::new();
    while times.len() < SAMPLES_MAX {
        let before = clock::instant();
        ask()?;
        let now = clock::instant();
        times.push(now.saturating_duration_since(before));
        if now.saturating_duration_since(begun) >= limit {
            break;
        }
    }
    times.sort_unstable();
    Ok(times)
}

fn write(
    times: &[Duration],
    engine: &str,
    interpreted: Option<&Interpreted>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), PolicyError> {
    let why = interpreted.map(Interpreted::to_string);
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |per_mille: usize| {
        let place = times.len().saturating_mul(per_mille).div_euclid(1_000).min(times.len().saturating_sub(1));
        us(times.get(place).copied().unwrap_or_default())
    };
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let per_second = f64::from(count) / times.iter().sum::<Duration>().as_secs_f64();
    let (p50, p99, p999) = (at(500), at(990), at(999));
    match json {
        true => {
            let all = json!({"engine": engine, "why_interpreted": why, "decisions": count,
                "per_second": per_second.round(),
                "p50_us": p50, "p99_us": p99, "p999_us": p999});
            writeln!(out, "{all}")?;
        }
        false => {
            writeln!(out, "engine      {engine}, one thread, nothing remembered")?;
            if let Some(why) = why {
                writeln!(out, "because     {why}")?;
            }
            writeln!(out, "decisions   {count}, {per_second:.0} a second")?;
            writeln!(out, "p50         {p50:.1} us\np99         {p99:.1} us\np99.9       {p999:.1} us")?;
        }
    }
    Ok(())
}

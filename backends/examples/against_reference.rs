//! How far this engine's log-probabilities, and its exact arithmetic's, lie from the recorded reference.
//!
//! `cargo run --example against_reference -- MODEL.gguf backends/tests/golden/smollm2_greedy.json [PROMPTS]`
//! Prints, per pair of {served, exact, reference}: the mean, the 99th percentile and the largest difference over the
//! recorded top five of each step, and how many greedy tokens differ although the reference's two best are apart.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a measuring tool"
)]

use std::path::Path;

use serde_json::Value;
use weir_engine::executor::cpu::{Arithmetic, CpuExecutor, CpuOptions};
use weir_engine::executor::{Chunk, Executor, StepPlan};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let (Some(model), Some(golden)) = (args.get(1), args.get(2)) else { anyhow::bail!("MODEL and GOLDEN expected") };
    let prompts: usize = args.get(3).map_or(Ok(usize::MAX), |n| n.parse())?;
    let golden: Value = serde_json::from_slice(&std::fs::read(golden)?)?;
    let cases: Vec<Value> = golden["cases"].as_array().unwrap().iter().take(prompts).cloned().collect();
    let load = |arithmetic| {
        CpuExecutor::load(Path::new(model), CpuOptions { arithmetic, kv_pages: 128, ..CpuOptions::default() })
    };
    let served = scores(&mut load(Arithmetic::Served)?, &cases);
    let exact = scores(&mut load(Arithmetic::Exact)?, &cases);
    let reference: Vec<f64> = top(&cases).iter().map(|(_, logprob)| *logprob).collect();
    report("served - reference", &served, &reference);
    report("served - exact    ", &served, &exact);
    report("reference - exact ", &reference, &exact);
    Ok(())
}

fn top(cases: &[Value]) -> Vec<(usize, f64)> {
    let steps = cases.iter().flat_map(|case| case["top"].as_array().unwrap());
    steps
        .flat_map(|step| step.as_array().into_iter().flatten())
        .map(|pair| (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap()))
        .collect()
}

/// Log-probabilities of the recorded tokens, on the recorded path.
fn scores(executor: &mut CpuExecutor, cases: &[Value]) -> Vec<f64> {
    let ids =
        |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
    let pages: Vec<u32> = (0..128).collect();
    let mut out = Vec::new();
    for case in cases {
        let (mut pos, mut next) = (0, ids(&case["prompt_ids"]));
        for (token, top) in ids(&case["tokens"]).iter().zip(case["top"].as_array().unwrap()) {
            let chunk = Chunk { slot: 0, pos, tokens: &next, pages: &pages, wants_logits: true };
            let logits = executor.step(&StepPlan { chunks: vec![chunk] }).unwrap().logits.remove(0);
            let peak = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let norm = peak + logits.iter().map(|l| (f64::from(*l) - peak).exp()).sum::<f64>().ln();
            out.extend(
                top.as_array()
                    .into_iter()
                    .flatten()
                    .map(|pair| f64::from(logits[pair[0].as_u64().unwrap() as usize]) - norm),
            );
            pos += next.len();
            next = vec![*token];
        }
    }
    out
}

fn report(name: &str, a: &[f64], b: &[f64]) {
    let mut errors: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let at = |q: f64| errors[((errors.len() - 1) as f64 * q) as usize];
    println!(
        "{name}: mean {mean:.4}  p50 {:.4}  p99 {:.4}  max {:.4}  ({} values)",
        at(0.5),
        at(0.99),
        at(1.0),
        errors.len()
    );
}

//! Prefill and decode speed of a model on one thread, in tokens per second of CPU time.
//!
//! `cargo run --release --example bench_model -- MODEL [ROUNDS]`; prints the best of the rounds, and a batch of 8.
//! CPU time is the kernel's own count for the thread, so that a busy machine changes it little.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a measuring tool"
)]

use std::path::Path;

use weir_engine::executor::cpu::{CpuExecutor, CpuOptions};
use weir_engine::executor::{Chunk, Executor, StepPlan};

const PROMPT: usize = 128;
const STEPS: usize = 64;

/// Nanoseconds that this thread has computed.
fn cpu_ns() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// One step over `batch` sequences of 32 pages each; tokens per CPU second over `steps` repetitions.
fn measure(executor: &mut CpuExecutor, batch: usize, start: usize, len: usize, steps: usize) -> f64 {
    let pages: Vec<Vec<u32>> = (0..batch).map(|s| (s as u32 * 32..(s as u32 + 1) * 32).collect()).collect();
    let from = cpu_ns();
    for step in 0..steps {
        let tokens: Vec<u32> = (0..len).map(|i| ((i * 131 + step * 17) % 20_000 + 100) as u32).collect();
        let chunks = pages.iter().enumerate().map(|(slot, pages)| Chunk {
            slot: slot as u64,
            pos: start + step * usize::from(len == 1),
            tokens: &tokens,
            pages,
            wants_logits: true,
        });
        let logits = executor.step(&StepPlan { chunks: chunks.collect() }).unwrap().logits;
        assert_eq!(logits.len(), batch);
    }
    (batch * len * steps) as f64 / ((cpu_ns() - from) as f64 / 1e9)
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let Some(path) = args.get(1) else { anyhow::bail!("MODEL expected") };
    let rounds: usize = args.get(2).map_or(Ok(3), |n| n.parse())?;
    let options = CpuOptions { threads: 1, kv_pages: 512, batch_tokens: 1_024, ..CpuOptions::default() };
    let mut executor = CpuExecutor::load(Path::new(path), options)?;
    let mut best = |batch, start, len, steps| {
        (0..rounds).map(|_| measure(&mut executor, batch, start, len, steps)).fold(0.0, f64::max)
    };
    println!("prefill {PROMPT}: {:.1} tokens per CPU second", best(1, 0, PROMPT, 2));
    println!("decode 1 after {PROMPT}: {:.1}", best(1, PROMPT, 1, STEPS));
    println!("decode 8 after {PROMPT}: {:.1}", best(8, PROMPT, 1, STEPS / 4));
    Ok(())
}

//! Times the kernels on one thread: `cargo run --release -p weir-kernels --example bench`.
//!
//! Attention: GB/s of keys and values read, and how many times faster than the reference. Products: GB/s of weights
//! read and billions of multiplications a second. Times are this thread's CPU time, so a busy machine changes little.
#![allow(clippy::unwrap_used, reason = "a measuring tool")]

use weir_kernels::matmul::{Input, Place, matmul};
use weir_kernels::pack::{Format, PackedMatrix};
use weir_kernels::paged_attention::{Heads, KvPages, Span, paged_attention};
use weir_kernels::quant::QuantRows;
use weir_kernels::vector::{rms_norm, silu_mul};
use weir_kernels::{PAGE_TOKENS, reference};

/// Nanoseconds that this thread has computed.
fn cpu_ns() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The best of three timings of `work`, in nanoseconds per call. The kernel counts by ticks, so each runs for 100 ms.
fn time(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let (from, mut calls) = (cpu_ns(), 0.0);
        while cpu_ns() - from < 1e8 {
            work();
            calls += 1.0;
        }
        best = best.min((cpu_ns() - from) / calls);
    }
    best
}

fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7_919) % 2_003) as f32 / 1_001.5 - 1.0).collect()
}

fn attention() {
    let heads = Heads { query: 9, kv: 3, dim: 64 };
    for (seen, len) in [(128, 1), (1_024, 1), (8_192, 1), (512, 128)] {
        let pages: Vec<u32> = (0..seen as u32 / 16).rev().collect();
        let pool = noise(pages.len() * heads.page_len());
        let kv = KvPages { keys: &pool, values: &pool };
        let spans = [Span { pos: seen - len, len, pages: &pages }];
        let queries = noise(len * heads.query * heads.dim);
        let mut out = vec![0.0; queries.len()];
        let fast = time(|| paged_attention(heads, kv, &spans, &queries, &mut out).unwrap());
        let slow = time(|| drop(reference::paged_attention(heads, kv, &spans, &queries)));
        let read: usize =
            (seen - len + 1..=seen).map(|t| t.next_multiple_of(PAGE_TOKENS) * heads.kv * heads.dim * 8).sum();
        println!(
            "attention {len:>3} queries of {seen:>4} tokens: {:>8.1} us {:>6.1} GB/s  {:>5.1} x reference",
            fast / 1e3,
            read as f64 / fast,
            slow / fast
        );
    }
}

fn product(format: Format, rows: usize, cols: usize) {
    let bytes: Vec<u8> = (0..rows * format.row_bytes(cols).unwrap()).map(|i| (i * 31 % 61) as u8).collect();
    let weights = PackedMatrix::pack(format, &bytes, rows, cols).unwrap();
    for tokens in [1, 8, 128] {
        let x = noise(tokens * cols);
        let mut quant = QuantRows::default();
        quant.fill(&x, cols).unwrap();
        let mut out = vec![0.0; tokens * rows];
        let mut scratch = Vec::new();
        let place = Place { stride: rows, offset: 0 };
        let input = if weights.is_quantised() { Input::Quant(&quant) } else { Input::Full(&x) };
        let ns = time(|| matmul(&weights, input, &mut out, place, &mut scratch).unwrap());
        let (gb, mul) = (weights.bytes() as f64 / ns, (rows * cols * tokens) as f64 / ns);
        println!(
            "product {format:?} {rows}x{cols} of {tokens:>3} tokens: {:>8.1} us {gb:>6.1} GB/s {mul:>6.1} Gmul/s",
            ns / 1e3
        );
    }
}

fn main() {
    attention();
    for (rows, cols) in [(960, 576), (3_072, 576), (576, 1_536)] {
        product(Format::Q4_1, rows, cols);
    }
    product(Format::Q8_0, 49_152, 576);
    product(Format::F32, 960, 576);
    let (x, weight) = (noise(128 * 3_072), noise(576));
    let mut quant = QuantRows::default();
    let mut out = vec![0.0; 128 * 1_536];
    println!("round 128 x 1536: {:.1} us", time(|| quant.fill(&x[..128 * 1_536], 1_536).unwrap()) / 1e3);
    println!("silu 128 x 1536: {:.1} us", time(|| silu_mul(&x, 1_536, &mut out).unwrap()) / 1e3);
    println!(
        "norm 128 x 576: {:.1} us",
        time(|| rms_norm(&x[..128 * 576], &weight, 1e-5, &mut out[..128 * 576]).unwrap()) / 1e3
    );
}

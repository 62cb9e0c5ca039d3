//! The same operations written for reading, in f64: what the fast versions are tested against.
//!
//! Owns: clarity. Refuses: speed. Arguments are taken as checked; a wrong shape panics.

use crate::PAGE_TOKENS;
use crate::pack::PackedMatrix;
use crate::paged_attention::{Heads, KvPages, Span};

/// `softmax(q · k / √dim) · v` per token and head, all scores first, then the softmax, then the sum.
pub fn paged_attention(heads: Heads, kv: KvPages<'_>, spans: &[Span<'_>], queries: &[f32]) -> Vec<f64> {
    let mut out = Vec::with_capacity(queries.len());
    let mut rows = queries.chunks_exact(heads.dim);
    for span in spans {
        for seen in span.pos + 1..=span.pos + span.len {
            for head in 0..heads.query {
                let query = rows.next().unwrap_or(&[]);
                let kv_head = head / (heads.query / heads.kv);
                out.extend(one_head(heads, kv, span.pages, seen, kv_head, query));
            }
        }
    }
    out
}

fn one_head(heads: Heads, kv: KvPages<'_>, pages: &[u32], seen: usize, kv_head: usize, query: &[f32]) -> Vec<f64> {
    let base =
        |token: usize| pages[token / PAGE_TOKENS] as usize * heads.page_len() + kv_head * PAGE_TOKENS * heads.dim;
    let key = |token: usize, d: usize| f64::from(kv.keys[base(token) + d * PAGE_TOKENS + token % PAGE_TOKENS]);
    let value = |token: usize, d: usize| f64::from(kv.values[base(token) + token % PAGE_TOKENS * heads.dim + d]);
    let score = |token| {
        query.iter().enumerate().map(|(d, q)| f64::from(*q) * key(token, d)).sum::<f64>() / (heads.dim as f64).sqrt()
    };
    let scores: Vec<f64> = (0..seen).map(score).collect();
    let peak = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - peak).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..heads.dim)
        .map(|d| weights.iter().enumerate().map(|(token, w)| w * value(token, d)).sum::<f64>() / total)
        .collect()
}

/// `x · Wᵀ` with the weights and activations as they are, unquantised.
pub fn matmul(weights: &PackedMatrix, x: &[f32]) -> Vec<f64> {
    let mut row = vec![0.0_f32; weights.cols()];
    let tokens = x.len() / weights.cols();
    let mut out = vec![0.0_f64; tokens * weights.rows()];
    for r in 0..weights.rows() {
        if weights.row(r, &mut row).is_err() {
            continue;
        }
        for (t, x) in x.chunks_exact(weights.cols()).enumerate() {
            out[t * weights.rows() + r] = x.iter().zip(&row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        }
    }
    out
}

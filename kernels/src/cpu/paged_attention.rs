//! One pass of online softmax over a sequence's pages, for one query token and the query heads of one kv head.
//!
//! The body is plain Rust over sixteen-lane arrays; it is compiled once per instruction set, and the compiler turns
//! the arrays into registers. The order of additions is the same in each, so the results are the same bits.

use crate::paged_attention::{GROUP_MAX, Heads, KvPages};
use crate::vector::exp;
use crate::{LANES, PAGE_TOKENS};

per_level! {
    /// The token whose query is `query` sees the first `seen` tokens of `pages`; the launcher has checked all bounds.
    pub(crate) fn attend(
        heads: Heads,
        kv: KvPages<'_>,
        pages: &[u32],
        seen: usize,
        kv_head: usize,
        query: &[f32],
        out: &mut [f32],
    ) = body
}

#[inline(always)]
fn body(heads: Heads, kv: KvPages<'_>, pages: &[u32], seen: usize, kv_head: usize, query: &[f32], out: &mut [f32]) {
    let dim = heads.dim;
    let scale = 1.0 / (dim as f32).sqrt();
    let mut best = [f32::NEG_INFINITY; GROUP_MAX];
    let mut total = [0.0_f32; GROUP_MAX];
    out.fill(0.0);
    for (index, page) in pages.iter().enumerate() {
        let base = *page as usize * heads.page_len() + kv_head * PAGE_TOKENS * dim;
        let keys = &kv.keys[base..base + PAGE_TOKENS * dim];
        let values = &kv.values[base..base + PAGE_TOKENS * dim];
        let valid = (seen - index * PAGE_TOKENS).min(PAGE_TOKENS);
        for (head, (query, out)) in query.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let mut weights = scores(query, keys, scale);
            weights[valid..].fill(f32::NEG_INFINITY);
            let peak = max(&weights).max(best[head]);
            let shrink = exp(best[head] - peak);
            for weight in &mut weights {
                *weight = exp(*weight - peak);
            }
            best[head] = peak;
            total[head] = total[head].mul_add(shrink, sum(&weights));
            accumulate(&weights[..valid], values, shrink, out);
        }
    }
    for (out, total) in out.chunks_exact_mut(dim).zip(total) {
        let inverse = 1.0 / total;
        out.iter_mut().for_each(|value| *value *= inverse);
    }
}

/// The sixteen scores of one page: `keys` is `[dim][16]`.
#[inline(always)]
fn scores(query: &[f32], keys: &[f32], scale: f32) -> [f32; PAGE_TOKENS] {
    // Two sums in turn hide half of the adder's latency.
    let mut even = [0.0_f32; PAGE_TOKENS];
    let mut odd = [0.0_f32; PAGE_TOKENS];
    let pairs = keys.as_chunks::<PAGE_TOKENS>().0.as_chunks::<2>().0;
    for (query, [first, second]) in query.as_chunks::<2>().0.iter().zip(pairs) {
        for lane in 0..PAGE_TOKENS {
            even[lane] = query[0].mul_add(first[lane], even[lane]);
        }
        for lane in 0..PAGE_TOKENS {
            odd[lane] = query[1].mul_add(second[lane], odd[lane]);
        }
    }
    let mut out = [0.0_f32; PAGE_TOKENS];
    for lane in 0..PAGE_TOKENS {
        out[lane] = (even[lane] + odd[lane]) * scale;
    }
    out
}

/// `out = out · shrink + weights · values`; `values` is `[16][dim]`.
#[inline(always)]
fn accumulate(weights: &[f32], values: &[f32], shrink: f32, out: &mut [f32]) {
    let parts = out.len() / LANES;
    let values = values.as_chunks::<LANES>().0;
    for (part, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut acc = *out;
        for value in &mut acc {
            *value *= shrink;
        }
        for (weight, row) in weights.iter().zip(values[part..].iter().step_by(parts)) {
            for lane in 0..LANES {
                acc[lane] = weight.mul_add(row[lane], acc[lane]);
            }
        }
        *out = acc;
    }
}

/// The largest of sixteen, in halves: four steps instead of sixteen.
#[inline(always)]
fn max(values: &[f32; PAGE_TOKENS]) -> f32 {
    fold(values, |a, b| if a > b { a } else { b })
}

#[inline(always)]
fn sum(values: &[f32; PAGE_TOKENS]) -> f32 {
    fold(values, |a, b| a + b)
}

#[inline(always)]
fn fold(values: &[f32; PAGE_TOKENS], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut parts = *values;
    let mut half = PAGE_TOKENS / 2;
    while half > 0 {
        for lane in 0..half {
            parts[lane] = join(parts[lane], parts[lane + half]);
        }
        half /= 2;
    }
    parts[0]
}

//! Attention of query tokens over keys and values that lie in fixed-size pages: the checked launcher.
//!
//! One layer's pool of pages, page 0 first; a page holds `PAGE_TOKENS` (16) tokens of every kv head. Keys lie
//! dimension-major, so that one register holds the same dimension of sixteen tokens and no score needs a
//! horizontal sum; values lie token-major, so that one register holds sixteen dimensions of one token:
//!
//! ```text
//! keys:   [page][kv_head][head_dim][16 tokens]        values: [page][kv_head][16 tokens][head_dim]
//! ```
//!
//! Owns: the shapes, the bounds of the block tables, the causal mask (a token sees itself and what is before it).
//! Refuses: to read a page that the sequence's table doesn't name. Start at `paged_attention`.

use crate::cpu::{self, Level};
use crate::{KernelError, PAGE_TOKENS, check_len};

/// Query heads that may share one kv head.
pub const GROUP_MAX: usize = 64;
/// The largest head dimension.
pub const HEAD_DIM_MAX: usize = 256;

/// The head counts and sizes of one attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; a multiple of `kv`.
    pub query: usize,
    /// Key/value heads.
    pub kv: usize,
    /// Dimensions of one head; a multiple of 16, at most 256.
    pub dim: usize,
}

impl Heads {
    /// Checks the rules above.
    pub fn check(&self) -> Result<(), KernelError> {
        if self.dim == 0 || self.dim > HEAD_DIM_MAX || !self.dim.is_multiple_of(crate::LANES) {
            return Err(KernelError::Shape { name: "head_dim", found: self.dim, rule: "a multiple of 16 up to 256" });
        }
        if self.kv == 0 || !self.query.is_multiple_of(self.kv) || self.query == 0 || self.query / self.kv > GROUP_MAX {
            return Err(KernelError::Shape {
                name: "query_heads",
                found: self.query,
                rule: "1 to 64 times the kv heads",
            });
        }
        Ok(())
    }

    /// Values of one page of one layer, of keys or of values.
    pub fn page_len(&self) -> usize {
        self.kv * PAGE_TOKENS * self.dim
    }
}

/// One layer's keys and values, in pages.
#[derive(Debug, Clone, Copy)]
pub struct KvPages<'a> {
    /// `[page][kv_head][head_dim][16]`.
    pub keys: &'a [f32],
    /// `[page][kv_head][16][head_dim]`.
    pub values: &'a [f32],
}

/// One sequence's consecutive query tokens.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Position of the first query token in its sequence.
    pub pos: usize,
    /// Query tokens, at `pos..pos + len`.
    pub len: usize,
    /// The sequence's pages in order; covers at least `pos + len` tokens.
    pub pages: &'a [u32],
}

/// `out[token][head] = softmax(q · k / √dim) · v` for all spans in one go.
///
/// `queries` and `out` are `[token][query_head][dim]`, the spans' tokens one after another. The keys and values of
/// the query tokens themselves must already be in their pages.
pub fn paged_attention(
    heads: Heads,
    kv: KvPages<'_>,
    spans: &[Span<'_>],
    queries: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    paged_attention_at(Level::best(), heads, kv, spans, queries, out)
}

/// As `paged_attention`, with the instruction set given: at most `Level::best()`.
pub fn paged_attention_at(
    level: Level,
    heads: Heads,
    kv: KvPages<'_>,
    spans: &[Span<'_>],
    queries: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    check(heads, kv, spans, queries, out)?;
    let level = level.min(Level::best());
    let tokens: Vec<(&Span<'_>, usize)> =
        spans.iter().flat_map(|span| (0..span.len).map(move |i| (span, span.pos + i + 1))).collect();
    let row = heads.query / heads.kv * heads.dim;
    cpu::for_each_chunk(out, row, |index, out| {
        let (span, seen) = tokens[index / heads.kv];
        let kv_head = index % heads.kv;
        let query = &queries[index * row..(index + 1) * row];
        cpu::paged_attention::attend(
            level,
            heads,
            kv,
            &span.pages[..seen.div_ceil(PAGE_TOKENS)],
            seen,
            kv_head,
            query,
            out,
        );
    });
    Ok(())
}

fn check(heads: Heads, kv: KvPages<'_>, spans: &[Span<'_>], queries: &[f32], out: &[f32]) -> Result<(), KernelError> {
    heads.check()?;
    let pages = kv.keys.len() / heads.page_len();
    check_len("keys", kv.keys.len(), pages * heads.page_len())?;
    check_len("values", kv.values.len(), kv.keys.len())?;
    let mut tokens = 0_usize;
    for span in spans {
        let end = span.pos.saturating_add(span.len);
        let needed = end.div_ceil(PAGE_TOKENS);
        if span.pages.len() < needed {
            return Err(KernelError::Table { found: span.pages.len(), needed, tokens: end });
        }
        if let Some((index, page)) = span.pages[..needed].iter().enumerate().find(|(_, page)| **page as usize >= pages)
        {
            return Err(KernelError::Page { index, page: *page, pages });
        }
        tokens = tokens.saturating_add(span.len);
    }
    check_len("queries", queries.len(), tokens * heads.query * heads.dim)?;
    check_len("out", out.len(), queries.len())
}

/// Writes one token's keys and values, `[kv_head][dim]` each, at `pos` of the sequence whose pages are given.
pub fn write_kv(
    heads: Heads,
    keys: &mut [f32],
    values: &mut [f32],
    pages: &[u32],
    pos: usize,
    new: (&[f32], &[f32]),
) -> Result<(), KernelError> {
    check_len("new keys", new.0.len(), heads.kv * heads.dim)?;
    check_len("new values", new.1.len(), heads.kv * heads.dim)?;
    let (index, slot) = (pos / PAGE_TOKENS, pos % PAGE_TOKENS);
    let page =
        *pages.get(index).ok_or(KernelError::Table { found: pages.len(), needed: index + 1, tokens: pos + 1 })?;
    let start = page as usize * heads.page_len();
    let total = keys.len().min(values.len());
    if start + heads.page_len() > total {
        return Err(KernelError::Page { index, page, pages: total / heads.page_len() });
    }
    for head in 0..heads.kv {
        let base = start + head * PAGE_TOKENS * heads.dim;
        let part = head * heads.dim..(head + 1) * heads.dim;
        for (dim, key) in new.0[part.clone()].iter().enumerate() {
            keys[base + dim * PAGE_TOKENS + slot] = *key;
        }
        let row = base + slot * heads.dim;
        values[row..row + heads.dim].copy_from_slice(&new.1[part]);
    }
    Ok(())
}

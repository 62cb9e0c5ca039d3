//! One choice of a call: its tokens, its pages, its draws and its text.

use super::text::{Shown, Text};
use crate::core::{FinishReason, TokenId};
use crate::kv::table::BlockTable;
use crate::language::Language;
use crate::sampler::{NoFiniteLogit, Sampler, scores};
use std::sync::Arc;
use std::time::Instant;

/// A choice on its way.
///
/// ```text
/// prompt p0 p1 p2 p3 │ made m0 m1        len = 6
/// computed ──────────────────▶ 5          the last token made is computed by the step that draws the next one
/// ```
#[derive(Debug)]
pub(super) struct Sequence {
    /// Key of its call.
    pub call: u64,
    /// Number within the call.
    pub choice: usize,
    /// The first choice of the same prompt, whose full prompt pages it may share.
    pub leader: Option<u64>,
    pub prompt: Arc<[TokenId]>,
    pub made: Vec<TokenId>,
    /// Tokens that it may make.
    pub tokens_max: usize,
    /// Positions whose keys and values lie in its pages.
    pub computed: usize,
    pub table: BlockTable,
    /// Whether it was admitted: only then does it hold pages.
    pub running: bool,
    pub sampler: Sampler,
    pub text: Text,
    /// `Some(k)`: score each token and the k likeliest.
    pub logprobs: Option<usize>,
    pub last_token_at: Option<Instant>,
}

impl Sequence {
    /// Positions known: prompt and tokens made.
    pub fn len(&self) -> usize {
        self.prompt.len().saturating_add(self.made.len())
    }

    /// Positions not yet computed; 1 while it decodes.
    pub fn remaining(&self) -> usize {
        self.len().saturating_sub(self.computed)
    }

    /// How many tokens its next chunk may hold. A chunk never crosses the border between prompt and tokens made.
    pub fn chunk_len(&self, budget: usize) -> usize {
        let prompt_left = self.prompt.len().saturating_sub(self.computed);
        let here = if prompt_left > 0 { prompt_left } else { self.remaining() };
        here.min(budget)
    }

    /// The next `len` tokens to compute; `len` comes from [`Sequence::chunk_len`].
    pub fn next_tokens(&self, len: usize) -> &[TokenId] {
        let (tokens, start) = match self.computed.checked_sub(self.prompt.len()) {
            None => (&*self.prompt, self.computed),
            Some(start) => (self.made.as_slice(), start),
        };
        tokens.get(start..start.saturating_add(len)).unwrap_or_default()
    }

    /// Full pages of the prompt that its siblings may share; at least one token is left for each to compute.
    pub fn shareable_pages(&self, page_tokens: usize) -> usize {
        self.prompt.len().saturating_sub(1).checked_div(page_tokens).unwrap_or(0)
    }

    /// Draws the next token from a row of logits and takes its text.
    ///
    /// # Errors
    /// [`NoFiniteLogit`] when the row holds nothing to draw.
    pub fn take(
        &mut self,
        row: &mut [f32],
        language: &dyn Language,
    ) -> Result<(Shown, Option<FinishReason>), NoFiniteLogit> {
        let raw = self.logprobs.map(|top| (row.to_vec(), top));
        let token = self.sampler.next(row)?;
        self.made.push(token);
        if language.is_end(token) {
            return Ok((self.text.flush(), Some(FinishReason::Stop)));
        }
        let scored = raw.map(|(raw, top)| scores(&raw, token, top));
        let mut shown = self.text.push(language.token_bytes(token), scored);
        if shown.stopped {
            return Ok((shown, Some(FinishReason::Stop)));
        }
        if self.made.len() < self.tokens_max {
            return Ok((shown, None));
        }
        let rest = self.text.flush();
        shown.text.push_str(&rest.text);
        shown.scores.extend(rest.scores);
        let reason = if rest.stopped { FinishReason::Stop } else { FinishReason::Length };
        Ok((shown, Some(reason)))
    }
}

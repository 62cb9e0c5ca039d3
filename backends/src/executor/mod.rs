//! The seam between scheduling and arithmetic: a plan of chunks goes in, rows of logits come out.
//!
//! The scheduler owns which page belongs to whom; an executor owns what is written in the pages and no policy at all.
//! Two implementations: `cpu` runs a model, [`scripted`] plays a fixed text over real page bookkeeping.

pub mod cpu;
pub mod scripted;

use crate::core::{PageId, TokenId};

/// What one executor can do; fixed at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorSpec {
    /// Positions in one KV page.
    pub page_tokens: usize,
    /// Pages that exist.
    pub pages_total: usize,
    /// Positions that the model can attend to.
    pub context_tokens_max: usize,
    /// Tokens that one step may hold over all its chunks.
    pub batch_tokens_max: usize,
    /// Length of a row of logits.
    pub vocab_size: usize,
    /// The model's own name.
    pub model_name: String,
}

/// One sequence's part of a step: `tokens` are appended at positions `pos..pos + tokens.len()`.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The sequence's id; never reused while the process lives.
    pub slot: u64,
    /// Position of the first token.
    pub pos: usize,
    /// The tokens, at least one.
    pub tokens: &'a [TokenId],
    /// The whole block table; covers `pos + tokens.len()` positions.
    pub pages: &'a [PageId],
    /// Whether the logits of the chunk's last token are wanted.
    pub wants_logits: bool,
}

/// What one forward pass computes.
#[derive(Debug, Clone, Default)]
pub struct StepPlan<'a> {
    /// At most one chunk per sequence.
    pub chunks: Vec<Chunk<'a>>,
}

/// What one forward pass gives back.
#[derive(Debug, Clone, Default)]
pub struct StepOutput {
    /// One row of `vocab_size` for each chunk with `wants_logits`, in the order of the chunks.
    pub logits: Vec<Vec<f32>>,
}

/// A forward pass failed; every sequence of the plan is lost, the executor itself may go on.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The plan breaks the contract (the scheduler's fault).
    #[error("the step plan is not valid: {0}")]
    Plan(String),
    /// The arithmetic or the device failed.
    #[error("the forward pass failed: {0}")]
    Compute(String),
}

/// Runs forward passes. Synchronous: it lives on the scheduler's thread.
pub trait Executor: Send {
    /// What it can do.
    fn spec(&self) -> &ExecutorSpec;

    /// Computes one step: writes the chunks' keys and values into their pages and returns the wanted logits.
    ///
    /// # Errors
    /// [`ExecutorError`] when the plan is not valid or the computation fails.
    fn step(&mut self, plan: &StepPlan<'_>) -> Result<StepOutput, ExecutorError>;
}

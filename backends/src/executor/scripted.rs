//! An executor without a model: it plays a text through logits, over real pages.
//!
//! Each KV entry holds a hash of everything before it, read back through the block table; so a page that is lost,
//! shared wrongly or overwritten changes the output or is refused as a broken plan. Its alphabet are bytes: the token
//! counts of any text are exact and cheap. Used by tests and for trying the engine out without a model file.

// A script behind a checked plan: shapes are checked before it is asked.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod language;
#[cfg(test)]
mod tests;

pub use language::{ANSWER, CONTENT, END, ROLE, ScriptedLanguage, VOCAB_SIZE};

use super::{Chunk, Executor, ExecutorError, ExecutorSpec, StepOutput, StepPlan};
use crate::core::TokenId;
use std::time::Duration;

/// How far the scripted token stands above all others: certain at any usual temperature.
const LOUD: f32 = 40.0;

/// What the scripted model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Script {
    /// `word 1 word 2 word 3 …`
    Words,
    /// The content of the last message; `word 1 …` where there is none.
    Echo,
    /// Letters drawn from logits that depend on the whole context: makes sampling and paging visible.
    Noise,
}

/// How a scripted executor is made.
#[derive(Debug, Clone)]
pub struct ScriptedOptions {
    /// What it says.
    pub script: Script,
    /// Tokens after which it ends its answer by itself.
    pub answer_tokens: usize,
    /// KV pages.
    pub pages_total: usize,
    /// Positions in one page.
    pub page_tokens: usize,
    /// Positions of a sequence.
    pub context_tokens_max: usize,
    /// Tokens of one step.
    pub batch_tokens_max: usize,
    /// How long a step takes.
    pub step_delay: Duration,
}

impl Default for ScriptedOptions {
    fn default() -> Self {
        Self {
            script: Script::Words,
            answer_tokens: 256,
            pages_total: 1024,
            page_tokens: 16,
            context_tokens_max: 8192,
            batch_tokens_max: 512,
            step_delay: Duration::ZERO,
        }
    }
}

/// What a position knows of the text up to it: the "KV entry".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    pos: usize,
    token: TokenId,
    hash: u64,
    /// First position and length of the last message's content.
    content: (usize, usize),
    /// Whether that content still grows.
    open: bool,
    /// Tokens of the answer so far.
    answered: usize,
}

/// The executor.
#[derive(Debug)]
pub struct ScriptedExecutor {
    spec: ExecutorSpec,
    options: ScriptedOptions,
    entries: Vec<Entry>,
}

impl ScriptedExecutor {
    /// An executor with empty pages.
    pub fn new(options: ScriptedOptions, model_name: &str) -> Self {
        let spec = ExecutorSpec {
            page_tokens: options.page_tokens,
            pages_total: options.pages_total,
            context_tokens_max: options.context_tokens_max,
            batch_tokens_max: options.batch_tokens_max,
            vocab_size: VOCAB_SIZE,
            model_name: model_name.to_owned(),
        };
        let entries = vec![Entry::default(); options.pages_total * options.page_tokens];
        Self { spec, options, entries }
    }

    /// Where position `pos` of a sequence lies.
    fn place(&self, chunk: &Chunk<'_>, pos: usize) -> Result<usize, ExecutorError> {
        let size = self.spec.page_tokens;
        match chunk.pages.get(pos / size) {
            Some(page) if (*page as usize) < self.spec.pages_total => Ok(*page as usize * size + pos % size),
            Some(page) => Err(ExecutorError::Plan(format!("page {page} does not exist"))),
            None => Err(ExecutorError::Plan(format!("no page covers position {pos} of sequence {}", chunk.slot))),
        }
    }

    fn entry(&self, chunk: &Chunk<'_>, pos: usize) -> Result<Entry, ExecutorError> {
        let entry = self.entries[self.place(chunk, pos)?];
        if entry.pos == pos { Ok(entry) } else { Err(ExecutorError::Plan(format!("position {pos} was not computed"))) }
    }

    fn run(&mut self, chunk: &Chunk<'_>) -> Result<Entry, ExecutorError> {
        let mut last = match chunk.pos.checked_sub(1) {
            Some(before) => Some(self.entry(chunk, before)?),
            None => None,
        };
        for (offset, token) in chunk.tokens.iter().enumerate() {
            let entry = follow(last, chunk.pos + offset, *token);
            let place = self.place(chunk, entry.pos)?;
            self.entries[place] = entry;
            last = Some(entry);
        }
        last.ok_or_else(|| ExecutorError::Plan("a chunk has no token".into()))
    }

    fn logits(&self, chunk: &Chunk<'_>, last: &Entry) -> Result<Vec<f32>, ExecutorError> {
        if last.answered >= self.options.answer_tokens {
            return Ok(loud(END));
        }
        match self.options.script {
            Script::Words => Ok(loud(word_byte(last.answered))),
            Script::Noise => Ok(noise(last.hash)),
            Script::Echo => match last.content {
                (_, 0) => Ok(loud(word_byte(last.answered))),
                (start, len) if last.answered < len => Ok(loud(self.entry(chunk, start + last.answered)?.token)),
                _ => Ok(loud(END)),
            },
        }
    }
}

impl Executor for ScriptedExecutor {
    fn spec(&self) -> &ExecutorSpec {
        &self.spec
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<StepOutput, ExecutorError> {
        let tokens: usize = plan.chunks.iter().map(|chunk| chunk.tokens.len()).sum();
        if tokens > self.spec.batch_tokens_max {
            return Err(ExecutorError::Plan(format!("{tokens} tokens are more than a step may hold")));
        }
        std::thread::sleep(self.options.step_delay);
        let mut output = StepOutput::default();
        for chunk in &plan.chunks {
            let last = self.run(chunk)?;
            if chunk.wants_logits {
                output.logits.push(self.logits(chunk, &last)?);
            }
        }
        Ok(output)
    }
}

/// The entry of the next position.
fn follow(before: Option<Entry>, pos: usize, token: TokenId) -> Entry {
    let before = before.unwrap_or_default();
    let hash = mix(before.hash ^ mix(u64::from(token) + 1));
    let mut entry = Entry { pos, token, hash, ..before };
    match token {
        CONTENT => {
            entry.content = (pos + 1, 0);
            entry.open = true;
        }
        ROLE => entry.open = false,
        ANSWER => {
            entry.open = false;
            entry.answered = 0;
        }
        _ => {
            entry.content.1 += usize::from(entry.open);
            entry.answered += 1;
        }
    }
    entry
}

/// The byte at `offset` of `word 1 word 2 …`.
fn word_byte(offset: usize) -> TokenId {
    let (mut first, mut digits, mut rest) = (1usize, 1usize, offset);
    loop {
        let width = 6 + digits;
        let words = first * 9;
        if rest < words * width {
            let word = format!("word {} ", first + rest / width);
            return TokenId::from(word.as_bytes()[rest % width]);
        }
        rest -= words * width;
        first *= 10;
        digits += 1;
    }
}

fn loud(token: TokenId) -> Vec<f32> {
    let mut row = vec![0.0; VOCAB_SIZE];
    row[token as usize] = LOUD;
    row
}

/// Letters and spaces with logits between 0 and 4 drawn from the hash; nothing else.
fn noise(hash: u64) -> Vec<f32> {
    let mut row = vec![-LOUD; VOCAB_SIZE];
    for token in (b'a'..=b'z').chain([b' ']) {
        let word = mix(hash ^ mix(u64::from(token)));
        row[usize::from(token)] = (word >> 40) as f32 / (1u64 << 22) as f32;
    }
    row
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let word = (word ^ (word >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    word ^ (word >> 33)
}

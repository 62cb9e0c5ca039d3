//! What comes in from outside: new calls, renewals of allowances, aborts, questions about pages.

use super::call::Call;
use super::sequence::Sequence;
use super::text::Text;
use super::{Scheduler, WAITING_MAX};
use crate::core::{Ask, Counts, Event, FinishReason, GpuTime};
use crate::sampler::Sampler;
use serde::Serialize;
use std::collections::HashSet;
use std::time::Instant;
use tokio::sync::mpsc;

/// Why a call was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It could never be computed: the caller's fault.
    #[error(
        "this model's maximum context length is {context} tokens, but {} tokens were requested \
         ({prompt} in the prompt, {completion} for the completion)", prompt.saturating_add(*completion)
    )]
    TooLong {
        /// Positions that one choice may use.
        context: usize,
        /// Tokens of the longest prompt.
        prompt: usize,
        /// Completion tokens asked for; 1 where the client named none.
        completion: usize,
    },
    /// A prompt without tokens, or a token that the model doesn't have: the caller's fault.
    #[error("{0}")]
    Malformed(&'static str),
    /// More choices than could ever wait: the caller's fault.
    #[error("{0} choices over all prompts are more than {WAITING_MAX}")]
    TooMany(usize),
    /// Too many wait already: try again later.
    #[error("the engine is busy: {WAITING_MAX} choices wait already")]
    Full,
    /// The call id is in use.
    #[error("a call with the id `{0}` is running already")]
    Duplicate(String),
}

/// Who owns how many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PageCounts {
    /// Pages that nobody holds.
    pub free: usize,
    /// Pages that live choices hold.
    pub owned: usize,
    /// Pages that exist.
    pub total: usize,
    /// Live choices.
    pub sequences: usize,
}

impl Scheduler {
    /// Takes a call in. Its events go to `events`; when their reader is dropped the call is over.
    ///
    /// # Errors
    /// [`Refused`]; nothing of the call stays then.
    pub fn submit(
        &mut self,
        ask: &Ask,
        id: Option<String>,
        events: mpsc::Sender<Event>,
        now: Instant,
    ) -> Result<(), Refused> {
        self.may_enter(ask, id.as_deref())?;
        let context = self.context_tokens_max();
        let prompt_tokens: usize = ask.prompts.iter().map(|prompt| prompt.len()).sum();
        let call_key = self.next_key;
        let mut sequences = Vec::new();
        for (at, prompt) in ask.prompts.iter().enumerate() {
            let leader = self.next_key;
            for choice in 0..ask.choices {
                let key = self.next_key;
                self.next_key = self.next_key.saturating_add(1);
                let left = context.saturating_sub(prompt.len());
                let sequence = Sequence {
                    call: call_key,
                    choice: at.saturating_mul(ask.choices).saturating_add(choice),
                    leader: (key != leader).then_some(leader),
                    prompt: prompt.clone(),
                    made: Vec::new(),
                    tokens_max: ask.tokens_max.or(ask.tokens_usual).unwrap_or(left).min(left),
                    computed: 0,
                    table: crate::kv::table::BlockTable::default(),
                    running: false,
                    sampler: Sampler::new(&ask.sampling, choice, prompt),
                    text: Text::new(&ask.stops),
                    logprobs: ask.logprobs,
                    last_token_at: None,
                };
                self.sequences.insert(key, sequence);
                sequences.push(key);
            }
        }
        let prompt = u64::try_from(prompt_tokens).unwrap_or(u64::MAX);
        self.meters.prompt_tokens.increment(prompt);
        let counts = Counts { prompt, completion: 0 };
        let call = Call {
            id,
            events,
            counts,
            gpu: GpuTime::default(),
            sequences,
            allowance: ask.allowance,
            is_last: false,
            starved_since: None,
            arrived: now,
        };
        self.calls.insert(call_key, call);
        Ok(())
    }

    /// Positions that one choice may use: the model's context, or all pages where they are fewer.
    pub fn context_tokens_max(&self) -> usize {
        let spec = self.executor.spec();
        spec.context_tokens_max.min(spec.pages_total.saturating_mul(spec.page_tokens))
    }

    fn may_enter(&self, ask: &Ask, id: Option<&str>) -> Result<(), Refused> {
        let longest = ask.prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        if ask.choices == 0 || ask.prompts.is_empty() || ask.prompts.iter().any(|prompt| prompt.is_empty()) {
            return Err(Refused::Malformed("the prompt must have at least one token"));
        }
        let vocab = self.executor.spec().vocab_size;
        let known = |token: &u32| usize::try_from(*token).is_ok_and(|token| token < vocab);
        if !ask.prompts.iter().all(|prompt| prompt.iter().all(known)) {
            return Err(Refused::Malformed("the prompt has a token that the model doesn't have"));
        }
        let (context, completion) = (self.context_tokens_max(), ask.tokens_max.unwrap_or(1));
        if longest.saturating_add(completion) > context {
            return Err(Refused::TooLong { context, prompt: longest, completion });
        }
        let waiting = self.sequences.values().filter(|sequence| !sequence.running).count();
        let more = ask.prompts.len().saturating_mul(ask.choices);
        if more > WAITING_MAX {
            return Err(Refused::TooMany(more));
        }
        if waiting.saturating_add(more) > WAITING_MAX {
            return Err(Refused::Full);
        }
        match id {
            Some(id) if self.find(id).is_some() => Err(Refused::Duplicate(id.to_owned())),
            Some(_) | None => Ok(()),
        }
    }

    /// Sets a call's allowance: all completion tokens that it may make; the last one ends the call at once when it is
    /// used up. `false` when no such call lives.
    pub fn renew(&mut self, id: &str, tokens_total: u64, is_last: bool) -> bool {
        let Some(call) = self.find(id).and_then(|key| self.calls.get_mut(&key)) else { return false };
        (call.allowance, call.is_last) = (Some(tokens_total), is_last);
        if call.may_sample(0) {
            call.starved_since = None;
        }
        true
    }

    /// Ends a call by its id. `false` when no such call lives.
    pub fn abort(&mut self, id: &str, now: Instant) -> bool {
        let Some(key) = self.find(id) else { return false };
        self.reside(now);
        self.end_call(key, FinishReason::Abort, now);
        true
    }

    /// Who owns how many pages now.
    pub fn pages(&self) -> PageCounts {
        let distinct: HashSet<u32> =
            self.sequences.values().flat_map(|sequence| sequence.table.pages().iter().copied()).collect();
        PageCounts {
            free: self.pool.free(),
            owned: distinct.len(),
            total: self.pool.total(),
            sequences: self.sequences.len(),
        }
    }

    fn find(&self, id: &str) -> Option<u64> {
        self.calls.iter().find(|(_, call)| call.id.as_deref() == Some(id)).map(|(key, _)| *key)
    }
}

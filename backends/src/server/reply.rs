//! Events to answers: the OpenAI shapes of chat and completions, whole and in chunks. Pure; no I/O.

use super::Served;
use crate::core::{Counts, Event, FinishReason, GpuTime, Scored, TokenId, TokenScores};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use weir_wire::delta::{
    AssistantMessage, ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, Completion, CompletionChoice,
    CompletionLogprobs, Delta, GpuTimeUs, Logprobs, TokenLogprob, TopLogprob, Usage,
};
use weir_wire::fault::ErrorBody;
use weir_wire::sse;

/// Which of the two interfaces is spoken.
#[derive(Debug)]
pub(super) enum Kind {
    Chat,
    /// With the prompts' texts where they are to be sent before the completions.
    Completion {
        echo: Vec<String>,
    },
}

/// How the client wants the answer.
#[derive(Debug)]
pub(super) struct Form {
    pub kind: Kind,
    pub stream: bool,
    /// A chunk with the whole usage at the end.
    pub usage_last: bool,
    /// Usage so far on each chunk.
    pub usage_each: bool,
    /// The machine's time in the usage: only the gateway, which names its calls, is told.
    pub gpu_time: bool,
}

impl Form {
    /// The parameter that carries the prompt.
    pub fn prompt_param(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "messages",
            Kind::Completion { .. } => "prompt",
        }
    }
}

/// One choice of an answer in the making.
#[derive(Debug, Default)]
struct Part {
    text: String,
    scores: Vec<TokenScores>,
    end: Option<FinishReason>,
    /// Whether its first chunk is out.
    begun: bool,
    /// Characters before the next scored token; completions report them.
    offset: u64,
}

/// An answer in the making.
pub(super) struct Reply {
    form: Form,
    served: Arc<Served>,
    id: String,
    created: u64,
    parts: Vec<Part>,
    logprobs: Option<usize>,
    counts: Counts,
    /// Known once a choice ended.
    gpu: Option<GpuTime>,
}

impl Reply {
    pub fn new(form: Form, served: Arc<Served>, choices: usize, logprobs: Option<usize>) -> Self {
        let prefix = match form.kind {
            Kind::Chat => "chatcmpl-",
            Kind::Completion { .. } => "cmpl-",
        };
        let id = format!("{prefix}{}", Uuid::now_v7().simple());
        let mut parts: Vec<Part> = Vec::new();
        parts.resize_with(choices, Part::default);
        let created = crate::clock::unix_seconds();
        Self { form, served, id, created, parts, logprobs, counts: Counts::default(), gpu: None }
    }

    /// Whether every choice has ended.
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.end.is_some())
    }

    /// Notes an event for a whole answer.
    pub fn note(&mut self, event: Event) {
        match event {
            Event::Delta { choice, text, scores, counts } => {
                self.counts = counts;
                if let Some(part) = self.parts.get_mut(choice) {
                    part.text.push_str(&text);
                    part.scores.extend(scores);
                }
            }
            Event::Finish { choice, reason, counts, gpu } => {
                (self.counts, self.gpu) = (counts, Some(gpu));
                if let Some(part) = self.parts.get_mut(choice) {
                    part.end = Some(reason);
                }
            }
            Event::Failed { counts, .. } => self.counts = counts,
        }
    }

    /// The whole answer as JSON.
    pub fn whole(mut self) -> Vec<u8> {
        let parts = std::mem::take(&mut self.parts);
        let usage = Some(self.usage());
        let (id, created, model) = (self.id.clone(), self.created, self.served.name.clone());
        let json = match &self.form.kind {
            Kind::Chat => {
                let choice = |(index, part): (u32, Part)| Choice {
                    index,
                    message: AssistantMessage { role: "assistant".into(), content: Some(part.text) },
                    logprobs: self.logprobs.map(|_| self.chat_scores(&part.scores)),
                    finish_reason: part.end.map(reason),
                };
                let choices = (0..).zip(parts).map(choice).collect();
                serde_json::to_vec(&ChatCompletion {
                    id,
                    object: "chat.completion".into(),
                    created,
                    model,
                    choices,
                    usage,
                })
            }
            Kind::Completion { .. } => {
                let choice = |(index, part): (u32, Part)| {
                    let text = self.echo(index) + &part.text;
                    let mut offset = 0;
                    let logprobs = self.logprobs.map(|top| self.completion_scores(&part.scores, top, &mut offset));
                    CompletionChoice { index, text, logprobs, finish_reason: part.end.map(reason) }
                };
                let choices = (0..).zip(parts).map(choice).collect();
                serde_json::to_vec(&Completion { id, object: "text_completion".into(), created, model, choices, usage })
            }
        };
        json.unwrap_or_default()
    }

    /// The bytes of a stream that an event adds; may be none.
    pub fn chunk(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Delta { choice, text, scores, counts } => {
                self.counts = counts;
                self.begin(choice, out);
                if !text.is_empty() || !scores.is_empty() || self.form.usage_each {
                    self.piece(choice, text, &scores, None, out);
                }
            }
            Event::Finish { choice, reason: end, counts, gpu } => {
                (self.counts, self.gpu) = (counts, Some(gpu));
                self.begin(choice, out);
                if let Some(part) = self.parts.get_mut(choice) {
                    part.end = Some(end);
                }
                self.piece(choice, String::new(), &[], Some(end), out);
                if end == FinishReason::Allowance {
                    out.extend_from_slice(&sse::encode_comment("weir allowance"));
                }
            }
            Event::Failed { message, .. } => {
                let body = ErrorBody::new("server_error", "engine_error", message);
                out.extend_from_slice(&sse::encode_event(None, &body.to_bytes()));
            }
        }
    }

    /// The end of a stream in which every choice ended.
    pub fn done(&mut self, out: &mut Vec<u8>) {
        if self.form.usage_last {
            let usage = Some(self.usage());
            match self.form.kind {
                Kind::Chat => self.write_chat(Vec::new(), usage, out),
                Kind::Completion { .. } => self.write_completion(Vec::new(), usage, out),
            }
        }
        out.extend_from_slice(&sse::encode_event(None, b"[DONE]"));
    }

    /// A choice's first chunk: the role, or the prompt where it is echoed.
    fn begin(&mut self, choice: usize, out: &mut Vec<u8>) {
        let index = u32::try_from(choice).unwrap_or(u32::MAX);
        let Some(part) = self.parts.get_mut(choice).filter(|part| !part.begun) else { return };
        part.begun = true;
        match &self.form.kind {
            Kind::Chat => {
                let delta = Delta { role: Some("assistant".into()), content: Some(String::new()) };
                self.write_chat(vec![ChunkChoice { index, delta, ..ChunkChoice::default() }], self.usage_each(), out);
            }
            Kind::Completion { .. } => {
                let text = self.echo(index);
                if !text.is_empty() {
                    let choice = CompletionChoice { index, text, ..CompletionChoice::default() };
                    self.write_completion(vec![choice], self.usage_each(), out);
                }
            }
        }
    }

    fn piece(
        &mut self,
        choice: usize,
        text: String,
        scores: &[TokenScores],
        end: Option<FinishReason>,
        out: &mut Vec<u8>,
    ) {
        let index = u32::try_from(choice).unwrap_or(u32::MAX);
        let has_scores = self.logprobs.is_some() && !scores.is_empty();
        let (usage, finish_reason) = (self.usage_each(), end.map(reason));
        match self.form.kind {
            Kind::Chat => {
                let content = if end.is_some() { None } else { Some(text) };
                let logprobs = has_scores.then(|| self.chat_scores(scores));
                let delta = Delta { role: None, content };
                self.write_chat(vec![ChunkChoice { index, delta, logprobs, finish_reason }], usage, out);
            }
            Kind::Completion { .. } => {
                let mut offset = self.parts.get(choice).map_or(0, |part| part.offset);
                let top = self.logprobs.unwrap_or(0);
                let logprobs = has_scores.then(|| self.completion_scores(scores, top, &mut offset));
                if let Some(part) = self.parts.get_mut(choice) {
                    part.offset = offset;
                }
                self.write_completion(vec![CompletionChoice { index, text, logprobs, finish_reason }], usage, out);
            }
        }
    }

    fn write_chat(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>, out: &mut Vec<u8>) {
        let object = "chat.completion.chunk".into();
        let (id, created, model) = (self.id.clone(), self.created, self.served.name.clone());
        let chunk = ChatCompletionChunk { id, object, created, model, choices, usage };
        write(&chunk, out);
    }

    fn write_completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>, out: &mut Vec<u8>) {
        let object = "text_completion".into();
        let (id, created, model) = (self.id.clone(), self.created, self.served.name.clone());
        write(&Completion { id, object, created, model, choices, usage }, out);
    }

    fn usage_each(&self) -> Option<Usage> {
        self.form.usage_each.then(|| self.usage())
    }

    /// Usage so far; with the machine's time since a choice ended, so that the last word has all of it.
    fn usage(&self) -> Usage {
        let gpu_time_us = self.gpu.filter(|_| self.form.gpu_time).map(|gpu| GpuTimeUs {
            prefill: gpu.prefill_us,
            decode: gpu.decode_us,
            kv: gpu.kv_us,
        });
        Usage { gpu_time_us, ..Usage::new(self.counts.prompt, self.counts.completion) }
    }

    /// The prompt's text that goes before this choice.
    fn echo(&self, index: u32) -> String {
        let Kind::Completion { echo } = &self.form.kind else { return String::new() };
        let per_prompt = self.parts.len().max(1).checked_div(echo.len()).unwrap_or(1).max(1);
        let at = usize::try_from(index).unwrap_or(usize::MAX).checked_div(per_prompt).unwrap_or(0);
        echo.get(at).cloned().unwrap_or_default()
    }

    fn token_text(&self, token: TokenId) -> String {
        String::from_utf8_lossy(self.served.language.token_bytes(token)).into_owned()
    }

    fn chat_scores(&self, scores: &[TokenScores]) -> Logprobs {
        let bytes = |token| Some(self.served.language.token_bytes(token).to_vec());
        let top = |scored: &Scored| TopLogprob {
            token: self.token_text(scored.token),
            logprob: scored.logprob,
            bytes: bytes(scored.token),
        };
        let entry = |scores: &TokenScores| TokenLogprob {
            token: self.token_text(scores.chosen.token),
            logprob: scores.chosen.logprob,
            bytes: bytes(scores.chosen.token),
            top_logprobs: scores.top.iter().map(top).collect(),
        };
        Logprobs { content: Some(scores.iter().map(entry).collect()) }
    }

    fn completion_scores(&self, scores: &[TokenScores], top: usize, offset: &mut u64) -> CompletionLogprobs {
        let mut out = CompletionLogprobs { top_logprobs: (top > 0).then(Vec::new), ..CompletionLogprobs::default() };
        for entry in scores {
            let text = self.token_text(entry.chosen.token);
            out.text_offset.push(*offset);
            *offset = offset.saturating_add(u64::try_from(text.chars().count()).unwrap_or(0));
            out.tokens.push(text);
            out.token_logprobs.push(Some(entry.chosen.logprob));
            if let Some(all) = &mut out.top_logprobs {
                // Likeliest last, so that of tokens with one text the likelier is kept.
                let shown = entry.top.iter().rev().chain([&entry.chosen]);
                let map: BTreeMap<String, f32> =
                    shown.map(|scored| (self.token_text(scored.token), scored.logprob)).collect();
                all.push(Some(map));
            }
        }
        out
    }
}

fn write(chunk: &impl serde::Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(chunk).unwrap_or_default();
    out.extend_from_slice(&sse::encode_event(None, &json));
}

fn reason(end: FinishReason) -> String {
    match end {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Allowance => weir_wire::delta::BUDGET_EXHAUSTED,
        FinishReason::Abort => "abort",
    }
    .to_owned()
}

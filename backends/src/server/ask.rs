//! Requests to asks: what a client wrote, as the scheduler understands it.
//!
//! Parameters that the engine can't honour are refused where leaving them out would change what the client relies on,
//! and are ignored where an answer without them is still an answer that the parameter allows:
//! - `tools` with `tool_choice` absent, `auto` or `none`: ignored, for a model may always answer with text;
//!   `required` or a named tool: refused;
//! - `response_format` other than `text`: refused, for the client will parse the answer as JSON;
//! - `best_of` above `n`, `suffix`, `echo` together with `logprobs`: refused.

use super::Served;
use super::fault::Fault;
use super::reply::{Form, Kind};
use crate::core::{Ask, Message, Sampling, TokenId};
use serde::Deserialize;
use std::sync::Arc;
use weir_wire::chat::{self, ChatRequest};
use weir_wire::completion::{CompletionRequest, Prompt};

/// Completion tokens of a completions request that names none, as the OpenAI interface says.
const COMPLETION_TOKENS_DEFAULT: usize = 16;

/// Members of a chat request that the wire type leaves out because nobody else needs them.
#[derive(Deserialize)]
struct Extras {
    tool_choice: Option<serde_json::Value>,
    response_format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
}

/// Refuses what would force an answer that the engine can't give.
pub(super) fn check_extras(body: &[u8]) -> Result<(), Fault> {
    let extras: Extras = serde_json::from_slice(body).map_err(chat::RequestFault::from)?;
    let is_forced = match &extras.tool_choice {
        None => false,
        Some(choice) => !matches!(choice.as_str(), Some("auto" | "none")) && !choice.is_null(),
    };
    if is_forced {
        return Err(Fault::unsupported("tool_choice", "this model can't be forced to call a tool"));
    }
    match extras.response_format {
        Some(format) if format.kind != "text" => {
            let message = format!("`response_format` of type `{}` is not supported by this model", format.kind);
            Err(Fault::unsupported("response_format", message))
        }
        Some(_) | None => Ok(()),
    }
}

/// A chat request as an ask.
pub(super) fn chat(served: &Served, request: &ChatRequest) -> Result<(Ask, Form), Fault> {
    check_model(served, &request.model)?;
    let messages: Vec<Message> = request
        .messages
        .iter()
        .map(|message| Message { role: message.role.clone(), content: message.text() })
        .collect();
    let prompt: Arc<[TokenId]> = served.language.encode_chat(&messages)?.into();
    let scored = u32::from(request.logprobs).checked_mul(request.top_logprobs.unwrap_or(0));
    let ask = Ask {
        prompts: vec![prompt],
        choices: count(request.sampling.n.unwrap_or(1)),
        tokens_max: request.output_tokens_max().map(count),
        tokens_usual: None,
        sampling: sampling(&request.sampling)?,
        stops: request.sampling.stops().to_vec(),
        logprobs: scored.filter(|_| request.logprobs).map(count),
        allowance: None,
    };
    Ok((ask, form(Kind::Chat, &request.sampling)))
}

/// A completions request as an ask.
pub(super) fn completion(served: &Served, request: CompletionRequest) -> Result<(Ask, Form), Fault> {
    check_model(served, &request.model)?;
    let choices = request.sampling.n.unwrap_or(1);
    if request.best_of.is_some_and(|best| best > choices) {
        return Err(Fault::unsupported("best_of", "`best_of` above `n` is not supported by this model"));
    }
    if request.echo && request.logprobs.is_some() {
        return Err(Fault::unsupported("echo", "`echo` together with `logprobs` is not supported by this model"));
    }
    let language = &served.language;
    let prompts: Vec<Vec<TokenId>> = match request.prompt {
        Prompt::Text(text) => vec![language.encode(&text)],
        Prompt::Texts(texts) => texts.iter().map(|text| language.encode(text)).collect(),
        Prompt::Tokens(tokens) => vec![tokens],
        Prompt::TokenLists(lists) => lists,
    };
    let echoes = |prompt: &Vec<TokenId>| {
        let bytes: Vec<u8> = prompt.iter().flat_map(|token| language.token_bytes(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let echo = if request.echo { prompts.iter().map(echoes).collect() } else { Vec::new() };
    let ask = Ask {
        prompts: prompts.into_iter().map(Arc::from).collect(),
        choices: count(choices),
        tokens_max: request.max_tokens.map(count),
        tokens_usual: Some(COMPLETION_TOKENS_DEFAULT),
        sampling: sampling(&request.sampling)?,
        stops: request.sampling.stops().to_vec(),
        logprobs: request.logprobs.map(count),
        allowance: None,
    };
    Ok((ask, form(Kind::Completion { echo }, &request.sampling)))
}

fn check_model(served: &Served, model: &str) -> Result<(), Fault> {
    if model == served.name { Ok(()) } else { Err(Fault::unknown_model(model)) }
}

fn form(kind: Kind, sampling: &chat::Sampling) -> Form {
    Form {
        kind,
        stream: sampling.stream,
        usage_last: sampling.wants_usage(),
        usage_each: sampling.wants_continuous_usage(),
        gpu_time: false,
    }
}

fn sampling(wire: &chat::Sampling) -> Result<Sampling, Fault> {
    let plain = Sampling::default();
    let seed = match wire.seed {
        Some(seed) => u64::from_ne_bytes(seed.to_ne_bytes()),
        None => getrandom::u64().map_err(|_| Fault::internal("the system gave no random number"))?,
    };
    Ok(Sampling {
        temperature: wire.temperature.unwrap_or(plain.temperature),
        top_p: wire.top_p.unwrap_or(plain.top_p),
        top_k: wire.top_k.and_then(|k| usize::try_from(k).ok()).unwrap_or(plain.top_k),
        min_p: wire.min_p.unwrap_or(plain.min_p),
        presence_penalty: wire.presence_penalty.unwrap_or(plain.presence_penalty),
        frequency_penalty: wire.frequency_penalty.unwrap_or(plain.frequency_penalty),
        repetition_penalty: wire.repetition_penalty.unwrap_or(plain.repetition_penalty),
        logit_bias: wire.logit_bias.iter().flatten().map(|(token, bias)| (*token, *bias)).collect(),
        seed,
    })
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

//! Usage as providers write it, handed to the meter: each endpoint has its own words for it. Pure.

use serde::Deserialize;
use weir_wire::delta::Usage;
use weir_wire::endpoint::Endpoint;

use crate::usage::meter::Meter;

/// Hands a usage object of `endpoint` to the meter; one that can't be read says nothing.
pub fn report(endpoint: Endpoint, raw: &[u8], meter: &mut Meter) {
    if let Some(usage) = counts(endpoint, raw) {
        meter.report(&usage);
    }
}

/// Prompt and completion tokens of a usage object.
fn counts(endpoint: Endpoint, raw: &[u8]) -> Option<Usage> {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions => serde_json::from_slice(raw).ok(),
        Endpoint::Messages
        | Endpoint::CountTokens
        | Endpoint::Responses
        | Endpoint::ReadResponse
        | Endpoint::ResponseItems
        | Endpoint::DeleteResponse => {
            let usage: Named = serde_json::from_slice(raw).ok()?;
            let cached = |tokens: Option<u64>| tokens.unwrap_or(0);
            let cached =
                cached(usage.cache_read_input_tokens).saturating_add(cached(usage.cache_creation_input_tokens));
            let input = usage.input_tokens.unwrap_or(0).saturating_add(cached);
            Some(Usage::new(input, usage.output_tokens.unwrap_or(0)))
        }
        Endpoint::Embeddings | Endpoint::Rerank | Endpoint::Models => {
            let usage: Read = serde_json::from_slice(raw).ok()?;
            let tokens = usage
                .prompt_tokens
                .or(usage.total_tokens)
                .or(usage.billed_units.and_then(|billed| billed.input_tokens))?;
            Some(Usage::new(tokens, 0))
        }
    }
}

/// Usage of `/v1/messages` and `/v1/responses`; only the first counts cached tokens beside the others.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
}

/// Usage where nothing is made.
#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    billed_units: Option<Billed>,
}

#[derive(Deserialize, Clone, Copy)]
struct Billed {
    #[serde(default)]
    input_tokens: Option<u64>,
}

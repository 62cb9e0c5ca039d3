//! Changing a few members of a body and no other byte.

use bytes::Bytes;

use super::{CapName, Envelope};
use crate::json::Span;

/// What to set in the body that goes upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edits<'a> {
    /// The model's name at the deployment.
    pub model: Option<&'a str>,
    /// Ask for a usage chunk at the end of the stream.
    pub include_usage: bool,
    /// Ask for usage on every chunk (the own engine knows this).
    pub continuous_usage: bool,
    /// Cap the output: the member's name and the tokens. Where the client sent a cap under either name, that member's
    /// value is changed and the name here is not used, so that never both are sent.
    pub output_cap: Option<(CapName, u32)>,
}

/// One replacement: the bytes of `span` give way to `text`.
struct Patch {
    span: Span,
    text: String,
}

impl Envelope {
    /// The client's bytes with the members of `edits` changed or inserted and no other byte altered. Where nothing
    /// changes, the same bytes without a copy.
    pub fn splice(&self, edits: Edits<'_>) -> Bytes {
        let body = self.body();
        let mut patches = Vec::with_capacity(4);
        if let Some(model) = edits.model.filter(|model| *model != self.model) {
            patches.push(Patch { span: self.spots.model, text: quote(model) });
        }
        if let Some((name, tokens)) = edits.output_cap.filter(|(_, tokens)| self.output_tokens_max != Some(*tokens)) {
            patches.push(self.cap_patch(name, tokens));
        }
        self.option_patches(edits, &mut patches);
        patches.retain(|patch| patch.span.of(body) != patch.text.as_bytes());
        if patches.is_empty() {
            return body.clone();
        }
        // The sort is stable: insertions at one place stay in the order in which they were made.
        patches.sort_by_key(|patch| patch.span.start);
        let grown: usize = patches.iter().map(|patch| patch.text.len()).sum();
        let mut out = Vec::with_capacity(body.len().saturating_add(grown));
        let mut from = 0;
        for patch in &patches {
            out.extend_from_slice(Span { start: from, end: patch.span.start }.of(body));
            out.extend_from_slice(patch.text.as_bytes());
            from = patch.span.end;
        }
        out.extend_from_slice(Span { start: from, end: body.len() }.of(body));
        Bytes::from(out)
    }

    fn cap_patch(&self, name: CapName, tokens: u32) -> Patch {
        let caps = &self.spots.caps;
        // A member that holds a number comes before one that holds null.
        let sent = match self.cap_name {
            Some(sent) => caps.get(sent),
            None => caps.get(name).or(caps.any()),
        };
        match sent {
            Some(span) => Patch { span, text: tokens.to_string() },
            None => self.insert(format!("\"{}\":{tokens},", name.name())),
        }
    }

    /// A new first member; the body always has others, so a comma follows.
    fn insert(&self, text: String) -> Patch {
        let at = self.spots.open;
        Patch { span: Span { start: at, end: at }, text }
    }

    fn option_patches(&self, edits: Edits<'_>, patches: &mut Vec<Patch>) {
        let usage = (edits.include_usage && !self.include_usage).then_some("include_usage");
        let continuous = (edits.continuous_usage && !self.continuous_usage).then_some("continuous_usage_stats");
        let wanted: Vec<&str> = usage.into_iter().chain(continuous).collect();
        if wanted.is_empty() {
            return;
        }
        let members =
            |names: &[&str]| names.iter().map(|name| format!("\"{name}\":true")).collect::<Vec<_>>().join(",");
        let Some(options) = &self.spots.options else {
            patches.push(self.insert(format!("\"stream_options\":{{{}}},", members(&wanted))));
            return;
        };
        if options.is_null {
            patches.push(Patch { span: options.value, text: format!("{{{}}}", members(&wanted)) });
            return;
        }
        let mut missing = Vec::with_capacity(2);
        for name in wanted {
            let place = if name == "include_usage" { options.include_usage } else { options.continuous_usage };
            match place {
                Some(span) => patches.push(Patch { span, text: "true".into() }),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let comma = if options.is_empty { "" } else { "," };
            let span = Span { start: options.open, end: options.open };
            patches.push(Patch { span, text: format!("{}{comma}", members(&missing)) });
        }
    }
}

/// A JSON string.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

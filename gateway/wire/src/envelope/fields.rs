//! Reading single members, each with a fault that names it.

use super::fault::EnvelopeFault;
use super::shape::{PromptForm, Shape};
use super::{CHOICES_MAX, CapName, Caps, MODEL_BYTES_MAX, OPTION_NAMES, Options, text, tools};
use crate::endpoint::{Dialect, Endpoint};
use crate::json::{self, Members, Span, unescape};

/// The members of one object within the body.
pub(super) struct Fields<'a> {
    /// The bytes that the members' spans count in.
    pub body: &'a [u8],
    pub members: &'a Members<'a>,
    /// What stands before a member's name in a fault, like `stream_options.`.
    pub prefix: &'static str,
}

impl Fields<'_> {
    /// A member's value; None where it is absent or `null`.
    fn value(&self, name: &str) -> Option<(Span, &[u8])> {
        let span = self.members.get(name)?.value;
        let value = span.of(self.body);
        (value != b"null").then_some((span, value))
    }

    fn fault(&self, name: &str, expected: &'static str) -> EnvelopeFault {
        EnvelopeFault::Type { param: format!("{}{name}", self.prefix), expected }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, EnvelopeFault> {
        match self.value(name).map(|(_, value)| value) {
            None => Ok(None),
            Some(b"true") => Ok(Some(true)),
            Some(b"false") => Ok(Some(false)),
            Some(_) => Err(self.fault(name, "true or false")),
        }
    }

    /// A whole number from 1 to `max`, written in digits alone.
    pub(super) fn integer(&self, name: &str, max: u32) -> Result<Option<u32>, EnvelopeFault> {
        let Some((_, value)) = self.value(name) else {
            return Ok(None);
        };
        let written = std::str::from_utf8(value).unwrap_or_default();
        if !matches!(value.first(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.fault(name, "a whole number"));
        }
        if !value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
            return Err(self.fault(name, "a whole number written without point or exponent"));
        }
        let found = written.parse::<u32>().ok().filter(|number| (1..=max).contains(number));
        let expected = if max == u32::MAX { "from 1 to 4294967295" } else { "from 1 to 128" };
        found.map(Some).ok_or_else(|| EnvelopeFault::Range { param: format!("{}{name}", self.prefix), expected })
    }

    pub(super) fn text(&self, name: &str, bytes_max: usize) -> Result<Option<String>, EnvelopeFault> {
        let Some((_, value)) = self.value(name) else {
            return Ok(None);
        };
        if !value.starts_with(b"\"") {
            return Err(self.fault(name, "a string"));
        }
        let said = unescape(value).map_err(|_| self.fault(name, "valid unicode text"))?;
        if said.len() > bytes_max {
            return Err(EnvelopeFault::Range { param: format!("{}{name}", self.prefix), expected: "shorter" });
        }
        Ok(Some(said.into_owned()))
    }

    pub(super) fn model(&self) -> Result<(Span, String), EnvelopeFault> {
        let Some((span, _)) = self.value("model") else {
            return Err(EnvelopeFault::Missing { param: "model" });
        };
        let name = self.text("model", usize::MAX)?.unwrap_or_default();
        if name.is_empty() || name.len() > MODEL_BYTES_MAX || name.chars().any(char::is_control) {
            let expected = "1 to 256 bytes without control characters";
            return Err(EnvelopeFault::Range { param: "model".into(), expected });
        }
        Ok((span, name))
    }

    pub(super) fn array(&self, name: &str) -> Result<Option<Span>, EnvelopeFault> {
        match self.value(name) {
            None => Ok(None),
            Some((span, value)) if value.starts_with(b"[") => Ok(Some(span)),
            Some(_) => Err(self.fault(name, "an array")),
        }
    }

    pub(super) fn prompt(&self, shape: &Shape) -> Result<Span, EnvelopeFault> {
        let param = shape.prompt;
        let Some((span, value)) = self.value(param) else {
            return Err(EnvelopeFault::Missing { param });
        };
        let is_full = value.starts_with(b"[") && !text::is_empty_array(value);
        match shape.prompt_form {
            PromptForm::TextOrArray if is_full || value.starts_with(b"\"") => Ok(span),
            PromptForm::TextOrArray => Err(self.fault(param, "a string or a non-empty array")),
            PromptForm::Array if is_full => Ok(span),
            PromptForm::Array if value.starts_with(b"[") => {
                Err(EnvelopeFault::Range { param: param.into(), expected: "a non-empty array" })
            }
            PromptForm::Array => Err(self.fault(param, "an array")),
        }
    }

    /// The text of the prompt, of the members beside it and of the tools.
    pub(super) fn measure(&self, shape: &Shape, prompt: Span) -> Result<text::Measure, EnvelopeFault> {
        if let Some(param) = shape.required_text {
            let found = self.text(param, usize::MAX)?;
            found.filter(|text| !text.is_empty()).ok_or(EnvelopeFault::Missing { param })?;
        }
        let mut measure = text::measure(prompt.of(self.body));
        for (_, value) in shape.texts.iter().filter_map(|name| self.value(name)) {
            let more = text::measure(value);
            measure.bytes = measure.bytes.saturating_add(more.bytes);
            measure.media = measure.media.saturating_add(more.media);
        }
        for name in shape.tools {
            let len = self.array(name)?.map_or(0, Span::len);
            measure.bytes = measure.bytes.saturating_add(len);
        }
        Ok(measure)
    }

    /// Names of the tools that are offered to the model.
    pub(super) fn tools(&self, shape: &Shape, endpoint: Endpoint) -> Result<Vec<String>, EnvelopeFault> {
        let mut found = Vec::new();
        for name in shape.tools {
            if let Some(span) = self.array(name)? {
                found.extend(tools::names(name, span.of(self.body), endpoint)?);
            }
        }
        Ok(found)
    }

    /// The one cap of the output.
    pub(super) fn cap(&self, shape: &Shape) -> Result<Cap, EnvelopeFault> {
        let mut cap = Cap::default();
        for name in shape.caps {
            cap.spots.set(*name, self.members.get(name.name()).map(|member| member.value));
            let Some(tokens) = self.integer(name.name(), u32::MAX)? else { continue };
            if let Some(one) = cap.name {
                return Err(EnvelopeFault::Conflict { one: one.name(), other: name.name() });
            }
            (cap.name, cap.tokens) = (Some(*name), Some(tokens));
        }
        Ok(cap)
    }

    /// Refuses caps of other endpoints, and what reaches beyond the call.
    pub(super) fn refuse_foreign(&self, shape: &Shape) -> Result<(), EnvelopeFault> {
        let own = shape.caps.first().map_or("", |name| name.name());
        if let Some(other) = shape.foreign_caps.iter().find(|name| self.value(name.name()).is_some()) {
            return Err(EnvelopeFault::Conflict { one: own, other: other.name() });
        }
        let is_set = |name: &&&str| self.value(name).is_some_and(|(_, value)| value != b"false");
        match shape.refused.iter().find(is_set) {
            Some(param) => Err(EnvelopeFault::Unsupported { param }),
            None => Ok(()),
        }
    }

    /// `n` and `best_of`, where the endpoint knows them.
    pub(super) fn choices(&self, endpoint: Endpoint) -> Result<(u32, Option<u32>), EnvelopeFault> {
        if !matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions) {
            return Ok((1, None));
        }
        let best_of = self.integer("best_of", CHOICES_MAX)?;
        let choices = self.integer("n", CHOICES_MAX)?.unwrap_or(1);
        if best_of.is_some_and(|best_of| best_of < choices) {
            return Err(EnvelopeFault::Range { param: "best_of".into(), expected: "at least `n`" });
        }
        Ok((choices, best_of))
    }
}

/// What caps the output.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cap {
    /// The member that does.
    pub name: Option<CapName>,
    /// The tokens.
    pub tokens: Option<u32>,
    /// Where all such members lie.
    pub spots: Caps,
}

/// The messages of a chat; the prompts of a completion, where an array of numbers is one prompt.
pub(super) fn prompt_items(value: &[u8], items: usize) -> usize {
    let inner = value.get(1..).unwrap_or_default().trim_ascii_start();
    let is_list = value.starts_with(b"[") && matches!(inner.first(), Some(b'{' | b'[' | b'"'));
    if is_list { items } else { 1 }
}

/// What `stream_options` says.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptionsRead {
    pub spots: Options,
    pub include_usage: bool,
    pub continuous_usage: bool,
}

/// Only chat and its like have usage among their stream's options.
pub(super) fn options(
    body: &[u8],
    members: &Members<'_>,
    endpoint: Endpoint,
) -> Result<Option<OptionsRead>, EnvelopeFault> {
    if !endpoint.generates() || endpoint.dialect() != Dialect::OpenAi {
        return Ok(None);
    }
    let Some(span) = members.get("stream_options").map(|member| member.value) else {
        return Ok(None);
    };
    let value = span.of(body);
    if value == b"null" {
        let spots = Options { value: span, is_null: true, ..Options::default() };
        return Ok(Some(OptionsRead { spots, include_usage: false, continuous_usage: false }));
    }
    if !value.starts_with(b"{") {
        return Err(EnvelopeFault::Type { param: "stream_options".into(), expected: "an object" });
    }
    let inner = json::members(value)?;
    refuse_variants(&inner, &OPTION_NAMES, "stream_options.")?;
    let read = Fields { body: value, members: &inner, prefix: "stream_options." };
    let place = |name| inner.get(name).map(|member| member.value.shifted(span.start));
    let spots = Options {
        value: span,
        is_null: false,
        is_empty: inner.is_empty(),
        open: inner.open.saturating_add(span.start),
        include_usage: place("include_usage"),
        continuous_usage: place("continuous_usage_stats"),
    };
    Ok(Some(OptionsRead {
        spots,
        include_usage: read.boolean("include_usage")?.unwrap_or(false),
        continuous_usage: read.boolean("continuous_usage_stats")?.unwrap_or(false),
    }))
}

/// Refuses names that equal one of `names` but for the case of letters.
pub(super) fn refuse_variants(
    members: &Members<'_>,
    names: &[&'static str],
    prefix: &'static str,
) -> Result<(), EnvelopeFault> {
    for member in &members.list {
        let Some(name) = names.iter().find(|name| is_variant(&member.name, name)) else {
            continue;
        };
        let found = String::from_utf8_lossy(&member.name);
        return Err(EnvelopeFault::Spelling { found: format!("{prefix}{found}"), param: format!("{prefix}{name}") });
    }
    Ok(())
}

/// Whether `found` is `name` in another case. Some parsers fold by Unicode, where two letters beyond ASCII fold to
/// ASCII ones: `ſ` (U+017F) to `s` and the Kelvin sign (U+212A) to `k`.
fn is_variant(found: &[u8], name: &str) -> bool {
    if found == name.as_bytes() {
        return false;
    }
    if found.is_ascii() {
        return found.eq_ignore_ascii_case(name.as_bytes());
    }
    let folded = String::from_utf8_lossy(found).replace('\u{17f}', "s").replace('\u{212a}', "k");
    folded.eq_ignore_ascii_case(name)
}

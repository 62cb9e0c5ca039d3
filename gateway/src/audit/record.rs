//! One line of the audit log. Pure: the chain's place comes in, the exact bytes go out.
//!
//! A line is JSON without its newline; `prev` is the SHA-256 of the line before, in hexadecimal, and sixty-four
//! zeros in the first. So anyone with `sha256sum` can check it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::exchange::{Attempt, CallId, Outcome, UsageSource};
use crate::journal::Closing;

/// Something that happened and is no call: a start, a repair, a key made or revoked, a configuration loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditNote {
    /// Tells it from every other note.
    pub id: CallId,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What happened: `started`, `torn_tail_cut`, `config_refused`.
    pub event: Arc<str>,
    /// Its particulars. Never a secret.
    pub detail: BTreeMap<String, String>,
}

impl AuditNote {
    /// A note without particulars. `id` must be new.
    pub fn new(id: Uuid, event: &str, at_ms: u64) -> Self {
        Self { id: CallId(id), at_ms, event: event.into(), detail: BTreeMap::new() }
    }

    /// Adds one particular.
    #[must_use]
    pub fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.detail.insert(name.to_owned(), value.to_string());
        self
    }
}

/// The last line's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1; 0 before the first.
    pub seq: u64,
    /// The hash of its bytes.
    pub hash: [u8; 32],
}

impl Link {
    /// Before the first line.
    pub const GENESIS: Link = Link { seq: 0, hash: [0; 32] };

    /// The place of `line`, which follows this one.
    #[must_use]
    pub fn next(&self, line: &[u8]) -> Link {
        Link { seq: self.seq.saturating_add(1), hash: Sha256::digest(line).into() }
    }

    /// The hash in hexadecimal.
    pub fn hex(&self) -> String {
        String::from_utf8_lossy(&hex(&self.hash)).into_owned()
    }
}

/// What any line says of its place; the rest is not looked at.
#[derive(Debug, Deserialize)]
pub struct Place<'a> {
    /// Its number.
    pub seq: u64,
    /// Hash of the line before.
    #[serde(borrow)]
    pub prev: std::borrow::Cow<'a, str>,
    /// Call's or note's id.
    pub id: CallId,
}

impl Place<'_> {
    /// Whether the line stands right behind `link`.
    pub fn follows(&self, link: &Link) -> bool {
        Some(self.seq) == link.seq.checked_add(1) && self.prev.as_bytes() == hex(&link.hash)
    }
}

#[derive(Serialize)]
struct CallLine<'a> {
    seq: u64,
    prev: &'a str,
    kind: &'static str,
    id: CallId,
    at_ms: u64,
    ended_ms: u64,
    tenant: Option<&'a str>,
    key: Option<&'a str>,
    endpoint: &'a str,
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_user: Option<&'a str>,
    stream: bool,
    outcome: Outcome,
    status: u16,
    reason: Option<&'a str>,
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    obligations: &'a [Arc<str>],
    revision: u64,
    fail_open: &'a [Arc<str>],
    attempts: Summaries<'a>,
}

struct Summaries<'a>(&'a [Attempt]);

impl Serialize for Summaries<'_> {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.0.iter().map(|attempt| Summary {
            attempt: attempt.attempt,
            deployment: &attempt.deployment,
            provider: &attempt.provider,
            model: &attempt.model,
            status: attempt.status,
            outcome: attempt.outcome,
            reason: attempt.reason.as_deref(),
            input_tokens: attempt.input_tokens,
            output_tokens: attempt.output_tokens,
            source: attempt.source,
            cost_nano: attempt.cost_nano,
            price_version: &attempt.price_version,
        }))
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    attempt: u16,
    deployment: &'a str,
    provider: &'a str,
    model: &'a str,
    status: u16,
    outcome: Outcome,
    reason: Option<&'a str>,
    input_tokens: u64,
    output_tokens: u64,
    source: UsageSource,
    cost_nano: i64,
    price_version: &'a str,
}

#[derive(Serialize)]
struct NoteLine<'a> {
    seq: u64,
    prev: &'a str,
    kind: &'static str,
    id: CallId,
    at_ms: u64,
    event: &'a str,
    detail: &'a BTreeMap<String, String>,
}

/// Appends the line of a closing, newline included, and returns its place.
pub fn write_call(out: &mut Vec<u8>, link: &Link, closing: &Closing) -> Result<Link, serde_json::Error> {
    let prev = hex(&link.hash);
    let line = CallLine {
        seq: link.seq.saturating_add(1),
        prev: std::str::from_utf8(&prev).unwrap_or_default(),
        kind: "call",
        id: closing.call,
        at_ms: closing.at_ms,
        ended_ms: closing.ended_ms,
        tenant: closing.tenant.as_ref().map(|tenant| tenant.as_str()),
        key: closing.key.as_ref().map(|key| &*key.0),
        endpoint: &closing.endpoint,
        model: closing.model.as_deref(),
        end_user: closing.end_user.as_deref(),
        stream: closing.stream,
        outcome: closing.outcome,
        status: closing.status,
        reason: closing.reason.as_deref(),
        rule: closing.rule.as_deref(),
        obligations: &closing.obligations,
        revision: closing.revision,
        fail_open: &closing.fail_open,
        attempts: Summaries(&closing.attempts),
    };
    write(out, link, &line)
}

/// Appends the line of a note, newline included, and returns its place.
pub fn write_note(out: &mut Vec<u8>, link: &Link, note: &AuditNote) -> Result<Link, serde_json::Error> {
    let prev = hex(&link.hash);
    let line = NoteLine {
        seq: link.seq.saturating_add(1),
        prev: std::str::from_utf8(&prev).unwrap_or_default(),
        kind: "note",
        id: note.id,
        at_ms: note.at_ms,
        event: &note.event,
        detail: &note.detail,
    };
    write(out, link, &line)
}

fn write(out: &mut Vec<u8>, link: &Link, line: &impl Serialize) -> Result<Link, serde_json::Error> {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, line) {
        out.truncate(start);
        return Err(error);
    }
    let next = link.next(out.get(start..).unwrap_or_default());
    out.push(b'\n');
    Ok(next)
}

/// Sixty-four lower-case hexadecimal digits.
pub fn hex(hash: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
    let mut out = [b'0'; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(*byte)]);
    }
    out
}

/// Reads what [`hex`] wrote.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_follows_the_one_before_and_no_other() {
        let mut out = Vec::new();
        let first =
            write_note(&mut out, &Link::GENESIS, &AuditNote::new(Uuid::from_u128(1), "started", 7).with("pid", &1))
                .unwrap();
        let start = out.len();
        let second = write_note(&mut out, &first, &AuditNote::new(Uuid::from_u128(2), "x", 8)).unwrap();
        assert_eq!(second.seq, 2);
        let line = std::str::from_utf8(&out[start..out.len() - 1]).unwrap();
        let place: Place<'_> = serde_json::from_str(line).unwrap();
        assert!(place.follows(&first));
        assert!(!place.follows(&Link::GENESIS));
        assert!(!place.follows(&Link { seq: 1, hash: [1; 32] }));
        assert_eq!(first.next(line.as_bytes()), second);
    }

    #[test]
    fn hexadecimal_goes_there_and_back() {
        let hash: [u8; 32] = Sha256::digest(b"abc").into();
        let text = String::from_utf8(hex(&hash).to_vec()).unwrap();
        assert!(text.starts_with("ba7816bf8f01cfea"));
        assert_eq!(unhex(&text), Some(hash));
        assert_eq!(unhex("zz"), None);
    }
}

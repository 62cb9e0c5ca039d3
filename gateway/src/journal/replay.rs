//! What a start makes of the segments that it finds: entries not yet projected, and calls that never ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::entry::{Closing, Opening};
use super::frame::{self, Decoded, Kind};
use super::segment::{self, Position};
use super::shared::Entry;
use crate::audit::AuditNote;
use crate::exchange::{Attempt, CallId, Outcome, UsageSource};
use crate::usage::bill::Bill;

/// What a start found and did. All of it is also in the audit log.
#[derive(Debug, Default)]
pub struct Replay {
    /// Calls that were open when the last run died, as they were closed now.
    pub interrupted: Vec<Closing>,
    /// Entries of the last run that were in the journal and not yet in the store.
    pub projected_late: usize,
    /// Repairs: torn tails, a shortened audit log.
    pub repairs: Vec<AuditNote>,
}

/// Bytes of a segment that are no whole frame, and so are not taken into account.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What the segments hold.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Not yet projected, in the journal's order, each with the place behind it.
    pub(super) entries: Vec<(Entry, Position)>,
    /// Openings without a closing, by call.
    pub(super) open: BTreeMap<CallId, Vec<Opening>>,
    pub(super) torn: Vec<Torn>,
    /// Number of the last segment; 0 if there is none.
    pub(super) last: u64,
    closed: HashSet<CallId>,
    openings: HashMap<CallId, Vec<Opening>>,
}

/// Only the id of a closing that is projected already.
#[derive(Deserialize)]
struct Closed {
    call: CallId,
}

/// Reads every segment. Changes nothing.
pub(super) fn scan(folder: &Path, projected: Position) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for number in segment::numbers(folder)? {
        let bytes = std::fs::read(segment::path(folder, number))?;
        scan.segment(number, &bytes, projected);
        scan.last = number;
    }
    scan.open = std::mem::take(&mut scan.openings).into_iter().collect();
    Ok(scan)
}

impl Scan {
    fn segment(&mut self, number: u64, bytes: &[u8], projected: Position) {
        let mut rest = bytes;
        loop {
            let offset = length(bytes).saturating_sub(length(rest));
            let here = Position { segment: number, offset };
            let torn = |bytes| Torn { segment: number, offset, bytes };
            match frame::decode(rest) {
                Decoded::End => return,
                // Nothing behind it can be told from chance.
                Decoded::Torn => return self.torn.push(torn(length(rest))),
                Decoded::Frame { kind, payload, rest: behind } => {
                    rest = behind;
                    let end = Position { segment: number, offset: length(bytes).saturating_sub(length(rest)) };
                    if self.frame(kind, payload, (here >= projected).then_some(end)).is_err() {
                        self.torn.push(torn(end.offset.saturating_sub(offset)));
                    }
                }
            }
        }
    }

    fn frame(&mut self, kind: Kind, payload: &[u8], new: Option<Position>) -> Result<(), serde_json::Error> {
        match kind {
            Kind::Opening => {
                let opening: Opening = serde_json::from_slice(payload)?;
                if !self.closed.contains(&opening.call) {
                    keep(self.openings.entry(opening.call).or_default(), opening);
                }
            }
            Kind::Closing => match new {
                Some(end) => {
                    let closing: Closing = serde_json::from_slice(payload)?;
                    self.openings.remove(&closing.call);
                    if self.closed.insert(closing.call) {
                        self.entries.push((Entry::Call(closing), end));
                    }
                }
                None => {
                    let closed: Closed = serde_json::from_slice(payload)?;
                    self.openings.remove(&closed.call);
                    self.closed.insert(closed.call);
                }
            },
            Kind::Note => {
                let note: AuditNote = serde_json::from_slice(payload)?;
                if let Some(end) = new
                    && self.closed.insert(note.id)
                {
                    self.entries.push((Entry::Note(note), end));
                }
            }
        }
        Ok(())
    }
}

/// Keeps an opening; one of an attempt that is known already takes its place: the attempt's hold has grown.
pub(super) fn keep(openings: &mut Vec<Opening>, opening: Opening) {
    match openings.iter_mut().find(|known| known.attempt == opening.attempt) {
        Some(known) => *known = opening,
        None => openings.push(opening),
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The closing of a call that has none: each opening becomes an attempt at the amounts held. `None` without any.
pub(super) fn closing_of(openings: Vec<Opening>, now_ms: u64, outcome: Outcome, reason: &str) -> Option<Closing> {
    let first = openings.first()?.clone();
    let reason: Arc<str> = reason.into();
    let attempts = openings.into_iter().map(|opening| held(opening, now_ms, outcome, &reason)).collect();
    Some(Closing {
        call: first.call,
        at_ms: first.at_ms,
        ended_ms: now_ms,
        tenant: Some(first.tenant),
        key: Some(first.key),
        endpoint: first.endpoint,
        model: Some(first.model),
        end_user: first.end_user,
        stream: false,
        outcome,
        status: 0,
        reason: Some(reason),
        rule: None,
        obligations: Vec::new(),
        revision: 0,
        fail_open: Vec::new(),
        attempts,
    })
}

fn held(opening: Opening, now_ms: u64, outcome: Outcome, reason: &Arc<str>) -> Attempt {
    let counts = [("input_text", opening.held_input_tokens), ("output_text", opening.held_output_tokens)];
    let buckets: BTreeMap<_, _> =
        counts.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.into(), n)).collect();
    Attempt {
        attempt: opening.attempt,
        deployment: opening.deployment,
        provider: opening.provider,
        model: opening.upstream_model,
        status: 0,
        outcome,
        reason: Some(Arc::clone(reason)),
        input_tokens: opening.held_input_tokens,
        output_tokens: opening.held_output_tokens,
        // An earlier attempt that is known to have done nothing.
        source: if buckets.is_empty() { UsageSource::None } else { UsageSource::Estimated },
        cost_nano: opening.held_nano,
        price_version: "held".into(),
        first_token_ms: None,
        total_ms: u32::try_from(now_ms.saturating_sub(opening.at_ms)).unwrap_or(u32::MAX),
        finish_reason: None,
        bill: Bill { buckets, list_nano: opening.held_nano, ..Bill::default() },
    }
}

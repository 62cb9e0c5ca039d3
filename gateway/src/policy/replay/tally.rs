//! What one thread found. Bounded: past its number of groups, flips are counted under nobody's name.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::judge::{Judge, Told};
use super::line::Line;
use super::memory::Memory;

/// Groups of flips that are told apart.
const GROUPS_MAX: usize = 20_000;
/// Models and examples named in one group.
const NAMED_MAX: usize = 5;
/// Recorded results that are remembered by their text.
const RESULTS_MAX: usize = 4_096;

/// How a decision turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flip {
    /// What was allowed would be refused.
    AllowToDeny,
    /// What was refused would be allowed.
    DenyToAllow,
    /// Allowed both times, with other obligations.
    Obligations,
}

/// Which flips are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// How it turned.
    pub flip: Flip,
    /// The caller's tenant path; who asked, where the input names none.
    pub who: Arc<str>,
    /// The caller's key.
    pub key: Arc<str>,
    /// The decision as it was.
    pub before: Told,
    /// The decision as it would be.
    pub after: Told,
}

/// What a group adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Calls.
    pub calls: u64,
    /// Tokens that they might have used, as estimated.
    pub tokens: u64,
    /// What they might have cost, in nano-dollars, as estimated.
    pub nano: i64,
    /// Models asked for; not more than a few.
    pub models: BTreeSet<Box<str>>,
    /// Ids of some of the decisions.
    pub examples: Vec<Box<str>>,
}

/// Counts of one thread, or of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) groups: HashMap<Group, Sum>,
    pub(super) memory: Memory,
    results: HashMap<Box<str>, Told>,
}

/// Numbers of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions that were compared.
    pub judged: u64,
    /// Of them, those that were remembered.
    pub remembered: u64,
    /// Of them, those whose input was masked: a flip may be the mask's doing.
    pub masked: u64,
    /// Of them, those that only another rule or reason answers.
    pub relabelled: u64,
    /// Decisions that were recorded without their input.
    pub without_input: u64,
    /// Lines that are no decisions.
    pub unreadable: u64,
}

/// What the input says of the caller and the call's worth.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Worth {
    subject: Caller,
    request: Asked,
    estimate: Estimated,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Caller {
    tenant: String,
    key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    model: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Estimated {
    input_tokens: u64,
    output_tokens: u64,
    nano: i64,
}

impl Tally {
    pub(super) fn lines(&self) -> u64 {
        let counts = &self.counts;
        counts.judged.saturating_add(counts.without_input).saturating_add(counts.unreadable)
    }

    pub(super) fn unreadable(&mut self) {
        self.counts.unreadable = self.counts.unreadable.saturating_add(1);
    }

    pub(super) fn without_input(&mut self) {
        self.counts.without_input = self.counts.without_input.saturating_add(1);
    }

    pub(super) fn remembered(&mut self) {
        self.counts.remembered = self.counts.remembered.saturating_add(1);
    }

    /// The decision on the line; `None` where it can't be read.
    pub(super) fn recorded(&mut self, line: &Line<'_>, judge: &Judge) -> Option<Told> {
        let text = line.result.map(serde_json::value::RawValue::get);
        let Some(text) = text else { return judge.recorded(None) };
        if let Some(told) = self.results.get(text) {
            return Some(told.clone());
        }
        let told = judge.recorded(Some(text))?;
        if self.results.len() < RESULTS_MAX {
            self.results.insert(text.into(), told.clone());
        }
        Some(told)
    }

    /// Counts a decision that was compared.
    pub(super) fn judged(&mut self, line: &Line<'_>, before: &Told, after: &Told) {
        self.counts.judged = self.counts.judged.saturating_add(1);
        if line.is_masked() {
            self.counts.masked = self.counts.masked.saturating_add(1);
        }
        if before == after {
            return;
        }
        let flip = match (before.allow, after.allow) {
            (true, false) => Flip::AllowToDeny,
            (false, true) => Flip::DenyToAllow,
            (true, true) if before.obligations != after.obligations => Flip::Obligations,
            (true, true) | (false, false) => {
                self.counts.relabelled = self.counts.relabelled.saturating_add(1);
                return;
            }
        };
        self.flipped(line, flip, before, after);
    }

    fn flipped(&mut self, line: &Line<'_>, flip: Flip, before: &Told, after: &Told) {
        let worth = line.input.and_then(|input| serde_json::from_str::<Worth>(input.get()).ok()).unwrap_or_default();
        let Worth { subject, request, estimate } = worth;
        let asked = line.requested_by.as_deref().unwrap_or_default();
        let who = if subject.tenant.is_empty() { asked } else { &subject.tenant };
        let (before, after) = (before.clone(), after.clone());
        let mut group = Group { flip, who: who.into(), key: subject.key.into(), before, after };
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&group) {
            // Rules of one bundle are few; it is names that make many groups.
            (group.who, group.key) = ("(others)".into(), "".into());
        }
        let id = line.decision_id.as_deref().map(Into::into);
        let model = (!request.model.is_empty()).then(|| request.model.into());
        self.groups.entry(group).or_default().add(Sum {
            calls: 1,
            tokens: estimate.input_tokens.saturating_add(estimate.output_tokens),
            nano: estimate.nano,
            models: model.into_iter().collect(),
            examples: id.into_iter().collect(),
        });
    }

    /// Adds what another thread found.
    pub(super) fn add(&mut self, other: Self) {
        let (own, more) = (&mut self.counts, other.counts);
        for (sum, count) in [
            (&mut own.judged, more.judged),
            (&mut own.remembered, more.remembered),
            (&mut own.masked, more.masked),
            (&mut own.relabelled, more.relabelled),
            (&mut own.without_input, more.without_input),
            (&mut own.unreadable, more.unreadable),
        ] {
            *sum = sum.saturating_add(count);
        }
        for (group, sum) in other.groups {
            self.groups.entry(group).or_default().add(sum);
        }
    }
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.nano = self.nano.saturating_add(other.nano);
        let room = NAMED_MAX.saturating_sub(self.models.len());
        self.models.extend(other.models.into_iter().take(room));
        let room = NAMED_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

//! What decides about calls at one moment: the operator's own policy and every bundle, as one snapshot.
//!
//! A call takes its snapshot at its birth, together with its World, and never sees another: modules and data of a
//! bundle change together or not at all. All must allow; what they demand is joined to the stricter. A bundle that is
//! missing or too old refuses. Start at [`Active::decide`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::bundle::content::Checked;
use super::bundle::rule::{BundleRule, Mode, OnStale};
use super::input::Input;
use super::permit::{Denied, DeniedBy, Permit};
use super::{Compiled, obligation};
use crate::identity::Subject;
use crate::telemetry::metric;

/// Differences between a shadow and what happened that are kept for operators.
const FLIPS_MAX: usize = 64;

/// The endpoint that asks about each model only to list it, as `Input::visible` names it.
const LISTING: &str = "models";

/// One revision of a bundle, ready to decide.
#[derive(Debug)]
pub struct Revision {
    /// What was checked.
    pub checked: Checked,
    /// Hash of the archive's bytes.
    pub digest: Arc<str>,
    /// Unix milliseconds at which it came into use first.
    pub activated_ms: u64,
}

impl Revision {
    /// Its manifest's revision, or the beginning of its digest where that says nothing.
    pub fn name(&self) -> &str {
        match self.checked.revision.as_str() {
            "" => self.digest.get(..12).unwrap_or(&self.digest),
            named => named,
        }
    }
}

/// What is known of a bundle beside its revisions; shared by all snapshots.
#[derive(Debug, Default)]
pub struct Standing {
    /// Unix milliseconds at which its source last said that the newest revision is the newest.
    pub confirmed_ms: AtomicU64,
    /// Unix milliseconds of the last poll.
    pub polled_ms: AtomicU64,
    /// Digest of the revision whose coming into use was noted last.
    pub told: Mutex<Option<Arc<str>>>,
    /// Whether it was told that the bundle is too old.
    pub told_stale: AtomicBool,
    /// Calls about which the shadow would have decided otherwise.
    pub flipped: AtomicU64,
    /// Why the last poll brought nothing, where it did not.
    pub fault: Mutex<Option<String>>,
    flips: Mutex<VecDeque<Flip>>,
}

/// A call about which a shadow would have decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Flip {
    /// Who called.
    pub tenant: String,
    /// By which key.
    pub key: Arc<str>,
    /// What was asked for.
    pub model: String,
    /// The shadow's verdict: `allow` or `refuse`.
    pub to: &'static str,
    /// Its rule.
    pub rule: Arc<str>,
    /// Its reason.
    pub reason: Arc<str>,
}

impl Standing {
    /// The last differences, oldest first.
    pub fn flips(&self) -> Vec<Flip> {
        self.flips.lock().iter().cloned().collect()
    }

    fn note(&self, flip: Flip) {
        self.flipped.fetch_add(1, Ordering::Relaxed);
        let mut flips = self.flips.lock();
        if flips.len() >= FLIPS_MAX {
            flips.pop_front();
        }
        flips.push_back(flip);
    }
}

/// One bundle of a snapshot.
#[derive(Debug, Clone)]
pub struct Member {
    /// What the configuration says.
    pub rule: Arc<BundleRule>,
    /// What decides; nothing before the first revision was taken.
    pub newest: Option<Arc<Revision>>,
    /// What decides about callers that the newest revision isn't rolled out to.
    pub base: Option<Arc<Revision>>,
    /// What else is known of it.
    pub standing: Arc<Standing>,
}

impl Member {
    /// One that has no revision yet.
    pub fn waiting(rule: Arc<BundleRule>) -> Self {
        Self { rule, newest: None, base: None, standing: Arc::default() }
    }

    fn covers(&self, subject: &Subject) -> bool {
        self.rule.tenant.as_ref().is_none_or(|level| subject.tenant.is_within(level))
    }

    /// Whether it is older than it may be.
    pub fn is_stale(&self, now_ms: u64) -> bool {
        let age_ms = now_ms.saturating_sub(self.standing.confirmed_ms.load(Ordering::Relaxed));
        self.rule.staleness_max.is_some_and(|most| u128::from(age_ms) > most.as_millis())
    }

    /// The revision that decides about this caller, by the side of the roll-out that it stays on.
    fn of(&self, subject: &Subject) -> Option<&Arc<Revision>> {
        match self.rule.percent < 100 && side(&self.rule.name, subject) >= self.rule.percent {
            // In the shadow there is nothing that the others would need.
            true if self.rule.mode == Mode::Shadow => None,
            true => self.base.as_ref().or(self.newest.as_ref()),
            false => self.newest.as_ref(),
        }
    }

    /// A refusal says whose rule it was.
    fn named(&self, denied: Denied) -> Denied {
        Denied { rule: format!("{}:{}", self.rule.name, denied.rule).into(), ..denied }
    }

    fn decide(&self, input: &Input<'_>, now_ms: u64) -> Result<Permit, Denied> {
        let refused = |reason: &str| {
            let private = format!("bundle `{}`", self.rule.name);
            let denied = Denied::without_rule(DeniedBy::Failure, &self.rule.entrypoint, private);
            Denied { reason: reason.into(), ..denied }
        };
        let revision = self.of(input.subject).ok_or_else(|| refused("policy_bundle_missing"))?;
        if self.rule.on_stale == OnStale::Deny && self.is_stale(now_ms) {
            return Err(refused("policy_bundle_stale"));
        }
        revision.checked.compiled.decide(input)
    }
}

/// A number below 100, the same for a caller at every time and on every gateway.
fn side(bundle: &str, subject: &Subject) -> u8 {
    let mut hasher = blake3::Hasher::new();
    for part in [bundle, subject.tenant.as_str(), &*subject.key.0] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u8::try_from(u32::from_le_bytes([a, b, c, d]) % 100).unwrap_or(0)
}

/// All bundles of one moment.
#[derive(Debug, Default)]
pub struct Active {
    /// In the order of the configuration.
    pub members: Vec<Member>,
}

impl Active {
    /// Allow, or the first refusal: of the operator's own policy, then of the bundles that decide about the caller.
    /// Shadows are asked where the operator's own policy allows.
    pub fn decide(&self, own: &Compiled, input: &Input<'_>, now_ms: u64) -> Result<Permit, Denied> {
        let verdict = own.decide(input);
        if self.members.is_empty() {
            return verdict;
        }
        let enforced = self.members.iter().filter(|member| member.rule.mode == Mode::Enforce);
        let mut covering = enforced.filter(|member| member.covers(input.subject));
        let verdict = covering.try_fold(verdict?, |permit, member| {
            let also = member.decide(input, now_ms);
            let both = also.and_then(|also| permit.and(also, &member.rule.entrypoint));
            both.map_err(|denied| member.named(denied))
        });
        self.compare(&verdict, input);
        verdict
    }

    /// Whether a policy that decides about this caller reads more of a call than who asks for which model.
    pub fn reads_all(&self, own: &Compiled, subject: &Subject) -> bool {
        let all = |revision: &Arc<Revision>| revision.checked.compiled.reads_more();
        own.reads_more()
            || self.members.iter().any(|member| member.covers(subject) && member.of(subject).is_some_and(all))
    }

    /// Bundles that decide about this caller, each with the revision that does.
    pub fn deciding(&self, subject: &Subject) -> impl Iterator<Item = (&Arc<BundleRule>, &Arc<Revision>)> {
        let enforced = self.members.iter().filter(|member| member.rule.mode == Mode::Enforce);
        let covering = enforced.filter(|member| member.covers(subject));
        covering.filter_map(|member| Some((&member.rule, member.of(subject)?)))
    }

    /// Bundles without which calls are refused and that aren't there.
    pub fn missing(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.rule.mode == Mode::Enforce && member.newest.is_none())
    }

    /// Asks the shadows, and counts where they differ. A list of models is no call.
    fn compare(&self, verdict: &Result<Permit, Denied>, input: &Input<'_>) {
        if input.request.endpoint == LISTING {
            return;
        }
        let shadows = self.members.iter().filter(|member| member.rule.mode == Mode::Shadow);
        for member in shadows.filter(|member| member.covers(input.subject)) {
            let Some(revision) = member.of(input.subject) else { continue };
            let shadow = revision.checked.compiled.decide(input);
            if shadow.is_ok() == verdict.is_ok() {
                continue;
            }
            let (to, rule, reason) = match shadow {
                Ok(permit) => ("allow", permit.rule().clone(), permit.reason().clone()),
                Err(denied) => ("refuse", denied.rule, denied.reason),
            };
            metric::shadow_flipped(&member.rule.name, to);
            member.standing.note(Flip {
                tenant: input.subject.tenant.to_string(),
                key: input.subject.key.0.clone(),
                model: input.request.model.chars().take(obligation::NAME_CHARS_MAX).collect(),
                to,
                rule,
                reason,
            });
        }
    }
}

#[cfg(test)]
pub(super) mod tests;

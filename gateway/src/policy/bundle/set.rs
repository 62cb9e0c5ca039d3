//! All bundles of a gateway: takes what is offered, or leaves everything as it was. State; it outlives every World.
//!
//! One change at a time. Each ends with a new snapshot in the slot of the present World, so that a reload and a new
//! revision never lose one another. Everything here may take seconds: it is called from threads that may wait.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::keep::{Kept, Shelf, State, digest};
use super::rule::{BundleRule, Source};
use super::{BundleFault, archive, content};
use crate::policy::active::{Active, Member, Revision};

/// Milliseconds between two times at which it is written down that a bundle was confirmed.
const CONFIRMED_SAVED_MS: u64 = 10_000;
/// Characters of a digest that name a revision.
const DIGEST_CHARS_LEAST: usize = 8;

/// The snapshot that a World's calls are born with; the present one's is replaced.
pub type Slot = Arc<ArcSwap<Active>>;

/// What became of an offered bundle.
#[derive(Debug)]
pub enum Offered {
    /// It decides now.
    Activated(Arc<Revision>),
    /// It decided already.
    Unchanged,
    /// A roll-back left it; it is not taken.
    Held,
    /// The configuration says something else by now.
    Superseded,
}

/// Why a roll-back is not done.
#[derive(Debug, thiserror::Error)]
pub enum RollBackFault {
    /// No such bundle.
    #[error("no bundle is named `{0}`")]
    Bundle(String),
    /// Not kept, or deciding already.
    #[error("no earlier revision `{0}` is kept")]
    Revision(String),
    /// It can't decide any more.
    #[error("the revision can't be used: {0}")]
    Unusable(#[from] BundleFault),
}

/// All bundles.
#[derive(Debug)]
pub struct Bundles {
    folder: PathBuf,
    /// The present World's slot, to be looked at while a change takes its time.
    current: ArcSwap<ArcSwap<Active>>,
    turn: Mutex<Turn>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Turn {
    slot: Slot,
    states: HashMap<Arc<str>, State>,
}

impl Bundles {
    /// Knows no bundle yet; their folders lie in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        let turn = Turn::default();
        Self { folder, current: ArcSwap::new(turn.slot.clone()), turn: Mutex::new(turn), changed: Notify::new() }
    }

    /// The present snapshot.
    pub fn snapshot(&self) -> Arc<Active> {
        self.current.load().load_full()
    }

    /// The bundle of that name.
    pub fn member(&self, name: &str) -> Option<Member> {
        self.snapshot().members.iter().find(|member| *member.rule.name == *name).cloned()
    }

    /// Waits for other rules.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The slot for a new World with these rules. What is known already stays; what is new comes from the disk, its
    /// signature checked again, or from its folder.
    pub fn follow(&self, rules: &[Arc<BundleRule>], now_ms: u64) -> Slot {
        let mut turn = self.turn.lock();
        let known = turn.slot.load_full();
        let mut members: Vec<Member> = Vec::new();
        for rule in rules {
            let own = known.members.iter().find(|member| member.rule.name == rule.name);
            let member = match own {
                Some(own) if own.rule == *rule => own.clone(),
                Some(own) if decides_alike(&own.rule, rule) && own.newest.is_some() => {
                    let base = own.base.clone().filter(|_| rule.percent < 100);
                    Member { rule: rule.clone(), base, ..own.clone() }
                }
                Some(_) | None => {
                    let (member, state) = restore(&self.shelf(rule), rule, &members);
                    turn.states.insert(rule.name.clone(), state);
                    member
                }
            };
            members.push(member);
        }
        let is_same = known.members.len() == members.len()
            && known.members.iter().zip(&members).all(|(old, new)| Arc::ptr_eq(&old.rule, &new.rule));
        turn.slot = Arc::new(ArcSwap::from_pointee(Active { members }));
        self.load_folders(&mut turn, now_ms);
        self.current.store(turn.slot.clone());
        if !is_same {
            self.changed.notify_one();
        }
        turn.slot.clone()
    }

    /// A folder is there at once: nobody need be refused until it is polled.
    fn load_folders(&self, turn: &mut Turn, now_ms: u64) {
        for member in &turn.slot.load_full().members {
            let (Source::Path(path), None) = (&member.rule.source, &member.newest) else { continue };
            let taken = archive::from_disk(path).and_then(|bytes| {
                let checked = content::check(&member.rule, &archive::unpack(&bytes)?)?;
                self.take(turn, &member.rule, &bytes, checked, None, now_ms)
            });
            if let Err(fault) = taken {
                tracing::error!(bundle = %member.rule.name, %fault, "a policy bundle is refused");
                *member.standing.fault.lock() = Some(fault.to_string());
            }
        }
    }

    /// The server's tag of what decides, to ask only for what is newer.
    pub fn etag(&self, rule: &BundleRule) -> Option<String> {
        let turn = self.turn.lock();
        let snapshot = turn.slot.load();
        let member = snapshot.members.iter().find(|member| member.rule.name == rule.name)?;
        member.newest.as_ref()?;
        turn.states.get(&rule.name)?.etag.clone()
    }

    /// Takes an archive, or says why not; then everything is as it was.
    ///
    /// # Errors
    /// The first thing that keeps it from deciding.
    pub fn offer(
        &self,
        rule: &Arc<BundleRule>,
        bytes: &[u8],
        etag: Option<&str>,
        now_ms: u64,
    ) -> Result<Offered, BundleFault> {
        let digest = digest(bytes);
        if let Some(offered) = self.known(rule, &digest, etag, now_ms) {
            return Ok(offered);
        }
        // Aside, and with no lock held: calls go on under what decides now.
        let checked = content::check(rule, &archive::unpack(bytes)?)?;
        self.take(&mut self.turn.lock(), rule, bytes, checked, etag, now_ms)
    }

    fn known(&self, rule: &Arc<BundleRule>, digest: &str, etag: Option<&str>, now_ms: u64) -> Option<Offered> {
        let mut turn = self.turn.lock();
        let member = turn.member(rule);
        let Some(member) = member else { return Some(Offered::Superseded) };
        let state = turn.states.entry(rule.name.clone()).or_default();
        let decides = member.newest.as_ref().is_some_and(|newest| *newest.digest == *digest);
        let is_held = member.newest.is_some() && state.held.iter().any(|held| held == digest);
        if !decides && !is_held {
            return None;
        }
        state.etag = etag.map(str::to_owned);
        drop(turn);
        self.confirm(rule, now_ms);
        Some(if decides { Offered::Unchanged } else { Offered::Held })
    }

    /// The source says that nothing is newer than what was taken last.
    pub fn confirm(&self, rule: &Arc<BundleRule>, now_ms: u64) {
        let mut turn = self.turn.lock();
        let Some(member) = turn.member(rule) else { return };
        member.standing.confirmed_ms.store(now_ms, Ordering::Relaxed);
        let Some(state) = turn.states.get_mut(&rule.name) else { return };
        if now_ms.saturating_sub(state.confirmed_ms) < CONFIRMED_SAVED_MS {
            return;
        }
        state.confirmed_ms = now_ms;
        if let Err(fault) = self.shelf(rule).save(state) {
            tracing::warn!(bundle = %rule.name, %fault, "a policy bundle's state could not be written");
        }
    }

    /// Keeps a checked archive and lets it decide.
    fn take(
        &self,
        turn: &mut Turn,
        rule: &Arc<BundleRule>,
        bytes: &[u8],
        checked: content::Checked,
        etag: Option<&str>,
        now_ms: u64,
    ) -> Result<Offered, BundleFault> {
        let snapshot = turn.slot.load_full();
        let Some(member) = turn.member(rule) else { return Ok(Offered::Superseded) };
        check_overlap(rule, &checked, &snapshot.members)?;
        let revision = Arc::new(Revision { checked, digest: digest(bytes).into(), activated_ms: now_ms });
        // Who isn't on the new side stays with what decided about all.
        let base = (rule.percent < 100).then(|| member.base.clone().or_else(|| member.newest.clone())).flatten();
        let mut state = turn.states.get(&rule.name).cloned().unwrap_or_default();
        state.newest = Some(revision.digest.to_string());
        state.base = base.as_ref().map(|base| base.digest.to_string());
        state.etag = etag.map(str::to_owned);
        state.confirmed_ms = now_ms;
        state.kept.retain(|kept| kept.digest != *revision.digest);
        let (digest, name) = (revision.digest.to_string(), revision.name().to_owned());
        state.kept.push(Kept { digest, revision: name, activated_ms: now_ms });
        let gone = state.prune(rule.keep);
        // On the disk first: what decides must still decide after a crash.
        let shelf = self.shelf(rule);
        shelf.put(&revision.digest, bytes)?;
        shelf.save(&state)?;
        shelf.remove(&gone);
        turn.states.insert(rule.name.clone(), state);
        member.standing.confirmed_ms.store(now_ms, Ordering::Relaxed);
        turn.replace(Member { newest: Some(revision.clone()), base, ..member });
        Ok(Offered::Activated(revision))
    }

    /// Lets an earlier revision decide again, about everybody. What it takes the place of is not taken again when it
    /// is offered; something newer is.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn roll_back(&self, name: &str, wanted: &str) -> Result<Arc<Revision>, RollBackFault> {
        let mut turn = self.turn.lock();
        let snapshot = turn.slot.load_full();
        let member = snapshot.members.iter().find(|member| *member.rule.name == *name).cloned();
        let member = member.ok_or_else(|| RollBackFault::Bundle(name.to_owned()))?;
        let mut state = turn.states.get(&member.rule.name).cloned().unwrap_or_default();
        let present = state.newest.clone();
        let fits = |kept: &&Kept| {
            let by_digest = wanted.len() >= DIGEST_CHARS_LEAST && kept.digest.starts_with(wanted);
            (kept.revision == wanted || by_digest) && Some(&kept.digest) != present.as_ref()
        };
        let kept = state.kept.iter().rev().find(fits).cloned();
        let kept = kept.ok_or_else(|| RollBackFault::Revision(wanted.to_owned()))?;
        let shelf = self.shelf(&member.rule);
        let revision = read_back(&shelf, &member.rule, &kept, &snapshot.members)?;
        state.held.retain(|held| *held != kept.digest);
        if let Some(present) = present {
            state.hold(&present);
        }
        state.newest = Some(kept.digest);
        state.base = None;
        shelf.save(&state).map_err(BundleFault::from)?;
        turn.states.insert(member.rule.name.clone(), state);
        turn.replace(Member { newest: Some(revision.clone()), base: None, ..member });
        Ok(revision)
    }

    /// What is written down of a bundle.
    pub fn state(&self, name: &str) -> State {
        self.turn.lock().states.get(name).cloned().unwrap_or_default()
    }

    fn shelf(&self, rule: &BundleRule) -> Shelf {
        Shelf::of(&self.folder, &rule.name)
    }
}

impl Turn {
    /// The member of that very rule; another configuration has others.
    fn member(&self, rule: &Arc<BundleRule>) -> Option<Member> {
        self.slot.load().members.iter().find(|member| Arc::ptr_eq(&member.rule, rule)).cloned()
    }

    fn replace(&self, member: Member) {
        let mut members = self.slot.load().members.clone();
        if let Some(place) = members.iter_mut().find(|other| other.rule.name == member.rule.name) {
            *place = member;
        }
        self.slot.store(Arc::new(Active { members }));
    }
}

/// Whether a revision that was checked under one rule may decide under the other.
fn decides_alike(one: &BundleRule, other: &BundleRule) -> bool {
    let same = |rule: &BundleRule| {
        (rule.source.clone(), rule.signer.clone(), rule.entrypoint.clone(), rule.roots.clone(), rule.tenant.clone())
    };
    same(one) == same(other) && (one.timeout, one.engine, one.mode) == (other.timeout, other.engine, other.mode)
}

/// Two bundles may not own one part of `data`; a shadow owns nothing, and is compared with other shadows.
fn check_overlap(rule: &BundleRule, checked: &content::Checked, members: &[Member]) -> Result<(), BundleFault> {
    let others = members.iter().filter(|member| member.rule.name != rule.name && member.rule.mode == rule.mode);
    for other in others {
        let theirs = other.newest.iter().chain(&other.base).flat_map(|revision| &revision.checked.roots);
        let mut theirs = theirs.filter(|root| checked.roots.iter().any(|own| own.overlaps(root)));
        if theirs.next().is_some() {
            return Err(BundleFault::Overlap { other: other.rule.name.to_string() });
        }
    }
    Ok(())
}

/// A bundle as it was when the gateway ended: everything about it is checked again.
fn restore(shelf: &Shelf, rule: &Arc<BundleRule>, others: &[Member]) -> (Member, State) {
    let mut member = Member::waiting(rule.clone());
    let state = match shelf.state() {
        Ok(state) => state,
        Err(fault) => {
            *member.standing.fault.lock() = Some(fault.to_string());
            State::default()
        }
    };
    let read = |digest: &Option<String>| {
        let kept = state.kept.iter().find(|kept| Some(&kept.digest) == digest.as_ref())?;
        let read = read_back(shelf, rule, kept, others);
        read.inspect_err(|fault| {
            tracing::error!(bundle = %rule.name, %fault, "a kept policy bundle can't be used");
            *member.standing.fault.lock() = Some(fault.to_string());
        })
        .ok()
    };
    let newest = read(&state.newest);
    let base = if rule.percent < 100 && newest.is_some() { read(&state.base) } else { None };
    member.standing.confirmed_ms.store(state.confirmed_ms, Ordering::Relaxed);
    member = Member { newest, base, ..member };
    (member, state)
}

fn read_back(shelf: &Shelf, rule: &BundleRule, kept: &Kept, others: &[Member]) -> Result<Arc<Revision>, BundleFault> {
    let bytes = shelf.archive(&kept.digest)?;
    let checked = content::check(rule, &archive::unpack(&bytes)?)?;
    check_overlap(rule, &checked, others)?;
    Ok(Arc::new(Revision { checked, digest: kept.digest.as_str().into(), activated_ms: kept.activated_ms }))
}

#[cfg(test)]
mod tests;

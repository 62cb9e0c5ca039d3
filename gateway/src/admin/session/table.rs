//! Who is signed in. State, in memory alone: a restart signs everybody out. Bounded in all and for each administrator.
//!
//! A session is known by a random id that only the browser has: the table holds its hash. It keeps no rights: whose it
//! is is looked up anew at each request, so that a key that was revoked or changed ends its sessions.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use crate::config::settings::{AdminSettings, Secret};
use crate::identity::KeyId;
use crate::identity::token_endpoint::throttle::{Asker, Throttle};

/// Sessions in all. Each is a few hundred bytes; finance departments are smaller.
const SESSIONS_MAX: usize = 1_024;
/// Sessions of one administrator; the one that was silent for the longest ends for a new one. Browsers of one person.
const OWN_MAX: usize = 16;
/// Attempts to sign in from one address in a minute. Several people may sit behind one address.
const ATTEMPTS_PER_MINUTE: NonZeroU64 = NonZeroU64::MIN.saturating_add(19);
/// Failed attempts that are noted on the audit log in a minute, from everywhere; the metric counts all of them.
const NOTES_PER_MINUTE: NonZeroU64 = NonZeroU64::MIN.saturating_add(59);
/// Bytes of a session's id and of its token against forged requests: beyond guessing.
const RANDOM_BYTES: usize = 32;

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The owner, by the token that was presented.
    Owner(Secret),
    /// An administrator's key, as it was at that epoch.
    Key {
        /// The key's public id.
        id: KeyId,
        /// Its count of changes.
        epoch: u64,
    },
}

/// A new session: the browser's part of it.
pub(super) struct Opened {
    /// The cookie's value.
    pub(super) id: String,
    /// What goes with every request that changes something.
    pub(super) csrf: String,
}

/// Why there is no new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOpened {
    /// There are as many as there may be.
    #[error("too many people are signed in; try again later")]
    Full,
    /// The system gives no random bytes.
    #[error("no random bytes can be had")]
    Random,
}

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    idle_ms: u64,
    life_ms: u64,
}

impl From<&AdminSettings> for Terms {
    fn from(settings: &AdminSettings) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { idle_ms: ms(settings.session_idle), life_ms: ms(settings.session_life) }
    }
}

struct Session {
    holder: Holder,
    csrf: String,
    born_ms: u64,
    seen_ms: u64,
}

impl Session {
    fn holds(&self, terms: Terms, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.born_ms) < terms.life_ms && now_ms.saturating_sub(self.seen_ms) < terms.idle_ms
    }
}

/// Everybody who is signed in, and how often it was tried.
pub struct Sessions {
    table: Mutex<HashMap<blake3::Hash, Session>>,
    attempts: Throttle,
    notes: Throttle,
}

impl Sessions {
    /// Nobody.
    pub fn new(now: Instant) -> Self {
        Self { table: Mutex::default(), attempts: Throttle::new(now), notes: Throttle::new(now) }
    }

    /// How many there are, those that ended by themselves and were not swept yet included.
    pub fn count(&self) -> usize {
        self.table.lock().len()
    }

    /// Counts an attempt to sign in.
    ///
    /// # Errors
    /// It is one too many; the wait until the next.
    pub(super) fn attempt(&self, asker: Asker, now: Instant) -> Result<(), Duration> {
        self.attempts.count(asker, ATTEMPTS_PER_MINUTE, now)
    }

    /// Whether one more failure may be noted.
    pub(super) fn may_note(&self, now: Instant) -> bool {
        self.notes.count(Asker::Address(None), NOTES_PER_MINUTE, now).is_ok()
    }

    /// Begins a session.
    pub(super) fn open(&self, holder: Holder, terms: Terms, now_ms: u64) -> Result<Opened, NotOpened> {
        let (id, csrf) = (random()?, random()?);
        let mut table = self.table.lock();
        table.retain(|_, session| session.holds(terms, now_ms));
        let own = table.iter().filter(|(_, session)| session.holder == holder);
        let silent = own.clone().min_by_key(|(_, session)| session.seen_ms).map(|(hash, _)| *hash);
        if let Some(hash) = silent.filter(|_| own.count() >= OWN_MAX) {
            table.remove(&hash);
        }
        if table.len() >= SESSIONS_MAX {
            return Err(NotOpened::Full);
        }
        let session = Session { holder, csrf: csrf.clone(), born_ms: now_ms, seen_ms: now_ms };
        table.insert(blake3::hash(id.as_bytes()), session);
        Ok(Opened { id, csrf })
    }

    /// Whose session this is, and its token against forged requests; the session was used just now.
    pub(super) fn find(&self, id: &str, terms: Terms, now_ms: u64) -> Option<(Holder, Csrf)> {
        let hash = blake3::hash(id.as_bytes());
        let mut table = self.table.lock();
        let session = table.get_mut(&hash)?;
        if !session.holds(terms, now_ms) {
            table.remove(&hash);
            return None;
        }
        session.seen_ms = session.seen_ms.max(now_ms);
        Some((session.holder.clone(), Csrf(session.csrf.clone())))
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &str) {
        self.table.lock().remove(&blake3::hash(id.as_bytes()));
    }
}

/// A session's token against forged requests.
#[derive(Clone)]
pub(super) struct Csrf(String);

impl Csrf {
    /// Whether it is the same.
    pub(super) fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }

    /// For the page of who signed in.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

fn random() -> Result<String, NotOpened> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| NotOpened::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { idle_ms: 100, life_ms: 1_000 };

    fn key(id: &str, epoch: u64) -> Holder {
        Holder::Key { id: KeyId(id.into()), epoch }
    }

    fn sessions() -> Sessions {
        Sessions::new(crate::clock::instant())
    }

    #[test]
    fn a_session_ends_by_silence_by_age_and_by_being_closed() {
        let sessions = sessions();
        let silent = sessions.open(key("a", 1), TERMS, 0).unwrap();
        assert!(sessions.find(&silent.id, TERMS, 99).is_some());
        assert!(sessions.find(&silent.id, TERMS, 198).is_some(), "each use counts");
        assert!(sessions.find(&silent.id, TERMS, 298).is_none(), "silent for the whole time");
        assert!(sessions.find(&silent.id, TERMS, 199).is_none(), "it does not come back");
        let old = sessions.open(key("a", 1), TERMS, 0).unwrap();
        assert!((0..1_000).step_by(90).all(|at| sessions.find(&old.id, TERMS, at).is_some()));
        assert!(sessions.find(&old.id, TERMS, 1_000).is_none(), "too old, however busy");
        let closed = sessions.open(key("a", 1), TERMS, 0).unwrap();
        sessions.close(&closed.id);
        assert!(sessions.find(&closed.id, TERMS, 1).is_none());
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_session_knows_its_holder_and_its_own_token_alone() {
        let sessions = sessions();
        let (a, b) = (sessions.open(key("a", 1), TERMS, 0).unwrap(), sessions.open(key("b", 7), TERMS, 0).unwrap());
        let (holder, csrf) = sessions.find(&a.id, TERMS, 0).unwrap();
        assert_eq!(holder, key("a", 1));
        assert!(csrf.is(a.csrf.as_bytes()));
        assert!(!csrf.is(b.csrf.as_bytes()) && !csrf.is(b"") && !csrf.is(a.id.as_bytes()));
        assert!(sessions.find(&a.csrf, TERMS, 0).is_none() && sessions.find("", TERMS, 0).is_none());
    }

    #[test]
    fn one_administrator_keeps_few_and_all_together_keep_a_bounded_number() {
        let sessions = sessions();
        let first = sessions.open(key("a", 1), TERMS, 0).unwrap();
        let second = sessions.open(key("a", 1), TERMS, 1).unwrap();
        sessions.find(&first.id, TERMS, 2).unwrap();
        for _ in 2..=OWN_MAX {
            sessions.open(key("a", 1), TERMS, 3).unwrap();
        }
        assert_eq!(sessions.count(), OWN_MAX);
        assert!(sessions.find(&first.id, TERMS, 4).is_some(), "used lately");
        assert!(sessions.find(&second.id, TERMS, 4).is_none(), "silent for the longest");
        for at in OWN_MAX..SESSIONS_MAX {
            sessions.open(key(&at.to_string(), 1), TERMS, 4).unwrap();
        }
        assert_eq!(sessions.open(key("new", 1), TERMS, 4).map(|_| ()), Err(NotOpened::Full));
        assert!(sessions.open(key("new", 1), TERMS, 104).is_ok(), "the silent ones are swept");
    }
}

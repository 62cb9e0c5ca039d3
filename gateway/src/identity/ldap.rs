//! LDAP: groups and attributes of a user, asked for when the user calls, remembered for a stated time.
//!
//! A call never waits longer than the rule's `timeout`. Questions about one user that come together are one question; a
//! server that did not answer is left alone for a moment. While it is away the last good answer counts, for a stated
//! time; then its callers are refused. What callers are called goes into filters escaped (RFC 4515), never as it is.
//! Start at [`Ldap::lookup`]; [`ask`] is the talk with the server.

mod ask;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use url::Url;

use super::TenantPath;
use super::directory::{Added, DirectoryFault, Strangers, UserName};
use crate::config::settings::Secret;
use crate::telemetry::metric;

pub use ask::{filter_for, is_filter};

/// Bytes of a name that is asked for; nobody has a longer one.
const NAME_BYTES_MAX: usize = 256;
/// Names of one caller that are asked for.
const NAMES_MAX: usize = 4;
/// Answers that are remembered; then those that are too old to count are forgotten, or else all.
const KNOWN_MAX: usize = 50_000;
/// Questions that are on their way before those that ended are swept out.
const ASKING_SWEEP: usize = 1_024;
/// Questions to one server at the same time.
const ASKING_MAX: usize = 16;
/// Milliseconds for which a server that did not answer is not asked.
const AWAY_MS: u64 = 1_000;

/// How a user's groups are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// An attribute of the user lists their names, such as `memberOf`.
    Attribute(String),
    /// They are searched for.
    Search {
        /// Below this entry.
        base: String,
        /// With this filter; `{dn}` is the user's entry, `{user}` its name.
        filter: String,
        /// By this attribute they are named.
        name: String,
    },
}

/// One LDAP server, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapRule {
    /// Name in metrics and in the admin API.
    pub name: Arc<str>,
    /// The level whose users it knows; it speaks of callers there and below.
    pub tenant: TenantPath,
    /// `ldap` or `ldaps`.
    pub url: Url,
    /// Whether a plain connection turns to TLS before anything is said.
    pub starttls: bool,
    /// PEM file of the only authorities that it is trusted from; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Weir's own name and password there; `None`: anonymous.
    pub bind: Option<(String, Secret)>,
    /// Users lie below this entry.
    pub user_base: String,
    /// The filter that finds a user; `{user}` is the name.
    pub user_filter: String,
    /// How groups are found.
    pub groups: Groups,
    /// From a group's name to Weir's role.
    pub roles: BTreeMap<String, String>,
    /// From an attribute for policy to that of the user's entry.
    pub attributes: BTreeMap<String, String>,
    /// Users that it doesn't know.
    pub strangers: Strangers,
    /// Milliseconds for which an answer counts.
    pub cache_ms: u64,
    /// Milliseconds for which the last good answer counts while the server is away.
    pub stale_ms: u64,
    /// Longest wait of a call.
    pub timeout: Duration,
}

/// A user's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name, folded.
    pub dn: String,
    /// Names of groups, folded.
    pub groups: BTreeSet<String>,
    /// Attributes by their names, folded.
    pub attributes: BTreeMap<String, String>,
}

/// Why a server gave no answer. For the log: it names no user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskFault {
    /// It could not be reached, or said no to Weir.
    #[error("{0}")]
    Server(String),
    /// Not within the rule's time.
    #[error("no answer in time")]
    Timeout,
    /// It answered what no server may answer.
    #[error("the answer is malformed")]
    Malformed,
    /// It was asked a moment ago and did not answer.
    #[error("it did not answer a moment ago")]
    Away,
}

/// What a server says of a name: nothing, one entry, or several, which is nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It knows nobody of this name.
    Nobody,
    /// It knows this one.
    One(Arc<Entry>),
    /// It knows several.
    Several,
}

type Asked = OnceCell<Result<Answer, AskFault>>;

#[derive(Debug)]
struct Known {
    answer: Answer,
    at_ms: u64,
}

/// Where one server is asked, under one configuration of it.
#[derive(Debug)]
struct Desk {
    rule: Arc<LdapRule>,
    places: Semaphore,
    tls: Option<Arc<ClientConfig>>,
    away_until_ms: AtomicU64,
    good_ms: AtomicU64,
    known: Mutex<HashMap<Box<str>, Known>>,
    asking: Mutex<HashMap<Box<str>, Weak<Asked>>>,
}

/// What LDAP servers said last. State; it outlives every World.
#[derive(Debug, Default)]
pub struct Ldap {
    /// By the rule's name; as many as were ever configured.
    desks: Mutex<HashMap<Arc<str>, Arc<Desk>>>,
}

impl Ldap {
    /// What a server adds to a user.
    ///
    /// # Errors
    /// The user is refused, or there is neither an answer nor one that still counts.
    pub async fn lookup(
        &self,
        rule: &Arc<LdapRule>,
        user: &[UserName],
        now_ms: u64,
        added: &mut Added,
    ) -> Result<(), DirectoryFault> {
        let desk = self.desk(rule);
        let told = timeout(rule.timeout, desk.told(user, now_ms)).await;
        let told = match told {
            Ok(told) => told,
            // The wait is over; what was known before still may count.
            Err(_) => desk.remembered(user, now_ms),
        };
        let told = told.and_then(|entry| match entry {
            None if rule.strangers == Strangers::Refuse => Err(DirectoryFault::Unknown),
            entry => Ok(entry),
        });
        metric::directory_asked(&rule.name, told.as_ref().err().map_or("ok", |fault| fault.code()));
        if let Some(entry) = told? {
            add(rule, &entry, added);
        }
        Ok(())
    }

    fn desk(&self, rule: &Arc<LdapRule>) -> Arc<Desk> {
        let mut desks = self.desks.lock();
        // What was learnt under another rule is forgotten with it.
        match desks.get(&rule.name).filter(|desk| Arc::ptr_eq(&desk.rule, rule) || desk.rule == *rule) {
            Some(desk) => Arc::clone(desk),
            None => {
                let desk = Arc::new(Desk::new(rule));
                desks.insert(Arc::clone(&rule.name), Arc::clone(&desk));
                desk
            }
        }
    }

    /// How a server stands, for operators.
    pub fn standing(&self, rule: &Arc<LdapRule>, now_ms: u64) -> Json {
        let desk = self.desk(rule);
        let good_ms = Some(desk.good_ms.load(Ordering::Acquire)).filter(|good_ms| *good_ms > 0);
        json!({
            "name": &*rule.name, "tenant": rule.tenant.as_str(), "url": rule.url.as_str(),
            "away": now_ms < desk.away_until_ms.load(Ordering::Acquire), "answered_ms": good_ms,
            "remembered": desk.known.lock().len(),
        })
    }
}

/// The names that a server may be asked for.
fn askable(user: &[UserName]) -> impl Iterator<Item = &str> {
    let fits = |name: &&str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    let names: BTreeSet<&str> = user.iter().map(UserName::text).filter(fits).collect();
    names.into_iter().take(NAMES_MAX)
}

/// All names of a caller must be those of one entry.
fn one_of(answers: Vec<Answer>) -> Result<Option<Arc<Entry>>, DirectoryFault> {
    let mut found: Option<Arc<Entry>> = None;
    for answer in answers {
        match (answer, &found) {
            (Answer::Nobody, _) => {}
            (Answer::Several, _) => return Err(DirectoryFault::Ambiguous),
            (Answer::One(entry), Some(other)) if entry.dn != other.dn => return Err(DirectoryFault::Ambiguous),
            (Answer::One(entry), _) => found = Some(entry),
        }
    }
    Ok(found)
}

fn add(rule: &LdapRule, entry: &Entry, added: &mut Added) {
    let roles = rule.roles.iter().filter(|(group, _)| entry.groups.contains(&folded_dn(group)));
    added.roles.extend(roles.map(|(_, role)| Arc::from(role.as_str())));
    for (name, from) in &rule.attributes {
        if let Some(text) = entry.attributes.get(&from.to_lowercase()) {
            added.attributes.entry(name.clone()).or_insert_with(|| text.clone());
        }
    }
}

/// A name as it is compared: without case, and without the blanks that may stand after a comma.
fn folded_dn(name: &str) -> String {
    name.split(',').map(str::trim).collect::<Vec<_>>().join(",").to_lowercase()
}

impl Desk {
    fn new(rule: &Arc<LdapRule>) -> Self {
        let is_tls = rule.starttls || rule.url.scheme() == "ldaps";
        Self {
            rule: Arc::clone(rule),
            places: Semaphore::new(ASKING_MAX),
            tls: is_tls.then(|| crate::fetch::client_tls(rule.ca.as_deref())),
            away_until_ms: AtomicU64::new(0),
            good_ms: AtomicU64::new(0),
            known: Mutex::default(),
            asking: Mutex::default(),
        }
    }

    async fn told(&self, user: &[UserName], now_ms: u64) -> Result<Option<Arc<Entry>>, DirectoryFault> {
        let mut answers = Vec::with_capacity(NAMES_MAX);
        for name in askable(user) {
            let answer = match self.fresh(name, now_ms) {
                Some(answer) => answer,
                None => match self.shared(name, now_ms).await {
                    Ok(answer) => answer,
                    Err(_) => self.last_good(name, now_ms).ok_or(DirectoryFault::Unavailable)?,
                },
            };
            answers.push(answer);
        }
        one_of(answers)
    }

    /// Asks, or shares the answer that another caller waits for.
    async fn shared(&self, name: &str, now_ms: u64) -> Result<Answer, AskFault> {
        if now_ms < self.away_until_ms.load(Ordering::Acquire) {
            return Err(AskFault::Away);
        }
        self.asked(name).get_or_init(|| self.ask(name, now_ms)).await.clone()
    }

    /// The question about a name that is on its way, or a new one.
    fn asked(&self, name: &str) -> Arc<Asked> {
        let mut asking = self.asking.lock();
        if asking.len() >= ASKING_SWEEP {
            asking.retain(|_, asked| asked.strong_count() > 0);
        }
        if let Some(asked) = asking.get(name).and_then(Weak::upgrade) {
            return asked;
        }
        let asked = Arc::new(Asked::new());
        asking.insert(name.into(), Arc::downgrade(&asked));
        asked
    }

    fn fresh(&self, name: &str, now_ms: u64) -> Option<Answer> {
        self.not_older(name, now_ms, self.rule.cache_ms)
    }

    /// What counts while the server is away.
    fn last_good(&self, name: &str, now_ms: u64) -> Option<Answer> {
        self.not_older(name, now_ms, self.rule.cache_ms.saturating_add(self.rule.stale_ms))
    }

    fn not_older(&self, name: &str, now_ms: u64, age_ms: u64) -> Option<Answer> {
        let known = self.known.lock();
        known.get(name).filter(|known| now_ms.saturating_sub(known.at_ms) < age_ms).map(|known| known.answer.clone())
    }

    /// What was known before the wait, of every name.
    fn remembered(&self, user: &[UserName], now_ms: u64) -> Result<Option<Arc<Entry>>, DirectoryFault> {
        let answers: Option<Vec<Answer>> = askable(user).map(|name| self.last_good(name, now_ms)).collect();
        one_of(answers.ok_or(DirectoryFault::Unavailable)?)
    }

    async fn ask(&self, name: &str, now_ms: u64) -> Result<Answer, AskFault> {
        let asks = async {
            let _place = self.places.acquire().await.map_err(|_| AskFault::Away)?;
            // A library that panics at a malformed answer must not take the call with it.
            let asks = AssertUnwindSafe(ask::ask(&self.rule, self.tls.clone(), name)).catch_unwind();
            asks.await.unwrap_or(Err(AskFault::Malformed))
        };
        // A little shorter than the caller waits, so that the fault is noted before the caller goes.
        let answer = timeout(self.rule.timeout.mul_f32(0.9), asks).await.unwrap_or(Err(AskFault::Timeout));
        match &answer {
            Ok(answer) => self.learn(name, answer.clone(), now_ms),
            Err(fault) => {
                tracing::warn!(directory = %self.rule.name, %fault, "a directory did not answer about a user");
                self.away_until_ms.fetch_max(now_ms.saturating_add(AWAY_MS), Ordering::AcqRel);
            }
        }
        metric::ldap_asked(&self.rule.name, if answer.is_ok() { "ok" } else { "failed" });
        answer
    }

    fn learn(&self, name: &str, answer: Answer, now_ms: u64) {
        self.good_ms.fetch_max(now_ms, Ordering::AcqRel);
        self.away_until_ms.store(0, Ordering::Release);
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            let age_ms = self.rule.cache_ms.saturating_add(self.rule.stale_ms);
            known.retain(|_, known| now_ms.saturating_sub(known.at_ms) < age_ms);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
        }
        known.insert(name.into(), Known { answer, at_ms: now_ms });
    }
}

#[cfg(test)]
mod tests;

//! The seam of the counters: what a limit is ([`Line`]), what a call asks of all its limits at once ([`Ask`]), and what
//! a [`Counter`] answers. Two counters exist: in this process, and in Redis for several gateways.
//!
//! The rules that both keep, and that one suite of tests holds them to:
//!
//! - All lines of an [`Ask`] are taken, or none. Nothing reads a counter and writes it later.
//! - A budget's counter holds what is *committed*: spent and held. It grows when a hold is taken or grows and shrinks
//!   when a hold is settled below what it held. A hold that nobody settles stays charged in full: that is the safe
//!   side, and the next start of its gateway corrects it from the journal.
//! - Everything is idempotent by call id: asked again, a call gets the same answer and takes nothing twice.
//! - A hold belongs to the window of its call's birth, wherever it is settled, so that budgets and reports agree.
//! - Rates are charged in full at once (a running stream is not cut by a rate); budgets are held in slices.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::exceeded::{LimitExceeded, Remaining, Standing};
use super::quantity::{Amounts, Quantity};
use super::window::{Span, Window};
use crate::exchange::CallId;

/// Why a call is refused whose hold was settled already: it may not begin again.
pub const HOLD_OVER: &str = "hold_over";

/// What becomes of calls while the counter that several gateways share can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// They are refused. The default of money and of token budgets.
    Refuse,
    /// This gateway counts alone, with its share of the limit. The default of rates and concurrency.
    Local,
    /// They pass uncounted.
    Allow,
}

/// Whose use a line counts, for the messages and for reading from the ledger what was used already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Tenant path: this level and everything below it.
    pub tenant: Arc<str>,
    /// Only this key's calls.
    pub key: Option<Arc<str>>,
    /// Only calls for models that fit one of these: exact names, or a prefix and `*`. Empty: all.
    pub models: Arc<[Arc<str>]>,
    /// Only calls at these endpoints. Empty: all.
    pub endpoints: Arc<[Arc<str>]>,
    /// Only calls for this end-user.
    pub end_user: Option<Arc<str>>,
}

/// One limit of one level, prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Unique name of the counter, the organisation's included.
    pub id: Arc<str>,
    /// Name for messages: a tenant path, or `key`.
    pub level: Arc<str>,
    /// Whose use it counts.
    pub scope: Scope,
    /// What it counts.
    pub quantity: Quantity,
    /// How much of it; money in nano-dollars.
    pub cap: u64,
    /// In which time.
    pub window: Window,
    /// What happens while a shared counter can't be asked.
    pub outage: Outage,
    /// How much of it a gateway takes from a shared counter at a time, to hand it out itself; `None`: each call asks.
    pub lease: Option<NonZeroU64>,
}

/// What a call asks of all its limits at once.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The call: asked again with the same id, it gets the same answer.
    pub call: CallId,
    /// Its organisation: everything that is counted for it lies together.
    pub org: Arc<str>,
    /// Its limits.
    pub lines: Arc<[Line]>,
    /// Taken of rates (and of concurrency): the whole estimate.
    pub rates: Amounts,
    /// Held of budgets: the whole estimate, or the prompt and the first slice of a stream.
    pub budgets: Amounts,
    /// Unix milliseconds at the call's birth: decides the budgets' windows.
    pub born_ms: u64,
    /// The hold is forgotten after so long without being renewed; its place among running calls is free then.
    pub ttl: Duration,
}

/// A hold was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Granted {
    /// The tightest request rate after it.
    pub requests: Option<Standing>,
    /// The tightest token rate after it.
    pub tokens: Option<Standing>,
    /// Names for the audit record where something was let through or counted alone: `limits.redis.local`.
    pub degraded: Vec<&'static str>,
}

/// No hold was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// A limit was reached.
    #[error(transparent)]
    Exceeded(#[from] LimitExceeded),
    /// The counter can't be asked, and a limit's rule is to refuse then.
    #[error("the limits can't be counted at the moment: {why}")]
    Unavailable {
        /// A short code: `redis_timeout`, `redis_down`, `ledger_unreadable`, `ledger_slow`, `ledger_moving`,
        /// `holds_full`, `hold_over`, `hold_unknown`.
        why: &'static str,
    },
}

/// Counts. See the module's text for what every counter keeps.
#[async_trait]
pub trait Counter: Send + Sync {
    /// Takes a hold at every line, or at none. After an error nothing is held, or the counter itself sees to it that
    /// it won't be.
    async fn reserve(&self, ask: &Ask) -> Result<Granted, NotGranted>;

    /// Adds to the hold's budgets at every line, or at none; also renews it. With nothing to add it only renews.
    async fn extend(&self, ask: &Ask, more: &Amounts) -> Result<(), NotGranted>;

    /// Ends the hold: `held` is what was held of budgets in all, `used` what was used. Gives the rest back, or takes
    /// what is missing, even beyond the cap. Never waits and never fails; a shared counter is told behind the scenes,
    /// again and again until it knows.
    fn settle(&self, ask: &Ask, held: &Amounts, used: &Amounts);

    /// The tightest token and money quotas of these lines, as far as this counter knows them without waiting. Takes
    /// nothing.
    fn remaining(&self, _org: &str, _lines: &[Line], _born_ms: u64) -> Remaining {
        Remaining::default()
    }

    /// Forgets what is idle. Called now and then from outside of any call.
    fn sweep(&self) {}

    /// Gives back what was taken in advance; called once, before the gateway ends.
    fn finish(&self) {}

    /// Lines that are counted in this process now.
    fn tracked(&self) -> usize {
        0
    }
}

/// Tells what was used before a counter began to count: reads the ledger.
#[async_trait]
pub trait Spent: Send + Sync {
    /// How much of the line's quantity its scope used in the span, by finished calls.
    ///
    /// # Errors
    /// The ledger can't be read: the call is refused.
    async fn spent(&self, line: &Line, span: Span) -> Result<u64, NotGranted>;
}

/// Tells what a single call used: reads the ledger.
#[async_trait]
pub trait UsedBy: Send + Sync {
    /// The sum of the call's rows; nothing where it has none, which is a call that never reached an upstream.
    ///
    /// # Errors
    /// The ledger can't be read.
    async fn used_by(&self, call: CallId) -> Result<Amounts, NotGranted>;
}

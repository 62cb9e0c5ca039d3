//! A server, counters on it, a ledger, and calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::exchange::CallId;
use crate::limits::counter::{Ask, Counter, Granted, Line, NotGranted, Outage, Scope, Spent, UsedBy};
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::redis::queue::Job;
use crate::limits::redis::settings::RedisSettings;
use crate::limits::redis::{Clock, RedisCounter};
use crate::limits::window::{CalendarUnit, Span, Window};
use crate::servers::redis::Redis;

/// 2026-11-25 12:00 UTC.
pub const NOON_MS: u64 = 1_795_608_000_000;
/// Long enough for a busy machine.
pub const PATIENT: Duration = Duration::from_secs(5);

/// Uses by the moment of their calls' births.
type Uses = Vec<(u64, u64)>;

/// What was used, by line, and how often that was asked for.
#[derive(Default)]
pub struct Ledger {
    pub used: Mutex<HashMap<Arc<str>, Uses>>,
    pub asked: AtomicU64,
    /// What single calls used.
    pub calls: Mutex<HashMap<CallId, Amounts>>,
}

#[async_trait]
impl UsedBy for Ledger {
    async fn used_by(&self, call: CallId) -> Result<Amounts, NotGranted> {
        Ok(self.calls.lock().get(&call).copied().unwrap_or_default())
    }
}

#[async_trait]
impl Spent for Ledger {
    async fn spent(&self, line: &Line, span: Span) -> Result<u64, NotGranted> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let used = self.used.lock();
        let uses = used.get(&line.id).into_iter().flatten();
        Ok(uses.filter(|(at, _)| (span.from_ms..span.to_ms).contains(at)).map(|(_, used)| used).sum())
    }
}

/// Stands in for the counter of one process: grants each line its cap of requests, for ever.
#[derive(Default)]
pub struct Alone {
    pub taken: Mutex<HashMap<Arc<str>, u64>>,
    pub settled: AtomicU64,
}

#[async_trait]
impl Counter for Alone {
    async fn reserve(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        let mut taken = self.taken.lock();
        for line in ask.lines.iter() {
            let taken = taken.entry(Arc::clone(&line.id)).or_default();
            if *taken >= line.cap {
                return Err(NotGranted::Unavailable { why: "alone_full" });
            }
            *taken += 1;
        }
        Ok(Granted::default())
    }

    async fn extend(&self, _ask: &Ask, _more: &Amounts) -> Result<(), NotGranted> {
        Ok(())
    }

    fn settle(&self, _ask: &Ask, _held: &Amounts, _used: &Amounts) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// One gateway's counter and what it stands on.
pub struct Node {
    pub counter: Arc<RedisCounter>,
    pub ledger: Arc<Ledger>,
    pub alone: Arc<Alone>,
    work: JoinSet<Vec<Job>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Node {
    pub async fn at(server: &Redis) -> Self {
        let mut settings = RedisSettings::at(&server.url());
        settings.timeout = PATIENT;
        let node = Self::with(settings, Clock::Server, Arc::default());
        node.counter.start().await.unwrap();
        node
    }

    pub async fn given(server: &Redis, us: &Arc<AtomicU64>) -> Self {
        let mut settings = RedisSettings::at(&server.url());
        settings.timeout = PATIENT;
        let node = Self::with(settings, Clock::Given(Arc::clone(us)), Arc::default());
        node.counter.start().await.unwrap();
        node
    }

    /// A gateway with a name of its own, that looks for what its earlier runs left.
    pub async fn named(server: &Redis, name: &str, ledger: &Arc<Ledger>) -> Self {
        let mut settings = RedisSettings::at(&server.url());
        settings.timeout = PATIENT;
        let node = Self::start(settings, Clock::Server, Arc::clone(ledger), name, Some(Vec::new()));
        node.counter.start().await.unwrap();
        node
    }

    pub fn with(settings: RedisSettings, clock: Clock, ledger: Arc<Ledger>) -> Self {
        let name = CallId::at(NOON_MS).0.as_simple().to_string();
        Self::start(settings, clock, ledger, &name, None)
    }

    pub fn start(
        settings: RedisSettings,
        clock: Clock,
        ledger: Arc<Ledger>,
        name: &str,
        interrupted: Option<Vec<(Arc<str>, CallId)>>,
    ) -> Self {
        let alone = Arc::<Alone>::default();
        let (spent, local) = (Arc::<Ledger>::clone(&ledger), Arc::<Alone>::clone(&alone));
        let (counter, mut working) = RedisCounter::new(settings, clock, spent, local, name).unwrap();
        if let Some(interrupted) = interrupted {
            working = working.after(Arc::<Ledger>::clone(&ledger), interrupted);
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut work = JoinSet::new();
        work.spawn(working.run(async {
            drop(stopped.await);
        }));
        Self { counter, ledger, alone, work, stop: Some(stop) }
    }

    /// Ends its work; gives what could not be told.
    pub async fn end(&mut self) -> Vec<Job> {
        self.stop.take().unwrap().send(()).unwrap();
        self.work.join_next().await.unwrap().unwrap()
    }
}

/// A line of the organisation `acme`.
pub fn line(id: &str, quantity: Quantity, cap: u64, window: Window) -> Line {
    let scope =
        Scope { tenant: "acme".into(), key: None, models: Arc::new([]), endpoints: Arc::new([]), end_user: None };
    Line { id: id.into(), level: "acme".into(), scope, quantity, cap, window, outage: Outage::Refuse, lease: None }
}

pub fn monthly(cap: u64) -> Line {
    let window = Window::Calendar { unit: CalendarUnit::Month, zone: chrono_tz::UTC };
    line("acme/month", Quantity::Money, cap, window)
}

/// Requests per minute.
pub fn rate(cap: u64) -> Line {
    line("acme/rate", Quantity::Requests, cap, Window::Rate { ms: 60_000 })
}

pub fn nano(nano: u64) -> Amounts {
    Amounts { requests: 1, nano, ..Amounts::default() }
}

/// A new call that holds one request and so much money.
pub fn ask(lines: &[Line], money: u64) -> Ask {
    Ask {
        call: CallId::at(NOON_MS),
        org: "acme".into(),
        lines: lines.into(),
        rates: nano(money),
        budgets: nano(money),
        born_ms: NOON_MS,
        ttl: Duration::from_secs(30),
    }
}

/// What the month's counter says.
pub fn committed(server: &Redis) -> String {
    let said = server.tell("HGET weir{%acme}:mUTC:acme/month 1793491200000").unwrap();
    said.split("\r\n").nth(1).unwrap_or("nothing").to_owned()
}

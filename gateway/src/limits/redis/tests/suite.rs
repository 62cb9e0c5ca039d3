//! What every counter keeps, and the schedules of the simulation, on a real Redis.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::scene::*;
use crate::clock;
use crate::limits::counter::{Ask, Counter, Granted, Line, NotGranted};
use crate::limits::quantity::Amounts;
use crate::limits::redis::Clock;
use crate::limits::redis::settings::RedisSettings;
use crate::limits::sim::{self, Abilities, Seen};
use crate::limits::{HOLD_TTL, suite};
use crate::servers::redis::Redis;

/// Gateways of a simulation.
const NODES: usize = 3;
/// Schedules on one set of gateways: calls that crash keep their places for ever.
const CHUNK: u64 = 50;

/// Gateways that share one of a server's databases, whose time is set.
struct Shared {
    server: Arc<Redis>,
    database: u64,
    us: Arc<AtomicU64>,
    ledger: Arc<Ledger>,
    nodes: Arc<[Node]>,
    lease: Option<NonZeroU64>,
}

/// Hands each call to its own gateway.
struct Spread(Arc<[Node]>);

impl Shared {
    async fn on(server: &Arc<Redis>, database: u64, count: usize) -> Self {
        let us = Arc::new(AtomicU64::new(suite::BORN_MS * 1_000));
        let ledger = Arc::<Ledger>::default();
        let mut nodes = Vec::new();
        for _ in 0..count {
            let mut settings = RedisSettings::at(&format!("{}?db={database}", server.url()));
            settings.timeout = PATIENT;
            let node = Node::with(settings, Clock::Given(Arc::clone(&us)), Arc::clone(&ledger));
            node.counter.start().await.unwrap();
            nodes.push(node);
        }
        Self { server: Arc::clone(server), database, us, ledger, nodes: nodes.into(), lease: None }
    }
}

impl Spread {
    fn of(&self, ask: &Ask) -> &dyn Counter {
        let [.., last] = ask.call.0.as_bytes();
        &*self.0[usize::from(*last) % self.0.len()].counter
    }
}

#[async_trait]
impl Counter for Spread {
    async fn reserve(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        self.of(ask).reserve(ask).await
    }

    async fn extend(&self, ask: &Ask, more: &Amounts) -> Result<(), NotGranted> {
        self.of(ask).extend(ask, more).await
    }

    fn settle(&self, ask: &Ask, held: &Amounts, used: &Amounts) {
        self.of(ask).settle(ask, held, used);
    }

    fn finish(&self) {
        for node in &*self.0 {
            node.counter.finish();
        }
    }
}

#[async_trait]
impl suite::Stand for Shared {
    fn counter(&self) -> Arc<dyn Counter> {
        Arc::new(Spread(Arc::clone(&self.nodes)))
    }

    async fn pass(&self, time: Duration) {
        self.us.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
        for node in &*self.nodes {
            node.counter.sweep();
        }
    }

    async fn settled(&self) {
        for node in &*self.nodes {
            node.counter.told().await;
        }
    }

    fn write_down(&self, line: &Line, uses: &[(u64, u64)]) {
        self.ledger.used.lock().entry(Arc::clone(&line.id)).or_default().extend(uses);
    }

    fn restart(&self) {
        self.server.tell_in(self.database, "FLUSHDB").unwrap();
    }

    fn lease(&self) -> Option<NonZeroU64> {
        self.lease
    }
}

#[tokio::test]
async fn a_counter_in_redis_keeps_what_every_counter_keeps() {
    let Some(server) = Redis::start() else { return };
    suite::all(&Shared::on(&Arc::new(server), 0, 1).await).await;
}

const ABILITIES: Abilities =
    Abilities { ttl: HOLD_TTL, restarts: true, skews: &[0, 900, -900, 30_000, -30_000, 1_800_000, -1_800_000] };

/// Runs schedules on three gateways at a time, in as many databases as there are lanes.
async fn simulated(server: Redis, lanes: u64, count: u64, lease: Option<NonZeroU64>) -> Seen {
    let server = Arc::new(server);
    let mut running = JoinSet::new();
    for lane in 0..lanes {
        let server = Arc::clone(&server);
        running.spawn(async move {
            let mut seen = Seen::default();
            for first in (lane * CHUNK..count).step_by(usize::try_from(lanes * CHUNK).unwrap()) {
                let stand = Shared { lease, ..Shared::on(&server, lane, NODES).await };
                // A lease that Redis forgets is no lease any more.
                let abilities = Abilities { restarts: lease.is_none(), ..ABILITIES };
                let seeds = first..count.min(first + CHUNK);
                let some = sim::schedules(&stand, abilities, seeds).await.unwrap_or_else(|wrong| panic!("{wrong}"));
                seen.add(&some);
            }
            seen
        });
    }
    let mut seen = Seen::default();
    while let Some(lane) = running.join_next().await {
        seen.add(&lane.unwrap());
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_schedule_on_three_gateways_overspends_or_refuses_without_cause() {
    let Some(server) = Redis::start() else { return };
    // Each step is a round trip: a tenth of what the counter of one process does.
    let count = if sim::count() < 100_000 { 200 } else { sim::count() };
    let begun = clock::instant();
    let seen = simulated(server, 8, count, None).await;
    println!("{count} schedules from seed 0 in {:?}: {seen:?}", begun.elapsed());
    let least =
        [seen.granted, seen.refused, seen.extended, seen.crashed, seen.expired, seen.restarts].into_iter().min();
    assert!(least.unwrap() > count / 5, "{seen:?}");
}

/// What gateways lease they never overspend; refused in vain is nobody who would fit beside one slice of each gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_schedule_on_three_gateways_that_lease_overspends_or_refuses_by_more_than_a_slice_each() {
    let Some(server) = Redis::start() else { return };
    let count = if sim::count() < 100_000 { 200 } else { sim::count() };
    let seen = simulated(server, 8, count, NonZeroU64::new(7)).await;
    println!("{count} schedules with leases: {seen:?}");
    let least = [seen.granted, seen.refused, seen.extended, seen.crashed, seen.expired].into_iter().min();
    assert!(least.unwrap() > count / 5, "{seen:?}");
}

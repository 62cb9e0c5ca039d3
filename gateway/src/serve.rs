//! Starts a gateway and stops it: settings, ledger, World, listeners; then the drain.
//!
//! Two kinds of runtimes: Pingora's own for the data plane, one for each of its threads, and a small one for everything
//! beside it (store, admin API, key refresh, reload, engine), so that a slow disk or a page never delays a token.

use std::fs::DirBuilder;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::Sessions;
use crate::bounds::REVISION_POLL_MS;
use crate::config::settings::Settings;
use crate::config::{self, Faults, Loaded};
use crate::engine::EngineFault;
use crate::fetch::Fetcher;
use crate::finance;
use crate::identity::directory::Directories;
use crate::identity::dpop::replay::Replays;
use crate::identity::issuers::Issuers;
use crate::identity::keyring::Keyring;
use crate::identity::own_tokens::OwnTokens;
use crate::identity::own_tokens::keys::KeysFault;
use crate::identity::token_endpoint::{self, throttle::Throttle};
use crate::journal::{Closing, Journal, JournalError};
use crate::limits::Limits;
use crate::limits::counter::Spent;
use crate::limits::local::Local;
use crate::limits::redis::{Clock, RedisCounter, Work};
use crate::policy::Pushed;
use crate::policy::bundle::{self, Bundles};
use crate::policy::decision_log::{self, DecisionLog};
use crate::providers::Transport;
use crate::proxy::Gateway;
use crate::routing::stored::Stored;
use crate::routing::{Health, Queues, RetryBudget};
use crate::running::{Flights, Running};
use crate::store::node::Node;
use crate::store::sqlite::Create;
use crate::store::{Store, StoreError};
use crate::tls::{self, TlsFault};
use crate::usage::tokens::pool::Pool;
use crate::world::{World, WorldFault};
use crate::{admin, clock, engine, key_notes, reload};

/// Longest wait for the data plane's threads once nothing runs any more.
const PLANE_STOP_MAX: Duration = Duration::from_secs(2);
/// Longest wait for the engine's end.
const ENGINE_STOP_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks at which issuer's keys are old.
const ISSUERS_LOOK: Duration = Duration::from_secs(1);
/// Pause between two batches of the times at which keys were last used.
const USES_NOTED: Duration = Duration::from_secs(2);
/// Pause between two looks for limits' counters that are idle: a look reads them all, which takes milliseconds.
const LIMITS_SWEPT: Duration = Duration::from_secs(10);
/// Longest wait for the ledger at the end.
const FLUSH_MAX: Duration = Duration::from_secs(10);

/// Folder of the policy bundles in the data folder.
const BUNDLES_FOLDER: &str = "bundles";

/// Why a gateway can't start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] Faults),
    /// Policy or prices are wrong.
    #[error(transparent)]
    World(#[from] WorldFault),
    /// The data folder can't be used.
    #[error("data folder `{path}`: {source}")]
    Data {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The decision log's folder can't be used.
    #[error(transparent)]
    Decisions(#[from] decision_log::OpenFault),
    /// The pepper is another than the stored keys were made with.
    #[error(transparent)]
    Pepper(#[from] crate::identity::pepper::WrongPepper),
    /// The keys of Weir's own tokens can't be used.
    #[error(transparent)]
    TokenKeys(#[from] KeysFault),
    /// An address is taken or not ours.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate, key or authority can't be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The place where limits are counted makes no sense.
    #[error("redis: {why}")]
    Redis {
        /// Why.
        why: String,
    },
    /// No runtime.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// The own engine can't run.
    #[error(transparent)]
    Engine(#[from] EngineFault),
}

/// A gateway that is about to run.
pub struct Prepared {
    /// State that outlives every World.
    pub running: Arc<Running>,
    /// Tells Redis what calls used, where limits are counted there.
    counting: Option<Work>,
    control: tokio::runtime::Runtime,
    loaded: Loaded,
}

/// Reads the configuration and opens the ledger; nothing listens yet.
pub fn prepare(path: &Path) -> Result<Prepared, ServeFault> {
    let loaded = config::load(path)?;
    let settings = &loaded.settings;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let pushed = Pushed::read(&settings.data).map_err(WorldFault::from)?;
    let world = World::build(settings.clone(), &pushed, 1)?;
    for doubt in world.unpriced() {
        tracing::warn!("{doubt}");
    }
    if let Some(fault) = tls::faults(settings).into_iter().next() {
        return Err(fault.into());
    }
    check_addresses(settings)?;
    let folder = |source| ServeFault::Data { path: settings.data.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&settings.data).map_err(folder)?;
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("weir-control")
        .enable_all()
        .build()
        .map_err(ServeFault::Threads)?;
    let (running, counting) = control.block_on(open(settings, world, pushed))?;
    Ok(Prepared { running: Arc::new(running), counting, control, loaded })
}

async fn open(settings: &Settings, mut world: World, pushed: Pushed) -> Result<(Running, Option<Work>), ServeFault> {
    let store = Store::open(&settings.store, Create::IfMissing).await?;
    let (journal, replay) = Journal::open_on(&settings.data, &settings.store, settings.durability).await?;
    if !replay.interrupted.is_empty() || replay.projected_late > 0 {
        let (interrupted, late) = (replay.interrupted.len(), replay.projected_late);
        tracing::warn!(interrupted, late, "the last run did not end properly; its calls are accounted for now");
    }
    world.peppers.check(&store.pepper_fingerprints().await?)?;
    let own_tokens = OwnTokens::new(&settings.data);
    if settings.token_endpoint.is_some() {
        own_tokens.keep(clock::unix_ms())?;
    }
    let keyring = Keyring::new();
    keyring.refresh(&store, clock::unix_ms()).await?;
    let bundles = Bundles::new(settings.data.join(BUNDLES_FOLDER));
    world.bundles = bundles.follow(&settings.bundles, clock::unix_ms());
    let directories = Directories::new();
    directories.refresh(&store, clock::unix_ms()).await?;
    let (limits, counting) = limits(settings, &store, &replay.interrupted).await?;
    let running = Running {
        world: arc_swap::ArcSwap::from_pointee(world),
        pushed: tokio::sync::Mutex::new(pushed),
        bundles,
        journal,
        decisions: DecisionLog::open(&settings.decision_log)?,
        store,
        keyring,
        directories,
        issuers: Issuers::new(Fetcher::new(settings.upstream_ca.as_deref())),
        own_tokens,
        token_requests: Throttle::new(clock::instant()),
        strangers: Throttle::new(clock::instant()),
        replays: Replays::default(),
        limits,
        stored: Stored::default(),
        health: Health::default(),
        retries: RetryBudget::default(),
        queues: Queues::default(),
        counting: Pool::default(),
        transport: Transport::new(settings.upstream_ca.as_ref().map(|path| path.display().to_string())),
        sessions: Sessions::new(clock::instant()),
        in_flight: Flights::default(),
        draining: AtomicBool::new(false),
        listening: AtomicBool::new(false),
        engine_ready: AtomicBool::new(settings.engine.is_none()),
        revisions: AtomicU64::new(1),
    };
    Ok((running, counting))
}

/// The counters of limits: of this process, or of several in Redis. What was used before is read from the ledger.
async fn limits(
    settings: &Settings,
    store: &Store,
    interrupted: &[Closing],
) -> Result<(Limits, Option<Work>), ServeFault> {
    let book: Arc<dyn Spent> = Arc::new(store.clone());
    let Some(redis) = settings.redis.clone() else { return Ok((Limits::local(clock::instant(), book), None)) };
    let alone = Arc::new(Local::system(clock::instant(), Arc::clone(&book)));
    let node = Node::counting(&settings.data)
        .map_err(|source| ServeFault::Data { path: settings.data.display().to_string(), source })?;
    let (counter, work) = RedisCounter::new(redis, Clock::Server, book, alone, node.as_str())
        .map_err(|error| ServeFault::Redis { why: error.to_string() })?;
    let open = interrupted.iter().filter_map(|call| Some((call.tenant.as_ref()?.org().into(), call.call)));
    let work = work.after(Arc::new(store.clone()), open.collect());
    if let Err(away) = counter.start().await {
        tracing::error!(why = away.code(), "Redis can't be asked; until it can, each limit's `when_unavailable` holds");
    }
    Ok((Limits::shared(clock::instant(), counter), Some(work)))
}

/// A taken address is a clear error now and not a retry loop later.
fn check_addresses(settings: &Settings) -> Result<(), ServeFault> {
    let data = settings.listeners.iter().map(|listener| listener.address);
    for address in data.chain([settings.admin.listen]) {
        TcpListener::bind(address).map_err(|source| ServeFault::Listen { address, source })?;
    }
    Ok(())
}

impl Prepared {
    /// Serves until a signal, then drains. `when_ready` runs once calls can be served.
    pub fn serve(self, config: &Path, when_ready: impl FnOnce(&Running) + Send + 'static) -> Result<(), ServeFault> {
        let Prepared { running, counting, control, loaded } = self;
        let settings = loaded.settings.clone();
        let server = data_plane(&settings, running.clone())?;
        let (stop, stopped) = watch::channel(false);
        let failed = Arc::new(parking_lot::Mutex::new(None));
        let mut tasks = tokio::task::JoinSet::new();
        let on = control.handle();
        tasks.spawn_on(admin::serve(settings.admin.clone(), running.clone(), stopped.clone()), on);
        tasks.spawn_on(refresh_keys(running.clone(), stopped.clone()), on);
        tasks.spawn_on(refresh_directories(running.clone(), stopped.clone()), on);
        tasks.spawn_on(refresh_issuers(running.clone(), stopped.clone()), on);
        let fetcher = Fetcher::new(settings.upstream_ca.as_deref());
        tasks.spawn_on(bundle::poll::watch(running.clone(), fetcher, stopped.clone()), on);
        tasks.spawn_on(note_uses(running.clone(), stopped.clone()), on);
        tasks.spawn_on(sweep_limits(running.clone(), stopped.clone()), on);
        tasks.spawn_on(key_notes::watch(running.clone(), stopped.clone()), on);
        tasks.spawn_on(finance::watch::watch(running.clone(), stopped.clone()), on);
        tasks.spawn_on(decision_log::ship::watch(running.clone(), stopped.clone()), on);
        tasks.spawn_on(reload::watch(config.to_path_buf(), loaded.watched, running.clone(), stopped.clone()), on);
        tasks.spawn_on(announce(settings.clone(), running.clone(), when_ready), on);
        let engine = settings
            .engine
            .clone()
            .map(|engine| on.spawn(run_engine(engine, running.clone(), stopped, failed.clone())));
        let (end_counting, counting_ends) = tokio::sync::oneshot::channel::<()>();
        let counting = counting.map(|work| {
            on.spawn(work.run(async {
                // An error means that nobody will ask for the end any more, which is one.
                counting_ends.await.unwrap_or(());
            }))
        });
        let (over, drained) = mpsc::sync_channel(1);
        let signals = Signals { running: running.clone(), drain: settings.drain, failed: failed.clone(), over };
        run_until(server, signals, &drained)?;
        stop.send_replace(true);
        let flushed = control.block_on(async {
            if let Some(engine) = engine {
                tokio::time::timeout(ENGINE_STOP_MAX, engine).await.ok();
            }
            // Pages and polls that still run have nothing to lose.
            tasks.shutdown().await;
            decision_log::ship::finish(running.clone()).await;
            running.limits.finish();
            drop(end_counting);
            if let Some(counting) = counting {
                counting.await.map(drop).unwrap_or(());
            }
            running.journal.shutdown(FLUSH_MAX).await
        });
        if let Err(error) = flushed {
            tracing::error!(%error, "the journal could not be flushed; the next start replays it");
        }
        control.block_on(running.store.close());
        control.shutdown_timeout(Duration::from_secs(1));
        match failed.lock().take() {
            Some(fault) => Err(ServeFault::Engine(fault)),
            None => Ok(()),
        }
    }
}

fn data_plane(settings: &Settings, running: Arc<Running>) -> Result<Server, ServeFault> {
    let conf = ServerConf {
        threads: settings.threads,
        // A runtime of its own for each thread: no queues are shared, and a call costs a quarter less CPU.
        work_stealing: false,
        // The drain is ours: Pingora would sleep its whole grace period even when idle.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Gateway { running: running.clone() });
    if let Some(app) = service.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        app.server_options = Some(options);
    }
    for (at, listener) in settings.listeners.iter().enumerate() {
        let address = listener.address.to_string();
        let Some(files) = &listener.tls else {
            service.add_tcp(&address);
            continue;
        };
        let fault = |why: String| TlsFault { setting: format!("listen ({address})"), why };
        let tls = tls::door::settings(at, files, &running).map_err(fault)?;
        service.add_tls_with_settings(&address, None, tls);
    }
    server.add_service(service);
    Ok(server)
}

/// Polls the store's revision, so that a key revoked by any process ends everywhere in time.
async fn refresh_keys(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(Duration::from_millis(REVISION_POLL_MS));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // A failure leaves the keys as they are; they grow stale, and stale keys prove nobody.
        if let Err(error) = running.keyring.refresh(&running.store, clock::unix_ms()).await {
            tracing::error!(%error, "the key store could not be read");
        }
        let world = running.world.load_full();
        world.limits.follow(running.keyring.limits());
        if world.settings.token_endpoint.is_some() {
            token_endpoint::keep_keys(&running);
        }
    }
}

/// Polls the revision of the store's directories, so that a user who is switched off ends everywhere in time. A task of
/// its own: a large directory must not delay the revocation of keys.
async fn refresh_directories(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(Duration::from_millis(REVISION_POLL_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // A failure leaves what is known; it grows stale, and stale directories refuse.
        if let Err(error) = running.directories.refresh(&running.store, clock::unix_ms()).await {
            tracing::error!(%error, "the directories could not be read");
        }
    }
}

/// Tells the store now and then when keys were used: calls never wait for it.
async fn note_uses(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(USES_NOTED);
    let mut noted_ms = clock::unix_ms();
    let mut stopped = false;
    while !stopped {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => stopped = true,
        }
        // A use in the millisecond of the last look is told again: the store keeps the latest.
        let now_ms = clock::unix_ms();
        let uses = running.keyring.used_since(noted_ms.saturating_sub(1));
        match running.store.key_uses(&uses).await {
            Ok(()) => noted_ms = now_ms,
            Err(error) => tracing::warn!(%error, "the last use of keys could not be written down"),
        }
    }
}

/// Forgets limits' counters that are idle, so that calls rarely have to.
async fn sweep_limits(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(LIMITS_SWEPT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        running.limits.sweep(clock::instant());
    }
}

/// Keeps issuers' keys fresh by the clock: what callers present has no part in it.
async fn refresh_issuers(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(ISSUERS_LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let world = running.world.load_full();
        running.issuers.keep_fresh(&world.settings.issuers, clock::unix_ms()).await;
    }
}

async fn announce(settings: Settings, running: Arc<Running>, when_ready: impl FnOnce(&Running)) {
    let addresses: Vec<_> =
        settings.listeners.iter().map(|listener| listener.address).chain([settings.admin.listen]).collect();
    for address in addresses {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    running.listening.store(true, Ordering::Relaxed);
    while !running.engine_ready.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    when_ready(&running);
}

async fn run_engine(
    settings: crate::config::settings::EngineSettings,
    running: Arc<Running>,
    stop: watch::Receiver<bool>,
    failed: Arc<parking_lot::Mutex<Option<EngineFault>>>,
) {
    if let Err(fault) = engine::supervise(&settings, &running, stop).await {
        tracing::debug!(%fault, "the engine can't run: the gateway ends and says so");
        *failed.lock() = Some(fault);
    }
}

/// Runs the data plane until it is drained; then it has [`PLANE_STOP_MAX`] to end.
///
/// Pingora joins its threads without a limit, and one that does not end (seen, rarely, where each has a runtime of its
/// own) must not keep the ledger from being flushed.
fn run_until(server: Server, signals: Signals, drained: &mpsc::Receiver<()>) -> Result<(), ServeFault> {
    let (running, ended) = mpsc::sync_channel::<()>(1);
    let plane = move || {
        server.run(RunArgs { shutdown_signal: Box::new(signals) });
        drop(running);
    };
    std::thread::Builder::new().name("weir-data".to_owned()).spawn(plane).map_err(ServeFault::Threads)?;
    // An error means that the other side is gone: the data plane has ended by itself.
    if drained.recv().is_ok() && ended.recv_timeout(PLANE_STOP_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
        // Nothing is lost by it, so it is no warning.
        tracing::info!("the data plane's threads did not end in time; going on without them");
    }
    Ok(())
}

/// Signals, and the drain: Pingora is told to stop only when the last stream has ended or time is up.
struct Signals {
    running: Arc<Running>,
    drain: Duration,
    failed: Arc<parking_lot::Mutex<Option<EngineFault>>>,
    over: mpsc::SyncSender<()>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        self.drained().await;
        // Nobody listens only where the process ends anyway.
        self.over.send(()).unwrap_or(());
        ShutdownSignal::FastShutdown
    }
}

impl Signals {
    /// Waits for a signal, then for the last call's end.
    async fn drained(&self) {
        let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        let hopeless = async {
            while self.failed.lock().is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            () = hopeless => return,
        }
        self.running.draining.store(true, Ordering::Relaxed);
        let running = self.running.in_flight.count();
        tracing::info!(running, drain_s = self.drain.as_secs(), "draining");
        tokio::select! {
            left = self.running.in_flight.drained(self.drain) => tracing::info!(left, "drained"),
            _ = term.recv() => tracing::info!("second signal, stopping at once"),
            _ = interrupt.recv() => tracing::info!("second signal, stopping at once"),
        }
    }
}

//! The connection to Redis: one for all calls, made and made again behind the scenes, and the breaker in front of it.
//!
//! No call ever waits for a connection. While there is none, or the server fails, [`Link::ask`] says so at once;
//! [`Link::keep`] connects and probes until it answers again.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pingora::tls::install_default_crypto_provider;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ScriptInvocation,
    ServerErrorKind, TlsCertificates, Value,
};
use tokio::sync::Notify;

use super::breaker::Breaker;
use super::script::Scripts;
use super::settings::RedisSettings;
use crate::telemetry::metric::limits as metric;

/// How long connecting may take, the handshake of TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Commands that wait for the connection's writer; more than that wait for a place, within the answer's time.
const PIPELINE: usize = 1_024;

/// Why Redis gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Away {
    /// It isn't asked at the moment: the breaker is open.
    Open,
    /// There is no connection.
    Down,
    /// The connection broke before the answer came.
    Broken,
    /// No answer in time.
    Slow,
    /// It is a replica now.
    ReadOnly,
    /// It reads its data.
    Loading,
    /// Its memory is full.
    Full,
    /// Anything else that it said, and answers that make no sense.
    Strange,
}

impl Away {
    /// A short code, for refusals, audit records and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Away::Open => "redis_away",
            Away::Down => "redis_down",
            Away::Broken => "redis_broken",
            Away::Slow => "redis_timeout",
            Away::ReadOnly => "redis_readonly",
            Away::Loading => "redis_loading",
            Away::Full => "redis_memory",
            Away::Strange => "redis_error",
        }
    }

    /// Whether the command may have been carried out all the same.
    pub(super) fn may_have_happened(self) -> bool {
        match self {
            Away::Broken | Away::Slow | Away::Strange => true,
            Away::Open | Away::Down | Away::ReadOnly | Away::Loading | Away::Full => false,
        }
    }

    fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Away::Slow;
        }
        if error.code() == Some("OOM")
            || error.to_string().contains("-OOM")
            || error.to_string().contains("OOM command")
        {
            return Away::Full;
        }
        // Inside of a script's error the first word of the command's own is what tells.
        let said = error.to_string();
        if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) || said.contains("READONLY") {
            return Away::ReadOnly;
        }
        if let ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown) = error.kind() {
            return Away::Loading;
        }
        if error.is_unrecoverable_error() || error.is_io_error() { Away::Broken } else { Away::Strange }
    }
}

/// A connection: to one server, or to a cluster.
#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

enum Opener {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// The connection and its breaker.
pub(super) struct Link {
    opener: Opener,
    timeout: Duration,
    probe_every: Duration,
    prefix: Arc<str>,
    slot: ArcSwapOption<Connection>,
    breaker: Breaker,
    wake: Notify,
    closed: Notify,
}

impl Link {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        Ok(Self {
            opener: Opener::new(settings)?,
            timeout: settings.timeout,
            probe_every: settings.probe_every,
            prefix: Arc::clone(&settings.prefix),
            slot: ArcSwapOption::empty(),
            breaker: Breaker::new(settings.failures_max),
            wake: Notify::new(),
            closed: Notify::new(),
        })
    }

    /// Whether Redis is asked at the moment.
    pub(super) fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Waits until Redis is asked again; wakes up now and then for nothing.
    pub(super) async fn answers(&self) {
        if self.breaker.is_open() {
            // A close between the two lines is noticed after the pause.
            drop(tokio::time::timeout(self.probe_every, self.closed.notified()).await);
        }
    }

    /// Runs a script: one round trip, or three where the server doesn't know it yet.
    pub(super) async fn ask(&self, script: &ScriptInvocation<'_>) -> Result<Vec<String>, Away> {
        if self.breaker.is_open() {
            return Err(Away::Open);
        }
        let Some(connection) = self.slot.load_full() else { return Err(self.failed(Away::Down, None)) };
        match self.run(&connection, script).await {
            Ok(words) => {
                self.breaker.succeeded();
                Ok(words)
            }
            Err(away) => Err(self.failed(away, Some(&connection))),
        }
    }

    async fn run(&self, connection: &Connection, script: &ScriptInvocation<'_>) -> Result<Vec<String>, Away> {
        let mut own = connection.clone();
        let answer = tokio::time::timeout(self.timeout, script.invoke_async::<Value>(&mut own)).await;
        let value = answer.map_err(|_elapsed| Away::Slow)?.map_err(|error| Away::of(&error))?;
        // The probe alone answers something else.
        let is_list = matches!(value, Value::Array(_));
        if is_list { redis::from_redis_value(value).map_err(|_unread| Away::Strange) } else { Ok(Vec::new()) }
    }

    fn failed(&self, away: Away, connection: Option<&Arc<Connection>>) -> Away {
        let is_gone = match away {
            Away::Broken | Away::ReadOnly | Away::Down => true,
            Away::Open | Away::Slow | Away::Loading | Away::Full | Away::Strange => false,
        };
        let opened = self.breaker.failed();
        if opened {
            tracing::error!(why = away.code(), "the shared limits can't be counted; their rules for that hold now");
            metric::degraded(true);
        }
        if opened || is_gone {
            // Only the one that failed: the keeper may have made a new one meanwhile.
            let current = self.slot.load_full();
            if let Some((failed, current)) = connection.zip(current.as_ref())
                && Arc::ptr_eq(failed, current)
            {
                self.slot.compare_and_swap(current, None);
            }
            self.wake.notify_one();
        }
        away
    }

    /// Connects for the first time; where that fails, the keeper goes on trying.
    pub(super) async fn start(&self) -> Result<(), Away> {
        let done = self.renew().await;
        if let Err(away) = done {
            self.failed(away, None);
        }
        done
    }

    /// Keeps the connection, for ever.
    pub(super) async fn keep(&self) {
        loop {
            if self.slot.load().is_some() && !self.breaker.is_open() {
                self.wake.notified().await;
                continue;
            }
            if self.renew().await.is_err() {
                tokio::time::sleep(self.probe_every).await;
            }
        }
    }

    /// A new connection that can write; the old one may lead to a server that is gone.
    async fn renew(&self) -> Result<(), Away> {
        let connection = tokio::time::timeout(CONNECT_MAX, self.opener.open(self.timeout)).await;
        let connection = connection.map_err(|_elapsed| Away::Down)?.map_err(|error| {
            let away = Away::of(&error);
            if away == Away::Loading { away } else { Away::Down }
        })?;
        self.run(&connection, &Scripts::new().probe(&self.prefix)).await?;
        self.slot.store(Some(Arc::new(connection)));
        if self.breaker.close() {
            tracing::info!("the shared limits are counted again");
        }
        metric::degraded(false);
        self.closed.notify_waiters();
        Ok(())
    }
}

impl Opener {
    fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let urls: Vec<String> =
            settings.urls.iter().map(|url| String::from_utf8_lossy(url.expose()).into_owned()).collect();
        let certificates = settings
            .authorities_pem
            .as_ref()
            .map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) });
        if urls.iter().any(|url| url.starts_with("rediss:")) {
            // Without one, the first connection would panic.
            install_default_crypto_provider();
        }
        let Some((first, [])) = urls.split_first().filter(|_| !settings.is_cluster) else {
            let mut builder = ClusterClient::builder(urls)
                .connection_timeout(CONNECT_MAX)
                .response_timeout(settings.timeout)
                .retries(1);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            return Ok(Opener::Cluster(Box::new(builder.build()?)));
        };
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(first.as_str(), certificates)?,
            None => Client::open(first.as_str())?,
        };
        Ok(Opener::One(Box::new(client)))
    }

    async fn open(&self, timeout: Duration) -> RedisResult<Connection> {
        match self {
            Opener::One(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_MAX))
                    .set_response_timeout(Some(timeout))
                    .set_pipeline_buffer_size(PIPELINE);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
            }
            Opener::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::One(one) => one.req_packed_command(cmd),
            Connection::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::One(one) => one.req_packed_commands(cmd, offset, count),
            Connection::Cluster(cluster) => cluster.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::One(one) => one.get_db(),
            Connection::Cluster(cluster) => cluster.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_apart() {
        let said = |text: &str| {
            let (code, detail) = text.split_once(' ').unwrap();
            Away::of(&redis::make_extension_error(code.to_owned(), Some(detail.to_owned())))
        };
        assert_eq!(said("OOM command not allowed when used memory > 'maxmemory'."), Away::Full);
        assert_eq!(said("READONLY You can't write against a read only replica."), Away::ReadOnly);
        assert_eq!(said("ERR something"), Away::Strange);
    }
}

//! Settings as meant: checked, resolved, with every default filled in. Made only by `config::load`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use weir_wire::endpoint::Endpoint;

use crate::finance::FinanceSettings;
use crate::identity::TenantPath;
use crate::identity::certificate::{CertificateRule, DeniedCertificates};
use crate::identity::directory::DirectoryRules;
use crate::identity::dpop::DpopRule;
use crate::identity::issuer::IssuerRule;
use crate::identity::own_tokens::TokenEndpointRule;
use crate::limits::redis::settings::RedisSettings;
use crate::limits::rule::RuleSettings;
use crate::policy::bundle::rule::BundleRule;
use crate::routing::fair::Priority;
use crate::routing::queue::QueueRule;
use crate::store::StoreUrl;
use crate::usage::price::Terms;
use crate::usage::price::gpu::GpuRule;

/// A secret that was resolved from its reference. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
    /// The bytes, for the place that uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Everything that one revision of the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Data plane listeners. Needs a restart to change.
    pub listeners: Vec<Listener>,
    /// Admin listener. Needs a restart to change.
    pub admin: AdminSettings,
    /// Folder of the store, the journal and the audit log. Needs a restart to change.
    pub data: PathBuf,
    /// Where keys, tenants, directories and usage are kept. Needs a restart to change.
    pub store: StoreUrl,
    /// Worker threads of the data plane. Needs a restart to change.
    pub threads: usize,
    /// Name of the query parameter that may hold an API key; without one a key in a URL is refused.
    pub key_parameter: Option<Arc<str>>,
    /// What is believed of a client.
    pub client: ClientSettings,
    /// Pepper versions for hashing API keys, oldest first; new keys use the last.
    pub peppers: Vec<Pepper>,
    /// Master keys that tenants' secrets are sealed under, oldest first; new ones use the last.
    pub master_keys: Vec<Pepper>,
    /// Rules by level of the tenant path.
    pub tenants: Vec<TenantRule>,
    /// Issuers of tokens that are taken in place of an API key.
    pub issuers: Vec<Arc<IssuerRule>>,
    /// Weir's own token endpoint, where there is one.
    pub token_endpoint: Option<TokenEndpointRule>,
    /// Who client certificates stand for.
    pub certificates: Vec<Arc<CertificateRule>>,
    /// Client certificates that are refused.
    pub denied_certificates: DeniedCertificates,
    /// Who vouches for client certificates, by listener.
    pub client_trust: Vec<Option<ClientTrust>>,
    /// Proofs of possession; none are taken without.
    pub dpop: Option<DpopRule>,
    /// Directories that users are looked up in.
    pub directory: DirectoryRules,
    /// Model aliases and who serves them.
    pub models: Vec<ModelRule>,
    /// The own engine, started and supervised by Weir. Needs a restart to change.
    pub engine: Option<EngineSettings>,
    /// Where the Rego comes from.
    pub policy: PolicySettings,
    /// What becomes of decisions.
    pub decision_log: DecisionLogSettings,
    /// Policies that come from elsewhere and decide beside it.
    pub bundles: Vec<Arc<BundleRule>>,
    /// Price file; `None` means the shipped one.
    pub prices: Option<PathBuf>,
    /// Discounts and currency beside it.
    pub terms: Terms,
    /// Statements, exports, shared cost.
    pub finance: FinanceSettings,
    /// Bounds of requests.
    pub request: RequestSettings,
    /// Streams to clients.
    pub stream: StreamSettings,
    /// PEM file of the only authorities that upstreams are trusted from; `None` means the system's. Needs a restart.
    pub upstream_ca: Option<PathBuf>,
    /// Retries before the first byte.
    pub retry: RetrySettings,
    /// Where several gateways count their limits together. Needs a restart to change.
    pub redis: Option<RedisSettings>,
    /// When a call may go on: after the journal's append, or after its fdatasync.
    pub durability: Durability,
    /// How long streams may run on after SIGTERM.
    pub drain: Duration,
}

/// One data plane listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate chain and key in PEM files; plain HTTP (1.1 and h2c) without.
    pub tls: Option<TlsFiles>,
    /// Its environment, such as `production`: keys may be for some only, and policies see it.
    pub environment: Option<Arc<str>>,
}

/// What is believed of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientSettings {
    /// Proxies whose `x-forwarded-for` and [`Self::geo_header`] count.
    pub trusted_proxies: Vec<IpNet>,
    /// Header in which they tell the client's country.
    pub geo_header: Option<Arc<str>>,
    /// Requests a minute of one address without a valid credential; `None`: any number.
    pub strangers: Option<NonZeroU64>,
}

/// PEM files of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Whether clients are asked for certificates.
    pub clients: Option<ClientAuth>,
}

/// How a listener asks clients for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// One that is there is judged; another credential does too.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// Who vouches for a listener's clients. Read with each reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrust {
    /// PEM of the authorities.
    pub ca: Arc<[u8]>,
    /// PEM of their revocation lists.
    pub crl: Option<Arc<[u8]>>,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Bearer token of the owner; without one only health, readiness and metrics are served.
    pub token: Option<Secret>,
    /// Folder of the policy that decides about administrators; the shipped one where none is named.
    pub policy: Option<PathBuf>,
    /// Time without a request after which a session of the finance page ends.
    pub session_idle: Duration,
    /// Time after which it ends in any case.
    pub session_life: Duration,
}

/// One version of the secret that is mixed into stored key hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pepper {
    /// Version, written beside each hash.
    pub version: u32,
    /// At least 16 bytes.
    pub secret: Secret,
}

/// What holds at one level of the tenant path and below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRule {
    /// The level.
    pub path: TenantPath,
    /// Models that may be used: exact names, or a prefix followed by `*`. Empty: none are granted at this level.
    pub models: Vec<String>,
    /// Roles of everybody at this level and below.
    pub roles: Vec<Arc<str>>,
    /// Attributes for policy; an inner level wins.
    pub attributes: BTreeMap<String, String>,
    /// Limits that everybody at this level and below shares.
    pub limits: LimitRule,
    /// Limits of each single key at this level and below.
    pub key_limits: LimitRule,
    /// Further limits of this level.
    pub rules: Arc<[RuleSettings]>,
    /// Its part of a busy deployment; counts for organisations.
    pub share: u32,
    /// Its class where calls wait; counts for organisations.
    pub priority: Priority,
}

/// Limits of one level. `None` means no limit at this level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitRule {
    /// Requests per minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Prompt and completion tokens per minute.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Calls at the same time.
    pub concurrency: Option<NonZeroU32>,
}

/// A model alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRule {
    /// Name that callers use.
    pub name: Arc<str>,
    /// Deployments that may serve it.
    pub deployments: Vec<Arc<DeploymentRule>>,
    /// Completion tokens of one choice at most; a call that asks for more is refused.
    pub output_tokens_max: NonZeroU32,
    /// Completion tokens held (and set as the cap) where the call names none.
    pub output_tokens_default: NonZeroU32,
}

/// Who speaks at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The own engine: exact usage, call ids, allowances.
    Engine,
    /// Any server that speaks OpenAI's API.
    OpenAi,
    /// Any server that speaks Anthropic's API and takes its key as `x-api-key`.
    Anthropic,
}

impl Provider {
    /// Name in configuration, metrics and usage rows.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Engine => "engine",
            Provider::OpenAi => "openai",
            Provider::Anthropic => "anthropic",
        }
    }

    /// The endpoints that a deployment of it speaks, unless the file says otherwise.
    pub fn usual_endpoints(self) -> &'static [Endpoint] {
        use Endpoint::{ChatCompletions, Completions, CountTokens, Embeddings, Messages, Responses};
        match self {
            Provider::Engine => &[ChatCompletions, Completions],
            Provider::OpenAi => &[ChatCompletions, Completions, Responses, Embeddings],
            Provider::Anthropic => &[Messages, CountTokens],
        }
    }

    /// Whether such a server may speak it at all.
    pub fn may_speak(self, endpoint: Endpoint) -> bool {
        match self {
            Provider::Engine | Provider::Anthropic => self.usual_endpoints().contains(&endpoint),
            Provider::OpenAi => endpoint != Endpoint::Models && !endpoint.is_about_stored(),
        }
    }
}

/// One place that serves a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRule {
    /// Unique name.
    pub name: Arc<str>,
    /// Protocol and trust.
    pub provider: Provider,
    /// The endpoints that it speaks; calls to others never go there.
    pub endpoints: Arc<[Endpoint]>,
    /// Where to connect.
    pub address: Address,
    /// Path before `/chat/completions`, such as `/v1`; no slash at its end.
    pub base_path: Arc<str>,
    /// Bearer credential sent upstream.
    pub api_key: Option<Secret>,
    /// Name of the secret of the caller's tenant that is sent in its place, where a level of its path has one.
    pub tenant_key: Option<Arc<str>>,
    /// Model's name there.
    pub model: Arc<str>,
    /// Where it computes.
    pub region: Option<Arc<str>>,
    /// Whose machines it runs on.
    pub owner: Option<Arc<str>>,
    /// The class of data that may be sent there.
    pub data_class: Option<Arc<str>>,
    /// Provider's name in the price file (default: the provider).
    pub price_provider: Arc<str>,
    /// Share of the traffic; 0 means only as a fallback.
    pub weight: u32,
    /// What an hour of its machine costs, where it is an own engine.
    pub gpu: Option<GpuRule>,
    /// How many calls it takes at once; `None`: any number.
    pub queue: Option<QueueRule>,
    /// Waits.
    pub timeouts: Timeouts,
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host and port; `tls` with the host as the name to verify.
    Tcp {
        /// Host name or address.
        host: Arc<str>,
        /// Port.
        port: u16,
        /// Speak TLS, verify the certificate.
        tls: bool,
        /// Speak HTTP/2 (by ALPN with TLS, with prior knowledge without).
        http2: bool,
    },
    /// Unix socket.
    Unix(PathBuf),
}

/// Waits of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the request's last byte to the reply's head.
    pub first_byte: Duration,
    /// Between two reads of the reply's body. There is no limit on the whole: long answers are normal.
    pub idle: Duration,
}

impl Timeouts {
    /// How long a stream may bring nothing but comments: before its first event, a queue upstream may take as long as
    /// the first byte of a reply.
    pub fn silence(&self, has_events: bool) -> Duration {
        if has_events { self.idle } else { self.idle.max(self.first_byte) }
    }
}

/// The own engine as a supervised child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// The `weir-engine` program; `None` means beside `weir` itself.
    pub binary: Option<PathBuf>,
    /// GGUF file or safetensors folder; `None` runs the scripted executor.
    pub model: Option<PathBuf>,
    /// Name that the engine gives the model.
    pub name: Arc<str>,
    /// Unix socket, in a folder of mode 0700.
    pub socket: PathBuf,
    /// Compute threads; 0 lets the engine choose.
    pub threads: usize,
    /// Further arguments.
    pub args: Vec<String>,
}

/// Where the Rego comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// Folder of `.rego` and data files, or a `.wasm` file; `None` means the shipped bundle.
    pub path: Option<PathBuf>,
    /// Data file or folder for them; `None` means there is none.
    pub data: Option<PathBuf>,
    /// The rule that decides, such as `data.weir.authz.decision`.
    pub entrypoint: String,
    /// Longest evaluation; past it the call is refused.
    pub timeout: Duration,
    /// Which engine may answer.
    pub engine: PolicyEngine,
    /// What the policy gets and gives.
    pub input: PolicyInput,
}

/// The shape of a policy's questions and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyInput {
    /// Weir's own document.
    Weir,
    /// What Envoy's external authorization asks; Weir's own document is in it.
    Envoy,
}

impl PolicySettings {
    /// For policies that are given as text and get Weir's own document.
    pub fn of_rule(entrypoint: &str, timeout: Duration, engine: PolicyEngine) -> Self {
        let entrypoint = entrypoint.to_owned();
        Self { path: None, data: None, entrypoint, timeout, engine, input: PolicyInput::Weir }
    }
}

/// Which engine may answer a policy's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyEngine {
    /// The fast machine, where it was found to agree with the interpreter.
    Auto,
    /// Only the interpreter.
    Interpreter,
}

/// What is kept of decisions (`policy.decision_log` in the file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionLogSettings {
    /// Where they go. Needs a restart to change, as do folder and size.
    pub sink: DecisionSink,
    /// Folder of the files, or of what waits to be sent.
    pub folder: PathBuf,
    /// A file is left for the next one beyond this size.
    pub file_bytes_max: u64,
    /// What happens when no more can be kept.
    pub full: LogFull,
    /// Folder of masks; `None` means those of the policies.
    pub masks: Option<PathBuf>,
    /// Texts that stand on every decision.
    pub labels: BTreeMap<String, String>,
}

impl DecisionLogSettings {
    /// Whether both write the same things to the same place.
    pub fn has_sink_of(&self, other: &Self) -> bool {
        let is_off = self.sink == DecisionSink::Off && other.sink == DecisionSink::Off;
        is_off || (&self.sink, &self.folder, self.file_bytes_max) == (&other.sink, &other.folder, other.file_bytes_max)
    }
}

/// Where decisions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionSink {
    /// Nowhere.
    Off,
    /// Files, of which so many are kept.
    File {
        /// Files.
        kept: usize,
    },
    /// A server that takes gzipped JSON arrays.
    Http {
        /// Where they are posted.
        url: url::Url,
        /// Bearer credential.
        token: Option<Secret>,
        /// Bytes that may wait on the disk.
        spool_bytes_max: u64,
        /// Bytes of one post before compression.
        batch_bytes_max: usize,
    },
}

/// What a full decision log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFull {
    /// Calls are refused.
    Refuse,
    /// New decisions are not kept: counted, and noted on the audit log.
    DropNew,
}

/// Bounds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSettings {
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Wait for the whole body.
    pub body_timeout: Duration,
}

/// Streams to clients (`stream: {heartbeat_ms, write_stall_ms, event_bytes_max}` in the file).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// Longest silence towards the client: then Weir sends a comment between two events. Default 5 s.
    pub heartbeat: Duration,
    /// A client that takes nothing for this long is cut. Default 30 s.
    pub write_stall: Duration,
    /// Bytes of one event at most. Default `bounds::EVENT_BYTES_MAX`.
    pub event_bytes_max: usize,
    /// How long a provider is heard out after its client hung up. Default: not at all.
    pub drain: Duration,
    /// Events that it may send meanwhile. Default 1000.
    pub drain_tokens: u64,
}

/// Retries before the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Attempts in all, the first included.
    pub attempts_max: u16,
    /// Longest `retry-after` that Weir waits out itself before failing over instead.
    pub wait_max: Duration,
    /// A failed deployment gets no traffic for this long, while others can serve.
    pub cooldown: Duration,
}

/// When a call may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the append; fdatasync follows within 2 ms. Survives kill -9; a power loss may cost 2 ms of records.
    Window,
    /// After the fdatasync.
    Strict,
}

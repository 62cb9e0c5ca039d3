//! From the tree to the settings: what must hold beyond the shape, every fault at once.
//!
//! Reads secrets and looks at the files that the configuration names; opens no socket and writes nothing.

mod bundles;
mod certificates;
mod client;
mod decision_log;
mod directory;
mod finance;
mod identity;
mod limit_rules;
mod models;
mod prices;
mod redis;
mod tenants;
mod token_endpoint;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::{Doubt, Fault, Warning, Wrong};
use super::file::Node;
use super::keys_table::ROOT;
use super::secret::{Environment, Reference, read_private};
use super::settings::{
    AdminSettings, ClientAuth, Durability, EngineSettings, Listener, Pepper, PolicyEngine, PolicyInput, PolicySettings,
    RequestSettings, RetrySettings, Secret, Settings, StreamSettings, TlsFiles,
};
use super::shape::{self, Section};
use super::{Loaded, resolve};
use crate::store::url::ServerUrl;
use crate::store::{STORE_FILE, StoreUrl};

/// The rule that policies for Envoy are asked for.
const ENVOY_ENTRYPOINT: &str = "data.envoy.authz.allow";

/// Bytes of a pepper at least, and of the owner's token.
pub const SECRET_BYTES_LEAST: usize = 16;
/// Bytes of a Unix socket's path at most (108 with the closing zero).
pub const SOCKET_BYTES_MAX: usize = 107;

/// Checks the whole tree. The fault side carries the faults and the files to watch.
pub fn settings(
    root: &Node,
    folder: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, (Vec<Fault>, Vec<PathBuf>)> {
    let mut check = Check { folder, environment, faults: Vec::new(), warnings: Vec::new(), watched: Vec::new() };
    shape::check(root, ROOT, &mut check.faults);
    if !matches!(root, Node::Map(_)) {
        return Err((check.faults, Vec::new()));
    }
    let settings = check.all(&Section::root(root, ROOT));
    check.watched.sort();
    check.watched.dedup();
    match check.faults.is_empty() {
        true => Ok(Loaded { settings, warnings: check.warnings, watched: check.watched }),
        false => Err((check.faults, check.watched)),
    }
}

struct Check<'a> {
    folder: &'a Path,
    environment: Environment<'a>,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
    watched: Vec<PathBuf>,
}

impl Check<'_> {
    fn fault(&mut self, path: String, wrong: Wrong) {
        self.faults.push(Fault { path, wrong });
    }

    fn doubt(&mut self, path: String, doubt: Doubt) {
        self.warnings.push(Warning { path, doubt });
    }

    fn all(&mut self, root: &Section<'_>) -> Settings {
        let listeners = self.listeners(root);
        let admin = self.admin(&root.section("admin"), &listeners);
        let engine = root.get("engine").map(|_| self.engine(&root.section("engine")));
        let models = self.models(root, engine.as_ref());
        let tenants = self.tenants(root, &models);
        let issuers = self.issuers(root, &tenants);
        let policy = self.policy(&root.section("policy"));
        let bundles = self.bundles(&root.section("policy"), &policy);
        let token_endpoint = self.token_endpoint(root, &issuers);
        let peppers = self.peppers(root);
        let identity = root.section("identity");
        let client_trust = self.client_trust(root);
        let certificates = self.certificates(&identity, &tenants);
        self.are_met(&identity, &certificates, &client_trust);
        let directory = self.directory(root, &tenants);
        Settings {
            client_trust,
            certificates,
            denied_certificates: self.denied_certificates(&identity),
            dpop: self.dpop(&identity, &peppers),
            listeners,
            admin,
            data: self.data(root),
            store: self.store(root),
            redis: self.redis(root),
            threads: root.int("threads").map_or_else(cores, to_usize),
            key_parameter: self.key_parameter(&root.section("keys")),
            client: self.client(&root.section("client")),
            peppers,
            master_keys: self.versions(&root.section("secrets"), ["master_key", "master_keys"], false),
            tenants,
            issuers,
            token_endpoint,
            directory,
            models,
            engine,
            policy,
            bundles,
            decision_log: self.decision_log(root),
            prices: self.prices(root),
            terms: self.terms(root),
            finance: self.finance(root),
            request: request(&root.section("request")),
            stream: stream(&root.section("stream")),
            upstream_ca: self.existing(&root.section("upstream"), "ca_file"),
            retry: retry(&root.section("retry")),
            durability: match root.section("journal").text("durability") {
                Some("strict") => Durability::Strict,
                _ => Durability::Window,
            },
            drain: Duration::from_secs(root.section("shutdown").int("drain_s").unwrap_or(0)),
        }
    }

    fn listeners(&mut self, root: &Section<'_>) -> Vec<Listener> {
        let Some(Node::List(list)) = root.get("listen") else {
            let address = address(root, "listen");
            self.plain(root.at("listen"), address, false);
            return vec![Listener { address, tls: None, environment: None }];
        };
        if list.is_empty() {
            self.fault(root.at("listen"), Wrong::EmptyList);
        }
        let mut listeners: Vec<(String, Listener)> = Vec::new();
        for section in root.sections("listen") {
            let tls = section.get("tls").map(|_| self.tls(&section.section("tls")));
            let address = address(&section, "address");
            self.plain(section.path.clone(), address, tls.is_some());
            if let Some((other, _)) = listeners.iter().find(|(_, other)| clash(address, other.address)) {
                self.fault(section.at("address"), Wrong::PortClash { address, other: other.clone() });
            }
            let environment = section.text("environment").map(Into::into);
            listeners.push((section.path, Listener { address, tls, environment }));
        }
        listeners.into_iter().map(|(_, listener)| listener).collect()
    }

    fn plain(&mut self, path: String, address: SocketAddr, tls: bool) {
        if !tls && !address.ip().is_loopback() {
            self.doubt(path, Doubt::PlainListener(address));
        }
    }

    fn tls(&mut self, section: &Section<'_>) -> TlsFiles {
        let cert = self.path(section, "cert");
        let key = self.path(section, "key");
        if let Some(path) = &cert {
            match std::fs::read(path) {
                Err(e) => self.fault(section.at("cert"), Wrong::File { path: path.clone(), why: e.to_string() }),
                Ok(bytes) => self.pem(section.at("cert"), path, &bytes, "CERTIFICATE-----"),
            }
        }
        if let Some(path) = &key {
            match read_private(path) {
                Err(wrong) => self.fault(section.at("key"), wrong),
                Ok(bytes) => self.pem(section.at("key"), path, &bytes, "PRIVATE KEY-----"),
            }
        }
        self.watched.extend(cert.iter().chain(&key).cloned());
        let clients = section.get("client_ca").map(|_| match section.text("client_auth") {
            Some("optional") => ClientAuth::Optional,
            Some(_) | None => ClientAuth::Required,
        });
        TlsFiles { cert: cert.unwrap_or_default(), key: key.unwrap_or_default(), clients }
    }

    fn pem(&mut self, place: String, path: &Path, bytes: &[u8], block: &'static str) {
        if memchr::memmem::find(bytes, block.as_bytes()).is_none() {
            let block = block.trim_end_matches('-');
            self.fault(place, Wrong::Pem { path: path.to_owned(), block });
        }
    }

    fn admin(&mut self, section: &Section<'_>, listeners: &[Listener]) -> AdminSettings {
        let listen = address(section, "listen");
        if let Some(other) = listeners.iter().find(|other| clash(listen, other.address)) {
            self.fault(
                section.at("listen"),
                Wrong::PortClash { address: listen, other: format!("listen ({})", other.address) },
            );
        }
        let token = self.secret(section, "token");
        self.long_enough(section.at("token"), token.as_ref());
        self.fits_header(section.at("token"), token.as_ref());
        let policy = self.existing(section, "policy");
        let seconds = |name| Duration::from_secs(section.int(name).unwrap_or(0));
        let (session_idle, session_life) = (seconds("session_idle_s"), seconds("session_life_s"));
        AdminSettings { listen, token, policy, session_idle, session_life }
    }

    fn peppers(&mut self, root: &Section<'_>) -> Vec<Pepper> {
        self.versions(&root.section("keys"), ["pepper", "peppers"], true)
    }

    /// A secret, or several with their versions.
    fn versions(&mut self, keys: &Section<'_>, [one, many]: [&'static str; 2], is_needed: bool) -> Vec<Pepper> {
        let mut peppers = Vec::new();
        match (keys.get(one), keys.get(many)) {
            (None, None) if is_needed => self.fault(keys.at(one), Wrong::NoPepper),
            (None, None) => {}
            (Some(_), Some(_)) => self.fault(keys.at(one), Wrong::TwoForms { one, many }),
            (Some(_), None) => {
                let secret = self.secret(keys, one);
                self.long_enough(keys.at(one), secret.as_ref());
                peppers.extend(secret.map(|secret| Pepper { version: 1, secret }));
            }
            (None, Some(list)) => {
                if matches!(list, Node::List(items) if items.is_empty()) {
                    self.fault(keys.at(many), Wrong::EmptyList);
                }
                for section in keys.sections(many) {
                    self.pepper(&section, &mut peppers);
                }
            }
        }
        peppers.sort_by_key(|pepper| pepper.version);
        peppers
    }

    fn pepper(&mut self, section: &Section<'_>, peppers: &mut Vec<Pepper>) {
        let secret = self.secret(section, "secret");
        self.long_enough(section.at("secret"), secret.as_ref());
        let (Some(secret), Some(number)) = (secret, section.int("version")) else { return };
        let version = u32::try_from(number).unwrap_or(u32::MAX);
        if peppers.iter().any(|other| other.version == version) {
            self.fault(section.at("version"), Wrong::PepperVersion(number));
        }
        peppers.push(Pepper { version, secret });
    }

    fn engine(&mut self, section: &Section<'_>) -> EngineSettings {
        let model = self.existing(section, "model");
        let binary = self.existing(section, "binary");
        let socket = self.path(section, "socket").unwrap_or_default();
        self.socket(section.at("socket"), &socket);
        let name = section.text("name").unwrap_or_default();
        self.name(section.at("name"), section.get("name").and(Some(name)));
        EngineSettings {
            binary,
            model,
            name: name.into(),
            socket,
            threads: section.int("threads").map_or(0, to_usize),
            args: section.texts("args").into_iter().map(|(_, arg)| arg.to_owned()).collect(),
        }
    }

    fn policy(&mut self, section: &Section<'_>) -> PolicySettings {
        let path = self.existing(section, "path");
        let is_module = |path: &PathBuf| path.extension().is_some_and(|end| end == "wasm");
        if let Some(folder) = path.iter().find(|path| path.exists() && !path.is_dir() && !is_module(path)) {
            self.fault(section.at("path"), Wrong::NotFolder(folder.clone()));
        }
        self.watched.extend(path.iter().cloned());
        let input = match section.text("input") {
            Some("envoy") => PolicyInput::Envoy,
            Some(_) | None => PolicyInput::Weir,
        };
        let entrypoint = match input {
            PolicyInput::Envoy if section.get("entrypoint").is_none() => ENVOY_ENTRYPOINT,
            PolicyInput::Envoy | PolicyInput::Weir => section.text("entrypoint").unwrap_or_default(),
        };
        self.entrypoint(section, entrypoint);
        let data = self.existing(section, "data");
        self.watched.extend(data.iter().cloned());
        let engine = match section.text("engine") {
            Some("interpreter") => PolicyEngine::Interpreter,
            Some(_) | None => PolicyEngine::Auto,
        };
        let (entrypoint, timeout) = (entrypoint.to_owned(), ms(section, "timeout_ms"));
        PolicySettings { path, data, entrypoint, timeout, engine, input }
    }

    fn entrypoint(&mut self, section: &Section<'_>, entrypoint: &str) {
        let name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let mut parts = entrypoint.split('.');
        let is_rule = parts.next() == Some("data") && parts.clone().next().is_some() && parts.all(name);
        if !is_rule && section.get("entrypoint").is_some() {
            self.fault(section.at("entrypoint"), Wrong::Entrypoint(entrypoint.to_owned()));
        }
    }

    fn prices(&mut self, root: &Section<'_>) -> Option<PathBuf> {
        let path = match root.text("prices") {
            Some("builtin") | None => return None,
            Some(_) => self.existing(root, "prices"),
        };
        self.watched.extend(path.iter().cloned());
        path
    }

    fn data(&mut self, root: &Section<'_>) -> PathBuf {
        let path = self.path(root, "data").unwrap_or_default();
        if path.exists() && !path.is_dir() {
            self.fault(root.at("data"), Wrong::NotFolder(path.clone()));
        }
        path
    }

    /// A reference to a URL, or a URL without a password.
    fn store(&mut self, root: &Section<'_>) -> StoreUrl {
        let section = root.section("store");
        let file = StoreUrl::from(&self.path(root, "data").unwrap_or_default().join(STORE_FILE));
        let Some(text) = section.text("url") else { return file };
        let is_literal = Reference::parse(text).is_err();
        let url = match is_literal {
            true => Some(text.to_owned()),
            false => self.secret(&section, "url").map(|url| String::from_utf8_lossy(url.expose()).into_owned()),
        };
        let Some(url) = url else { return file };
        match ServerUrl::parse(&url) {
            Ok(server) if is_literal && server.has_password() => self.fault(section.at("url"), Wrong::LiteralSecret),
            Ok(server) => return StoreUrl::Server(server),
            Err(fault) => self.fault(section.at("url"), fault.into()),
        }
        file
    }

    fn path(&self, section: &Section<'_>, key: &str) -> Option<PathBuf> {
        section.text(key).map(|text| resolve(self.folder, text))
    }

    fn existing(&mut self, section: &Section<'_>, key: &str) -> Option<PathBuf> {
        let path = self.path(section, key)?;
        if let Err(e) = File::open(&path) {
            self.fault(section.at(key), Wrong::File { path: path.clone(), why: e.to_string() });
        }
        Some(path)
    }

    fn secret(&mut self, section: &Section<'_>, key: &str) -> Option<Secret> {
        let Some(Node::Text(text)) = section.get(key) else { return None };
        let read = Reference::parse(text).and_then(|reference| {
            self.watched.extend(reference.file(self.folder));
            reference.read(self.folder, self.environment)
        });
        match read {
            Ok(secret) => Some(secret),
            Err(_) if text.is_empty() => None,
            Err(wrong) => {
                self.fault(section.at(key), wrong);
                None
            }
        }
    }

    fn long_enough(&mut self, path: String, secret: Option<&Secret>) {
        match secret.map(|secret| secret.expose().len()) {
            Some(got) if got < SECRET_BYTES_LEAST => {
                self.fault(path, Wrong::SecretShort { got, least: SECRET_BYTES_LEAST });
            }
            Some(_) | None => {}
        }
    }

    fn fits_header(&mut self, path: String, secret: Option<&Secret>) {
        if secret.is_some_and(|secret| !secret.expose().iter().all(u8::is_ascii_graphic)) {
            self.fault(path, Wrong::SecretText);
        }
    }

    fn socket(&mut self, place: String, path: &Path) {
        if path.as_os_str().len() > SOCKET_BYTES_MAX {
            self.fault(place, Wrong::SocketPath { path: path.to_owned(), most: SOCKET_BYTES_MAX });
        }
    }

    fn name(&mut self, path: String, name: Option<&str>) {
        let good = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '*' | '"' | '\'' | '`' | '\\');
        match name {
            Some(name) if name.is_empty() || name.len() > 128 || !name.chars().all(good) => {
                self.fault(path, Wrong::Name(name.to_owned()));
            }
            Some(_) | None => {}
        }
    }
}

fn address(section: &Section<'_>, key: &str) -> SocketAddr {
    section.text(key).and_then(|text| text.parse().ok()).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Whether two listeners would want the same port of the same interface. Port 0 is any free one.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let same_interface = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_interface
}

fn request(section: &Section<'_>) -> RequestSettings {
    RequestSettings {
        body_bytes_max: section.int("body_bytes_max").map_or(0, to_usize),
        body_timeout: ms(section, "body_timeout_ms"),
    }
}

fn stream(section: &Section<'_>) -> StreamSettings {
    StreamSettings {
        heartbeat: ms(section, "heartbeat_ms"),
        write_stall: ms(section, "write_stall_ms"),
        event_bytes_max: section.int("event_bytes_max").map_or(0, to_usize),
        drain: ms(section, "drain_ms"),
        drain_tokens: section.int("drain_tokens").unwrap_or(0),
    }
}

fn retry(section: &Section<'_>) -> RetrySettings {
    RetrySettings {
        attempts_max: section.int("attempts_max").and_then(|n| u16::try_from(n).ok()).unwrap_or(1),
        wait_max: ms(section, "wait_max_ms"),
        cooldown: ms(section, "cooldown_ms"),
    }
}

fn ms(section: &Section<'_>, key: &str) -> Duration {
    Duration::from_millis(section.int(key).unwrap_or(0))
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

//! The demo's data folder: a pepper, an owner's token, a configuration, two keys. Made once, kept between runs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DemoArgs;
use crate::cli::EX_CONFIG;
use crate::cli::key::{self, KeyError, Wanted};
use crate::clock;
use crate::config::secret::process_environment;
use crate::config::settings::{Pepper, Secret};
use crate::identity::tenant::PathError;
use crate::identity::{Peppers, TenantPath, api_key};
use crate::journal::{self, JournalError};
use crate::store::sqlite::Create;
use crate::store::{STORE_FILE, Store, StoreError};

/// File name of the model that `make run` brings.
const MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// The demo's two callers: name, tenant path, models it may use.
const TENANTS: [(&str, &str, &[&str]); 2] =
    [("acme", "acme/research/chat", &["smollm2", "assistant"]), ("globex", "globex/support", &["smollm2"])];

/// Why the demo can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoFault {
    /// The demo is for one's own machine.
    #[error("`{0}` is not a loopback address; the demo serves this machine only")]
    NotLoopback(std::net::SocketAddr),
    /// No data folder is known.
    #[error("no home folder is known; name a data folder with --data")]
    NoHome,
    /// The model is not there.
    #[error("no model at `{0}`; bring it with `make model`, or name another with --model, or use --scripted")]
    NoModel(PathBuf),
    /// A file can't be read or written.
    #[error("`{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process works there.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A key can't be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A tenant's path is wrong.
    #[error(transparent)]
    Tenant(#[from] PathError),
    /// No randomness.
    #[error("no randomness: {0}")]
    Random(String),
}

impl DemoFault {
    /// The process's exit status: 78 where the arguments are at fault, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotLoopback(_) | Self::NoHome | Self::NoModel(_) => EX_CONFIG,
            Self::File { .. }
            | Self::Store(_)
            | Self::Journal(_)
            | Self::Key(_)
            | Self::Tenant(_)
            | Self::Random(_) => 1,
        }
    }
}

/// One tenant as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DemoTenant {
    /// Name.
    pub name: String,
    /// API key, in clear: this is the demo.
    pub key: String,
    /// Models that it may use.
    pub models: Vec<String>,
}

/// A demo that is set up.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The configuration file.
    pub config: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// What an SDK needs.
    pub base_url: String,
    /// The admin listener.
    pub admin_url: String,
    /// The owner's token.
    pub owner_key: String,
    /// The tenants.
    pub tenants: Vec<DemoTenant>,
}

impl Demo {
    /// One line for scripts.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "base_url": self.base_url, "admin_url": self.admin_url,
            "finance_url": format!("{}/", self.admin_url),
            "owner_key": self.owner_key, "tenants": self.tenants,
        })
        .to_string()
    }
}

/// Makes what is missing and reads what is there.
pub fn set_up(args: &DemoArgs) -> Result<Demo, DemoFault> {
    for address in [args.listen, args.admin] {
        if !address.ip().is_loopback() {
            return Err(DemoFault::NotLoopback(address));
        }
    }
    let data = args.data.clone().or_else(default_folder).ok_or(DemoFault::NoHome)?;
    let data = std::path::absolute(&data).map_err(|source| DemoFault::File { path: data, source })?;
    let model = if args.scripted { None } else { Some(model(args)?) };
    private_folder(&data)?;
    // Before anything is written: a demo that runs there would take our configuration for a change of its own.
    journal::is_free(&data)?;
    private_folder(&data.join("run"))?;
    let pepper = keep_secret(&data.join("pepper"))?;
    let owner_key = keep_secret(&data.join("admin_token"))?;
    let config = data.join("weir.yaml");
    write(&config, &yaml(args, model.as_deref()), 0o600)?;
    let tenants = keys(&data, pepper.as_bytes())?;
    Ok(Demo {
        config,
        base_url: format!("http://{}/v1", args.listen),
        admin_url: format!("http://{}", args.admin),
        owner_key,
        tenants,
        data,
    })
}

fn default_folder() -> Option<PathBuf> {
    let base = process_environment("XDG_DATA_HOME").map(PathBuf::from);
    let base = base.or_else(|| process_environment("HOME").map(|home| PathBuf::from(home).join(".local/share")))?;
    Some(base.join("weir/demo"))
}

fn model(args: &DemoArgs) -> Result<PathBuf, DemoFault> {
    let cached = || {
        let base = process_environment("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| process_environment("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
        Some(base.join("weir/models").join(MODEL_FILE))
    };
    let path = args.model.clone().or_else(cached).ok_or(DemoFault::NoHome)?;
    match path.exists() {
        true => std::path::absolute(&path).map_err(|source| DemoFault::File { path, source }),
        false => Err(DemoFault::NoModel(path)),
    }
}

fn private_folder(path: &Path) -> Result<(), DemoFault> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DemoFault::File { path: path.to_path_buf(), source })
}

/// Reads a secret, or makes one that only this user can read.
fn keep_secret(path: &Path) -> Result<String, DemoFault> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0_u8; 32];
            getrandom::fill(&mut bytes).map_err(|error| DemoFault::Random(error.to_string()))?;
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write(path, &text, 0o600)?;
            Ok(text)
        }
        Err(source) => Err(DemoFault::File { path: path.to_path_buf(), source }),
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), DemoFault> {
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    let written = open.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| DemoFault::File { path: path.to_path_buf(), source })
}

/// The demo's configuration.
fn yaml(args: &DemoArgs, model: Option<&Path>) -> String {
    let model = model.map_or_else(String::new, |path| format!("model: {}, ", serde_json::json!(path)));
    format!(
        "# The demo's configuration, written anew at each start.\n\
         listen: {listen}\n\
         admin: {{ listen: {admin}, token: \"file:./admin_token\" }}\n\
         data: .\n\
         keys: {{ pepper: \"file:./pepper\" }}\n\
         tenants:\n\
         \x20 - {{ path: acme, models: [\"*\"], roles: [user], limits: {{ requests_per_minute: 600, \
         tokens_per_minute: 200000, concurrency: 16 }} }}\n\
         \x20 - {{ path: globex, models: [smollm2], roles: [user], limits: {{ requests_per_minute: 20, \
         tokens_per_minute: 20000, concurrency: 2 }} }}\n\
         models:\n\
         \x20 - name: smollm2\n\
         \x20   output_tokens_default: 512\n\
         \x20   deployments: [ {{ name: engine, provider: engine, base_url: \"unix:./run/engine.sock\", \
         upstream_model: smollm2 }} ]\n\
         \x20 - name: assistant\n\
         \x20   output_tokens_default: 512\n\
         \x20   deployments: [ {{ name: engine-assistant, provider: engine, base_url: \"unix:./run/engine.sock\", \
         upstream_model: smollm2 }} ]\n\
         engine: {{ {model}name: smollm2, socket: ./run/engine.sock }}\n\
         shutdown: {{ drain_s: 10 }}\n",
        listen = args.listen,
        admin = args.admin,
    )
}

/// The two keys, kept in clear in a file of this user's own: made at the first start, and again where the store does
/// not know one any more or it was revoked, since a demo that prints dead keys is none.
fn keys(data: &Path, pepper: &[u8]) -> Result<Vec<DemoTenant>, DemoFault> {
    let path = data.join("demo-keys.json");
    let kept: Vec<DemoTenant> =
        fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DemoFault::File { path: path.clone(), source })?;
    let tenants = runtime.block_on(async {
        let store = Store::open(&data.join(STORE_FILE), Create::IfMissing).await?;
        let tenants = live_or_new(&store, kept, pepper).await;
        store.close().await;
        tenants
    })?;
    let text = serde_json::to_string(&tenants).unwrap_or_default();
    write(&path, &text, 0o600)?;
    Ok(tenants)
}

async fn live_or_new(store: &Store, kept: Vec<DemoTenant>, pepper: &[u8]) -> Result<Vec<DemoTenant>, DemoFault> {
    let peppers = Peppers::new(&[Pepper { version: 1, secret: Secret::new(pepper) }]);
    let mut tenants = Vec::new();
    for (name, tenant, models) in TENANTS {
        if let Some(old) = kept.iter().find(|old| old.name == name)
            && is_live(store, &old.key).await?
        {
            tenants.push(old.clone());
            continue;
        }
        let tenant = TenantPath::parse(tenant)?;
        let wanted = Wanted {
            tenant: Some(&tenant),
            name,
            roles: &[],
            models: None,
            expires_ms: None,
            kind: crate::identity::scope::KeyKind::User,
            scopes: &crate::identity::scope::Scopes::default(),
            replaces: None,
        };
        let (key, _) = key::issue(store, &peppers, &wanted, clock::unix_ms()).await?;
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        tenants.push(DemoTenant { name: name.to_owned(), key: key.reveal().to_owned(), models });
    }
    Ok(tenants)
}

async fn is_live(store: &Store, key: &str) -> Result<bool, StoreError> {
    let Ok(presented) = api_key::parse(key) else { return Ok(false) };
    Ok(store.key_get(presented.id()).await?.is_some_and(|row| row.revoked_ms.is_none()))
}

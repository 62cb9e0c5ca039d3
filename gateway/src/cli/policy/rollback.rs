//! `weir policy rollback`: asks a running gateway to let an earlier revision of a bundle decide again.

use std::io::Write;
use std::path::PathBuf;

use http::{HeaderMap, HeaderValue, header};
use url::Url;

use crate::config::{self, Faults};
use crate::fetch::{FetchFault, Fetcher, Trust};

/// Bytes of the gateway's answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Arguments of `weir policy rollback`.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The revision, or the beginning of its digest; `GET /admin/v1/policy` lists what is kept
    #[arg(value_name = "REVISION")]
    pub revision: String,
    /// The bundle; may be left out where there is one only
    #[arg(long, value_name = "NAME")]
    pub bundle: Option<String>,
    /// The gateway's configuration, which says where its admin listener is and what its token is
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// Why a roll-back was not done.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Faults),
    /// Nobody may ask it.
    #[error("the configuration has no `admin.token`")]
    NoToken,
    /// No gateway answers.
    #[error("the gateway's admin listener does not answer")]
    Away(#[from] FetchFault),
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// No runtime.
    #[error("can't start")]
    Start(#[source] std::io::Error),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[source] std::io::Error),
}

pub(super) fn run(args: &RollbackArgs, out: &mut dyn Write) -> Result<u8, RollbackError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RollbackError::Start)?;
    let answer = runtime.block_on(ask(args))?;
    let name = answer.pointer("/bundle").and_then(serde_json::Value::as_str).unwrap_or_default();
    let revision = answer.pointer("/newest/revision").and_then(serde_json::Value::as_str).unwrap_or_default();
    writeln!(out, "revision {revision} of bundle {name} decides again").map_err(RollbackError::Output)?;
    Ok(0)
}

async fn ask(args: &RollbackArgs) -> Result<serde_json::Value, RollbackError> {
    let admin = config::load(&args.config)?.settings.admin;
    let token = admin.token.ok_or(RollbackError::NoToken)?;
    let mut address = admin.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let url = Url::parse(&format!("http://{address}/admin/v1/policy/rollback")).map_err(|_| FetchFault::Url)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let bearer = [b"Bearer ", token.expose()].concat();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(&bearer).map_err(|_| RollbackError::NoToken)?);
    let body = serde_json::json!({"bundle": args.bundle, "revision": args.revision}).to_string();
    let fetcher = Fetcher::new(None);
    let reply = fetcher.post(&url, headers, body.into(), ANSWER_BYTES_MAX, Trust::Configured).await?;
    let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match reply.status.is_success() {
        true => Ok(answer),
        false => {
            let text = answer.pointer("/error/message").and_then(serde_json::Value::as_str).unwrap_or_default();
            Err(RollbackError::Refused(format!("status {}: {text}", reply.status.as_u16())))
        }
    }
}

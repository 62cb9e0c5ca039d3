//! `weir token check`: whether a token would be taken, as whom, or exactly why not. `weir token keys|rotate-keys`: what
//! Weir's own tokens are signed with.
//!
//! The token comes from a file or standard input, never from the command line, where every user of the machine could
//! read it. With `--jsonl` each line brings its own keys and rules: `{"token", "jwks", "rules": {...}, "now"}`.

mod line;

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::place::{Place, PlaceError};
use crate::clock;
use crate::config::{self, Faults};
use crate::fetch::Fetcher;
use crate::identity::issuer::{IssuerRule, Proven};
use crate::identity::issuers::Issuers;
use crate::identity::own_tokens::keys::{self, KeyStanding, KeysFault, SigningKeys};
use crate::identity::token::{TOKEN_BYTES_MAX, TokenFault};

/// Bytes of one line of a batch.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `weir token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// What to do
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What one does with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Tell whether a token would be taken, as whom, or why not
    Check(CheckArgs),
    /// List the keys that Weir's own tokens are signed with; the first one signs
    Keys(Place),
    /// Make a key that signs from now on; tokens of the one before live on, those of the one before that end
    RotateKeys(Place),
}

/// Arguments of `weir token check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Configuration whose issuers judge the token
    #[arg(long, short, value_name = "FILE", required_unless_present = "jsonl")]
    pub config: Option<PathBuf>,
    /// File that holds the token; standard input without it
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Judge a batch: one JSON object a line with token, jwks, rules and now
    #[arg(long, conflicts_with = "config")]
    pub jsonl: bool,
}

/// Why a token could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The configuration has no issuer.
    #[error("the configuration has no `identity.issuers`")]
    NoIssuers,
    /// The place is no good.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The keys of Weir's own tokens can't be used.
    #[error(transparent)]
    Keys(#[from] KeysFault),
    /// Input or output failed.
    #[error("can't read the token or write the answer")]
    Io(#[from] std::io::Error),
}

impl TokenError {
    /// The process's exit status: 78 for settings, else 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Place(_) => super::EX_CONFIG,
            Self::NoIssuers | Self::Keys(_) | Self::Io(_) => 2,
        }
    }
}

/// The answer about one token.
#[derive(Debug, Serialize)]
struct Verdict {
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Subject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct Subject {
    tenant: String,
    key: String,
    roles: Vec<String>,
    attributes: std::collections::BTreeMap<String, String>,
    expires_s: u64,
}

impl Verdict {
    fn of(judged: Result<(&IssuerRule, &Proven), TokenFault>) -> Self {
        match judged {
            Ok((rule, proven)) => Self {
                issuer: Some(rule.name.to_string()),
                subject: Some(Subject {
                    tenant: proven.tenant.to_string(),
                    key: proven.key.to_string(),
                    roles: proven.roles.iter().map(ToString::to_string).collect(),
                    attributes: proven.attributes.clone(),
                    expires_s: proven.expires_s,
                }),
                ..Self::signed()
            },
            Err(fault) => Self::refused(fault.code(), fault.to_string()),
        }
    }

    /// The signature alone was asked for, and is good.
    fn signed() -> Self {
        Self { accepted: true, issuer: None, subject: None, reason: None, detail: None }
    }

    fn refused(reason: &'static str, detail: String) -> Self {
        Self { accepted: false, reason: Some(reason), detail: Some(detail), ..Self::signed() }
    }
}

/// Judges; the exit status is 0 where everything was accepted, 1 where something was not.
///
/// # Errors
/// Nothing could be judged.
pub async fn run(args: &TokenArgs, out: &mut dyn Write) -> Result<u8, TokenError> {
    match &args.command {
        TokenCommand::Check(args) => check(args, out).await,
        TokenCommand::Keys(place) => {
            let keys = SigningKeys::read(&place.folder()?)?;
            list(&keys.map(|keys| keys.standings()).unwrap_or_default(), out)
        }
        TokenCommand::RotateKeys(place) => list(&keys::rotate(&place.folder()?, clock::unix_ms())?.standings(), out),
    }
}

/// One JSON object a line, newest first.
fn list(keys: &[KeyStanding], out: &mut dyn Write) -> Result<u8, TokenError> {
    for key in keys {
        writeln!(out, "{}", serde_json::to_string(key).unwrap_or_default())?;
    }
    Ok(0)
}

async fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<u8, TokenError> {
    if args.jsonl {
        return batch(args, out);
    }
    let verdict = single(args).await?;
    let text = serde_json::to_string(&verdict).unwrap_or_default();
    writeln!(out, "{text}")?;
    Ok(u8::from(!verdict.accepted))
}

async fn single(args: &CheckArgs) -> Result<Verdict, TokenError> {
    let Some(config) = &args.config else { return Err(TokenError::NoIssuers) };
    let settings = config::load(config)?.settings;
    if settings.issuers.is_empty() {
        return Err(TokenError::NoIssuers);
    }
    let limit = u64::try_from(TOKEN_BYTES_MAX).unwrap_or(u64::MAX).saturating_mul(2);
    let mut text = String::new();
    input(args)?.take(limit).read_to_string(&mut text)?;
    let issuers = Issuers::new(Fetcher::new(settings.upstream_ca.as_deref()));
    let judged = issuers.prove(text.trim(), &settings.issuers, clock::unix_ms()).await;
    Ok(Verdict::of(judged.as_ref().map(|(rule, proven)| (&**rule, &**proven)).map_err(|fault| *fault)))
}

fn batch(args: &CheckArgs, out: &mut dyn Write) -> Result<u8, TokenError> {
    let mut reader = std::io::BufReader::new(input(args)?);
    let mut refused = false;
    loop {
        let mut text = Vec::new();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut text)? == 0 {
            return Ok(u8::from(refused));
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let is_whole = text.ends_with(b"\n") || u64::try_from(text.len()).unwrap_or(u64::MAX) < LINE_BYTES_MAX;
        let verdict = match is_whole {
            true => line::judge(&text, clock::unix_ms() / 1_000),
            false => {
                reader.skip_until(b'\n')?;
                Verdict::refused("bad_line", format!("the line is longer than {LINE_BYTES_MAX} bytes"))
            }
        };
        refused |= !verdict.accepted;
        writeln!(out, "{}", serde_json::to_string(&verdict).unwrap_or_default())?;
        out.flush()?;
    }
}

fn input(args: &CheckArgs) -> Result<Box<dyn Read>, TokenError> {
    Ok(match &args.file {
        Some(path) => Box::new(std::fs::File::open(path)?),
        None => Box::new(std::io::stdin()),
    })
}

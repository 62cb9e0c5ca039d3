//! `weir usage price`: what calls cost, one JSON object a line, without a gateway or a store.
//!
//! For people who check a bill, and for tests. A line that can't be read gets a line that says why, and the next is
//! read.

use std::borrow::Cow;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cli::place::PlaceError;
use crate::config;
use crate::usage::buckets::{Buckets, Tier};
use crate::usage::price::file::Moment;
use crate::usage::price::{BUILTIN, Basis, PriceBook, PriceError, PriceOf};
use crate::usage::report::{Seen, State};

/// Bytes of a line: a usage object has a few hundred.
const LINE_MAX: usize = 65_536;

/// Arguments of `weir usage price`.
#[derive(Debug, clap::Args)]
pub struct PriceArgs {
    /// Read one JSON object a line from standard input: provider, model, usage (as the provider sent it) or buckets,
    /// at, tier, region, tenant, picture
    #[arg(long, required = true)]
    pub jsonl: bool,
    /// The price file; the shipped one where it is missing
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// The gateway's configuration: its price file where `--prices` names none, its discounts and its currency
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl PriceArgs {
    /// The prices that are meant.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn book(&self) -> Result<PriceBook, super::UsageError> {
        let Some(config) = &self.config else { return Ok(book(self.prices.as_deref())?) };
        let settings = config::load(config).map_err(PlaceError::from)?.settings;
        let file = self.prices.as_deref().or(settings.prices.as_deref());
        Ok(book(file)?.with(&settings.terms).map_err(BookError::from)?)
    }
}

/// Why nothing was priced.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The file can't be read.
    #[error("the price file `{path}` can't be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is none.
    #[error(transparent)]
    Prices(#[from] PriceError),
}

/// One line that came in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    buckets: Option<Buckets>,
    #[serde(default)]
    at: Option<Moment>,
    #[serde(borrow, default)]
    tier: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    region: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    picture: Option<Cow<'a, str>>,
}

/// One line that goes out.
#[derive(Serialize, Default)]
struct Answer<'a> {
    nano_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list_nano_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_nano_usd: Option<i64>,
    buckets: Option<Buckets>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    price_version: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Answer<'_> {
    fn fault(error: &impl ToString) -> Self {
        Self { status: "error", error: Some(error.to_string()), ..Self::default() }
    }
}

/// The price book of a file, or the shipped one.
pub fn book(path: Option<&std::path::Path>) -> Result<PriceBook, BookError> {
    let Some(path) = path else { return Ok(PriceBook::parse(BUILTIN)?) };
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| BookError::Read { path: path.display().to_string(), source })?;
    Ok(PriceBook::parse(&text)?)
}

/// Prices every line; `now_ms` is Unix time and stands for a line without a time.
pub fn run(
    book: &PriceBook,
    now_ms: u64,
    lines: &mut dyn BufRead,
    out: &mut (dyn Write + Send),
) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(out);
    let mut line = Vec::new();
    while next(lines, &mut line)? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let version = book.version().as_ref();
        let answer = answer(book, version, now_ms, &line);
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Reads the next line, up to one byte beyond the longest, and passes over the rest of it.
fn next(lines: &mut dyn BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    loop {
        let held = lines.fill_buf()?;
        if held.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = held.iter().position(|byte| *byte == b'\n');
        let part = held.get(..end.unwrap_or(held.len())).unwrap_or(held);
        let room = LINE_MAX.saturating_add(1).saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = end.map_or(held.len(), |end| end.saturating_add(1));
        lines.consume(used);
        if end.is_some() {
            // An empty line is a line.
            line.push(b'\n');
            return Ok(true);
        }
    }
}

fn answer<'a>(book: &'a PriceBook, version: &'a str, now_ms: u64, line: &[u8]) -> Answer<'a> {
    if line.len() > LINE_MAX {
        return Answer::fault(&format_args!("the line has more than {LINE_MAX} bytes"));
    }
    let asked: Asked<'_> = match serde_json::from_slice(line) {
        Ok(asked) => asked,
        Err(error) => return Answer::fault(&error),
    };
    let named = match asked.tier.as_deref().map(|word| Tier::named(word).ok_or(word)).transpose() {
        Ok(named) => named,
        Err(word) => return Answer::fault(&format_args!("`{word}` is no tier")),
    };
    let (report, buckets) = match (asked.usage, asked.buckets) {
        (Some(usage), None) => {
            let seen = Seen::one(usage.get());
            let report = seen.report(seen.shape(&asked.model));
            (Some(report), report.buckets)
        }
        (None, Some(buckets)) => (None, buckets),
        (Some(_), Some(_)) | (None, None) => return Answer::fault(&"either `usage` or `buckets` is needed"),
    };
    let tier = named.or(report.and_then(|report| report.tier)).unwrap_or_default();
    let told = Answer {
        buckets: Some(buckets),
        provider_nano_usd: report.and_then(|report| report.provider_cost_nano),
        tier: (tier != Tier::Standard).then_some(tier),
        ..Answer::default()
    };
    match report.map(|report| report.state) {
        Some(State::Inconsistent(fault)) => {
            return Answer { status: "inconsistent", error: Some(fault.to_string()), ..told };
        }
        Some(State::Absent | State::Partial) => return Answer { status: "none", ..told },
        Some(State::Complete) | None => {}
    }
    let of = PriceOf {
        region: asked.region.as_deref(),
        tier,
        tenant: asked.tenant.as_deref(),
        picture: asked.picture.as_deref(),
        ..PriceOf::new(&asked.provider, &asked.model, asked.at.map_or(now_ms, |at| at.0))
    };
    match book.price(&of, &buckets) {
        Ok(cost) => Answer {
            nano_usd: Some(cost.nano),
            list_nano_usd: (cost.list_nano != cost.nano).then_some(cost.list_nano),
            price_version: Some(version),
            status: match cost.basis {
                Basis::Priced => "priced",
                Basis::Ceiling => "ceiling",
            },
            ..told
        },
        Err(error) => Answer { status: "unpriced", error: Some(error.to_string()), ..told },
    }
}

#[cfg(test)]
mod tests;

//! What a policy demands of an allowed call. Closed: an unknown obligation, or a known one of another shape, is a
//! refusal.
//!
//! `{redact, route: {region, exclude}, limit: {max_tokens}, log, headers}`, each optional; or a list of the names of
//! those that need no more than their name.

use std::sync::Arc;

use regorus::Value;

use super::permit::{brief, text};

/// Characters of a name that are kept where it is only told.
pub(super) const NAME_CHARS_MAX: usize = 128;
/// Entries of one list within an obligation.
const LIST_MAX: usize = 64;
/// Headers that one decision may add.
const HEADERS_MAX: usize = 8;
/// Bytes of an added header's value.
const HEADER_BYTES_MAX: usize = 256;

/// Everything that a decision demands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Obligations {
    /// Personal data must be redacted before a byte of the prompt leaves.
    pub redact: bool,
    /// Where the call may go.
    pub route: Route,
    /// Completion tokens of one choice at most.
    pub max_tokens: Option<u32>,
    /// What a decision log may keep of the call.
    pub log: LogLevel,
    /// Headers that are added to the reply.
    pub headers: Vec<(String, String)>,
}

/// Where a call may go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// Regions of which a deployment must have one; none: all.
    pub regions: Vec<Arc<str>>,
    /// Deployments, providers or regions that may not serve it.
    pub exclude: Vec<Arc<str>>,
}

/// What a decision log may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Input and result.
    #[default]
    Full,
    /// Everything but the input.
    Metadata,
    /// Nothing.
    None,
}

/// Why obligations can't be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObligationFault {
    /// Nobody knows it.
    #[error("obligation `{0}` is unknown")]
    Unknown(String),
    /// A known one of another shape.
    #[error("obligation `{name}: {value}` is wrong")]
    Wrong {
        /// Which.
        name: String,
        /// As given, cut short.
        value: String,
    },
}

impl ObligationFault {
    /// Reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "policy_unknown_obligation",
            Self::Wrong { .. } => "policy_wrong_obligation",
        }
    }
}

impl Obligations {
    /// Reads the member `obligations` of a decision.
    ///
    /// # Errors
    /// One of them is unknown or wrong.
    pub fn read(value: &Value) -> Result<Self, ObligationFault> {
        let mut all = Self::default();
        if let Value::Object(members) = value {
            for (name, value) in members.iter() {
                all.take(&name_of(name)?, value)?;
            }
            return Ok(all);
        }
        let names = list(value).ok_or_else(|| wrong("obligations", value))?;
        for name in names {
            // A name alone is enough only for what takes no more.
            match &*name {
                "redact" => all.redact = true,
                "route" | "limit" | "log" | "headers" => return Err(wrong(&name, value)),
                _ => return Err(ObligationFault::Unknown(name.to_string())),
            }
        }
        Ok(all)
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), ObligationFault> {
        match name {
            "redact" => self.redact = redact(value).ok_or_else(|| wrong(name, value))?,
            "route" => self.route = route(value)?,
            "limit" => self.max_tokens = limit(value)?,
            "log" => self.log = log(value).ok_or_else(|| wrong(name, value))?,
            "headers" => self.headers = headers(value).ok_or_else(|| wrong(name, value))?,
            _ => return Err(ObligationFault::Unknown(name.to_owned())),
        }
        Ok(())
    }

    /// Both hold: the stricter of each. `None` where no region would be left.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let mut headers = self.headers.clone();
        // Of two values for one name the first stays; the names are an application's own.
        let is_new = |(name, _): &&(String, String)| !self.headers.iter().any(|(own, _)| own == name);
        headers.extend(other.headers.iter().filter(is_new).cloned());
        Some(Self {
            redact: self.redact || other.redact,
            route: self.route.and(&other.route)?,
            max_tokens: self.max_tokens.into_iter().chain(other.max_tokens).min(),
            log: self.log.max(other.log),
            headers,
        })
    }

    /// Names of those that demand something, for the audit record.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            ("redact", self.redact),
            ("route", self.route != Route::default()),
            ("limit", self.max_tokens.is_some()),
            ("log", self.log != LogLevel::Full),
            ("headers", !self.headers.is_empty()),
        ];
        all.into_iter().filter(|(_, demands)| *demands).map(|(name, _)| name).collect()
    }
}

impl Route {
    fn and(&self, other: &Self) -> Option<Self> {
        let regions = match (self.regions.is_empty(), other.regions.is_empty()) {
            (true, _) => other.regions.clone(),
            (_, true) => self.regions.clone(),
            (false, false) => {
                let both: Vec<_> = self.regions.iter().filter(|one| other.regions.contains(one)).cloned().collect();
                // An empty list would say "nowhere" and mean "everywhere".
                if both.is_empty() {
                    return None;
                }
                both
            }
        };
        let more = other.exclude.iter().filter(|one| !self.exclude.contains(one));
        Some(Self { regions, exclude: self.exclude.iter().chain(more).cloned().collect() })
    }

    /// Whether a deployment may serve the call.
    pub fn permits(&self, deployment: &str, provider: &str, region: Option<&str>) -> bool {
        let is_in = |list: &[Arc<str>], name: &str| list.iter().any(|one| **one == *name);
        let region_fits = self.regions.is_empty() || region.is_some_and(|region| is_in(&self.regions, region));
        let excluded = is_in(&self.exclude, deployment)
            || is_in(&self.exclude, provider)
            || region.is_some_and(|region| is_in(&self.exclude, region));
        region_fits && !excluded
    }
}

fn wrong(name: &str, value: &Value) -> ObligationFault {
    ObligationFault::Wrong { name: name.to_owned(), value: brief(value) }
}

fn name_of(name: &Value) -> Result<Arc<str>, ObligationFault> {
    text(name).ok_or_else(|| ObligationFault::Unknown(brief(name)))
}

/// `true`, `false`, or an object of what to redact and how, which a scanner understands; each but `false` demands it.
fn redact(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Object(_) => Some(true),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Set(_) | Value::Undefined => None,
    }
}

fn route(value: &Value) -> Result<Route, ObligationFault> {
    let Value::Object(members) = value else { return Err(wrong("route", value)) };
    let mut route = Route::default();
    for (name, value) in members.iter() {
        let name = name_of(name)?;
        let names = text(value).map(|one| vec![one]).or_else(|| list(value)).ok_or_else(|| wrong("route", value))?;
        match &*name {
            // An empty list of regions would say "nowhere" and mean "everywhere".
            "region" if names.is_empty() => return Err(wrong("route", value)),
            "region" => route.regions = names,
            "exclude" => route.exclude = names,
            _ => return Err(ObligationFault::Unknown(format!("route.{name}"))),
        }
    }
    Ok(route)
}

fn limit(value: &Value) -> Result<Option<u32>, ObligationFault> {
    let Value::Object(members) = value else { return Err(wrong("limit", value)) };
    let mut most = None;
    for (name, value) in members.iter() {
        match &*name_of(name)? {
            "max_tokens" => {
                let tokens = value.as_u32().ok().filter(|tokens| *tokens > 0);
                most = Some(tokens.ok_or_else(|| wrong("limit", value))?);
            }
            name => return Err(ObligationFault::Unknown(format!("limit.{name}"))),
        }
    }
    Ok(most)
}

fn log(value: &Value) -> Option<LogLevel> {
    match text(value).as_deref() {
        Some("full") => Some(LogLevel::Full),
        Some("metadata") => Some(LogLevel::Metadata),
        Some("none") => Some(LogLevel::None),
        Some(_) | None => None,
    }
}

/// Headers of an application's own: nothing that Weir, HTTP or a browser gives a meaning to.
fn headers(value: &Value) -> Option<Vec<(String, String)>> {
    let Value::Object(members) = value else { return None };
    if members.len() > HEADERS_MAX {
        return None;
    }
    let header = |(name, value): (&Value, &Value)| {
        let (name, value) = (text(name)?, text(value)?);
        let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let reserved = ["x-weir-", "x-ratelimit-", "x-request-id", "x-should-retry", "x-forwarded-", "x-frame-"];
        let is_own = name.starts_with("x-") && !reserved.iter().any(|taken| name.starts_with(taken));
        let is_plain = value.len() <= HEADER_BYTES_MAX && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        (is_name && is_own && is_plain).then(|| (name.to_string(), value.to_string()))
    };
    members.iter().map(header).collect()
}

fn list(value: &Value) -> Option<Vec<Arc<str>>> {
    let names: Vec<_> = if let Value::Array(items) = value {
        items.iter().take(LIST_MAX.saturating_add(1)).map(text).collect::<Option<_>>()?
    } else if let Value::Set(items) = value {
        items.iter().take(LIST_MAX.saturating_add(1)).map(text).collect::<Option<_>>()?
    } else {
        return None;
    };
    (names.len() <= LIST_MAX).then_some(names)
}

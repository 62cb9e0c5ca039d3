//! What can be wrong with a configuration, each fault with its place in the file.
//!
//! Owns the wording. A secret's value never enters a fault.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One fault: where, and what.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Place in the file, such as `models[0].deployments[1].weight`; empty for the file as a whole.
    pub path: String,
    /// What is wrong there.
    pub wrong: Wrong,
}

/// Every fault of one file, in the order of the checks.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults {
    /// The file's name as given, without its folder.
    pub file: String,
    /// At least one.
    pub list: Vec<Fault>,
    /// Files and folders that the configuration names: a change of one may mend it.
    pub watched: Vec<PathBuf>,
}

/// Something that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Place in the file.
    pub path: String,
    /// What is doubtful.
    pub doubt: Doubt,
}

/// What is wrong at one place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The file can't be read.
    #[error("can't be read: {0}")]
    Unreadable(String),
    /// The file is larger than the bound.
    #[error("is larger than {0} bytes")]
    FileSize(u64),
    /// The text is no YAML.
    #[error("is not valid YAML: {0}")]
    Yaml(String),
    /// A key that means nothing here.
    #[error("unknown key{}", hint(.0.as_deref()))]
    UnknownKey(Option<String>),
    /// The same key twice in one mapping.
    #[error("the key stands twice; keep one")]
    DuplicateKey,
    /// A key that must be there.
    #[error("is missing; for example `{key}: {example}`")]
    Missing {
        /// The key's name.
        key: &'static str,
        /// A value that would do.
        example: &'static str,
    },
    /// Another type than the key takes.
    #[error("must be {want}, not {got}")]
    Type {
        /// What the key takes.
        want: &'static str,
        /// What stands there.
        got: &'static str,
    },
    /// No address and no range of addresses.
    #[error("`{0}` is no address and no CIDR range such as `10.0.0.0/8`")]
    NetRange(String),
    /// No name of a header.
    #[error("`{0}` is no header's name")]
    HeaderName(String),
    /// A parameter's name that a URL would hold in another form.
    #[error("`{0}` must be letters, digits, `_` and `-`")]
    QueryParameter(String),
    /// A number outside its range.
    #[error("must be {min} to {max}, not {got}")]
    Range {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// As written.
        got: String,
    },
    /// An endpoint that the provider can't speak, or none at all.
    #[error("`{got}` is no endpoint that the provider `{provider}` speaks; they are {}", list(.known))]
    Endpoint {
        /// As written.
        got: String,
        /// The provider.
        provider: &'static str,
        /// Those that it may speak.
        known: Vec<&'static str>,
    },
    /// None of the words that the key takes.
    #[error("`{got}` is none of {}{}", list(.choices), hint(.suggestion.as_deref()))]
    Choice {
        /// As written.
        got: String,
        /// The words.
        choices: &'static [&'static str],
        /// The nearest.
        suggestion: Option<String>,
    },
    /// No `host:port` with a numeric host.
    #[error("`{0}` is no address; write IP:PORT, such as `127.0.0.1:8080` or `[::]:8080`")]
    Address(String),
    /// Two listeners on one port.
    #[error("`{address}` clashes with `{other}`; give one of them another port")]
    PortClash {
        /// This one.
        address: SocketAddr,
        /// Key of the other one.
        other: String,
    },
    /// A secret that isn't a reference. The text is withheld on purpose.
    #[error("a secret is given by reference: write `env:NAME` or `file:PATH` (and change this one, if it was real)")]
    LiteralSecret,
    /// A reference to an environment variable that isn't set.
    #[error("the environment variable `{0}` is not set")]
    EnvMissing(String),
    /// A secret that is there and empty.
    #[error("the secret in {0} is empty")]
    SecretEmpty(String),
    /// A secret of too few bytes.
    #[error(
        "the secret has {got} bytes; it needs at least {least}, for example from `head -c 32 /dev/urandom | base64`"
    )]
    SecretShort {
        /// Bytes found.
        got: usize,
        /// Bytes needed.
        least: usize,
    },
    /// A secret with bytes that can't stand in a header.
    #[error("the secret has characters that can't stand in an HTTP header (a line break?)")]
    SecretText,
    /// A file that other users of the machine can read.
    #[error("`{}` can be read by every user of this machine; run `chmod 600 {}`", .0.display(), .0.display())]
    WorldReadable(PathBuf),
    /// A named file that isn't there or can't be read.
    #[error("`{}` can't be read: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// A file where a folder is needed.
    #[error("`{}` is not a folder", .0.display())]
    NotFolder(PathBuf),
    /// A file without the PEM block that is needed.
    #[error("`{}` holds no PEM block `{block}`", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        block: &'static str,
    },
    /// A Unix socket path longer than the kernel takes.
    #[error("`{}` has {} bytes; a Unix socket's path has at most {most}", .path.display(), .path.as_os_str().len())]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Most bytes.
        most: usize,
    },
    /// A base URL that can't be used. It may hold a credential, so it isn't repeated.
    #[error("{0}")]
    Url(#[from] super::url::UrlFault),
    /// A tenant path that breaks the syntax.
    #[error("{0}")]
    Tenant(#[from] crate::identity::tenant::PathError),
    /// A name with other characters, or none, or too many.
    #[error("`{0}` must be 1 to 128 printable characters without blanks, `*` or quotes")]
    Name(String),
    /// `*` anywhere but at the end.
    #[error("`{0}`: `*` may stand only at the end, as in `gpt-*`")]
    Pattern(String),
    /// Finance that is set up wrongly.
    #[error("{0}")]
    Finance(&'static str),
    /// A limit whose words don't fit together.
    #[error("{0}")]
    LimitRule(&'static str),
    /// No amount of money.
    #[error("`{0}` is no amount of money: write it like `\"250.00\"`, with at most nine digits on either side")]
    Dollars(String),
    /// Something about prices.
    #[error("{0}")]
    Pricing(String),
    /// A time zone that the IANA database doesn't have.
    #[error("`{0}` is no time zone of the IANA database, such as `UTC` or `Europe/Berlin`")]
    Zone(String),
    /// A name that stands for two things.
    #[error("`{name}` is already the name of {other}")]
    DuplicateName {
        /// The name.
        name: String,
        /// Path of the first one.
        other: String,
    },
    /// A list that must not be empty.
    #[error("needs at least one entry")]
    EmptyList,
    /// No deployment would ever be picked first.
    #[error("every deployment has weight 0, so none gets traffic; give one of them `weight: 1`")]
    WeightsZero,
    /// The default output cap is above the largest one.
    #[error("{default} is more than output_tokens_max ({max})")]
    OutputTokens {
        /// `output_tokens_default`.
        default: u64,
        /// `output_tokens_max`.
        max: u64,
    },
    /// A wish that can't be met on a socket.
    #[error("a Unix socket is spoken to with HTTP/1.1; leave `http2` out")]
    Http2OverUnix,
    /// The engine's door stands open.
    #[error("an engine on TCP needs `api_key`, or anybody who reaches it bypasses every limit; or use `unix:PATH`")]
    OpenEngine,
    /// No pepper at all.
    #[error("is missing: stored API keys are hashed with it; for example `keys: {{ pepper: \"file:./pepper\" }}`")]
    NoPepper,
    /// One secret and several versions of it in one file.
    #[error("`{one}` and `{many}` exclude each other; keep `{many}`")]
    TwoForms {
        /// The key for one.
        one: &'static str,
        /// The key for several.
        many: &'static str,
    },
    /// One version twice.
    #[error("version {0} stands twice")]
    PepperVersion(u64),
    /// A rule name that isn't one.
    #[error("`{0}` is no rule; write it from the root, such as `data.weir.authz.decision`")]
    Entrypoint(String),
    /// A name that no known algorithm has.
    #[error("`{0}` is no algorithm that tokens are taken with")]
    Algorithm(String),
    /// A secret that both sides hold, for an issuer whose keys are public.
    #[error("keys that both sides hold are taken only from a file: set `jwks: file:PATH`")]
    SymmetricIssuer,
    /// Discovery without an address to start from.
    #[error("must be an http or https URL where its keys are found by discovery; else set `jwks`")]
    IssuerUrl,
    /// No address of Weir itself.
    #[error(
        "must be the address under which clients reach Weir, such as `https://weir.example.com`: no path, no slash"
    )]
    OwnIssuer,
    /// No place of keys.
    #[error("must be `discovery`, an http or https URL, or `file:PATH`")]
    KeySource,
    /// No address to ask at.
    #[error("must be an http or https URL without a credential in it")]
    IntrospectionUrl,
    /// No address to post decisions to.
    #[error("the sink `http` needs an http or https URL without a credential in it")]
    DecisionUrl,
    /// Two issuers that could be asked about one token.
    #[error(
        "a token with this prefix could also be one of `{0}`: give both prefixes of which none begins with the other"
    )]
    TokenPrefix(String),
    /// No place of a bundle.
    #[error("must be an http or https URL without a credential in it, or `file:PATH`")]
    BundleUrl,
    /// No key, or one of another kind.
    #[error("is no key for `{0}`: a public key in PEM or as a JWK, or a secret of at least 32 bytes for the `HS` ones")]
    BundleKey(String),
    /// A bundle of this machine that would be refused.
    #[error("the bundle would be refused: {0}")]
    Bundle(String),
    /// No address of a store.
    #[error("{0}")]
    StoreUrl(#[from] crate::store::url::UrlFault),
    /// No part of `data`.
    #[error("`{0}` is no path within `data`, such as `acme/rules`")]
    Root(String),
    /// One token for two directories.
    #[error("another directory has the same token; give each its own")]
    SharedToken,
    /// No attribute of a user that is a single text.
    #[error("`{0}` is no single-valued attribute of a SCIM user, such as `department`, `userType` or `name.formatted`")]
    Fact(String),
    /// No address of an LDAP server.
    #[error("must be an ldap or ldaps URL of a host and, where needed, a port")]
    LdapUrl,
    /// No filter, or one in which nothing stands for the caller.
    #[error("must be an LDAP filter (RFC 4515) with {0} in it, such as `(&(objectClass=person)(uid={{user}}))`")]
    LdapFilter(&'static str),
    /// A name without a password, or the other way round.
    #[error("`bind_dn` and `bind_password` belong together; leave both out to ask anonymously")]
    LdapBind,
    /// A certificate, key or authority that can't be used.
    #[error("{0}")]
    Tls(String),
    /// Something about client certificates without an authority for them.
    #[error("means nothing without `client_ca`")]
    NoClientCa,
    /// A pattern that is none.
    #[error("{0}")]
    CertificatePattern(#[from] crate::identity::certificate::pattern::PatternFault),
    /// A part that the pattern doesn't catch, or one in the place of the organisation.
    #[error("`{{{0}}}` is no part that the rule's name gives, or it stands in the place of the organisation")]
    CertificatePart(String),
    /// No serial number and no hash.
    #[error("must be `serial:HEX`, or `sha256:` and 64 hex digits")]
    DeniedCertificate,
    /// No address of the gateway itself.
    #[error("must be an http or https URL without credential, query and fragment")]
    PublicUrl,
    /// Keys that both sides hold, for proofs.
    #[error("`{0}` is no algorithm that proofs of possession are taken with")]
    ProofAlgorithm(String),
    /// The policies of the folder don't compile, or lack the entry point.
    #[error("the policy doesn't compile: {0}")]
    Policy(String),
    /// The price file can't be taken.
    #[error("the prices can't be taken: {0}")]
    Prices(String),
    /// A limit that could not refuse.
    #[error("{0}")]
    Limits(String),
}

/// What is doubtful at one place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Nobody can call.
    #[error("no tenant is configured: every call is refused")]
    NoTenants,
    /// Nothing to call.
    #[error("no model is configured: every call is refused")]
    NoModels,
    /// A model name that no model has.
    #[error("no model is named `{name}`{}", hint(.suggestion.as_deref()))]
    UnknownModel {
        /// As written.
        name: String,
        /// The nearest.
        suggestion: Option<String>,
    },
    /// A model that no tenant may use.
    #[error("no tenant may use the model `{0}`")]
    UnusedModel(String),
    /// Rules that no certificate ever meets.
    #[error("no listener has `tls.client_ca`: no client ever presents a certificate")]
    NoCertificates,
    /// Prompts and keys in plain text over the network.
    #[error("`{0}` is reachable from other machines without TLS")]
    PlainListener(SocketAddr),
    /// A credential in plain text over the network.
    #[error("the credential and every prompt go to `{0}` without TLS")]
    PlainUpstream(String),
    /// Decisions in plain text over the network.
    #[error("the credential and every decision go to `{0}` without TLS")]
    PlainDecisions(String),
    /// A bundle that whoever answers under its address could have made.
    #[error("is missing: whoever can answer under this address decides who may call")]
    UnsignedBundle,
    /// A credential in plain text over the network.
    #[error("the credential goes there without TLS")]
    PlainBundle,
    /// Names of callers, and a password, in plain text over the network.
    #[error("callers' names and the password go to `{0}` without TLS; use `ldaps` or `starttls: true`")]
    PlainDirectory(String),
    /// An issuer for callers that no tenant covers.
    #[error("no tenant covers `{0}`: its callers are refused")]
    UncoveredTenant(String),
    /// The machine of somebody else's server has a price.
    #[error("only an own engine says what time it took: this price is never used")]
    UnusedGpu,
    /// An engine that nobody calls.
    #[error("no deployment with `provider: engine` has this socket as its base_url")]
    UnusedEngine,
    /// A deployment without a price: nothing is served at an unknown cost.
    #[error("is never called: {0}")]
    Unpriced(String),
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|s| format!("; did you mean `{s}`?")).unwrap_or_default()
}

fn list(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => write!(f, "{}", self.wrong),
            false => write!(f, "{}: {}", self.path, self.wrong),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.doubt)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.list.iter().enumerate() {
            let line_break = if at == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}: {fault}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The word nearest to `got`, if it is near enough to be a slip of the pen.
pub fn nearest<'a>(got: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let most = (got.chars().count() / 3).clamp(1, 3);
    let begun = |word: &str| got.len() >= 3 && (word.starts_with(got) || got.starts_with(word));
    let scored =
        words.into_iter().map(|word| (distance(got, word), word)).filter(|(d, word)| *d <= most || begun(word));
    scored.min_by_key(|(d, _)| *d).map(|(_, word)| word.to_owned())
}

/// Edits (insert, delete, replace, swap of neighbours) from one text to the other.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // the table is sized to both texts
fn distance(from: &str, into: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (from.chars().take(64).collect(), into.chars().take(64).collect());
    let mut d = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in d.iter_mut().enumerate() {
        row[0] = i;
    }
    d[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (d[i - 1][j] + 1).min(d[i][j - 1] + 1).min(d[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(d[i - 2][j - 2] + 1);
            }
            d[i][j] = least;
        }
    }
    d[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_suggested_and_a_stranger_is_not() {
        let words = ["tenants", "threads", "data"];
        assert_eq!(nearest("tenats", words).as_deref(), Some("tenants"));
        assert_eq!(nearest("tehrads", words).as_deref(), Some("threads"));
        assert_eq!(nearest("dat", words).as_deref(), Some("data"));
        assert_eq!(nearest("data_folder", words).as_deref(), Some("data"));
        assert_eq!(nearest("banana", words), None);
        assert_eq!(nearest("", words), None);
    }
}

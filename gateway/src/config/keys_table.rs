//! The table of keys: name, type, default, example and meaning of everything that the file may say.
//!
//! It drives the check of the shape, the suggestions, `config/schema.json` and `docs/configuration.md`.

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path; a relative one starts at the configuration file's folder.
    Path,
    /// `env:NAME` or `file:PATH`.
    Secret,
    /// `IP:PORT`.
    Address,
    /// `http://`, `https://` or `unix:`.
    Url,
    /// `true` or `false`.
    Bool,
    /// A whole number, both ends included.
    Int {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A mapping from text to text.
    TextMap,
    /// A mapping with these keys.
    Section(&'static [Key]),
    /// A list of mappings with these keys.
    Sections(&'static [Key]),
    /// One address, or a list of mappings with these keys.
    Listeners(&'static [Key]),
}

/// What holds where the key is absent.
#[derive(Debug, Clone, Copy)]
pub enum Absent {
    /// A fault.
    Fault,
    /// The thing isn't there; the text says what that means.
    Means(&'static str),
    /// This value, as YAML.
    Default(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub absent: Absent,
    /// A value that would do, as YAML; empty for sections, whose keys have their own.
    pub example: &'static str,
    /// What it means, in one or two sentences.
    pub doc: &'static str,
}

use super::finance_table::FINANCE;
use super::limits_table::{LIMIT_RULE, PRIORITIES, QUEUE, REDIS};
use super::prices_table::{GPU, PRICING};
use Absent::{Default as Usually, Fault, Means};
use Kind::{Address, Bool, Choice, Int, Listeners, Path, Secret, Section, Sections, Text, TextMap, Texts, Url};

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    absent: Absent,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, absent, example, doc }
}

/// Milliseconds from 1 to ten minutes: a wait of zero would always be over.
const MS: Kind = Int { min: 1, max: 600_000 };
/// A limit: absent is no limit, zero would be a ban and is better said by leaving the models out.
const LIMIT: Kind = Int { min: 1, max: 4_294_967_295 };

/// Names of providers, as in `Provider`.
pub const PROVIDERS: &[&str] = &["engine", "openai", "anthropic"];
/// Names of durabilities, as in `Durability`.
pub const DURABILITIES: &[&str] = &["window", "strict"];

/// Keys of the file itself.
pub const ROOT: &[Key] = &[
    key(
        "listen",
        Listeners(LISTENER),
        Usually("127.0.0.1:8080"),
        "127.0.0.1:8080",
        "Where applications connect: one address, or a list of listeners. Each speaks HTTP/1.1 and HTTP/2. Needs a restart.",
    ),
    key(
        "admin",
        Section(ADMIN),
        Usually("{}"),
        "",
        "The operators' listener: health, readiness, metrics, administration.",
    ),
    key(
        "data",
        Path,
        Usually("./data"),
        "./data",
        "Folder of the store, the journal and the audit log. One gateway per folder. Needs a restart.",
    ),
    key("store", Section(STORE), Usually("{}"), "", "Where keys, tenants, directories and usage are kept."),
    key(
        "redis",
        Section(REDIS),
        Means("every gateway counts its limits alone"),
        "",
        "Where several gateways count their limits together. Needs a restart.",
    ),
    key(
        "threads",
        Int { min: 1, max: 1024 },
        Means("one per core"),
        "2",
        "Worker threads of the data plane. Needs a restart.",
    ),
    key("keys", Section(KEYS), Usually("{}"), "", "How API keys are kept."),
    key("secrets", Section(SECRETS), Usually("{}"), "", "How secrets of tenants are kept."),
    key("client", Section(CLIENT), Usually("{}"), "", "What is believed of where a call comes from."),
    key(
        "tenants",
        Sections(TENANT),
        Usually("[]"),
        "",
        "What holds at each level of the tenant path and below. A key whose path no entry covers is refused.",
    ),
    key("identity", Section(IDENTITY), Usually("{}"), "", "Callers that other systems vouch for."),
    key("models", Sections(MODEL), Usually("[]"), "", "Model names that callers use, and who serves them."),
    key(
        "engine",
        Section(ENGINE),
        Means("no engine is started"),
        "",
        "The own engine as a child process that Weir starts and supervises. Needs a restart.",
    ),
    key("policy", Section(POLICY), Usually("{}"), "", "The Rego that decides who may use what."),
    key(
        "prices",
        Path,
        Usually("builtin"),
        "builtin",
        "Price file; `builtin` is the one that ships with this version.",
    ),
    key("pricing", Section(PRICING), Usually("{}"), "", "What is agreed beside the price file."),
    key("request", Section(REQUEST), Usually("{}"), "", "Bounds of a request."),
    key("stream", Section(STREAM), Usually("{}"), "", "Streams to clients."),
    key("upstream", Section(UPSTREAM), Usually("{}"), "", "Connections to upstreams. Needs a restart to change."),
    key(
        "retry",
        Section(RETRY),
        Usually("{}"),
        "",
        "Retries and fail-over before the first byte of a reply; never after it.",
    ),
    key("finance", Section(FINANCE), Usually("{}"), "", "Statements, exports and the spreading of shared cost."),
    key("journal", Section(JOURNAL), Usually("{}"), "", "The journal of calls."),
    key("shutdown", Section(SHUTDOWN), Usually("{}"), "", "What happens on SIGTERM."),
];

/// Keys of one listener.
pub const LISTENER: &[Key] = &[
    key("address", Address, Fault, "0.0.0.0:8443", "Address and port. Port 0 takes any free one."),
    key(
        "tls",
        Section(TLS),
        Means("plain HTTP/1.1 and HTTP/2 with prior knowledge"),
        "",
        "Certificate of this listener.",
    ),
    key(
        "environment",
        Text,
        Means("it has none"),
        "production",
        "Its environment: keys may be for some environments only, and policies see it as request.environment.",
    ),
];

/// Keys of a listener's certificate.
pub const TLS: &[Key] = &[
    key(
        "cert",
        Path,
        Fault,
        "./tls/cert.pem",
        "Certificate chain in PEM, leaf first. A renewed one is served from the next start on.",
    ),
    key("key", Path, Fault, "./tls/key.pem", "Private key in PEM; no other user may read the file."),
    key(
        "client_ca",
        Path,
        Means("clients are asked for no certificate"),
        "./tls/clients.pem",
        "Authorities in PEM that vouch for clients' certificates. A changed file counts from the next reload on, also for connections that are open; asking for certificates at all needs a restart.",
    ),
    key(
        "client_auth",
        Choice(CLIENT_AUTH),
        Usually("required"),
        "optional",
        "`required` ends the handshake of a client without a good certificate. `optional` also takes clients without one; a bad one is refused with each call, and the audit log says why.",
    ),
    key(
        "client_crl",
        Path,
        Means("only `identity.denied_certificates` are revoked"),
        "./tls/clients.crl",
        "Revocation lists in PEM. They must cover every certificate of a chain and be up to date, or the client is refused. Read with each reload.",
    ),
];

/// How clients are asked for certificates, as in `ClientAuth`.
pub const CLIENT_AUTH: &[&str] = &["required", "optional"];

/// Keys of the admin listener.
pub const ADMIN: &[Key] = &[
    key("listen", Address, Usually("127.0.0.1:8081"), "127.0.0.1:8081", "Address and port. Needs a restart."),
    key(
        "token",
        Secret,
        Means("only health, readiness and metrics are served"),
        "file:./admin_token",
        "Bearer token of the owner, at least 16 bytes. Without it only health, readiness and metrics are served.",
    ),
    key(
        "policy",
        Path,
        Means("the shipped roles: owner, security, finance, developer, auditor"),
        "./admin_policy",
        "Folder of Rego that decides about administrators in the place of the shipped roles; its rule is data.weir.admin.decision.",
    ),
    key(
        "session_idle_s",
        Int { min: 10, max: 86_400 },
        Usually("1800"),
        "900",
        "Seconds without a request after which somebody signed in on the finance page is signed out.",
    ),
    key(
        "session_life_s",
        Int { min: 10, max: 604_800 },
        Usually("43200"),
        "28800",
        "Seconds after which somebody signed in on the finance page is signed out in any case.",
    ),
];

/// Keys about tenants' secrets.
pub const SECRETS: &[Key] = &[
    key(
        "master_key",
        Secret,
        Means("tenants have no secrets"),
        "file:./master_key",
        "Secret of at least 16 bytes that tenants' secrets are sealed under (AES-256-GCM-SIV); version 1. Without it they are lost.",
    ),
    key(
        "master_keys",
        Sections(PEPPER),
        Means("`master_key` is given"),
        "",
        "The same with versions, to change it: new secrets use the highest; `weir tenant secret rewrap` seals the old ones anew.",
    ),
];

/// Keys about clients.
pub const CLIENT: &[Key] = &[
    key(
        "trusted_proxies",
        Texts,
        Usually("[]"),
        "[10.0.0.0/8]",
        "Addresses and CIDR ranges of proxies before Weir. Only from them x-forwarded-for counts: the client is its last address that is none of theirs.",
    ),
    key(
        "geo_header",
        Text,
        Means("the client's country is unknown"),
        "cf-ipcountry",
        "Header in which trusted proxies tell the client's country; policies see it as client.geo.",
    ),
    key(
        "strangers_per_minute",
        LIMIT,
        Usually("600"),
        "600",
        "Requests without a valid credential that one address (of IPv6: one network of 64 bits) may send in a minute. Further ones get 429 and are only counted, so that nobody without a key can fill the audit log. Whoever has a valid credential never counts.",
    ),
];

/// Keys about API keys.
pub const KEYS: &[Key] = &[
    key(
        "query_parameter",
        Text,
        Means("a key in a URL is refused"),
        "key",
        "Name of the query parameter that may hold an API key, for clients that know no other way (Gemini's `key`). URLs end up in logs of others: leave it out where you can.",
    ),
    key(
        "pepper",
        Secret,
        Means("`peppers` is given"),
        "file:./pepper",
        "Secret of at least 16 bytes that is mixed into the stored hashes of API keys; version 1. Without it no key can be checked: keep it as safe as the data folder, and apart from it.",
    ),
    key(
        "peppers",
        Sections(PEPPER),
        Means("`pepper` is given"),
        "",
        "The same with versions, to change it: new keys use the highest version, old ones keep theirs until they are made anew.",
    ),
];

/// Keys of the store.
pub const STORE: &[Key] = &[key(
    "url",
    Text,
    Means("a SQLite file, `weir.db` in the data folder"),
    "postgres://weir@localhost/weir?schema=weir",
    "A PostgreSQL server (15 or later) that several gateways may share; each still has a data folder of its own. One with a password is given by reference, as `env:NAME` or `file:PATH`. Over a network TLS must prove the server, unless `sslmode` says otherwise. Needs a restart.",
)];

/// Keys of one pepper.
pub const PEPPER: &[Key] = &[
    key("version", Int { min: 1, max: 1_000_000 }, Fault, "1", "Number that is stored beside each hash."),
    key("secret", Secret, Fault, "file:./pepper", "The secret."),
];

/// Keys of one tenant.
pub const TENANT: &[Key] = &[
    key("path", Text, Fault, "acme/research", "`org[/team[/project[/user]]]`, each level of a-z, 0-9, `.`, `_`, `-`."),
    key(
        "models",
        Texts,
        Usually("[]"),
        "[smollm2, \"gpt-*\"]",
        "Models that may be used at this level and below: names, or a beginning followed by `*`. An inner level that lists models narrows what the outer ones grant; one that lists none changes nothing.",
    ),
    key("roles", Texts, Usually("[]"), "[user]", "Roles of everybody at this level and below, for policy."),
    key(
        "attributes",
        TextMap,
        Usually("{}"),
        "{environment: prod}",
        "Attributes of everybody at this level and below, for policy; an inner level wins.",
    ),
    key("limits", Section(LIMITS), Usually("{}"), "", "Limits that everybody at this level and below shares."),
    key("key_limits", Section(LIMITS), Usually("{}"), "", "Limits of each single key at this level and below."),
    key(
        "share",
        Int { min: 1, max: 1_000 },
        Usually("1"),
        "2",
        "Its part of a deployment that is busy, beside the parts of others that wait there. For organisations, the outermost level.",
    ),
    key(
        "priority",
        Choice(PRIORITIES),
        Usually("normal"),
        "low",
        "Its class where calls wait for a deployment: a lower one runs only when none of a higher one waits. For organisations.",
    ),
    key(
        "limit_rules",
        Sections(LIMIT_RULE),
        Usually("[]"),
        "",
        "Further limits of this level and below: any quantity in any time, for a part of the calls. All limits of all levels hold at once.",
    ),
];

/// Keys of one set of limits.
pub const LIMITS: &[Key] = &[
    key("requests_per_minute", LIMIT, Means("no limit here"), "600", "Calls in a minute."),
    key(
        "tokens_per_minute",
        Int { min: 1, max: 1_000_000_000_000 },
        Means("no limit here"),
        "100000",
        "Prompt and completion tokens in a minute.",
    ),
    key("concurrency", LIMIT, Means("no limit here"), "32", "Calls at the same time."),
];

/// Keys of `identity`.
pub const IDENTITY: &[Key] = &[
    key(
        "issuers",
        Sections(ISSUER),
        Usually("[]"),
        "",
        "Issuers of OAuth 2.0 access tokens (JWT, RFC 9068) that are taken in place of an API key.",
    ),
    key(
        "token_endpoint",
        Section(TOKEN_ENDPOINT),
        Means("Weir issues no tokens"),
        "",
        "Weir's own token endpoint, `POST /oauth/token` on the data listeners: client credentials for service accounts, and token exchange (RFC 8693) of keys and issuers' tokens for short-lived tokens of Weir's own.",
    ),
    key(
        "public_url",
        Text,
        Means("no token that is bound to a key (DPoP, RFC 9449) is taken"),
        "https://ai.example.com",
        "Where clients reach this gateway: scheme, host and port, and a path where a proxy before it takes one off. A client's proof must be for an address below it.",
    ),
    key("dpop", Section(DPOP), Usually("{}"), "", "Proofs of possession (DPoP, RFC 9449)."),
    key(
        "certificates",
        Sections(CERTIFICATE),
        Usually("[]"),
        "",
        "Who client certificates stand for where a request has no other credential. The first entry that takes one of a certificate's names decides.",
    ),
    key(
        "denied_certificates",
        Texts,
        Usually("[]"),
        "[\"serial:5f:3a:91\"]",
        "Client certificates that are refused whatever their authority says: `serial:HEX`, or `sha256:HEX` over the whole certificate in DER.",
    ),
    key("directory", Section(DIRECTORY), Usually("{}"), "", "What is known of the users behind keys and tokens."),
];

/// Keys about proofs of possession.
pub const DPOP: &[Key] = &[
    key(
        "algorithms",
        Texts,
        Usually("[ES256, ES384, EdDSA, PS256, RS256]"),
        "[ES256, EdDSA]",
        "Algorithms that proofs may be signed with; never one whose key both sides hold.",
    ),
    key(
        "window_s",
        Int { min: 5, max: 300 },
        Usually("60"),
        "60",
        "Seconds for which a proof can be used after it was made. Each gateway process remembers for that long what was used at itself.",
    ),
    key(
        "nonce",
        Bool,
        Usually("false"),
        "true",
        "Whether a proof must hold a nonce that a gateway with the same pepper gave out in the last minutes. Clients then need one more round trip now and then.",
    ),
];

/// Which names, as in `NameKind`.
pub const CERTIFICATE_NAMES: &[&str] = &["spiffe", "dns", "email", "common_name"];

/// Keys of one rule about certificates.
pub const CERTIFICATE: &[Key] = &[
    key("name", Text, Fault, "mesh", "Name in metrics, audit and key ids: a-z, 0-9, `-`."),
    key(
        "kind",
        Choice(CERTIFICATE_NAMES),
        Fault,
        "spiffe",
        "Which of a certificate's names is looked at: its SPIFFE ID, its DNS names, its e-mail addresses, or the subject's common name. A certificate with a SPIFFE ID is that identity and no other.",
    ),
    key(
        "pattern",
        Text,
        Fault,
        "spiffe://example.org/ns/{team}/sa/*",
        "The names that are taken: piece by piece (between `/` of a SPIFFE ID, between the points of a DNS name, on both sides of the `@`; a common name is one piece) itself, `*` for any, `{part}` for one that is used below, `**` at the end of a SPIFFE ID for all that follow.",
    ),
    key(
        "tenant",
        Text,
        Fault,
        "\"acme/{team}\"",
        "The caller's tenant path; `{part}` stands for one level that the name gave. The organisation is always written out.",
    ),
    key("roles", Texts, Usually("[]"), "[developer]", "Roles of these callers, beside those of their tenant."),
    key(
        "attributes",
        TextMap,
        Usually("{}"),
        "{workload: batch}",
        "Attributes of these callers for policy; those of their tenant win. `{part}` as in the tenant.",
    ),
];

/// Keys of Weir's own token endpoint.
pub const TOKEN_ENDPOINT: &[Key] = &[
    key(
        "issuer",
        Text,
        Fault,
        "https://weir.example.com",
        "The address under which clients reach Weir, without a path: the `iss` of its tokens.",
    ),
    key("audience", Text, Means("the issuer"), "weir", "The `aud` of its tokens."),
    key(
        "lifetime_s",
        Int { min: 10, max: 3_600 },
        Usually("600"),
        "600",
        "Seconds of a token's life; it ends earlier where what it came from does.",
    ),
    key("requests_per_minute", LIMIT, Usually("60"), "60", "Tokens that one client may ask for in a minute."),
    key(
        "address_requests_per_minute",
        LIMIT,
        Usually("600"),
        "600",
        "Requests from one address (of IPv6: one network of 64 bits) in a minute.",
    ),
    key(
        "optional_roles",
        Texts,
        Usually("[]"),
        "[reader]",
        "Roles that a token may be asked without, as in `scope=role:writer`. Only such as never restrict anybody: without a role that binds its subject, a token could do more than its subject.",
    ),
];

/// Keys of `identity.directory`.
pub const DIRECTORY: &[Key] = &[
    key(
        "scim",
        Sections(SCIM),
        Usually("[]"),
        "",
        "Directories that identity providers fill by SCIM 2.0 at `/scim/v2` of the admin listener, one for a tenant.",
    ),
    key("ldap", Sections(LDAP), Usually("[]"), "", "LDAP servers that are asked for the groups of callers."),
];

/// What is done with users that a directory doesn't know, as in `Strangers`.
pub const STRANGERS: &[&str] = &["allow", "refuse"];

/// Keys of one directory that is filled by SCIM.
pub const SCIM: &[Key] = &[
    key("name", Text, Fault, "corp", "Name in metrics and in the admin API: a-z, 0-9, `-`."),
    key("tenant", Text, Fault, "acme", "The level whose users it holds; it speaks of callers there and below."),
    key(
        "token",
        Secret,
        Fault,
        "file:./scim_token",
        "The bearer token that the identity provider presents; it opens this directory alone.",
    ),
    key(
        "next_token",
        Secret,
        Means("one token is taken"),
        "file:./scim_token_next",
        "A second token that is taken as well, while the provider changes from one to the other.",
    ),
    key(
        "roles",
        TextMap,
        Usually("{}"),
        "{ Data Science: developer }",
        "From a group's `displayName` to the role of its members, those of groups within it included.",
    ),
    key(
        "attributes",
        TextMap,
        Usually("{}"),
        "{ department: department }",
        "From an attribute for policy to the user's attribute that it comes of, such as `userType` or `department`.",
    ),
    key(
        "unknown",
        Choice(STRANGERS),
        Usually("allow"),
        "refuse",
        "Callers that name a user (the fourth level of a key's path, any token) whom the directory doesn't know: `allow` \
         adds nothing, `refuse` refuses.",
    ),
];

/// Keys of one LDAP server.
pub const LDAP: &[Key] = &[
    key("name", Text, Fault, "staff", "Name in metrics and in the admin API: a-z, 0-9, `-`."),
    key("tenant", Text, Fault, "acme", "The level whose users it knows; it speaks of callers there and below."),
    key("url", Text, Fault, "ldaps://ldap.example.com", "`ldap://` or `ldaps://`, the host and, where needed, a port."),
    key("starttls", Bool, Usually("false"), "true", "Turn a plain connection to TLS before anything is said."),
    key(
        "ca_file",
        Path,
        Means("the system's authorities are trusted"),
        "./tls/ldap-ca.pem",
        "PEM file of the only authorities that the server is trusted from.",
    ),
    key(
        "bind_dn",
        Text,
        Means("it is asked anonymously"),
        "\"cn=weir,dc=example,dc=com\"",
        "Weir's own name there; it needs a right to read and no other.",
    ),
    key(
        "bind_password",
        Secret,
        Means("it is asked anonymously"),
        "file:./ldap_password",
        "Weir's own password there.",
    ),
    key("user_base", Text, Fault, "\"ou=people,dc=example,dc=com\"", "Users lie below this entry."),
    key(
        "user_filter",
        Text,
        Usually("(uid={user})"),
        "\"(|(uid={user})(mail={user}))\"",
        "The filter that finds a user; `{user}` is the caller's name, escaped: the fourth level of a key's path, or what \
         the issuer's `user_claims` say.",
    ),
    key(
        "group_attribute",
        Text,
        Usually("memberOf"),
        "isMemberOf",
        "The attribute of a user that lists its groups, where `group_base` is absent.",
    ),
    key(
        "group_base",
        Text,
        Means("groups come of `group_attribute`"),
        "\"ou=groups,dc=example,dc=com\"",
        "Groups are searched for below this entry.",
    ),
    key(
        "group_filter",
        Text,
        Usually("(member={dn})"),
        "\"(memberUid={user})\"",
        "The filter that finds a user's groups; `{dn}` is the user's entry, `{user}` the name, both escaped.",
    ),
    key(
        "group_name",
        Text,
        Usually("cn"),
        "cn",
        "The attribute that groups are named by, where they are searched for.",
    ),
    key(
        "roles",
        TextMap,
        Usually("{}"),
        "{ data-science: developer }",
        "From a group to the role of its members; a group is named as `group_attribute` lists it (most often its whole \
         DN), or by `group_name`. Case and blanks after a comma don't count.",
    ),
    key(
        "attributes",
        TextMap,
        Usually("{}"),
        "{ department: departmentNumber }",
        "From an attribute for policy to that of the user's entry; of several values the first.",
    ),
    key(
        "unknown",
        Choice(STRANGERS),
        Usually("allow"),
        "refuse",
        "Callers that name a user whom the server doesn't know: `allow` adds nothing, `refuse` refuses.",
    ),
    key("cache_s", Int { min: 0, max: 86_400 }, Usually("60"), "30", "Seconds for which an answer counts."),
    key(
        "stale_s",
        Int { min: 0, max: 604_800 },
        Usually("300"),
        "3600",
        "Seconds beyond `cache_s` for which the last good answer counts while the server is away; then its callers are \
         refused.",
    ),
    key("timeout_ms", Int { min: 10, max: 30_000 }, Usually("2000"), "500", "Longest wait of a call for an answer."),
];

/// Which `typ` is taken, as in `TokenType`.
pub const TOKEN_TYPES: &[&str] = &["at+jwt", "any"];

/// Keys of one issuer.
pub const ISSUER: &[Key] = &[
    key("name", Text, Fault, "corp", "Name in metrics, audit and key ids: a-z, 0-9, `-`."),
    key("issuer", Text, Fault, "https://idp.example.com", "Its `iss`, compared byte by byte."),
    key("audiences", Texts, Fault, "[weir]", "Audiences of which a token must name one."),
    key(
        "algorithms",
        Texts,
        Usually("[RS256, PS256, ES256, ES384, EdDSA]"),
        "[ES256]",
        "Algorithms that its keys may be used with; the `HS` ones only with keys from a file.",
    ),
    key(
        "token_type",
        Choice(TOKEN_TYPES),
        Usually("at+jwt"),
        "any",
        "`at+jwt` takes only access tokens that say so (RFC 9068); `any` also takes `JWT` and tokens that say nothing.",
    ),
    key(
        "clients",
        Texts,
        Usually("[]"),
        "[portal]",
        "Clients (`azp`, or else `client_id`) whose tokens are taken; none: all.",
    ),
    key("leeway_s", Int { min: 0, max: 30 }, Usually("10"), "10", "Seconds by which its clock may differ."),
    key(
        "age_max_s",
        Int { min: 60, max: 604_800 },
        Usually("86400"),
        "3600",
        "Seconds of a token's life at most: one that is valid for longer is refused.",
    ),
    key(
        "tenant",
        Text,
        Fault,
        "acme",
        "The level of the tenant path that it speaks for; its callers lie there or below.",
    ),
    key(
        "user_claims",
        Texts,
        Usually("[sub, email]"),
        "[sub, preferred_username]",
        "Claims (or JSON pointers) that directories know a user by; `email` only where `email_verified` is true.",
    ),
    key(
        "path_claims",
        Texts,
        Usually("[]"),
        "[team]",
        "Claims (or JSON pointers) whose texts are the levels below `tenant`, outermost first; each one must be there.",
    ),
    key(
        "roles_claim",
        Text,
        Usually("roles"),
        "/realm_access/roles",
        "The claim (or JSON pointer) that lists the subject's roles.",
    ),
    key(
        "roles",
        TextMap,
        Usually("{}"),
        "{ml-team: developer}",
        "From the issuer's role to Weir's; a role that is not here counts for nothing.",
    ),
    key(
        "attributes",
        TextMap,
        Usually("{}"),
        "{department: dept}",
        "From an attribute for policy to the claim (or JSON pointer) that it is taken from.",
    ),
    key(
        "jwks",
        Text,
        Usually("discovery"),
        "https://idp.example.com/keys",
        "Where its keys are: `discovery` (its metadata says), an address, or `file:PATH`.",
    ),
    key(
        "refresh_s",
        Int { min: 30, max: 86_400 },
        Usually("300"),
        "300",
        "Seconds between two looks at its keys. An unknown key id leads to one more, after `cooldown_s`.",
    ),
    key(
        "stale_s",
        Int { min: 0, max: 604_800 },
        Usually("86400"),
        "86400",
        "Seconds for which its last good keys are used while it is away; then its tokens are refused.",
    ),
    key(
        "cooldown_s",
        Int { min: 1, max: 3_600 },
        Usually("30"),
        "30",
        "Seconds between two fetches of its keys at least, however many tokens name an unknown key.",
    ),
    key(
        "introspection",
        Section(INTROSPECTION),
        Means("only signed tokens are taken"),
        "",
        "How it is asked about tokens that are not signed (RFC 7662).",
    ),
];

/// Keys of an issuer's introspection.
pub const INTROSPECTION: &[Key] = &[
    key("url", Text, Fault, "https://idp.example.com/introspect", "Its introspection endpoint."),
    key("client_id", Text, Fault, "weir", "Weir's own name there."),
    key("client_secret", Secret, Fault, "file:./idp_secret", "Weir's own secret there."),
    key(
        "prefix",
        Text,
        Means("it is asked about every token that has no other form"),
        "idp_",
        "What its tokens begin with. Two issuers that are asked need prefixes of which none begins with the other.",
    ),
    key(
        "cache_s",
        Int { min: 0, max: 60 },
        Usually("30"),
        "30",
        "Seconds for which its yes counts: a token that it revokes is refused that much later. A no counts for 5 s.",
    ),
];

/// Keys of one model.
pub const MODEL: &[Key] = &[
    key("name", Text, Fault, "smollm2", "Name that callers use."),
    key(
        "output_tokens_max",
        LIMIT,
        Usually("4096"),
        "4096",
        "Completion tokens of one choice at most; a call that asks for more is refused.",
    ),
    key(
        "output_tokens_default",
        LIMIT,
        Means("output_tokens_max"),
        "1024",
        "Completion tokens of one choice where the call names no number: what is held, and set as the cap upstream.",
    ),
    key("deployments", Sections(DEPLOYMENT), Fault, "", "Who may serve it; tried in the order of a weighted draw."),
];

/// Keys of one deployment.
pub const DEPLOYMENT: &[Key] = &[
    key("name", Text, Fault, "local", "Name in usage rows and metrics; unique in the file."),
    key(
        "provider",
        Choice(PROVIDERS),
        Usually("openai"),
        "openai",
        "Who speaks there: the own engine, any server with OpenAI's API, or one with Anthropic's (its key goes as `x-api-key`).",
    ),
    key(
        "endpoints",
        Texts,
        Means(
            "what its provider usually speaks: engine chat_completions and completions; openai these, responses and embeddings; anthropic messages and count_tokens",
        ),
        "[chat_completions, embeddings]",
        "The endpoints that it speaks, of `chat_completions`, `completions`, `messages`, `count_tokens`, `responses`, `embeddings`, `rerank`. A call goes only to a deployment that speaks its endpoint: nothing is translated.",
    ),
    key(
        "base_url",
        Url,
        Fault,
        "\"https://api.example.com/v1\"",
        "Where: `https://HOST/v1`, `http://HOST:PORT/v1`, or `unix:PATH` for a socket (its base path is `/v1`).",
    ),
    key("api_key", Secret, Means("no credential is sent"), "file:./cloud_key", "Bearer credential sent there."),
    key(
        "tenant_key",
        Text,
        Means("every caller's calls carry api_key"),
        "openai",
        "Name of a secret of the caller's tenant that is sent in the place of api_key: that of the innermost level which has one. Where none has, api_key is sent; without one the deployment serves no such caller.",
    ),
    key("upstream_model", Text, Means("the same name"), "gpt-x", "The model's name there."),
    key(
        "region",
        Text,
        Means("no region is known"),
        "eu",
        "Where it computes, for policy: a call may be bound to regions.",
    ),
    key("owner", Text, Means("no owner is known"), "example-cloud", "Whose machines it runs on, for policy."),
    key(
        "data_class",
        Text,
        Means("no class is known"),
        "internal",
        "The class of data that may be sent there, for policy.",
    ),
    key("price_provider", Text, Means("the provider's name"), "openai", "Provider's name in the price file."),
    key(
        "weight",
        Int { min: 0, max: 1_000_000 },
        Usually("1"),
        "1",
        "Share of the traffic. 0: only when no other can serve.",
    ),
    key(
        "http2",
        Bool,
        Usually("false"),
        "true",
        "Speak HTTP/2: by negotiation with TLS, with prior knowledge without.",
    ),
    key("timeouts", Section(TIMEOUTS), Usually("{}"), "", "Waits of one attempt."),
    key(
        "queue",
        Section(QUEUE),
        Means("any number of calls at once"),
        "",
        "How many calls it takes at once. Others wait in a line that is fair between tenants, by `share` and `priority`.",
    ),
    key(
        "gpu",
        Section(GPU),
        Means("its time has no price"),
        "",
        "What the machine of an own engine costs. Where the price file has no price for its tokens, calls are charged by it.",
    ),
];

/// Keys of a deployment's waits.
pub const TIMEOUTS: &[Key] = &[
    key("connect_ms", MS, Usually("2000"), "2000", "To connect, TLS included."),
    key("first_byte_ms", MS, Usually("60000"), "60000", "From the end of the request to the head of the reply."),
    key(
        "idle_ms",
        MS,
        Usually("60000"),
        "60000",
        "Between two pieces of the reply. The whole has no limit: long answers are normal.",
    ),
];

/// Keys of the engine.
pub const ENGINE: &[Key] = &[
    key("model", Path, Means("the scripted executor, for tests"), "./model.gguf", "GGUF file or safetensors folder."),
    key("name", Text, Fault, "smollm2", "Name that the engine gives the model."),
    key(
        "socket",
        Path,
        Usually("./run/engine.sock"),
        "./run/engine.sock",
        "Unix socket between gateway and engine; its folder gets mode 0700.",
    ),
    key("threads", Int { min: 0, max: 1024 }, Usually("0"), "2", "Compute threads; 0 lets the engine choose."),
    key("binary", Path, Means("beside `weir` itself"), "./weir-engine", "The `weir-engine` program."),
    key("args", Texts, Usually("[]"), "[\"--pages\", \"512\"]", "Further arguments of the program."),
];

/// Keys of the policy.
pub const POLICY: &[Key] = &[
    key(
        "path",
        Path,
        Means("the policies that ship with this version"),
        "./policies",
        "Folder of Rego and data files; or what `opa build -t wasm` made of them: a file that ends in `.wasm`, or a folder with `policy.wasm` and `data.json`.",
    ),
    key(
        "data",
        Path,
        Means("no data but the grants of `tenants`"),
        "./policy_data.yaml",
        "File or folder of data for the policies, such as the rules of `data.weir.abac`; below a folder, a file lies at its folders' path.",
    ),
    key(
        "entrypoint",
        Text,
        Usually("data.weir.authz.decision"),
        "data.weir.abac.decision",
        "The rule that decides: `data.weir.authz.decision` knows the grants alone, `data.weir.abac.decision` also the shipped rules by attributes.",
    ),
    key(
        "timeout_ms",
        Int { min: 1, max: 10_000 },
        Usually("20"),
        "20",
        "Longest evaluation; past it the call is refused.",
    ),
    key(
        "engine",
        Choice(POLICY_ENGINES),
        Usually("auto"),
        "interpreter",
        "`auto`: the fast machine where it agrees with the interpreter on every probe, else the interpreter.",
    ),
    key("decision_log", Section(DECISION_LOG), Usually("{}"), "", "What is kept of each decision, in OPA's form."),
    key(
        "input",
        Choice(POLICY_INPUTS),
        Usually("weir"),
        "envoy",
        "What the policy gets: Weir's own document, or what Envoy's external authorization gives to OPA, with Weir's as `input.weir`; with `envoy` it sees the request's body, and `entrypoint` is `data.envoy.authz.allow` unless named.",
    ),
    key(
        "bundles",
        Sections(BUNDLE),
        Usually("[]"),
        "",
        "Policies that come from elsewhere, by OPA's bundle protocol, and decide beside this one: all must allow.",
    ),
];

/// What becomes of a bundle that is too old, as in `OnStale`.
pub const STALE_ACTIONS: &[&str] = &["deny", "keep"];
/// Whether a bundle's decisions count, as in `Mode`.
pub const BUNDLE_MODES: &[&str] = &["enforce", "shadow"];

/// Keys of one policy bundle.
pub const BUNDLE: &[Key] = &[
    key("name", Text, Fault, "corp-rules", "Name in metrics, audit and the data folder: a-z, 0-9, `-`."),
    key(
        "url",
        Text,
        Fault,
        "https://bundles.example.com/corp.tar.gz",
        "Where it is: an http or https address, or `file:PATH` with a folder or a `.tar.gz` file.",
    ),
    key("token", Secret, Means("nothing is sent"), "file:./bundle_token", "Bearer credential for its server."),
    key("entrypoint", Text, Fault, "data.corp.decision", "The rule of it that decides."),
    key(
        "tenant",
        Text,
        Means("it decides about all calls"),
        "acme",
        "The level of the tenant path that it decides about, with everything below; about others it has no say.",
    ),
    key(
        "roots",
        Texts,
        Usually("[]"),
        "[corp]",
        "Parts of `data` that it may own, such as `corp/rules`; none: its tenant's path, or without a tenant all. Its manifest must stay within them, and no other bundle may own a part of them.",
    ),
    key(
        "signature",
        Section(SIGNATURE),
        Means("nobody need have signed it"),
        "",
        "Who must have signed it: without a right `.signatures.json` it is refused.",
    ),
    key(
        "poll_min_ms",
        Int { min: 50, max: 86_400_000 },
        Usually("60000"),
        "60000",
        "Shortest pause between two polls; each is a random one of the range.",
    ),
    key(
        "poll_max_ms",
        Int { min: 50, max: 86_400_000 },
        Usually("120000"),
        "120000",
        "Longest pause between two polls.",
    ),
    key(
        "long_poll_s",
        Int { min: 0, max: 600 },
        Usually("0"),
        "60",
        "Seconds for which its server may hold a poll until there is something new; 0: it answers at once.",
    ),
    key(
        "max_staleness_s",
        Int { min: 1, max: 31_536_000 },
        Means("it may be of any age"),
        "86400",
        "Seconds since its source last confirmed it, after which `on_stale` happens. A newer one that is refused confirms nothing.",
    ),
    key(
        "on_stale",
        Choice(STALE_ACTIONS),
        Usually("deny"),
        "deny",
        "What a bundle does that is too old: `deny` refuses every call that it decides about, `keep` decides on and is told.",
    ),
    key(
        "mode",
        Choice(BUNDLE_MODES),
        Usually("enforce"),
        "enforce",
        "`shadow` evaluates it, counts where it would have decided otherwise, and enforces nothing.",
    ),
    key(
        "percent",
        Int { min: 0, max: 100 },
        Usually("100"),
        "100",
        "Callers of a hundred whom a new revision decides about; the others stay with the one before, where there is one. A caller stays on its side.",
    ),
    key("keep", Int { min: 2, max: 50 }, Usually("5"), "5", "Revisions kept in the data folder to roll back to."),
];

/// Keys of a bundle's signature.
pub const SIGNATURE: &[Key] = &[
    key(
        "key",
        Secret,
        Fault,
        "file:./bundle_key.pem",
        "The signer's public key in PEM or as a JWK; for the `HS` algorithms the shared secret.",
    ),
    key("algorithm", Text, Fault, "ES256", "The one algorithm that is taken: RS, PS, ES, EdDSA or HS."),
    key(
        "key_id",
        Text,
        Means("whatever id it names"),
        "release-2026",
        "The key's id: a signature that names another one is refused.",
    ),
    key("scope", Text, Means("it must name no scope"), "production", "The scope that the signature must be for."),
];

/// Keys of the decision log.
pub const DECISION_LOG: &[Key] = &[
    key(
        "sink",
        Choice(DECISION_SINKS),
        Usually("off"),
        "file",
        "`file`: files of JSON lines in `folder`; `http`: batches to `url`. Needs a restart.",
    ),
    key(
        "folder",
        Path,
        Means("`decisions` in the data folder"),
        "./decisions",
        "Folder of the files, or of what waits to be sent. Needs a restart.",
    ),
    key(
        "file_bytes_max",
        Int { min: 65_536, max: 4_294_967_295 },
        Usually("67108864"),
        "67108864",
        "A file is left for the next one beyond this size. Needs a restart.",
    ),
    key(
        "files_kept",
        Int { min: 1, max: 1_000 },
        Usually("8"),
        "8",
        "Files that the sink `file` keeps; the oldest goes. Needs a restart.",
    ),
    key(
        "url",
        Url,
        Means("a fault with the sink `http`"),
        "https://decisions.example.com/logs",
        "Where batches are posted: gzipped JSON arrays, as OPA posts them. Needs a restart.",
    ),
    key(
        "token",
        Secret,
        Means("no credential is sent"),
        "file:./idp_secret",
        "Bearer credential of the posts. Needs a restart.",
    ),
    key(
        "spool_bytes_max",
        Int { min: 1_048_576, max: 1_099_511_627_776 },
        Usually("268435456"),
        "268435456",
        "Bytes on the disk that may wait to be sent. Needs a restart.",
    ),
    key(
        "batch_bytes_max",
        Int { min: 4_096, max: 16_777_216 },
        Usually("1048576"),
        "1048576",
        "Bytes of one post before compression. Needs a restart.",
    ),
    key(
        "full",
        Choice(DECISION_LOG_FULL),
        Usually("refuse"),
        "drop_new",
        "What happens when no more decisions can be kept: calls are refused, or new decisions go unlogged, counted and noted on the audit log.",
    ),
    key(
        "masks",
        Path,
        Means("`package system.log` of the policies, where they have one"),
        "./policies",
        "Folder whose `data.system.log.mask` says what is erased from a decision and whose `data.system.log.drop` which ones are not kept.",
    ),
    key("labels", TextMap, Usually("{}"), "{region: eu}", "Texts that stand on every decision."),
];

/// Sinks of the decision log, as in `DecisionSink`.
pub const DECISION_SINKS: &[&str] = &["off", "file", "http"];
/// What a full decision log does, as in `LogFull`.
pub const DECISION_LOG_FULL: &[&str] = &["refuse", "drop_new"];
/// Shapes of what the policy gets.
pub const POLICY_INPUTS: &[&str] = &["weir", "envoy"];

/// Engines of the policy.
pub const POLICY_ENGINES: &[&str] = &["auto", "interpreter"];

/// Keys of the bounds of a request.
pub const REQUEST: &[Key] = &[
    key(
        "body_bytes_max",
        Int { min: 1024, max: 4_194_304 },
        Usually("4194304"),
        "4194304",
        "Bytes of a request's body; a larger one gets 413.",
    ),
    key("body_timeout_ms", MS, Usually("30000"), "30000", "Wait for the whole body."),
];

/// Keys of streams to clients.
pub const STREAM: &[Key] = &[
    key(
        "heartbeat_ms",
        MS,
        Usually("5000"),
        "5000",
        "Longest silence towards the client: then Weir sends a comment between two events.",
    ),
    key("write_stall_ms", MS, Usually("30000"), "30000", "A client that takes nothing for this long is cut off."),
    key(
        "event_bytes_max",
        Int { min: 4096, max: 16_777_216 },
        Usually("16777216"),
        "16777216",
        "Bytes of one event of an upstream at most.",
    ),
    key(
        "drain_ms",
        Int { min: 0, max: 60_000 },
        Usually("0"),
        "2000",
        "How long a provider is heard out after its client hung up, for the true count of tokens; 0 cancels it at \
         once, and what it said is counted here. The own engine always states its exact count.",
    ),
    key(
        "drain_tokens",
        Int { min: 1, max: 1_000_000 },
        Usually("1000"),
        "500",
        "Events that a provider may send meanwhile: most carry one token each.",
    ),
];

/// Keys of connections to upstreams.
pub const UPSTREAM: &[Key] = &[key(
    "ca_file",
    Path,
    Means("the system's certificate authorities"),
    "./upstream-ca.pem",
    "PEM file of the only authorities that upstreams' certificates are trusted from.",
)];

/// Keys of retries.
pub const RETRY: &[Key] = &[
    key("attempts_max", Int { min: 1, max: 4 }, Usually("3"), "3", "Attempts of one call, the first included."),
    key(
        "wait_max_ms",
        Int { min: 0, max: 60_000 },
        Usually("2000"),
        "2000",
        "Longest `retry-after` that Weir waits out itself; beyond it the next deployment is tried.",
    ),
    key(
        "cooldown_ms",
        Int { min: 0, max: 600_000 },
        Usually("5000"),
        "5000",
        "How long a failed deployment gets no traffic while others can serve.",
    ),
];

/// Keys of the journal.
pub const JOURNAL: &[Key] = &[key(
    "durability",
    Choice(DURABILITIES),
    Usually("window"),
    "strict",
    "When a call may go on: `window` after the append (survives kill -9; a power loss may cost the last 2 ms), `strict` after the disk confirmed it.",
)];

/// Keys of the shutdown.
pub const SHUTDOWN: &[Key] = &[key(
    "drain_s",
    Int { min: 0, max: 3600 },
    Usually("30"),
    "30",
    "How long running streams may go on after SIGTERM. Weir ends with the last of them, and after this time at the latest.",
)];

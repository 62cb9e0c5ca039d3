//! Keys of limits beyond the short forms: any quantity in any time, for a part of the calls.

use super::keys_table::Absent::{Default as Usually, Fault, Means};
use super::keys_table::Kind::{Bool, Choice, Int, Path, Secret, Text, Texts};
use super::keys_table::{Key, key};

/// Names of what a limit counts.
pub const QUANTITIES: &[&str] = &["requests", "input_tokens", "output_tokens", "tokens", "money", "concurrency"];
/// Names of the units of time.
pub const UNITS: &[&str] = &["second", "minute", "hour", "day", "week", "month", "ever"];
/// Names of the ways to count in a time.
pub const WINDOWS: &[&str] = &["rate", "calendar", "rolling"];
/// Names of what happens while a shared counter is away, as in `Outage`.
pub const OUTAGES: &[&str] = &["refuse", "local", "allow"];

/// Names of the classes of priority, as in `Priority`.
pub const PRIORITIES: &[&str] = &["high", "normal", "low"];

/// Keys of `redis`.
pub const REDIS: &[Key] = &[
    key(
        "url",
        Secret,
        Fault,
        "file:./redis_url",
        "Where it is, by reference, since a password may stand in it: `redis://`, `rediss://` (TLS) or `redis+unix://`; several URLs, one a line, are the first nodes of a cluster.",
    ),
    key("cluster", Bool, Usually("false"), "true", "Whether a single URL is a node of a cluster."),
    key(
        "ca_file",
        Path,
        Means("the system's authorities"),
        "./redis_ca.pem",
        "PEM file of the only authorities that the server's certificate may come from.",
    ),
    key(
        "prefix",
        Text,
        Usually("weir"),
        "weir-eu",
        "What every key there begins with, so that installations can share a server.",
    ),
    key(
        "timeout_ms",
        Int { min: 1, max: 5_000 },
        Usually("20"),
        "20",
        "Longest wait for an answer; then each limit's `when_unavailable` holds.",
    ),
    key(
        "nodes",
        Int { min: 1, max: 1_000 },
        Usually("1"),
        "3",
        "Gateways that share the limits: while Redis is away, each counts that part of a limit alone.",
    ),
];

/// Keys of a deployment's line.
pub const QUEUE: &[Key] = &[
    key("slots", Int { min: 1, max: 1_000_000 }, Fault, "32", "Calls that it takes at once."),
    key(
        "waiting_max",
        Int { min: 0, max: 1_000_000 },
        Usually("1024"),
        "1024",
        "Calls that may wait. One tenant takes at most half of the places, and less where others wait too.",
    ),
    key(
        "wait_ms",
        Int { min: 1, max: 600_000 },
        Usually("30000"),
        "30000",
        "Longest wait; then the call is refused with a true `retry-after`.",
    ),
];

/// Keys of one limit of `tenants[].limit_rules`.
pub const LIMIT_RULE: &[Key] = &[
    key("name", Text, Fault, "monthly", "Its name, unique in this list: budgets are called so in reports and alerts."),
    key(
        "what",
        Choice(QUANTITIES),
        Fault,
        "money",
        "What it counts: calls, prompt tokens, completion tokens, both, money at the tenant's prices, or calls at the same time.",
    ),
    key(
        "amount",
        Int { min: 1, max: 9_000_000_000_000_000 },
        Means("`dollars` says it"),
        "1000000",
        "How many. For everything but money.",
    ),
    key("dollars", Text, Means("`amount` says it"), "\"250.00\"", "How much money, as a decimal number in quotes."),
    key(
        "per",
        Choice(UNITS),
        Means("needed but for `concurrency`"),
        "day",
        "In which time. `ever`: what is used up does not come back.",
    ),
    key(
        "times",
        Int { min: 1, max: 10_000 },
        Usually("1"),
        "30",
        "So many of `per`: 30 days, for `rate` and `rolling`. A rate counts to 2^50 (of money: 1,125,899 dollars).",
    ),
    key(
        "window",
        Choice(WINDOWS),
        Means("`rate` for calls and tokens per second, minute or hour, else `calendar`"),
        "rolling",
        "`rate` drains evenly, `calendar` begins anew with each hour, day, week (Monday) or month of the zone, `rolling` looks at the last so long, in steps of a sixtieth: what was used counts up to a step longer, never shorter.",
    ),
    key(
        "zone",
        Text,
        Usually("UTC"),
        "Europe/Berlin",
        "Time zone of the calendar, by its IANA name. Only a calendar has one.",
    ),
    key(
        "models",
        Texts,
        Usually("[]"),
        "[\"gpt-*\"]",
        "Only calls for these models: names, or a beginning and `*`. Empty: all.",
    ),
    key(
        "endpoints",
        Texts,
        Usually("[]"),
        "[chat_completions]",
        "Only calls at these endpoints: `chat_completions`, `completions` and so on, as in keys' scopes. Empty: all.",
    ),
    key(
        "each",
        Texts,
        Usually("[]"),
        "[end_user]",
        "Whose each own amount it is: any of `key`, `user`, `end_user`, `model`, `endpoint`. Empty: one amount for all at this level and below.",
    ),
    key(
        "when_unavailable",
        Choice(OUTAGES),
        Means("`refuse` for money and budgets, `local` for rates and concurrency"),
        "refuse",
        "What happens while the counter that several gateways share can't be asked: calls are refused, each gateway counts its share alone, or they pass uncounted. What was done is written on the audit record.",
    ),
    key(
        "lease",
        Int { min: 0, max: 25 },
        Usually("0"),
        "1",
        "Percent of a budget that a gateway takes from Redis at a time and hands out itself, so that most calls need no round trip for it. Nothing is ever overspent; each gateway keeps at most so much unused for some seconds, and a call may be refused meanwhile that it would have paid for. 0: each call asks.",
    ),
];

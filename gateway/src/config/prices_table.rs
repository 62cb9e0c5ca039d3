//! Keys of what is agreed about prices: discounts, currency, the own machine's hour.

use super::keys_table::Absent::{Default as Usually, Fault, Means};
use super::keys_table::Kind::{Int, Sections, Text, TextMap};
use super::keys_table::{Key, key};

/// Keys of `pricing`.
pub const PRICING: &[Key] = &[
    key(
        "discounts",
        Sections(DISCOUNT),
        Usually("[]"),
        "",
        "What tenants pay less than the price file says. Of those that fit, the one for the innermost tenant holds; of equal ones the first, and these before the file's own.",
    ),
    key(
        "currency",
        Text,
        Means("as the price file says, or USD"),
        "EUR",
        "ISO 4217 code of what the price file's amounts are in, in the place of its own. Any but USD needs `rates`.",
    ),
    key("rates", Sections(RATE), Usually("[]"), "", "Dollars for a unit of that currency; each holds until the next."),
];

/// Keys of one discount.
const DISCOUNT: &[Key] = &[
    key("tenant", Text, Means("everybody"), "acme/research", "Whom it is for: a tenant path and all below it."),
    key("provider", Text, Fault, "openai", "Of which provider in the price file; `*` at its end stands for any rest."),
    key("model", Text, Fault, "gpt-*", "Of which models there; `*` at its end stands for any rest."),
    key("from", Text, Means("always"), "2026-01-01", "First moment: a date (midnight, UTC) or a time in RFC 3339."),
    key("to", Text, Means("for ever"), "2027-01-01", "First moment at which it no longer holds."),
    key("percent", Text, Means("`prices` are given"), "\"12.5\"", "Percent off, with at most two decimals."),
    key(
        "prices",
        TextMap,
        Means("`percent` is given"),
        "{input: \"1.20 per 1M\", output: \"4 per 1M\"}",
        "Prices in the place of the file's, as it writes them.",
    ),
];

/// Keys of one rate.
const RATE: &[Key] = &[
    key("from", Text, Fault, "2026-01-01", "From when it holds: a date (midnight, UTC) or a time in RFC 3339."),
    key("usd", Text, Fault, "\"1.0834\"", "US dollars for one unit, as a decimal number."),
];

/// Keys of a deployment's `gpu`.
pub const GPU: &[Key] = &[
    key(
        "usd_per_hour",
        Text,
        Fault,
        "\"2.49\"",
        "Dollars of an hour of all that this engine runs on, as a decimal number.",
    ),
    key(
        "kv_percent",
        Int { min: 0, max: 100 },
        Usually("20"),
        "20",
        "Percent of it that holding pages of the cache costs; the rest is for reading prompts and making tokens.",
    ),
    key(
        "usd_per_1m_max",
        Text,
        Fault,
        "\"50\"",
        "Dollars that a million tokens cost at most, read or made: what is held before a call, and never charged beyond.",
    ),
];

//! Keys of finance.

use super::keys_table::Absent::{Default as Usually, Fault, Means};
use super::keys_table::Kind::{Choice, Sections, Text, TextMap};
use super::keys_table::{Key, key};

/// Names of what shares of a shared cost are counted by.
pub const BASES: &[&str] = &["cost", "tokens", "fixed"];

/// Keys of `finance`.
pub const FINANCE: &[Key] = &[
    key("issuer", Text, Usually("Weir"), "Acme Platform", "Who issues statements and, in exports, invoices."),
    key("zone", Text, Usually("UTC"), "Europe/Berlin", "Time zone whose months are closed, by its IANA name."),
    key("allocation", Sections(ALLOCATION), Usually("[]"), "", "Shared costs, and over whom they are spread."),
];

/// Keys of one entry of `finance.allocation`.
const ALLOCATION: &[Key] = &[
    key("from", Text, Fault, "acme/platform", "Tenant path whose cost is spread, with everything below it."),
    key(
        "over",
        Text,
        Means("every organisation"),
        "acme",
        "It is spread over each tenant directly below this path, but not over `from`.",
    ),
    key("by", Choice(BASES), Usually("cost"), "tokens", "By their own cost, by their tokens, or by `parts`."),
    key(
        "parts",
        TextMap,
        Means("none"),
        "{acme/search: \"3\"}",
        "Parts by tenant path, as whole numbers; for `fixed`.",
    ),
];

//! Code that decides stays pure: it takes `now`, `rng` and bytes as arguments and returns a value.
//!
//! That is what makes it testable from a table and replayable in simulation. The list of pure places is below.

use super::Finding;
use super::paths::named;
use super::source::Source;

/// Files and folders that are pure; a folder ends with `/`.
const PURE: &[&str] = &[
    "gateway/wire/src/",
    "gateway/src/policy/input.rs",
    "gateway/src/policy/compiled.rs",
    "gateway/src/policy/explain.rs",
    "gateway/src/privacy/",
    "gateway/src/limits/bucket.rs",
    "gateway/src/routing/pick.rs",
    "gateway/src/routing/split.rs",
    "gateway/src/usage/buckets.rs",
    "gateway/src/usage/price.rs",
    "gateway/src/usage/price/",
    "gateway/src/usage/report.rs",
    "gateway/src/usage/report/",
    "gateway/src/providers/openai.rs",
    "gateway/src/providers/responses.rs",
    "gateway/src/providers/anthropic.rs",
    "gateway/src/providers/gemini.rs",
    "gateway/src/providers/bedrock.rs",
    "gateway/src/audit/record.rs",
];

/// Inside the folders above, what keeps state by its nature.
const KEEPERS: &[&str] = &["vault.rs", "ledger.rs"];

/// What pure code may not name, and what it takes instead.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "return a value; the shell around it waits"),
    ("pingora", "take bytes and headers as arguments"),
    ("std::fs", "take the contents as an argument"),
    ("std::net", "core::net for addresses; sockets belong to the shell"),
    ("std::env", "take the setting as an argument"),
    ("std::process", "leave processes to the shell"),
    ("std::time::Instant", "take `now` as an argument"),
    ("std::time::SystemTime", "take `now` as an argument"),
    ("rand", "take `rng` as an argument"),
    ("getrandom", "take `rng` as an argument"),
];

/// Test code may do all of it.
pub fn check(source: &Source) -> Vec<Finding> {
    if !is_pure(&source.path) {
        return Vec::new();
    }
    let named = named(source);
    let places = named.iter().filter(|named| !named.is_test);
    places
        .filter_map(|named| {
            let (root, instead) = IMPURE.iter().find(|(root, _)| named.path.contains("::") && named.is_below(root))?;
            Some(Finding::new(&source.path, named.line, format!("`{root}` in pure code"), *instead))
        })
        .collect()
}

fn is_pure(path: &str) -> bool {
    let listed = |place: &&str| path == *place || (place.ends_with('/') && path.starts_with(*place));
    PURE.iter().any(listed) && !KEEPERS.iter().any(|keeper| path.ends_with(keeper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_impure_import_is_found_in_pure_code() {
        for (root, _) in IMPURE {
            let source = Source::new("gateway/src/limits/bucket.rs", &format!("//! a\nuse {root}::x;\n"));
            let findings = check(&source);
            assert_eq!(findings.len(), 1, "{root}");
            assert_eq!(findings[0].line, 2);
        }
    }

    #[test]
    fn a_grouped_import_and_a_call_are_found() {
        let source =
            Source::new("gateway/src/usage/price.rs", "use std::{fmt, fs};\nfn f() { std::env::var(\"A\"); }\n");
        assert_eq!(check(&source).len(), 2);
    }

    #[test]
    fn other_files_keepers_tests_and_durations_are_free() {
        let clean = |path, text| assert!(check(&Source::new(path, text)).is_empty(), "{path}");
        clean("gateway/src/journal.rs", "use std::fs::File;");
        clean("gateway/src/privacy/pii/vault.rs", "use std::fs::File;");
        clean("gateway/src/audit/record.rs", "use std::time::Duration;");
        clean("gateway/src/audit/record.rs", "#[cfg(test)]\nmod tests {\n use std::fs;\n}\n");
    }
}

//! One stack for each job: what Cargo.lock may not hold, and what it may hold only once.

use super::Finding;

/// Crates that bring a second way to do what the tree does already.
const DENIED: &[(&str, &str)] = &[
    ("openssl", "rustls on ring is the only TLS"),
    ("openssl-sys", "rustls on ring is the only TLS"),
    ("native-tls", "rustls on ring is the only TLS"),
    ("boring", "rustls on ring is the only TLS"),
    ("s2n-tls", "rustls on ring is the only TLS"),
    ("reqwest", "hyper for background fetches, Pingora's connector for calls"),
    ("ureq", "hyper for background fetches, Pingora's connector for calls"),
    ("isahc", "hyper for background fetches, Pingora's connector for calls"),
    ("curl", "hyper for background fetches, Pingora's connector for calls"),
    ("hyper-rustls", "Pingora speaks TLS to providers"),
    ("hyper-tls", "Pingora speaks TLS to providers"),
    ("actix-web", "axum on hyper serves the admin API and the engine"),
    ("warp", "axum on hyper serves the admin API and the engine"),
    ("async-std", "tokio is the only runtime"),
    ("smol", "tokio is the only runtime"),
    ("onig", "fancy-regex, which is built on regex-automata"),
    ("pcre2", "fancy-regex, which is built on regex-automata"),
    ("cudarc", "it comes in through kernels/ when a GPU build asks for it"),
    ("log4rs", "tracing"),
    ("env_logger", "tracing"),
];

/// (crate, what it may not depend on, instead). aws-lc comes in for tokens alone.
const DENIED_EDGES: &[(&str, &str, &str)] =
    &[("rustls", "aws-lc-rs", "ring is the only provider of cryptography for TLS")];

/// Crates of which two versions mean two stacks.
const SINGLE: &[&str] = &[
    "tokio",
    "hyper",
    "h2",
    "http",
    "httparse",
    "rustls",
    "ring",
    "rustls-webpki",
    "regex",
    "regex-automata",
    "fancy-regex",
    "serde",
    "serde_json",
    "pingora",
    "sqlx",
    "axum",
    "tracing",
    "candle-core",
];

/// Both lists, against the text of a lock file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut package = "";
    for (number, line) in (1..).zip(text.lines()) {
        let Some(name) = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) else {
            findings.extend(denied_edge(path, number, package, line));
            continue;
        };
        package = name;
        if let Some((_, instead)) = DENIED.iter().find(|(denied, _)| *denied == name) {
            findings.push(Finding::new(path, number, format!("`{name}` is locked"), *instead));
        }
        if SINGLE.contains(&name) && seen.contains(&name) {
            findings.push(Finding::new(path, number, format!("`{name}` is locked twice"), "one version for all"));
        }
        seen.push(name);
    }
    findings
}

/// A line ` "name",` or ` "name version",` of a package's dependencies.
fn denied_edge(path: &str, number: usize, package: &str, line: &str) -> Option<Finding> {
    let named = line.trim().strip_prefix('"')?.split(['"', ' ']).next()?;
    let (_, _, instead) = DENIED_EDGES.iter().find(|(from, to, _)| *from == package && *to == named)?;
    Some(Finding::new(path, number, format!("`{package}` depends on `{named}`"), *instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(names: &[&str]) -> String {
        names.iter().map(|name| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n\n")).collect()
    }

    #[test]
    fn each_denied_crate_is_found() {
        for (name, _) in DENIED {
            assert_eq!(check("Cargo.lock", &lock(&["tokio", name])).len(), 1, "{name}");
        }
        assert!(check("Cargo.lock", &lock(&["openssl-probe", "tokio"])).is_empty());
    }

    #[test]
    fn a_denied_edge_is_found_and_the_crate_alone_is_not() {
        let edge = "[[package]]\nname = \"rustls\"\ndependencies = [\n \"aws-lc-rs\",\n \"ring\",\n]\n";
        assert_eq!(check("Cargo.lock", edge)[0].what, "`rustls` depends on `aws-lc-rs`");
        let other = edge.replace("\"rustls\"", "\"jsonwebtoken\"");
        assert!(check("Cargo.lock", &other).is_empty());
    }

    #[test]
    fn a_second_version_of_a_stack_is_found() {
        let findings = check("Cargo.lock", &lock(&["hyper", "base64", "base64", "hyper"]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].what, "`hyper` is locked twice");
    }
}

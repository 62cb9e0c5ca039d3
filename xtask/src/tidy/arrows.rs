//! Which package may depend on which: the walls of the house, checked against cargo's own graph.
//!
//! Two questions for each package of ours: which of our packages does it name (in any kind of dependency), and what
//! does it reach, through however many steps, when it is built. Start at `WALLS`.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Finding;

struct Wall {
    package: &'static str,
    folder: &'static str,
    /// Our packages that it may name.
    may: &'static [&'static str],
    /// What it must not reach; `*` at the end stands for any rest of a name.
    never: &'static [&'static str],
    why: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        package: "weir-wire",
        folder: "gateway/wire",
        may: &[],
        never: &["tokio", "pingora*", "hyper", "axum"],
        why: "client, gateway, engine and tests read the same bytes; the protocol has no runtime",
    },
    Wall {
        package: "weir",
        folder: "gateway",
        may: &["weir-wire"],
        never: &["weir-engine", "weir-kernels", "candle*", "cudarc", "tokenizers"],
        why: "the gateway survives the engine; they meet on a socket only",
    },
    Wall {
        package: "weir-engine",
        folder: "backends",
        may: &["weir-wire", "weir-kernels"],
        never: &["weir", "pingora*"],
        why: "the engine knows no tenant and no proxy",
    },
    Wall {
        package: "weir-kernels",
        folder: "kernels",
        may: &[],
        never: &["candle*", "tokio", "weir-wire"],
        why: "the home of unsafe code holds arithmetic, nothing else",
    },
    Wall { package: "e2e", folder: "tests", may: &["weir-wire", "weir", "weir-engine"], never: &[], why: "" },
    Wall {
        package: "xtask",
        folder: "xtask",
        may: &[],
        never: &["tokio", "pingora*"],
        why: "it must build in seconds",
    },
];

/// Cargo's view of the workspace on this platform.
pub fn metadata(root: &Path) -> Result<Value> {
    let version = Command::new("rustc").arg("-vV").output().context("can't run rustc")?;
    let version = String::from_utf8(version.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let args = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    let output = Command::new("cargo").current_dir(root).args(args).output().context("can't run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What is wrong with the graph; a package without a wall is wrong too.
pub fn check(metadata: &Value) -> Vec<Finding> {
    let graph = Graph::new(metadata);
    let mut findings = Vec::new();
    for package in &graph.ours {
        let Some(wall) = WALLS.iter().find(|wall| wall.package == *package) else {
            findings.push(Finding::new("Cargo.toml", 1, format!("`{package}` has no wall"), "a row in arrows.rs"));
            continue;
        };
        let manifest = format!("{}/Cargo.toml", wall.folder);
        for named in graph.named.get(package).into_iter().flatten() {
            if graph.ours.contains(named) && !wall.may.contains(named) {
                let what = format!("`{package}` names `{named}`");
                findings.push(Finding::new(&manifest, 1, what, format!("turn the arrow round; {}", wall.why)));
            }
        }
        for chain in graph.reached(package, wall.never) {
            let what = format!("`{package}` reaches {}", chain.join(" -> "));
            findings.push(Finding::new(&manifest, 1, what, format!("cut the chain; {}", wall.why)));
        }
    }
    findings
}

/// Package names and the arrows between them.
struct Graph<'a> {
    ours: Vec<&'a str>,
    /// Every dependency, whatever its kind.
    named: BTreeMap<&'a str, Vec<&'a str>>,
    /// Dependencies that are linked or run at build time; tests' own are left out.
    built: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value) -> Self {
        let list = |value: Option<&'a Value>| value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |value: Option<&'a Value>| value.and_then(Value::as_str).unwrap_or_default();
        let names: BTreeMap<&str, &str> = list(metadata.get("packages"))
            .iter()
            .map(|package| (text(package.get("id")), text(package.get("name"))))
            .collect();
        let name = |id: Option<&'a Value>| names.get(text(id)).copied().unwrap_or_default();
        let mut graph = Self {
            ours: list(metadata.get("workspace_members")).iter().map(|id| name(Some(id))).collect(),
            named: BTreeMap::new(),
            built: BTreeMap::new(),
        };
        for node in list(metadata.pointer("/resolve/nodes")) {
            for arrow in list(node.get("deps")) {
                let (from, to) = (name(node.get("id")), name(arrow.get("pkg")));
                graph.named.entry(from).or_default().push(to);
                if list(arrow.get("dep_kinds"))
                    .iter()
                    .any(|kind| kind.get("kind").and_then(Value::as_str) != Some("dev"))
                {
                    graph.built.entry(from).or_default().push(to);
                }
            }
        }
        graph
    }

    /// The shortest chain from `package` to each package that matches a pattern.
    fn reached(&self, package: &'a str, patterns: &[&str]) -> Vec<Vec<&'a str>> {
        let mut chains = Vec::new();
        let mut seen = vec![package];
        let mut queue = VecDeque::from([vec![package]]);
        while let Some(chain) = queue.pop_front() {
            let last = chain.last().copied().unwrap_or_default();
            for next in self.built.get(last).into_iter().flatten() {
                if seen.contains(next) {
                    continue;
                }
                seen.push(next);
                let mut longer = chain.clone();
                longer.push(next);
                if patterns.iter().any(|pattern| matches(pattern, next)) {
                    chains.push(longer.split_off(1));
                } else {
                    queue.push_back(longer);
                }
            }
        }
        chains
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A graph from `(from, to, kind)`; packages of ours are those with a wall.
    fn graph(arrows: &[(&str, &str, Option<&str>)]) -> Value {
        let mut names: Vec<&str> = arrows.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        names.sort_unstable();
        names.dedup();
        let ours: Vec<&&str> = names.iter().filter(|name| WALLS.iter().any(|wall| wall.package == **name)).collect();
        let deps = |of: &str| -> Vec<Value> {
            let mine = arrows.iter().filter(|(from, _, _)| *from == of);
            mine.map(|(_, to, kind)| json!({"pkg": to, "dep_kinds": [{"kind": kind}]})).collect()
        };
        json!({
            "packages": names.iter().map(|name| json!({"id": name, "name": name})).collect::<Vec<_>>(),
            "workspace_members": ours,
            "resolve": {"nodes": names.iter().map(|name| json!({"id": name, "deps": deps(name)})).collect::<Vec<_>>()},
        })
    }

    fn whats(arrows: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        check(&graph(arrows)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn the_arrows_of_the_house_are_allowed() {
        let arrows = [("weir", "weir-wire", None), ("weir-engine", "weir-kernels", None), ("weir", "pingora", None)];
        assert_eq!(whats(&arrows), Vec::<String>::new());
    }

    #[test]
    fn a_hidden_chain_is_found_and_told() {
        let arrows = [("weir", "some-crate", None), ("some-crate", "candle-core", None)];
        assert_eq!(whats(&arrows), ["`weir` reaches some-crate -> candle-core"]);
    }

    #[test]
    fn each_forbidden_reach_is_found() {
        for wall in WALLS {
            for never in wall.never {
                let name = never.trim_end_matches('*');
                let reaches = whats(&[(wall.package, name, None)]);
                assert!(reaches.iter().any(|what| what.contains("reaches")), "{} -> {name}", wall.package);
            }
        }
    }

    #[test]
    fn an_arrow_between_our_packages_counts_in_tests_too() {
        assert_eq!(whats(&[("weir-engine", "weir", Some("dev"))]), ["`weir-engine` names `weir`"]);
        assert_eq!(whats(&[("weir-wire", "tokio", Some("dev"))]), Vec::<String>::new());
    }

    #[test]
    fn nobody_depends_on_the_tests_or_the_automation() {
        assert_eq!(whats(&[("weir", "xtask", None)]), ["`weir` names `xtask`"]);
        assert_eq!(whats(&[("weir-engine", "e2e", None)]), ["`weir-engine` names `e2e`"]);
    }

    #[test]
    fn a_new_package_needs_a_wall() {
        let mut graph = graph(&[("weir", "weir-wire", None)]);
        graph["packages"] = json!([{"id": "x", "name": "weir-new"}]);
        graph["workspace_members"] = json!(["x"]);
        assert_eq!(check(&graph).len(), 1);
    }
}

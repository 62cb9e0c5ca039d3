//! Constructs that this tree does without, each with its replacement.
//!
//! The list is the table `RULES` for Rust code and `TEXT_RULES` for every text file; this module only matches.
//! Start at the tables.

use super::Finding;
use super::paths::{Named, named};
use super::source::{Line, Source, is_word};

/// What to look for in code.
enum Shape {
    /// One of these macros, called.
    Macros(&'static [&'static str]),
    /// A path that is one of these or lies below it.
    Below(&'static [&'static str]),
    /// A path that ends with one of these.
    Tail(&'static [&'static str]),
    /// These characters, in code.
    Code(&'static str),
    /// One of these words, in code.
    Words(&'static [&'static str]),
    /// A type whose name ends like this.
    TypeNamed(&'static [&'static str]),
}

/// Whether test code may do it.
#[derive(PartialEq)]
enum Tests {
    Free,
    Bound,
}

struct Rule {
    shape: Shape,
    /// Path prefixes in which the rule holds.
    within: &'static [&'static str],
    /// Path prefixes, or suffixes after a `*`, in which it does not.
    except: &'static [&'static str],
    tests: Tests,
    instead: &'static str,
}

const EVERYWHERE: &[&str] = &[""];
const GATEWAY: &[&str] = &["gateway/src/"];
/// Where amounts of money and of what costs money are counted.
const MONEY: &[&str] = &[
    "gateway/src/usage",
    "gateway/src/limits",
    "gateway/src/finance",
    "gateway/src/settle.rs",
    "gateway/src/store/usage",
    "gateway/src/cli/usage",
    "gateway/src/cli/prices",
];

const RULES: &[Rule] = &[
    Rule {
        shape: Shape::Macros(&["println", "eprintln", "print", "eprint", "dbg"]),
        within: EVERYWHERE,
        except: &["gateway/src/cli/", "gateway/src/cli.rs", "xtask/", "bench/", "*/main.rs", "*build.rs"],
        tests: Tests::Free,
        instead: "an event in telemetry; only the command line talks to the terminal",
    },
    Rule {
        shape: Shape::Macros(&["todo", "unimplemented"]),
        within: EVERYWHERE,
        except: &[],
        tests: Tests::Bound,
        instead: "write it, or return an error that names what is missing",
    },
    Rule {
        shape: Shape::Below(&["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar"]),
        within: EVERYWHERE,
        except: &["xtask/", "bench/"],
        tests: Tests::Bound,
        instead: "parking_lot (no poisoning to unwrap), or arc_swap for what is mostly read",
    },
    Rule {
        shape: Shape::Tail(&["unbounded_channel", "mpsc::unbounded", "std::sync::mpsc::channel"]),
        within: EVERYWHERE,
        except: &[],
        tests: Tests::Bound,
        instead: "a bounded channel whose size has a name and a reason",
    },
    Rule {
        shape: Shape::Code("#[ignore"),
        within: EVERYWHERE,
        except: &[],
        tests: Tests::Bound,
        instead: "make the test fast, or delete it",
    },
    Rule {
        shape: Shape::Code("#[should_panic"),
        within: EVERYWHERE,
        except: &[],
        tests: Tests::Bound,
        instead: "assert on the returned error",
    },
    Rule {
        shape: Shape::Code("static mut "),
        within: EVERYWHERE,
        except: &[],
        tests: Tests::Bound,
        instead: "an atomic, or a value that is passed on",
    },
    Rule {
        shape: Shape::Tail(&["tokio::spawn", "tokio::task::spawn", "task::spawn"]),
        within: GATEWAY,
        except: &["gateway/src/running.rs"],
        tests: Tests::Free,
        instead: "the task set of Running, whose owner waits for what it started",
    },
    Rule {
        shape: Shape::Tail(&["Instant::now", "SystemTime::now"]),
        within: GATEWAY,
        except: &["gateway/src/clock.rs"],
        tests: Tests::Free,
        instead: "take `now` as an argument; clock.rs reads the clock",
    },
    Rule {
        shape: Shape::Below(&["std::env::var", "std::env::var_os", "std::env::vars", "env::var", "env::var_os"]),
        within: &["gateway/src/", "backends/src/", "kernels/src/"],
        except: &["gateway/src/config/", "backends/src/server/secret.rs"],
        tests: Tests::Free,
        instead: "read settings in config/ and pass them on",
    },
    Rule {
        shape: Shape::Below(&["anyhow"]),
        within: &["gateway/", "backends/src/", "kernels/src/"],
        // regorus gives its errors as anyhow's.
        except: &[
            "*/main.rs",
            "gateway/src/cli/",
            "gateway/src/cli.rs",
            "gateway/src/policy/rego.rs",
            "gateway/src/policy/rego/builtins.rs",
        ],
        tests: Tests::Free,
        instead: "this module's own thiserror enum, named for the failure",
    },
    Rule {
        shape: Shape::Tail(&["process::exit", "process::abort"]),
        within: EVERYWHERE,
        except: &["xtask/", "*/main.rs", "gateway/src/cli/"],
        tests: Tests::Free,
        instead: "return up to main: destructors settle what is open",
    },
    Rule {
        shape: Shape::Words(&["f32", "f64"]),
        within: MONEY,
        except: &[],
        tests: Tests::Free,
        instead: "whole numbers: nano-dollars, or a fraction of two",
    },
    Rule {
        shape: Shape::TypeNamed(&["Manager", "Helper", "Util", "Utils", "Impl"]),
        within: EVERYWHERE,
        except: &[],
        tests: Tests::Free,
        instead: "name the thing that it is in the domain",
    },
];

/// A pattern in any text file, and the files in which it counts.
struct TextRule {
    any_of: &'static [&'static str],
    ends: &'static [&'static str],
    instead: &'static str,
}

const TEXT_RULES: &[TextRule] = &[
    TextRule {
        // Written in pieces, so that this table does not find itself.
        any_of: &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")],
        ends: &[".rs", ".rego", ".toml", ".md", ".yaml", ".yml", ".sql", ".py", ".sh", "Makefile", ".ci/run"],
        instead: "do it now, or describe the gap in the module's opening",
    },
    TextRule {
        any_of: &["panic = \"abort\"", "panic=abort"],
        ends: &[".toml", "Makefile", ".ci/run"],
        instead: "unwinding: a call that panics must still answer and be settled",
    },
];

/// Folders and files named after nothing.
const NAMELESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "types"];

/// The rules for Rust code.
pub fn check(source: &Source) -> Vec<Finding> {
    let named = named(source);
    let rules = RULES.iter().filter(|rule| rule.holds_in(&source.path));
    let mut findings: Vec<Finding> = rules.flat_map(|rule| rule.check(source, &named)).collect();
    findings.extend(dropped_results(source));
    findings.extend(unsafe_code(source));
    findings.extend(nameless(&source.path));
    findings
}

/// The rules for every text file.
pub fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let rules = TEXT_RULES.iter().filter(|rule| rule.ends.iter().any(|end| path.ends_with(end)));
    let mut findings = Vec::new();
    for rule in rules {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(pattern) = rule.any_of.iter().find(|pattern| line.contains(**pattern)) {
                findings.push(Finding::new(path, number, format!("`{pattern}`"), rule.instead));
            }
        }
    }
    findings
}

impl Rule {
    fn holds_in(&self, path: &str) -> bool {
        let excepted = |pattern: &&str| match pattern.strip_prefix('*') {
            Some(suffix) => path.ends_with(suffix),
            None => path.starts_with(*pattern),
        };
        self.within.iter().any(|prefix| path.starts_with(prefix)) && !self.except.iter().any(excepted)
    }

    fn check(&self, source: &Source, named: &[Named]) -> Vec<Finding> {
        let finding = |line: usize, what: String| Finding::new(&source.path, line, what, self.instead);
        let free = |is_test: bool| is_test && self.tests == Tests::Free;
        match &self.shape {
            Shape::Below(roots) => matching(named, |named| roots.iter().any(|root| named.is_below(root)))
                .filter(|named| !free(named.is_test))
                .map(|named| finding(named.line, format!("`{}`", named.path)))
                .collect(),
            Shape::Tail(tails) => matching(named, |named| tails.iter().any(|tail| named.ends_with(tail)))
                .filter(|named| !free(named.is_test))
                .map(|named| finding(named.line, format!("`{}`", named.path)))
                .collect(),
            shape @ (Shape::Macros(_) | Shape::Code(_) | Shape::Words(_) | Shape::TypeNamed(_)) => source
                .numbered()
                .filter(|(_, line)| !free(line.is_test))
                .filter_map(|(number, line)| Some(finding(number, shape.in_line(line)?)))
                .collect(),
        }
    }
}

impl Shape {
    /// What of this shape stands in one line; paths are matched elsewhere.
    fn in_line(&self, line: &Line) -> Option<String> {
        match self {
            Self::Macros(names) => {
                let name = names.iter().find(|name| calls_macro(&line.code, name))?;
                Some(format!("`{name}!`"))
            }
            Self::Words(words) => {
                let word = line.code.split(|c| !is_word(c)).find(|word| words.contains(word))?;
                Some(format!("`{word}`"))
            }
            Self::Code(text) => line.code.contains(text).then(|| format!("`{text}`")),
            Self::TypeNamed(ends) => {
                let words: Vec<&str> = line.code.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
                let kinds = ["struct", "enum", "trait"];
                let mut pairs = words.iter().zip(words.iter().skip(1));
                let (_, name) =
                    pairs.find(|(kind, name)| kinds.contains(*kind) && ends.iter().any(|end| name.ends_with(end)))?;
                Some(format!("a type named `{name}`"))
            }
            Self::Below(_) | Self::Tail(_) => None,
        }
    }
}

fn matching(named: &[Named], is_match: impl Fn(&Named) -> bool) -> impl Iterator<Item = &Named> {
    named.iter().filter(move |named| named.path.contains("::") && is_match(named))
}

fn calls_macro(code: &str, name: &str) -> bool {
    let mut places = code.match_indices(name);
    places.any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        let after = code.get(at..).and_then(|rest| rest.strip_prefix(name)).unwrap_or_default();
        !before.ends_with(is_word) && after.starts_with('!') && !after.starts_with("!=")
    })
}

/// `let _ =` drops a result; the line, or the comment right above it, says why that is right.
fn dropped_results(source: &Source) -> Vec<Finding> {
    let above = std::iter::once(false).chain(source.lines.iter().map(|line| line.raw.trim_start().starts_with("//")));
    let lines = source.numbered().zip(above);
    lines
        .filter(|((_, line), above)| {
            line.code.contains("let _ =") && line.comment.trim().is_empty() && !above && !line.is_test
        })
        .map(|((number, _), _)| {
            Finding::new(&source.path, number, "`let _ =` without a reason", "handle it, or say on the line why not")
        })
        .collect()
}

/// Unsafe code lives in kernels/, and each place says why it is sound.
fn unsafe_code(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (number, line)) in source.numbered().enumerate() {
        if !line.code.split(|c| !is_word(c)).any(|word| word == "unsafe") {
            continue;
        }
        let around = source.lines.iter().skip(index.saturating_sub(6)).take(7);
        let is_sound =
            around.into_iter().any(|line| line.comment.contains("SAFETY") || line.comment.contains("# Safety"));
        if !source.path.starts_with("kernels/") {
            findings.push(Finding::new(&source.path, number, "`unsafe`", "kernels/ is its only home"));
        } else if !is_sound {
            findings.push(Finding::new(
                &source.path,
                number,
                "`unsafe` without `// SAFETY:`",
                "say above it what makes it sound",
            ));
        }
    }
    findings
}

fn nameless(path: &str) -> Option<Finding> {
    let part = path.split('/').map(|part| part.trim_end_matches(".rs")).find(|part| NAMELESS.contains(part))?;
    Some(Finding::new(path, 1, format!("a room named `{part}`"), "put it where its noun lives"))
}

#[cfg(test)]
mod tests;

//! The house rules that clippy can't express, as a failing command.
//!
//! Each rule is a pure function from what it reads (files, the lock file, cargo's metadata) to findings, so that each
//! has a test in which a planted fault is found. A finding always says what to do instead.
//! Start at `run`; the banned constructs are a table in `banned.rs`.

mod arrows;
mod banned;
mod docs;
mod length;
mod lock;
mod paths;
mod purity;
mod source;
mod tree;
mod words;

use std::fmt;

use anyhow::{Result, bail};

use source::Source;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    what: String,
    instead: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into(), instead: instead.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; instead: {}", self.path, self.line, self.what, self.instead)
    }
}

/// Checks the whole tree that holds this package.
pub fn run() -> Result<()> {
    let root = tree::root()?;
    let files = tree::read(&root)?;
    let mut findings = arrows::check(&arrows::metadata(&root)?);
    findings.extend(lock::check("Cargo.lock", &std::fs::read_to_string(root.join("Cargo.lock"))?));
    for file in &files {
        findings.extend(words::check(&file.path, &file.text));
        findings.extend(banned::check_text(&file.path, &file.text));
        if file.path.ends_with(".rs") {
            findings.extend(check_rust(&Source::new(&file.path, &file.text)));
        }
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    println!("tidy: {} files, nothing to say", files.len());
    Ok(())
}

fn check_rust(source: &Source) -> Vec<Finding> {
    let rules = [docs::check, length::check, purity::check, banned::check];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

//! The real binaries: where they are, and running them.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::clock;

/// The gateway's binary: `$WEIR_BIN`, else the debug build in the target folder.
pub fn weir() -> PathBuf {
    find("WEIR_BIN", "weir")
}

/// The engine's binary: `$WEIR_ENGINE_BIN`, else the debug build in the target folder.
pub fn engine() -> PathBuf {
    find("WEIR_ENGINE_BIN", "weir-engine")
}

fn find(variable: &str, name: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        // This test itself runs from `<target>/debug/deps`.
        let own = std::env::current_exe().expect("a running program has a path");
        own.ancestors().nth(2).expect("a target folder").join(name)
    });
    assert!(path.exists(), "there is no {}: run `make test`, or build it and set {variable}", path.display());
    path
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// The exit status; -1 where a signal ended it.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Done {
    /// Stdout as JSON: one value, or one value per line as an array.
    ///
    /// # Panics
    /// It failed or wrote something else.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        if let Ok(value) = serde_json::from_str(&self.stdout) {
            return value;
        }
        let parse =
            |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) };
        self.stdout.lines().filter(|line| !line.is_empty()).map(parse).collect()
    }
}

/// Runs `weir` with these arguments to its end, with an empty environment.
///
/// # Panics
/// It can't be started, or does not end soon.
pub async fn run(args: &[&str]) -> Done {
    let mut command = Command::new(weir());
    command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let output = clock::soon(&format!("weir {}", args.join(" ")), command.output()).await.expect("weir starts");
    Done {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The model's file: `$WEIR_MODEL`.
///
/// # Panics
/// It is not set.
pub fn model() -> PathBuf {
    named("WEIR_MODEL")
}

/// A Python that has the official SDK: `$WEIR_PYTHON`.
///
/// # Panics
/// It is not set.
pub fn python() -> PathBuf {
    named("WEIR_PYTHON")
}

fn named(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `make test`, or set it to what `cargo xtask` brings"))
}

//! Where fetched things live, and how outside commands are run.
//!
//! Owns the cache folder's place and the words printed about each command. Refuses to write inside the repository:
//! whatever is fetched stays out of the tree.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `$XDG_CACHE_HOME/weir`, or `$HOME/.cache/weir`.
pub fn folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("weir"))
}

/// Says what it runs, runs it with its output on stderr, and fails with the command's own words.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", words(command));
    let status =
        command.stdout(std::io::stderr()).status().with_context(|| format!("can't run `{}`", words(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", words(command));
    }
    Ok(())
}

/// Whether a command exists and ends well, in silence.
pub fn works(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A command from words.
pub fn command(words: &[&str]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().copied().unwrap_or_default());
    command.args(words);
    command
}

/// `apt-get install` as root, or through a `sudo` that asks nothing; false where neither is there.
pub fn apt_install(package: &str) -> bool {
    let apt = ["apt-get", "install", "-y", "-q", package];
    let sudo: Vec<&str> = ["sudo", "-n"].into_iter().chain(apt).collect();
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let words: &[&str] = if is_root { &apt } else { &sudo };
    if !works(&mut command(&["apt-get", "--version"])) || !(is_root || works(&mut command(&["sudo", "-n", "true"]))) {
        return false;
    }
    run(command(words).env("DEBIAN_FRONTEND", "noninteractive")).is_ok()
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let error = run(&mut command(&["false", "--really"])).unwrap_err().to_string();
        assert!(error.contains("`false --really`"), "{error}");
    }

    #[test]
    fn a_missing_command_does_not_work() {
        assert!(works(&mut command(&["true"])));
        assert!(!works(&mut command(&["no-such-command-of-weir"])));
    }
}

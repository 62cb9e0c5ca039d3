//! Automation that is too long for the Makefile: `cargo xtask tidy | model | venv | idp | …`.
//!
//! Owns the house rules that clippy can't express (`tidy`), the one model that the demo and the tests use (`model`),
//! the Python environment of the SDK tests (`venv`), the identity provider of the token tests (`idp`), the real OPA
//! that tests compare with (`oracle`), the LDAP server of the directory tests (`slapd`), the servers of the limits' and
//! the store's tests (`redis`, `postgres`), the browser of the finance page's tests (`browser`), the validator of
//! exports (`focus`), and a decision log of
//! any length to replay (`decisions`). It runs on a developer's machine only: nothing depends on it.
//! Start at `main`, then at the module of the command's name.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool answers on its terminal")]

mod browser;
mod cache;
mod debian;
mod decisions;
mod focus;
mod idp;
mod model;
mod oracle;
mod postgres;
mod redis;
mod slapd;
mod tidy;
mod venv;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  tidy     check the house rules; prints `file:line: what; instead: ...` and fails on the first finding or more
  model    bring the demo's model into the cache folder, checked by its hash; prints its path
  venv     make the Python environment of the SDK tests; prints the path of its python
  idp      install the identity provider of the token tests; prints its folder, or nothing where node is missing
  oracle   bring the real OPA for tests that compare with it; prints its folder
  slapd    bring the LDAP server of the directory tests; prints its folder, or nothing where it can't be had
  redis    find or bring Redis; prints its server's path, or nothing where it can't be had
  postgres find or bring PostgreSQL; prints the folder of its programs, or nothing where they can't be had
  browser  bring the browser of the finance page's tests; prints its folder, or nothing where it can't be had
  focus    make the validator of FOCUS exports; prints its path, or nothing where Python is too old
  decisions FILE COUNT   write a decision log of so many calls, the same for the same count";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let done = match command.as_str() {
        "tidy" => tidy::run(),
        "model" => model::bring().map(|path| println!("{}", path.display())),
        "oracle" => oracle::bring().map(|path| println!("{}", path.display())),
        "decisions" => decisions::write(args),
        "venv" => venv::make().map(|python| println!("{}", python.display())),
        "idp" => idp::make().map(|folder| println!("{}", folder.unwrap_or_default().display())),
        "browser" => browser::make().map(|folder| println!("{}", folder.unwrap_or_default().display())),
        "focus" => focus::make().map(|path| println!("{}", path.unwrap_or_default().display())),
        "slapd" => slapd::bring().map(|folder| println!("{}", folder.unwrap_or_default().display())),
        "redis" => redis::bring().map(|server| println!("{}", server.unwrap_or_default().display())),
        "postgres" => postgres::bring().map(|folder| println!("{}", folder.unwrap_or_default().display())),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

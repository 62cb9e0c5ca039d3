//! Redis and PostgreSQL of a test's own: each in a folder of its own, reached by a socket in it, and by a port where
//! one is given. They end when they are dropped.
//!
//! This module is built into the gateway's own tests as well, so it names nothing of this package, blocks instead of
//! awaiting, and needs no more than the standard library, tempfile and rustix. `$WEIR_REDIS` (the server's binary) and
//! `$WEIR_POSTGRES` (the folder of its programs) say where they are; where they say nothing, tests are skipped.
// A panic here is a failed test with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(dead_code, reason = "each of the two packages uses what it needs")]

#[path = "servers/postgres.rs"]
pub mod postgres;
#[path = "servers/redis.rs"]
pub mod redis;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The pause between two looks at a server that starts, and how many looks there are: 30 s.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 3_000;

/// What a variable names; `None`, with a note, where it names nothing.
fn named(variable: &str, what: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    if path.is_none() {
        println!("{variable} names nothing: tests with a real {what} are skipped");
    }
    path.map(PathBuf::from)
}

/// A command whose libraries may lie in `root`, where its package was unpacked.
fn command(binary: &Path, root: &Path) -> Command {
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries = ["usr/lib", "lib"].map(|base| root.join(base).join(&multiarch).display().to_string());
    let mut command = Command::new(binary);
    command.env("LD_LIBRARY_PATH", libraries.join(":")).stdin(Stdio::null());
    command
}

/// Looks until it is so.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_so() {
            return;
        }
        std::thread::sleep(LOOK);
    }
    panic!("never happened: {what}");
}

/// Sends a signal to a child of ours.
fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a small number")).expect("not zero");
    kill_process(pid, signal).expect("a child of ours");
}

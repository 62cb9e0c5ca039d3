//! Chapters in other languages: in Python, scripts that use the official SDK as an application would; in a browser,
//! scripts that use the pages as a person would. They say what they saw.
//!
//! A script gets the facts as one line of JSON on its stdin. It prints a line for each check that held, and a line for
//! each event that the test waits for and answers. A check that does not hold ends it with a traceback.

use std::fs;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::clock;
use crate::program;

/// How long a script may be silent: it may wait for an answer of a real model on a busy machine.
const SILENT: Duration = Duration::from_secs(60);

/// A running script.
pub struct Chapter {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: fs::File,
    checks: Vec<String>,
}

impl Chapter {
    /// Starts `tests/sdk/NAME.py` with these facts.
    ///
    /// # Panics
    /// There is no Python with the SDK.
    pub async fn start(name: &str, facts: &Value) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
        let mut command = Command::new(program::python());
        command.arg("-B").arg(folder.join(format!("{name}.py"))).env_clear();
        Self::launch(name, command, facts).await
    }

    /// Starts `tests/browser/NAME.mjs` with these facts; `None`, with a note, where `$WEIR_BROWSER` names no folder.
    ///
    /// # Panics
    /// There is no node.
    pub async fn in_browser(name: &str, facts: &Value) -> Option<Self> {
        let packages = std::env::var_os("WEIR_BROWSER").filter(|folder| !folder.is_empty());
        let Some(packages) = packages else {
            use std::io::Write;
            // A test that is left out has nobody else to tell.
            writeln!(std::io::stderr(), "WEIR_BROWSER is not set: nothing is tested in a browser").unwrap_or_default();
            return None;
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
        let mut command = Command::new("node");
        command.arg(folder.join(format!("{name}.mjs"))).env("WEIR_BROWSER", packages);
        Some(Self::launch(name, command, facts).await)
    }

    async fn launch(name: &str, mut command: Command, facts: &Value) -> Self {
        let stderr = tempfile::tempfile().expect("room for a file");
        command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(stderr.try_clone().expect("an open file"));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdin = child.stdin.take().expect("a piped stdin");
        let lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
        let mut chapter = Self { name: name.to_owned(), child, stdin, lines, stderr, checks: Vec::new() };
        chapter.answer(facts).await;
        chapter
    }

    /// Runs a script that needs no answers; gives the number of its checks.
    ///
    /// # Panics
    /// A check did not hold.
    pub async fn run(name: &str, facts: &Value) -> usize {
        Self::start(name, facts).await.finish().await
    }

    /// Waits for the next event, which must be this one.
    ///
    /// # Panics
    /// Another comes, or the script ends.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let Some(line) = self.line().await else {
                panic!("{} ended before `{name}`:\n{}", self.name, self.traceback())
            };
            if let Some(event) = line["event"].as_str() {
                assert_eq!(event, name, "{}: the wrong event", self.name);
                return line;
            }
        }
    }

    /// Answers an event.
    ///
    /// # Panics
    /// The script does not listen.
    pub async fn answer(&mut self, value: &Value) {
        let sent = self.stdin.write_all(format!("{value}\n").as_bytes()).await;
        assert!(sent.is_ok(), "{} does not listen:\n{}", self.name, self.traceback());
    }

    /// Waits for the end; gives the number of its checks.
    ///
    /// # Panics
    /// A check did not hold, or there was none, or an event was not waited for.
    pub async fn finish(mut self) -> usize {
        while let Some(line) = self.line().await {
            assert!(line.get("event").is_none(), "{}: nobody waits for {line}", self.name);
        }
        let status = clock::soon("the script ends", self.child.wait()).await.expect("a child of ours");
        let last = self.checks.last().map_or("the start", String::as_str).to_owned();
        assert!(status.success(), "{} ended with {status} after `{last}`:\n{}", self.name, self.traceback());
        assert!(!self.checks.is_empty(), "{} checked nothing", self.name);
        self.checks.len()
    }

    async fn line(&mut self) -> Option<Value> {
        let line = clock::within(&self.name, SILENT, self.lines.next_line()).await.expect("a readable pipe")?;
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name));
        self.checks.extend(line["check"].as_str().map(str::to_owned));
        Some(line)
    }

    fn traceback(&self) -> String {
        let mut text = String::new();
        let mut file = &self.stderr;
        file.rewind().expect("an open file");
        file.read_to_string(&mut text).expect("a traceback is text");
        text
    }
}

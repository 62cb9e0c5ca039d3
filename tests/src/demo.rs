//! `weir demo` as a script or a person starts it: the real gateway with its engine as its child, on free ports.

use std::fs;
use std::io::{Read, Seek};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::clock;
use crate::ports::free_address;
use crate::program::{self, Done};

/// How long a demo may take until it is ready: it loads a model.
const READY: Duration = Duration::from_secs(60);
/// The last line of what a person reads.
const LAST_LINE: &str = "Ctrl-C ends it.";

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mind {
    /// The model at `$WEIR_MODEL`.
    Model,
    /// The engine's scripted executor.
    Scripted,
}

/// How the demo says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Json,
    Text,
}

/// A demo; it is killed when this is dropped, and its engine ends with it.
pub struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
    log: fs::File,
    mind: Mind,
    /// The model's file, where it is not the one of the tests.
    model: Option<PathBuf>,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Demo {
    /// Starts a demo in a folder of its own; gives its line of JSON too, once it is ready.
    ///
    /// # Panics
    /// It does not become ready soon; its log is shown.
    pub async fn start(mind: Mind) -> (Self, Value) {
        let mut demo = Self::spawn(mind, Says::Json);
        let ready = demo.ready().await;
        (demo, ready)
    }

    /// Starts a demo with this model file.
    ///
    /// # Panics
    /// It does not become ready soon; its log is shown.
    pub async fn with_model(model: &Path) -> (Self, Value) {
        let mut demo = Self::spawn_with(Mind::Model, Says::Json, Some(model));
        let ready = demo.ready().await;
        (demo, ready)
    }

    /// The same as a person sees it: the text instead of the line.
    ///
    /// # Panics
    /// It does not become ready soon; its log is shown.
    pub async fn for_people(mind: Mind) -> (Self, String) {
        let mut demo = Self::spawn(mind, Says::Text);
        let mut text = String::new();
        while !text.ends_with(&format!("{LAST_LINE}\n")) {
            let line = demo.line().await;
            text.push_str(&line);
            text.push('\n');
        }
        (demo, text)
    }

    fn spawn(mind: Mind, says: Says) -> Self {
        Self::spawn_with(mind, says, None)
    }

    fn spawn_with(mind: Mind, says: Says, model: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("room for a folder");
        let (listen, admin) = (free_address(), free_address());
        let log = tempfile::tempfile().expect("room for a log");
        let model = model.map(Path::to_path_buf);
        let data = folder.path().join("data");
        let (child, lines) = launch(mind, says, &data, [listen, admin], &log, model.as_deref());
        Self { child, lines, folder, log, mind, model, listen, admin }
    }

    /// Starts it once more on the same folder and ports.
    ///
    /// # Panics
    /// It does not become ready soon; its log is shown.
    pub async fn start_again(&mut self) -> Value {
        let addresses = [self.listen, self.admin];
        (self.child, self.lines) =
            launch(self.mind, Says::Json, &self.data(), addresses, &self.log, self.model.as_deref());
        self.ready().await
    }

    async fn ready(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    async fn line(&mut self) -> String {
        let line = clock::within("the demo is ready", READY, self.lines.next_line()).await.expect("a readable pipe");
        line.unwrap_or_else(|| panic!("the demo ended before it was ready:\n{}", self.log()))
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What a chapter needs to know, beside the line of JSON.
    pub fn facts(&self, ready: &Value) -> Value {
        let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/prices/builtin.yaml");
        let mut facts = json!({
            "data": self.data(), "weir": program::weir(), "prices": prices,
            "engine_socket": self.data().join("run/engine.sock"),
        });
        for name in ["base_url", "tenants"] {
            facts[name] = ready[name].clone();
        }
        facts
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let mut text = String::new();
        let mut file = &self.log;
        file.rewind().expect("an open file");
        file.read_to_string(&mut text).expect("a log is text");
        text
    }

    /// Runs a command on its data folder: `--data` is added.
    ///
    /// # Panics
    /// It can't be started, or does not end soon.
    pub async fn weir(&self, args: &[&str]) -> Done {
        let data = self.data();
        let data = data.to_str().expect("test folders have plain names");
        program::run(&[args, &["--data", data]].concat()).await
    }

    /// Its engine's process, where one runs.
    ///
    /// # Panics
    /// There is no `/proc`.
    pub fn engine(&self) -> Option<Pid> {
        let parent = self.child.id()?;
        let entries = fs::read_dir("/proc").expect("Linux has /proc").filter_map(Result::ok);
        let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        stats.filter_map(|stat| engine_of(&stat, parent)).next()
    }

    /// Kills its engine and gives the process that was.
    ///
    /// # Panics
    /// It has none.
    pub fn kill_engine(&self) -> Pid {
        let engine = self.engine().expect("a running engine");
        kill_process(engine, Signal::KILL).expect("a process of our own");
        engine
    }

    /// Waits until another engine than `old` runs.
    ///
    /// # Panics
    /// None does soon.
    pub async fn engine_after(&self, old: Pid) -> Pid {
        clock::eventually("the engine runs again", async || self.engine().filter(|engine| *engine != old)).await
    }

    /// Kills the gateway without warning, and waits until its engine has gone too.
    ///
    /// # Panics
    /// The engine outlives it.
    pub async fn kill(&mut self) {
        let engine = self.engine().expect("a running engine");
        self.child.start_kill().expect("a process of our own");
        clock::soon("the gateway is gone", self.child.wait()).await.expect("a child of ours");
        let stat = format!("/proc/{}/stat", engine.as_raw_nonzero());
        // A zombie has ended; who reaps it is the machine's affair.
        let ended = || fs::read_to_string(&stat).map_or(true, |stat| state_of(&stat) == Some('Z'));
        clock::eventually("the engine ends with its gateway", async || ended().then_some(())).await;
    }

    /// Asks it to end; gives its status and what else it wrote to stdout.
    ///
    /// # Panics
    /// It does not end soon.
    pub async fn terminate(&mut self) -> (ExitStatus, Vec<String>) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("a running gateway"), Signal::TERM).expect("a process of our own");
        let status = clock::soon("the demo ends", self.child.wait()).await.expect("a child of ours");
        let mut rest = Vec::new();
        while let Some(line) = clock::soon("its last words", self.lines.next_line()).await.expect("a readable pipe") {
            rest.push(line);
        }
        (status, rest)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        use std::io::Write;
        if std::thread::panicking() {
            // A failing test has nobody to tell that its log could not be shown.
            let log = self.log();
            writeln!(std::io::stderr(), "the demo's log:\n{log}").unwrap_or_default();
        }
    }
}

fn launch(
    mind: Mind,
    says: Says,
    data: &Path,
    [listen, admin]: [SocketAddr; 2],
    log: &fs::File,
    model: Option<&Path>,
) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(program::weir());
    command.arg("demo").arg("--data").arg(data);
    command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string(), "--log", "info"]);
    match mind {
        Mind::Scripted => command.arg("--scripted"),
        Mind::Model => command.arg("--model").arg(model.map_or_else(program::model, Path::to_path_buf)),
    };
    if says == Says::Json {
        command.arg("--json");
    }
    let log = log.try_clone().expect("an open file");
    command.env_clear().env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.kill_on_drop(true).spawn().expect("weir starts");
    let lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
    (child, lines)
}

/// The process of a `/proc/PID/stat` line, where it is a living engine whose parent is `parent`.
fn engine_of(stat: &str, parent: u32) -> Option<Pid> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let (state, its_parent) = (rest.next()?, rest.next()?);
    let fits = name.starts_with("weir-engine") && state != "Z" && its_parent.parse() == Ok(parent);
    fits.then(|| pid.parse().ok().and_then(Pid::from_raw))?
}

fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

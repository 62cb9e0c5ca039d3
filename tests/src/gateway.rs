//! A real gateway: `weir serve` in a folder of its own, and everything that it leaves behind.

mod books;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::client::{Fetched, Reply, Request};
use crate::clock;
use crate::config::{ADMIN_TOKEN, Config, PEPPER};
use crate::ports::free_address;
use crate::program::{self, Done};
pub use books::outcome;

/// Prices of the models that the scripted provider serves, in the shipped file's form.
const PRICES: &str = include_str!("../cases/prices.yaml");

/// Three times the pause between two looks of a gateway at its store.
const KEY_KNOWN: Duration = Duration::from_millis(750);

/// An API key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The part that may be shown.
    pub id: String,
    /// The whole key.
    pub secret: String,
}

/// A running gateway. It is killed when this is dropped.
pub struct Gateway {
    child: Option<Child>,
    folder: TempDir,
    /// The largest file that the process may write, in blocks of 512 bytes: how a full disk is played.
    pub file_blocks_max: Option<u32>,
    /// The log's filter, where it is not the usual one.
    pub log_filter: Option<&'static str>,
    /// The data plane.
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts a gateway and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready soon; its log is shown.
    pub async fn start(config: &Config) -> Self {
        let mut gateway = Self::prepare(config);
        gateway.spawn().await;
        gateway
    }

    /// Writes the folder of a gateway without starting it.
    ///
    /// # Panics
    /// There is no room for a folder.
    pub fn prepare(config: &Config) -> Self {
        let folder = tempfile::tempdir().expect("room for a folder");
        let (address, admin) = (free_address(), free_address());
        fs::create_dir(folder.path().join("data")).expect("room for a folder");
        let gateway = Self { child: None, folder, file_blocks_max: None, log_filter: None, address, admin };
        gateway.write("pepper", PEPPER);
        gateway.write("admin_token", ADMIN_TOKEN);
        gateway.write("prices.yaml", PRICES);
        gateway.configure(config);
        gateway
    }

    /// Writes the configuration anew; a running gateway reads it on SIGHUP.
    pub fn configure(&self, config: &Config) {
        self.write("gateway.yaml", &config.yaml(self.address.port(), self.admin.port()));
    }

    /// Writes a file beside the configuration, readable by its owner alone.
    ///
    /// # Panics
    /// There is no room.
    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, text).expect("room for a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of our own");
    }

    /// A path in the gateway's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// What the gateway has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Starts the process, again after it ended, and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready soon; its log is shown.
    pub async fn spawn(&mut self) {
        self.launch();
        let mut child = self.child.take().expect("launched just now");
        let ready = clock::eventually("the gateway is ready", async || {
            let ended = child.try_wait().expect("a child of ours");
            if let Some(status) = ended {
                return Some(Err(status));
            }
            (self.is_ready().await && is_open(self.address).await).then_some(Ok(()))
        });
        if let Err(status) = ready.await {
            panic!("the gateway ended with {status}:\n{}", self.log());
        }
        self.child = Some(child);
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Panics
    /// It can't be started.
    pub fn launch(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("room for a log");
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(self.path("gateway.yaml"));
        if let Some(filter) = self.log_filter {
            command.args(["--log", filter]);
        }
        command.env_clear().env("RUST_BACKTRACE", "1").current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("an open file")).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().expect("weir starts"));
    }

    fn command(&self) -> Command {
        let Some(blocks) = self.file_blocks_max else { return Command::new(program::weir()) };
        // With the signal ignored, a write past the limit fails like one to a full disk.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]).arg(program::weir());
        shell
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&self) -> bool {
        // Asked only once somebody listens: a refused connection is not a fault here.
        is_open(self.admin).await && Request::get("/readyz").fetch(self.admin).await.status == 200
    }

    /// Creates a key for a tenant path with the real command; a running gateway knows it when this comes back.
    ///
    /// # Panics
    /// The command fails.
    pub async fn key(&self, tenant: &str) -> Key {
        let made = self.weir(&["key", "create", "--tenant", tenant, "--json"]).await.json();
        let text = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| made[*name].as_str());
            found.unwrap_or_else(|| panic!("no {names:?}: {made}")).to_owned()
        };
        if self.child.is_some() {
            // Asking the gateway whether it knows the key would be a call of its own in the books.
            tokio::time::sleep(KEY_KNOWN).await;
        }
        Key { id: text(["id", "key_id"]), secret: text(["key", "secret"]) }
    }

    /// Revokes a key with the real command.
    ///
    /// # Panics
    /// The command fails.
    pub async fn revoke(&self, key: &Key) {
        let done = self.weir(&["key", "revoke", &key.id]).await;
        assert_eq!(done.status, 0, "{}", done.stderr);
    }

    /// Runs a command on this gateway's folder: `--config` is added.
    ///
    /// # Panics
    /// It can't be started, or does not end soon.
    pub async fn weir(&self, args: &[&str]) -> Done {
        let config = self.path("gateway.yaml");
        let config = config.to_str().expect("test folders have plain names");
        program::run(&[args, &["--config", config]].concat()).await
    }

    /// Sends a request to the data plane and gives the whole reply.
    pub async fn fetch(&self, request: &Request) -> Fetched {
        request.fetch(self.address).await
    }

    /// Sends a request to the data plane and gives the reply once its head is there.
    pub async fn open(&self, request: &Request) -> Reply {
        request.open(self.address).await
    }

    /// The sum of a metric's samples whose labels contain `labels`.
    ///
    /// # Panics
    /// The metrics can't be read.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = Request::get("/metrics").fetch(self.admin).await;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let fits = |line: &&str| line.starts_with(name) && line.contains(labels);
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(fits).filter_map(value).sum()
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// The process does not run.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.pid().as_raw_nonzero());
        let text = fs::read_to_string(path).expect("a running process");
        let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has numbers");
        pages * 4096
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a started gateway");
        let id = child.id().expect("a running gateway");
        Pid::from_raw(id.try_into().expect("process ids are small")).expect("process ids are above zero")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// The process does not run.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process of our own");
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// It does not soon.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("a started gateway");
        clock::soon("the gateway ends", child.wait()).await.expect("a child of ours")
    }

    /// Kills the process without any warning.
    ///
    /// # Panics
    /// It does not run.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Panics
    /// It does not end soon.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }
}

/// Whether somebody listens there.
pub async fn is_open(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep_log(self.folder.path());
        }
    }
}

/// Shows the end of the log of a gateway whose test failed.
fn keep_log(folder: &Path) {
    use std::io::Write;
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(60)..].join("\n");
    // A failing test has nobody to tell that its log could not be shown.
    writeln!(std::io::stderr(), "gateway's log:\n{tail}").unwrap_or_default();
}

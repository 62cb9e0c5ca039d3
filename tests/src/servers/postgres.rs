//! A real PostgreSQL.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{command, named, send, wait};

/// Who it runs as where the tests are root's, because it refuses to be root: nobody.
const NOBODY: u32 = 65_534;
/// Its superuser, who needs no password.
pub const USER: &str = "weir";

/// A running server; it ends when this is dropped.
pub struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    address: Option<SocketAddr>,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one that is reached by its socket alone; `None`, with a note, where `$WEIR_POSTGRES` names no folder.
    ///
    /// # Panics
    /// It does not start soon.
    pub fn start() -> Option<Self> {
        Self::start_at(None)
    }

    /// Starts one that is reached by this address too.
    ///
    /// # Panics
    /// It does not start soon.
    pub fn start_at(address: Option<SocketAddr>) -> Option<Self> {
        let bin = named("WEIR_POSTGRES", "PostgreSQL")?;
        let folder = tempfile::tempdir().expect("room for a folder");
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let mut server = Self { folder, bin, address, child: None };
        let mut initdb = server.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "-U", USER, "-D"]);
        run(initdb.arg(server.data()));
        server.back();
        Some(server)
    }

    /// Makes a database; gives its URL, by the socket.
    ///
    /// # Panics
    /// There is one of that name.
    pub fn database(&self, name: &str) -> String {
        run(self.command("createdb").arg("-h").arg(self.folder.path()).args(["-p", &self.port(), "-U", USER, name]));
        let host = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{host}:{}/{name}", self.port())
    }

    /// Makes a database; gives its URL, by the port.
    ///
    /// # Panics
    /// There is one of that name, or the server has no port.
    pub fn database_by_port(&self, name: &str) -> String {
        self.database(name);
        format!("postgres://{USER}@{}/{name}", self.address.expect("a server with an address"))
    }

    /// Starts it, again after it went away.
    ///
    /// # Panics
    /// It does not start soon.
    pub fn back(&mut self) {
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path()).args(["-p", &self.port(), "-N", "100"]);
        let listen = if self.address.is_some() { "127.0.0.1" } else { "" };
        postgres.arg("-c").arg(format!("listen_addresses={listen}"));
        // What a crash of the machine would lose is not what these tests are about.
        postgres.args(["-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "jit=off"]);
        postgres.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(postgres.spawn().expect("postgres starts"));
        let socket = self.folder.path().join(format!(".s.PGSQL.{}", self.port()));
        wait("PostgreSQL listens", || UnixStream::connect(&socket).is_ok());
        let ready = || {
            let mut look = self.command("psql");
            look.arg("-h").arg(self.folder.path()).args(["-p", &self.port(), "-U", USER, "-c", "select 1", "postgres"]);
            look.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        wait("PostgreSQL answers", ready);
    }

    /// Kills it, as the power would; what was committed is there when it is back.
    ///
    /// # Panics
    /// It does not run.
    pub fn away(&mut self) {
        let mut child = self.child.take().expect("a running server");
        // At once, but it takes its own children along.
        send(&child, Signal::QUIT);
        child.wait().expect("a child of ours");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn port(&self) -> String {
        self.address.map_or(5_432, |address| address.port()).to_string()
    }

    fn command(&self, program: &str) -> Command {
        // `<root>/usr/lib/postgresql/15/bin`
        let root = self.bin.ancestors().nth(5).unwrap_or(Path::new("/"));
        let mut command = command(&self.bin.join(program), root);
        command.current_dir(self.folder.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) {
    let done = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("a program of PostgreSQL");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.away();
        }
    }
}

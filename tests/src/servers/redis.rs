//! A real Redis.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{command, named, send, wait};

/// A running server; it ends when this is dropped.
pub struct Redis {
    folder: TempDir,
    binary: PathBuf,
    address: Option<SocketAddr>,
    more: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts one that is reached by its socket alone; `None`, with a note, where `$WEIR_REDIS` names no binary.
    ///
    /// # Panics
    /// It does not start soon.
    pub fn start() -> Option<Self> {
        Self::start_with(None, &[])
    }

    /// Starts one that is reached by this address too, with more options: `["--appendonly", "yes"]`.
    ///
    /// # Panics
    /// It does not start soon.
    pub fn start_with(address: Option<SocketAddr>, more: &[&str]) -> Option<Self> {
        let binary = named("WEIR_REDIS", "Redis")?;
        let folder = tempfile::tempdir().expect("room for a folder");
        let more = more.iter().map(|word| (*word).to_owned()).collect();
        let mut server = Self { folder, binary, address, more, child: None };
        server.back();
        Some(server)
    }

    /// URL of its socket.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The socket's place.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Starts it, again after it went away. Without `--appendonly` it has forgotten everything.
    ///
    /// # Panics
    /// It does not start soon.
    pub fn back(&mut self) {
        // `<root>/usr/bin/redis-server`
        let root = self.binary.ancestors().nth(3).unwrap_or(Path::new("/"));
        let mut command = command(&self.binary, root);
        command.current_dir(self.folder.path());
        command.args(["--save", "", "--loglevel", "warning", "--unixsocketperm", "700", "--unixsocket"]);
        command.arg(self.socket()).arg("--port").arg(self.address.map_or(0, |address| address.port()).to_string());
        command.args(["--bind", "127.0.0.1"]).args(&self.more).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server starts"));
        wait("Redis answers", || {
            self.tell("PING").is_some_and(|said| said.starts_with("+PONG") || said.starts_with("-NOAUTH"))
        });
    }

    /// Kills it.
    ///
    /// # Panics
    /// It does not run.
    pub fn away(&mut self) {
        let mut child = self.child.take().expect("a running server");
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
    }

    /// Stops it where it stands: it takes connections and answers nothing.
    ///
    /// # Panics
    /// It does not run.
    pub fn hang(&self) {
        send(self.child.as_ref().expect("a running server"), Signal::STOP);
    }

    /// Lets it go on after [`Self::hang`].
    ///
    /// # Panics
    /// It does not run.
    pub fn go_on(&self) {
        send(self.child.as_ref().expect("a running server"), Signal::CONT);
    }

    /// What it answers to one command of words without blanks, in its own protocol; `None` where it doesn't. Of a long
    /// answer, the beginning.
    pub fn tell(&self, words: &str) -> Option<String> {
        self.tell_in(0, words)
    }

    /// The same in one of its sixteen databases.
    pub fn tell_in(&self, database: u64, words: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.socket()).ok()?;
        socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
        if database > 0 {
            socket.write_all(format!("SELECT {database}\r\n").as_bytes()).ok()?;
            // `+OK`
            socket.read_exact(&mut [0; 5]).ok()?;
        }
        socket.write_all(format!("{words}\r\n").as_bytes()).ok()?;
        let mut said = vec![0; 65_536];
        let count = socket.read(&mut said).ok()?;
        said.truncate(count);
        Some(String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.away();
        }
    }
}

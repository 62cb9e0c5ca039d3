//! A real engine process with the scripted executor: pages and bookkeeping are real, the tokens are made up.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::clock;
use crate::http1::Reader;
use crate::program;

/// A running engine. It is killed when this is dropped.
pub struct Engine {
    _child: Child,
    folder: TempDir,
}

/// The KV pages of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct Pages {
    /// Pages nobody holds.
    pub free: u64,
    /// Pages that sequences hold.
    pub owned: u64,
    /// All pages.
    pub total: u64,
    /// Sequences that run.
    pub sequences: u64,
}

impl Engine {
    /// Starts an engine with the scripted executor and these further arguments; waits until it listens.
    ///
    /// # Panics
    /// It does not soon.
    pub async fn scripted(args: &[&str]) -> Self {
        Self::start(&[&["--executor", "scripted"], args].concat()).await
    }

    /// Starts an engine with the model at `$WEIR_MODEL` and these further arguments; waits until it listens.
    ///
    /// # Panics
    /// It does not soon.
    pub async fn of_model(args: &[&str]) -> Self {
        let model = program::model();
        let model = model.to_str().expect("a plain path");
        Self::start(&[&["--model", model], args].concat()).await
    }

    async fn start(args: &[&str]) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("room for a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("a folder of our own");
        let mut command = Command::new(program::engine());
        command.arg("--socket").arg(folder.path().join("engine.sock")).args(args);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("weir-engine starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
        let line = clock::soon("the engine listens", lines.next_line()).await.expect("a readable pipe");
        assert!(line.as_deref().is_some_and(|line| line.starts_with("ready")), "the engine said {line:?}");
        Self { _child: child, folder }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// The base URL that a deployment names.
    pub fn base_url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// How its pages stand now.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn pages(&self) -> Pages {
        let value: Value = serde_json::from_slice(&self.get("/weir/pages").await).expect("json");
        serde_json::from_value(value).expect("four numbers")
    }

    /// The value of one of its counters.
    ///
    /// # Panics
    /// It has none of this name.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").await.to_vec()).expect("text");
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a whole number")
    }

    async fn get(&self, path: &str) -> bytes::Bytes {
        let mut socket = UnixStream::connect(self.socket()).await.expect("a listening engine");
        let request = format!("GET {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("a listening engine");
        let mut reader = Reader::new(socket, bytes::BytesMut::new());
        let head = clock::soon("the engine answers", reader.head(false)).await.expect("an answer").expect("an answer");
        assert_eq!(head.status(), 200);
        reader.body().await.expect("a whole answer")
    }

    /// Waits until no sequence holds a page.
    ///
    /// # Panics
    /// It does not come to that soon.
    pub async fn idle(&self) -> Pages {
        clock::eventually("all pages are free", async || {
            Some(self.pages().await).filter(|pages| pages.owned == 0 && pages.sequences == 0)
        })
        .await
    }
}

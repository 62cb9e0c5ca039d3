//! A server of policy bundles, by OPA's bundle protocol: tags, polls that are held, and whatever a test puts there.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http1::plain_head;
use crate::issuer::SigningKey;

/// Files of a bundle: name and content.
pub type Files = Vec<(String, String)>;

/// A `.tar.gz` of these files.
///
/// # Panics
/// Never: memory takes every write.
pub fn archive(files: &Files) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000600");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(&tar).expect("memory takes every write");
    out.finish().expect("memory takes every write")
}

/// The same files with the signature that `opa sign` would make; JSON among them must be in its shortest form.
pub fn signed(key: &SigningKey, mut files: Files) -> Files {
    let hash =
        |text: &str| digest(&SHA256, text.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let list: Vec<Value> =
        files.iter().map(|(name, text)| json!({"name": name, "hash": hash(text), "algorithm": "SHA-256"})).collect();
    let token = key.sign(&json!({"alg": "ES256", "kid": key.id}), &json!({"files": list}));
    files.push((".signatures.json".to_owned(), json!({"signatures": [token]}).to_string()));
    files
}

#[derive(Clone, Default)]
struct Offer {
    body: Vec<u8>,
    etag: String,
    is_down: bool,
}

struct State {
    offer: watch::Sender<Offer>,
    heads: Mutex<Vec<String>>,
}

/// A running server. It ends when this is dropped.
pub struct BundleServer {
    url: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl BundleServer {
    /// Starts one that has nothing yet.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/bundle.tar.gz", listener.local_addr().expect("a bound socket has an address"));
        let state = Arc::new(State { offer: watch::channel(Offer::default()).0, heads: Mutex::default() });
        let shared = state.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { answer(stream, &state).await });
            }
        });
        Self { url, state, server }
    }

    /// Where the bundle is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Offers these bytes from now on.
    pub fn offer(&self, etag: &str, body: Vec<u8>) {
        self.state.offer.send_modify(|offer| {
            offer.body = body;
            offer.etag = format!("\"{etag}\"");
        });
    }

    /// Whether it closes connections without an answer.
    pub fn set_down(&self, down: bool) {
        self.state.offer.send_modify(|offer| offer.is_down = down);
    }

    /// Heads of the polls so far.
    pub fn polls(&self) -> Vec<String> {
        self.state.heads.lock().clone()
    }
}

impl Drop for BundleServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, state: &State) {
    let Some(head) = plain_head(&mut stream).await else { return };
    let head = head.to_ascii_lowercase();
    state.heads.lock().push(head.clone());
    let known = head.lines().find_map(|line| line.strip_prefix("if-none-match: ")).unwrap_or_default().to_owned();
    let is_held = head.contains("wait=");
    let mut offers = state.offer.subscribe();
    // A poll that may be held waits for something new.
    let news = |offer: &Offer| offer.is_down || !is_held || (!offer.body.is_empty() && offer.etag != known);
    let Ok(offer) = offers.wait_for(news).await.map(|offer| offer.clone()) else { return };
    if offer.is_down {
        return;
    }
    let kind = if is_held { "application/vnd.openpolicyagent.bundles" } else { "application/gzip" };
    let (status, body) = match () {
        () if offer.body.is_empty() => ("404 Not Found", Vec::new()),
        () if offer.etag == known => ("304 Not Modified", Vec::new()),
        () => ("200 OK", offer.body),
    };
    let length = body.len();
    let reply = format!(
        "HTTP/1.1 {status}\r\netag: {}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
        offer.etag
    );
    if stream.write_all(&[reply.as_bytes(), &body].concat()).await.is_ok() {
        stream.shutdown().await.ok();
    }
}

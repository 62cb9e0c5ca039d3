//! An issuer of tokens: a real HTTP server with metadata and keys, which signs whatever it is asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http1::plain_head;

/// A pair of keys for ES256.
pub struct SigningKey {
    /// Its id.
    pub id: String,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl SigningKey {
    /// A new pair.
    ///
    /// # Panics
    /// The system has no randomness.
    pub fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(how, &random).expect("randomness");
        let pair = EcdsaKeyPair::from_pkcs8(how, document.as_ref(), &random).expect("a pair that was just made");
        Self { id: id.to_owned(), pair, random }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "alg": "ES256",
            "x": part(&point[1..33]), "y": part(&point[33..]),
        })
    }

    /// A token with this header and these claims, as they are.
    ///
    /// # Panics
    /// The system has no randomness.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&self.random, message.as_bytes()).expect("randomness");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

struct State {
    url: String,
    keys: Mutex<Vec<Value>>,
    fetches: AtomicUsize,
    is_down: AtomicBool,
}

/// A running issuer. Its server ends when this is dropped.
pub struct Issuer {
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Issuer {
    /// Starts one that serves these keys.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let state = Arc::new(State {
            url,
            keys: Mutex::new(keys.iter().map(|key| key.jwk()).collect()),
            fetches: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        });
        let shared = state.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { answer(stream, &state).await });
            }
        });
        Self { state, server }
    }

    /// Its name and address.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// Serves these keys from now on.
    pub fn rotate(&self, keys: &[&SigningKey]) {
        *self.state.keys.lock() = keys.iter().map(|key| key.jwk()).collect();
    }

    /// Whether it closes connections without an answer.
    pub fn set_down(&self, down: bool) {
        self.state.is_down.store(down, Ordering::SeqCst);
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// Claims of a good token for the audience `weir`.
    pub fn claims(&self, subject: &str) -> Value {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        json!({"iss": self.url(), "aud": "weir", "sub": subject, "iat": now, "exp": now + 300, "team": "research"})
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, state: &State) {
    let Some(head) = plain_head(&mut stream).await else { return };
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path == "/keys" {
        state.fetches.fetch_add(1, Ordering::SeqCst);
    }
    if state.is_down.load(Ordering::SeqCst) {
        return;
    }
    let (status, body) = match path {
        "/.well-known/openid-configuration" => {
            ("200 OK", json!({"issuer": state.url, "jwks_uri": format!("{}/keys", state.url)}))
        }
        "/keys" => ("200 OK", json!({"keys": *state.keys.lock()})),
        _ => ("404 Not Found", json!({})),
    };
    let body = body.to_string();
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // Who has gone away hears nothing.
    stream.write_all(reply.as_bytes()).await.unwrap_or_default();
}

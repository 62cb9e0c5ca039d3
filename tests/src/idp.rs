//! A real identity provider: npm `oidc-provider`, run by `tests/idp/server.mjs`, which says what it can be told.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::client::{Fetched, Request};
use crate::clock;
use crate::dpop::Prover;

/// Weir's own name and secret there: with characters that have to be encoded.
pub const CLIENT: (&str, &str) = ("weir", "a secret: of weir%");

/// The application's credential, ready for its header.
const APP: &str = "Basic YXBwOnRoZS1zZWNyZXQtb2YtdGhlLWFwcA==";

/// A running identity provider; it ends when this is dropped.
pub struct Idp {
    /// Its `iss`, which is its address as a URL.
    pub issuer: String,
    /// Its address.
    pub address: SocketAddr,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Idp {
    /// Starts one; `None`, with a note, where `$WEIR_IDP` names no folder of packages.
    ///
    /// # Panics
    /// It does not start soon.
    pub async fn start() -> Option<Self> {
        let Some(packages) = std::env::var_os("WEIR_IDP").filter(|folder| !folder.is_empty()) else {
            println!("WEIR_IDP names no folder: tests with a real identity provider are skipped");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("idp/server.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(packages).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("node starts");
        let stdin = child.stdin.take().expect("a piped stdin");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
        let first = line(&mut lines).await;
        let issuer = first["issuer"].as_str().expect("an address").to_owned();
        let address = issuer.trim_start_matches("http://").parse().expect("an address");
        Some(Self { issuer, address, stdin, lines, _child: child })
    }

    /// Tells it to do something; gives how often each of its paths was asked for.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn tell(&mut self, act: &str) -> Value {
        let text = format!("{}\n", json!({"do": act}));
        self.stdin.write_all(text.as_bytes()).await.expect("a running idp");
        line(&mut self.lines).await["counts"].clone()
    }

    /// A new token for the application, for one of the script's resources.
    ///
    /// # Panics
    /// There is none.
    pub async fn token(&self, resource: &str) -> String {
        let form = format!("grant_type=client_credentials&scope=chat&resource={resource}");
        let reply = self.post("/token", &form).await.json();
        reply["access_token"].as_str().unwrap_or_else(|| panic!("no token: {reply}")).to_owned()
    }

    /// The same for an application that proves that it holds a key: the token is bound to that key.
    ///
    /// # Panics
    /// There is none, or one that is bound to nothing.
    pub async fn bound_token(&self, resource: &str, prover: &Prover) -> String {
        let form = format!("grant_type=client_credentials&scope=chat&resource={resource}");
        let proof = prover.proof("POST", &format!("{}/token", self.issuer), None);
        let request = Request::post("/token", "", form).header("authorization", APP).header("dpop", &proof);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let reply = request.fetch(self.address).await.json();
        assert_eq!(reply["token_type"], "DPoP", "{reply}");
        reply["access_token"].as_str().unwrap_or_else(|| panic!("no token: {reply}")).to_owned()
    }

    /// Takes an opaque token back.
    ///
    /// # Panics
    /// It is not taken back.
    pub async fn revoke(&self, token: &str) {
        let reply = self.post("/token/revocation", &format!("token={token}")).await;
        assert_eq!(reply.status, 200);
    }

    async fn post(&self, path: &str, form: &str) -> Fetched {
        let request = Request::post(path, "", form.to_owned()).header("authorization", APP);
        request.header("content-type", "application/x-www-form-urlencoded").fetch(self.address).await
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = clock::soon("a line of the idp", lines.next_line()).await.expect("a running idp");
    serde_json::from_str(&line.expect("a running idp")).expect("a line of json")
}

//! An issuer on the loopback that says what it is told to, and counts how often it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

#[derive(Default)]
struct Says {
    replies: HashMap<String, (u16, String)>,
    asked: HashMap<String, usize>,
}

/// The issuer; it ends with the test.
pub(crate) struct Fake {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    _server: tokio::task::JoinSet<()>,
}

impl Fake {
    /// Starts one that knows nothing yet.
    pub(crate) async fn start() -> Self {
        let says: Arc<Mutex<Says>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(reply).with_state(says.clone());
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, says, _server: server }
    }

    /// Its address with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it says this under that path.
    pub(crate) fn say(&self, path: &str, status: u16, body: &str) {
        self.says.lock().replies.insert(path.to_owned(), (status, body.to_owned()));
    }

    /// It says nothing any more under paths that begin so.
    pub(crate) fn forget(&self, path: &str) {
        self.says.lock().replies.retain(|known, _| !known.starts_with(path));
    }

    /// How often that path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.says.lock().asked.get(path).copied().unwrap_or_default()
    }
}

async fn reply(State(says): State<Arc<Mutex<Says>>>, request: Request) -> Response {
    let mut says = says.lock();
    let path = request.uri().path().to_owned();
    *says.asked.entry(path.clone()).or_default() += 1;
    let (status, body) = says.replies.get(&path).cloned().unwrap_or((404, String::new()));
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

//! A provider that does exactly what a test tells it, byte by byte, and remembers what it was asked.
//!
//! Each request takes the first script that fits: one queued for the next request, one for its model, or the plain
//! answer. Start at [`Upstream::start`]; the scripts are in [`script`].

pub mod h2;
mod record;
mod script;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clock;
use crate::http1::Reader;
pub use record::{Received, Records};
pub use script::{Gate, Script, Step};

/// What is left to do on a connection after a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    KeepAlive,
    Close,
    Reset,
}

#[derive(Default)]
struct Scripts {
    queue: VecDeque<Script>,
    by_model: HashMap<String, Script>,
    always: Option<Script>,
}

struct State {
    scripts: Mutex<Scripts>,
    records: Records,
}

/// A running provider. It ends when this is dropped.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Listens on a free port of the loopback.
    ///
    /// # Panics
    /// There is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State { scripts: Mutex::default(), records: Records::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL that a deployment names.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The next request not yet answered takes this script, after those queued before.
    pub fn next(&self, script: Script) {
        self.state.scripts.lock().queue.push_back(script);
    }

    /// Requests for this model, by the name that arrives here, take this script where none is queued.
    pub fn for_model(&self, model: &str, script: Script) {
        self.state.scripts.lock().by_model.insert(model.to_owned(), script);
    }

    /// All other requests take this script.
    pub fn always(&self, script: Script) {
        self.state.scripts.lock().always = Some(script);
    }

    /// The number of requests received so far.
    pub fn count(&self) -> usize {
        self.state.records.count()
    }

    /// All requests received so far.
    pub fn received(&self) -> Vec<Arc<Received>> {
        self.state.records.all()
    }

    /// The request of this number, from 0, once it is there.
    ///
    /// # Panics
    /// It does not come soon.
    pub async fn request(&self, number: usize) -> Arc<Received> {
        clock::soon(&format!("upstream request {number}"), self.state.records.wait(number)).await
    }

    /// The only request received so far.
    ///
    /// # Panics
    /// There is none, or more than one.
    pub fn only_request(&self) -> Arc<Received> {
        let all = self.received();
        assert_eq!(all.len(), 1, "upstream requests");
        all[0].clone()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut tasks = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        tasks.spawn(serve(socket, state.clone()));
        while tasks.try_join_next().is_some() {}
    }
}

/// Serves one connection until it ends; errors of the socket end it too.
async fn serve(mut socket: TcpStream, state: Arc<State>) {
    socket.set_nodelay(true).expect("a live socket");
    let mut buffer = BytesMut::new();
    while let Ok(Some(received)) = receive(&mut socket, &mut buffer).await {
        let received = Arc::new(received);
        let script = choose(&state, &received);
        state.records.add(received.clone());
        let (mut near, mut far) = socket.split();
        let played = tokio::select! {
            played = play(&mut far, &script, &received) => played,
            () = gone(&mut near, &mut buffer) => Err(io::ErrorKind::ConnectionReset.into()),
        };
        // A write that fails tells the same as a read that ends: the peer is gone.
        let Ok(after) = played else {
            received.close();
            return;
        };
        received.end();
        match after {
            After::KeepAlive => {}
            After::Close => return,
            After::Reset => {
                socket.set_zero_linger().expect("a live socket");
                return;
            }
        }
    }
}

async fn receive(socket: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Received>> {
    let mut reader = Reader::new(socket, std::mem::take(buffer));
    let Some(head) = reader.head(true).await? else { return Ok(None) };
    let body = reader.body().await?;
    *buffer = reader.into_buffer();
    Ok(Some(Received::new(head, body)))
}

fn choose(state: &State, received: &Received) -> Script {
    let mut scripts = state.scripts.lock();
    let queued = scripts.queue.pop_front();
    let model = received.json()["model"].as_str().unwrap_or_default().to_owned();
    let chosen = queued.or_else(|| scripts.by_model.get(&model).cloned()).or_else(|| scripts.always.clone());
    chosen.unwrap_or_else(|| Script::plain(received))
}

/// Comes back when the peer has closed; bytes that it sends meanwhile belong to its next request.
async fn gone(near: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) {
    while near.read_buf(buffer).await.is_ok_and(|count| count > 0) {}
}

async fn play(far: &mut (impl AsyncWrite + Unpin), script: &Script, received: &Received) -> io::Result<After> {
    for step in script.steps() {
        match step {
            Step::Send(bytes) => {
                far.write_all(&bytes).await?;
                far.flush().await?;
                received.send();
            }
            Step::Fill(bytes, count) => {
                for _ in 0..count {
                    far.write_all(&bytes).await?;
                }
            }
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Pass(gate) => gate.pass().await,
            Step::Hold => std::future::pending().await,
            Step::Cut => return Ok(After::Close),
            Step::Reset => {
                // Let what was sent arrive: a reset overtakes bytes that the peer has not read.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Ok(After::Reset);
            }
        }
    }
    Ok(After::KeepAlive)
}

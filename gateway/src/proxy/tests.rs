//! A panic inside the story is an answer for the client and a failed call in the books.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::serve::{self, Prepared};

const CONFIG: &str = "listen: 127.0.0.1:0\nadmin: { listen: \"127.0.0.1:0\" }\ndata: ./data\nthreads: 1\n\
    keys: { pepper: \"file:./pepper\" }\ntenants:\n  - { path: acme, models: [\"*\"], roles: [user] }\n\
    models:\n  - name: mock\n    deployments:\n      - { name: a, base_url: \"http://127.0.0.1:1/v1\", \
    upstream_model: gpt-4o-mini }\n";

fn prepared(folder: &Path) -> Prepared {
    use std::os::unix::fs::PermissionsExt;
    let pepper = folder.join("pepper");
    std::fs::write(&pepper, "a pepper that is only for tests, 32+ bytes").unwrap();
    std::fs::set_permissions(&pepper, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("gateway.yaml"), CONFIG).unwrap();
    serve::prepare(&folder.join("gateway.yaml")).unwrap()
}

async fn session() -> (Session, DuplexStream) {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    client.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut session = Session::new_h1(Box::new(server));
    assert!(session.downstream_session.read_request().await.unwrap());
    (session, client)
}

async fn story() -> Told {
    panic!("the reason is not for clients")
}

/// What the client hears of a call whose story panicked, and how the call was noted down.
async fn panicked(running: Arc<Running>, begun: bool) -> String {
    let gateway = Gateway { running };
    let (mut session, mut client) = session().await;
    let mut x = gateway.new_ctx();
    if begun {
        Client::new(&mut session, Dialect::OpenAi, Vec::new(), Duration::from_secs(1)).begin_stream().await.unwrap();
    }
    let panic = AssertUnwindSafe(story()).catch_unwind().await.unwrap_err();
    let told = Ok(request::after_panic(&mut session, Dialect::OpenAi, panic).await);
    gateway.conclude(&mut session, &mut x, told).await;
    assert_eq!(x.outcome, Some(Outcome::Failed));
    drop((session, x));
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    heard
}

#[test]
fn a_panic_is_told_to_the_client_and_recorded_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let prepared = prepared(folder.path());
    let running = prepared.running.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plain = runtime.block_on(panicked(running.clone(), false));
    assert!(plain.starts_with("HTTP/1.1 500 ") && plain.contains("internal_error"), "{plain}");
    let streamed = runtime.block_on(panicked(running.clone(), true));
    assert!(streamed.starts_with("HTTP/1.1 200 ") && streamed.contains("data: {\"error\""), "{streamed}");
    assert!(!plain.contains("the reason") && !streamed.contains("the reason"), "{plain}{streamed}");
    runtime.block_on(running.journal.shutdown(Duration::from_secs(10))).unwrap();
    let lines = std::fs::read_dir(folder.path().join("data/audit")).unwrap();
    let text: String = lines.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(text.matches("\"outcome\":\"failed\"").count(), 2, "{text}");
}

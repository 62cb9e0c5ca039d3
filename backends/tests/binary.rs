//! The real binary: its exit codes, its ready line, its end.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn engine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-engine"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    engine(arguments).output().unwrap()
}

/// Starts a scripted engine and waits for its ready line.
fn start(socket: &Path) -> (Child, serde_json::Value) {
    let socket = socket.to_str().unwrap();
    let arguments = ["--executor", "scripted", "--socket", socket, "--exit-with-stdin", "--context-tokens", "100000"];
    let mut child = engine(&arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts = serde_json::from_str(line.strip_prefix("ready ").expect("the ready line")).unwrap();
    (child, facts)
}

fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_unusable_model_ends_with_78_and_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own/engine.sock");
    let garbage = folder.path().join("garbage.gguf");
    std::fs::write(&garbage, "this is no model").unwrap();
    for model in ["/no/such/model.gguf", garbage.to_str().unwrap()] {
        let output = run(&["--model", model, "--socket", socket.to_str().unwrap()]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.starts_with("weir-engine: ") && told.contains(model), "{told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_folder_open_to_others_and_tcp_without_a_secret_are_refused() {
    let folder =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let output = run(&["--executor", "scripted", "--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8(output.stderr).unwrap().contains("chmod 700"));
    let own = folder.path().join("own/engine.sock");
    let output = run(&["--executor", "scripted", "--socket", own.to_str().unwrap(), "--tcp", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2), "no secret");
}

#[test]
fn it_says_when_it_is_ready_and_exits_when_stdin_closes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own/engine.sock");
    let (mut child, facts) = start(&socket);
    assert_eq!((&facts["model"], &facts["context_tokens_max"]), (&"scripted".into(), &100_000.into()));
    assert!(get(&socket, "/health").ends_with(r#"{"status":"ok"}"#));
    let second = run(&["--executor", "scripted", "--socket", socket.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(78), "the socket is in use");
    assert!(get(&socket, "/health").starts_with("HTTP/1.1 200"), "and still serves its owner");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn a_killed_engine_leaves_a_socket_that_the_next_one_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own/engine.sock");
    let (mut child, _) = start(&socket);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(socket.exists());
    let (mut child, _) = start(&socket);
    assert!(get(&socket, "/v1/models").contains("scripted"));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn asked_to_stop_it_lets_running_answers_finish() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own/engine.sock");
    let arguments = ["--executor", "scripted", "--socket", socket.to_str().unwrap(), "--step-delay-ms", "4"];
    let mut child = engine(&arguments).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let body = r#"{"model":"scripted","stream":true,"max_tokens":150,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut stream = UnixStream::connect(&socket).unwrap();
    write!(stream, "POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#""finish_reason":"length""#) && rest.contains("data: [DONE]"), "{rest}");
    assert!(child.wait().unwrap().success());
    assert!(!socket.exists());
}

//! A provider that answers at once: OpenAI's chat completions over raw HTTP/1.1, on one thread.
//!
//! `mock [--listen 127.0.0.1:9100]`
//!
//! The model's name sets the behaviour, because a name survives every proxy: `mock-<chunks>-<gap_ms>`, such as
//! `mock-64-10` for 64 chunks, one every 10 ms. Without `"stream": true` the answer is one JSON document.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};
use weir_bench::flags::Flags;

/// A request's head and body at most; what is larger is cut off.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// The time that all replies name, Unix seconds.
const CREATED_S: u64 = 1_750_000_000;
/// Chunks of one stream at most.
const CHUNKS_MAX: u32 = 100_000;

/// Replies, made once.
struct Replies {
    json: Vec<u8>,
    models: Vec<u8>,
    lost: Vec<u8>,
    stream_head: Vec<u8>,
    first: Vec<u8>,
    middle: Vec<u8>,
    last: Vec<u8>,
    end: Vec<u8>,
}

impl Replies {
    fn new() -> Self {
        let answer = json!({
            "id": "chatcmpl-mock", "object": "chat.completion", "created": CREATED_S, "model": "mock",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop", "message": {
                "role": "assistant",
                "content": "A weir is a low dam that lets the water through and measures all of it on its way.",
            }}],
            "usage": {"prompt_tokens": 412, "completion_tokens": 18, "total_tokens": 430},
        });
        let models = json!({"object": "list", "data": [{"id": "mock-64-0", "object": "model", "owned_by": "mock"}]});
        let lost = json!({"error": {"message": "not here", "type": "invalid_request_error"}});
        let usage = json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": CREATED_S, "model": "mock",
            "choices": [], "usage": {"prompt_tokens": 412, "completion_tokens": 64, "total_tokens": 476},
        });
        let mut end = http_chunk(&format!("data: {usage}\n\n"));
        end.extend(http_chunk("data: [DONE]\n\n"));
        end.extend_from_slice(b"0\r\n\r\n");
        Self {
            json: document("200 OK", &answer),
            models: document("200 OK", &models),
            lost: document("404 Not Found", &lost),
            stream_head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                transfer-encoding: chunked\r\n\r\n"
                .to_vec(),
            first: event(&json!({"role": "assistant", "content": ""}), None),
            middle: event(&json!({"content": " water"}), None),
            last: event(&json!({}), Some("stop")),
            end,
        }
    }
}

fn document(status: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

fn event(delta: &Value, finish_reason: Option<&str>) -> Vec<u8> {
    let event = json!({
        "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": CREATED_S, "model": "mock",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
    });
    http_chunk(&format!("data: {event}\n\n"))
}

fn http_chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into()
}

/// A request, as far as a mock cares.
struct Asked {
    path: String,
    body: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn next(&mut self) -> io::Result<Asked> {
        let (head_bytes, path, length) = loop {
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
            self.fill().await?;
        };
        let body = match length {
            Some(length) => {
                while self.buffer.len() < head_bytes + length {
                    self.fill().await?;
                }
                let whole: Vec<u8> = self.buffer.drain(..head_bytes + length).collect();
                whole.get(head_bytes..).unwrap_or_default().to_vec()
            }
            None => {
                self.buffer.drain(..head_bytes);
                self.chunked().await?
            }
        };
        Ok(Asked { path, body })
    }

    async fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match memchr::memchr(b'\n', &self.buffer) {
                    Some(end) => break self.buffer.drain(..=end).collect::<Vec<u8>>(),
                    None => self.fill().await?,
                }
            };
            let size = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            while self.buffer.len() < size + 2 {
                self.fill().await?;
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// Bytes of the head, path, and the body's length (none: chunked).
fn head(buffer: &[u8]) -> io::Result<Option<(usize, String, Option<usize>)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(buffer).map_err(|_| io::ErrorKind::InvalidData)?;
    let httparse::Status::Complete(bytes) = parsed else {
        return Ok(None);
    };
    let mut length = Some(0);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).ok().and_then(|value| value.trim().parse().ok());
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            length = None;
        }
    }
    Ok(Some((bytes, request.path.unwrap_or("").to_owned(), length)))
}

/// Chunks and the gap between them, from the model's name.
fn pace(body: &[u8]) -> (u32, u64) {
    let at = memchr::memmem::find(body, b"mock-").map_or(body.len(), |at| at + 5);
    let rest = body.get(at..).unwrap_or_default();
    let name: Vec<u8> = rest.iter().copied().take_while(|byte| byte.is_ascii_digit() || *byte == b'-').collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    let mut numbers = name.split('-').map(|number| number.parse::<u64>().ok());
    let chunks = numbers.next().flatten().and_then(|chunks| u32::try_from(chunks).ok()).unwrap_or(64);
    (chunks.clamp(2, CHUNKS_MAX), numbers.next().flatten().unwrap_or(0))
}

fn wants_stream(body: &[u8]) -> bool {
    memchr::memmem::find_iter(body, b"\"stream\"").any(|at| {
        let rest = body.get(at + 8..).unwrap_or_default();
        let mut value = rest.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        value.next() == Some(b':') && value.next() == Some(b't')
    })
}

async fn serve(stream: TcpStream, replies: Rc<Replies>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection { stream, buffer: Vec::with_capacity(8192) };
    loop {
        let asked = connection.next().await?;
        let out = &mut connection.stream;
        match asked.path.as_str() {
            "/v1/chat/completions" if wants_stream(&asked.body) => answer(out, &replies, pace(&asked.body)).await?,
            "/v1/chat/completions" => out.write_all(&replies.json).await?,
            "/v1/models" => out.write_all(&replies.models).await?,
            _ => out.write_all(&replies.lost).await?,
        }
    }
}

/// Each chunk is written alone, at its own time from the start: a slow reader does not shift the rest.
async fn answer(out: &mut TcpStream, replies: &Replies, (chunks, gap_ms): (u32, u64)) -> io::Result<()> {
    out.write_all(&replies.stream_head).await?;
    let start = Instant::now();
    for index in 0..chunks {
        match (index, gap_ms) {
            (0, _) => {}
            (_, 0) => yield_now().await,
            _ => sleep_until(start + Duration::from_millis(gap_ms) * index).await,
        }
        let chunk = match index {
            0 => &replies.first,
            index if index + 1 == chunks => &replies.last,
            _ => &replies.middle,
        };
        out.write_all(chunk).await?;
    }
    out.write_all(&replies.end).await
}

fn main() -> anyhow::Result<()> {
    let listen = Flags::from_args().loopback("--listen", "127.0.0.1:9100")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(listen).await?;
        let replies = Rc::new(Replies::new());
        loop {
            let (stream, _) = listener.accept().await?;
            let replies = Rc::clone(&replies);
            spawn_local(async move {
                // A client that goes away ends its connection; nobody else cares.
                let _ = serve(stream, replies).await;
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_sets_the_pace() {
        assert_eq!(pace(br#"{"model":"mock-64-10","x":1}"#), (64, 10));
        assert_eq!(pace(br#"{"model": "mock-4-20000"}"#), (4, 20_000));
        assert_eq!(pace(br#"{"model":"other"}"#), (64, 0));
    }

    #[test]
    fn a_stream_is_asked_for_in_any_spacing() {
        assert!(wants_stream(br#"{"stream":true}"#));
        assert!(wants_stream(br#"{"stream_options":{}, "stream" : true}"#));
        assert!(!wants_stream(br#"{"stream":false}"#));
    }

    #[test]
    fn heads_are_read_when_whole() {
        assert!(head(b"POST /v1/models HTTP/1.1\r\nhost").unwrap().is_none());
        let (bytes, path, length) = head(b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").unwrap().unwrap();
        assert_eq!((bytes, path.as_str(), length), (39, "/a", Some(3)));
    }
}

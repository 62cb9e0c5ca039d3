//! A raw HTTP/1.1 client that counts server-sent events as they arrive.
//!
//! It does as little as it can: what it spends is taken from the core that it shares with the mock.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 96;
const READ_BYTES: usize = 16 * 1024;

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

/// The end of a reply.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Whether the connection can be used again.
    pub keep_alive: bool,
    /// The first bytes of a body that is not a success.
    pub complaint: String,
}

enum Framing {
    Length(usize),
    Chunked,
    Close,
}

struct Head {
    status: u16,
    keep_alive: bool,
    framing: Framing,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES), start: 0 })
    }

    /// Sends a whole request and reads its reply; `on_events` hears how many events each read brought.
    pub async fn call(&mut self, request: &[u8], mut on_events: impl FnMut(u64)) -> io::Result<Reply> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        let mut events = Events::new();
        let mut complaint = Vec::new();
        let is_good = head.status == 200;
        let take = |bytes: &[u8]| {
            if !is_good {
                complaint.extend(bytes.iter().take(300_usize.saturating_sub(complaint.len())));
            } else if let count @ 1.. = events.count(bytes) {
                on_events(count);
            }
        };
        let keep_alive = head.keep_alive && !matches!(head.framing, Framing::Close);
        self.body(head.framing, take).await?;
        Ok(Reply { status: head.status, keep_alive, complaint: String::from_utf8_lossy(&complaint).into() })
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.buffer.reserve(READ_BYTES / 4);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn head(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(bytes) = response.parse(self.rest()).map_err(invalid)? {
                let head = Head::new(&response);
                self.start += bytes;
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn body(&mut self, framing: Framing, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        match framing {
            Framing::Length(bytes) => self.bytes(bytes, &mut take).await,
            Framing::Chunked => loop {
                let size = self.line().await?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or(""), 16).map_err(invalid)?;
                self.bytes(size, &mut take).await?;
                // After the last chunk this is the end of the (empty) trailer.
                self.line().await?;
                if size == 0 {
                    return Ok(());
                }
            },
            Framing::Close => loop {
                take(self.rest());
                self.start = self.buffer.len();
                match self.fill().await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    other => other?,
                }
            },
        }
    }

    async fn bytes(&mut self, mut left: usize, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.rest().is_empty() {
                self.fill().await?;
            }
            let now = left.min(self.rest().len());
            take(self.rest().get(..now).unwrap_or_default());
            self.start += now;
            left -= now;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.rest()) {
                let line = String::from_utf8_lossy(self.rest().get(..end).unwrap_or_default()).trim().to_owned();
                self.start += end + 1;
                return Ok(line);
            }
            self.fill().await?;
        }
    }
}

impl Head {
    fn new(response: &httparse::Response<'_, '_>) -> Self {
        let mut head = Self { status: response.code.unwrap_or(0), keep_alive: true, framing: Framing::Close };
        for header in response.headers.iter() {
            let value = String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
            match header.name.to_ascii_lowercase().as_str() {
                "content-length" => head.framing = value.parse().map_or(Framing::Close, Framing::Length),
                "transfer-encoding" if value.ends_with("chunked") => head.framing = Framing::Chunked,
                "connection" if value == "close" => head.keep_alive = false,
                _ => {}
            }
        }
        head
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Counts lines that begin with `data:`, however the bytes are split.
struct Events {
    matched: Matched,
}

#[derive(Clone, Copy)]
enum Matched {
    /// So many bytes of the mark, from the start of a line.
    Mark(usize),
    /// The line is something else, or is counted already.
    Line,
}

impl Events {
    /// A body starts at the start of a line.
    fn new() -> Self {
        Self { matched: Matched::Mark(0) }
    }

    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        const MARK: &[u8] = b"data:";
        let mut events = 0;
        while let Some((first, rest)) = bytes.split_first() {
            match self.matched {
                Matched::Line => match memchr::memchr(b'\n', bytes) {
                    Some(end) => {
                        self.matched = Matched::Mark(0);
                        bytes = bytes.get(end + 1..).unwrap_or_default();
                    }
                    None => break,
                },
                Matched::Mark(_) if *first == b'\n' => {
                    self.matched = Matched::Mark(0);
                    bytes = rest;
                }
                Matched::Mark(at) if MARK.get(at) == Some(first) => {
                    let is_whole = at + 1 == MARK.len();
                    events += u64::from(is_whole);
                    self.matched = if is_whole { Matched::Line } else { Matched::Mark(at + 1) };
                    bytes = rest;
                }
                Matched::Mark(_) => self.matched = Matched::Line,
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_for_every_split() {
        let text = b"data: {\"data\": 1}\n\n: data: no\nevent: x\ndata:2\n\ndat\ndata: [DONE]\n\n";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut events = Events::new();
                let count: u64 =
                    [&text[..first], &text[first..second], &text[second..]].map(|part| events.count(part)).iter().sum();
                assert_eq!(count, 3, "split at {first} and {second}");
            }
        }
    }
}

//! HTTP/1.1 in plain sight: heads and bodies read from a socket, every chunk told apart.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// The longest head that [`plain_head`] reads, but for its last part.
const PLAIN_HEAD_BYTES_MAX: usize = 16_384;

/// The first line and the headers of a message.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    /// The headers as they came, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// All headers of this name, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The word of the first line at this place: method and path, or the status.
    pub fn word(&self, place: usize) -> &str {
        self.line.split(' ').nth(place).unwrap_or_default()
    }

    /// The status of a reply.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| {
            line.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        Self { line, headers: lines.filter_map(split).collect() }
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.get("content-length").and_then(|value| value.parse().ok())
    }
}

/// The head of a request as it came, for servers that answer one and close; `None` where the client went away before
/// its end, or where it is too long for such a server.
pub async fn plain_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 && head.len() < PLAIN_HEAD_BYTES_MAX => head.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// How much of a body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Chunked,
    Length(usize),
    ToEnd,
    Nothing,
}

/// Reads messages from a socket, one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    socket: R,
    buffer: BytesMut,
    rest: Rest,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from `socket`, after what was read before.
    pub fn new(socket: R, buffer: BytesMut) -> Self {
        Self { socket, buffer, rest: Rest::Nothing }
    }

    /// The socket, to write to.
    pub fn socket(&mut self) -> &mut R {
        &mut self.socket
    }

    /// What was read and not yet used.
    pub fn into_buffer(self) -> BytesMut {
        self.buffer
    }

    /// The next head; None where the peer closed before its first byte. Interim replies are skipped.
    ///
    /// # Errors
    /// The socket's own, or a head that is cut or too long.
    pub async fn head(&mut self, is_request: bool) -> io::Result<Option<Head>> {
        loop {
            while let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer.split_to(end)).into_owned();
                self.buffer.advance(4);
                let head = Head::parse(&text);
                if !is_request && head.status() < 200 {
                    continue;
                }
                self.rest = match (head.is_chunked(), head.length()) {
                    (true, _) => Rest::Chunked,
                    (false, Some(length)) => Rest::Length(length),
                    (false, None) if is_request || matches!(head.status(), 204 | 304) => Rest::Nothing,
                    (false, None) => Rest::ToEnd,
                };
                return Ok(Some(head));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("the head is too long"));
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next piece of the body: one whole chunk where it is chunked, else what has arrived. None at its end.
    ///
    /// # Errors
    /// The socket's own; `UnexpectedEof` where the body is cut.
    pub async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        match self.rest {
            Rest::Nothing | Rest::Length(0) => Ok(None),
            Rest::Chunked => self.chunk().await,
            Rest::Length(length) => {
                self.fill(1).await?;
                let piece = self.buffer.split_to(length.min(self.buffer.len())).freeze();
                self.rest = Rest::Length(length - piece.len());
                Ok(Some(piece))
            }
            Rest::ToEnd => {
                if self.buffer.is_empty() && self.socket.read_buf(&mut self.buffer).await? == 0 {
                    self.rest = Rest::Nothing;
                    return Ok(None);
                }
                Ok(Some(self.buffer.split().freeze()))
            }
        }
    }

    /// All that is left of the body.
    ///
    /// # Errors
    /// As [`Reader::piece`].
    pub async fn body(&mut self) -> io::Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let line_end = loop {
            match find(&self.buffer, b"\r\n") {
                Some(end) => break end,
                None => self.fill(self.buffer.len() + 1).await?,
            }
        };
        let line = String::from_utf8_lossy(&self.buffer.split_to(line_end)).into_owned();
        self.buffer.advance(2);
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        self.fill(length + 2).await?;
        let piece = self.buffer.split_to(length).freeze();
        self.buffer.advance(2);
        if length == 0 {
            self.rest = Rest::Nothing;
            return Ok(None);
        }
        Ok(Some(piece))
    }

    /// Reads until the buffer holds `length` bytes.
    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

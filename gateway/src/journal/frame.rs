//! One frame of the journal: `len u32 | crc32 u32 | kind u8 | payload`, little-endian, payload JSON.
//!
//! The checksum covers kind and payload. Pure: [`encode`] appends to a buffer, [`decode`] looks at one.

use serde::Serialize;

/// Bytes before the payload.
const HEADER: usize = 9;
/// Longest payload that is read. A closing with four attempts has about 2 kB, and everything in it is bounded; but a
/// frame is never refused for its length that was written, since nothing behind it could be found.
const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An `Opening`.
    Opening,
    /// A `Closing`.
    Closing,
    /// An `AuditNote`.
    Note,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Opening => 1,
            Kind::Closing => 2,
            Kind::Note => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Kind::Opening),
            2 => Some(Kind::Closing),
            3 => Some(Kind::Note),
            _ => None,
        }
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded<'a> {
    /// A whole frame, and what follows it.
    Frame {
        /// Its kind.
        kind: Kind,
        /// Its JSON.
        payload: &'a [u8],
        /// The bytes behind it.
        rest: &'a [u8],
    },
    /// Nothing.
    End,
    /// No whole frame: cut short, or damaged.
    Torn,
}

/// Appends one frame. On an error the buffer is as it was.
pub(super) fn encode(out: &mut Vec<u8>, kind: Kind, value: &impl Serialize) -> Result<(), serde_json::Error> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        out.truncate(start);
        return Err(error);
    }
    let frame = out.get_mut(start..).unwrap_or_default();
    if let Some((header, payload)) = frame.split_first_chunk_mut::<HEADER>() {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let [a, b, c, d] = length.to_le_bytes();
        let [e, f, g, h] = checksum(kind.byte(), payload).to_le_bytes();
        *header = [a, b, c, d, e, f, g, h, kind.byte()];
    }
    Ok(())
}

/// Reads the frame at the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Decoded<'_> {
    if bytes.is_empty() {
        return Decoded::End;
    }
    whole(bytes).unwrap_or(Decoded::Torn)
}

fn whole(bytes: &[u8]) -> Option<Decoded<'_>> {
    let (&[a, b, c, d, e, f, g, h, kind], body) = bytes.split_first_chunk::<HEADER>()?;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let (payload, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
    let sound = checksum(kind, payload) == u32::from_le_bytes([e, f, g, h]);
    sound.then_some(Decoded::Frame { kind: Kind::from_byte(kind)?, payload, rest })
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_frame_is_read_back_so_that_those_behind_it_are() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Closing, &"x".repeat(3 << 20)).unwrap();
        encode(&mut bytes, Kind::Note, &"behind").unwrap();
        let Decoded::Frame { kind: Kind::Closing, rest, .. } = decode(&bytes) else { panic!("it is whole") };
        assert!(matches!(decode(rest), Decoded::Frame { kind: Kind::Note, payload: b"\"behind\"", rest: b"" }));
    }

    #[test]
    fn a_cut_or_flipped_frame_is_torn_at_every_byte() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Closing, &"hello").unwrap();
        assert!(matches!(decode(&bytes), Decoded::Frame { kind: Kind::Closing, payload: b"\"hello\"", rest: b"" }));
        for cut in 1..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Decoded::Torn, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(decode(&flipped), Decoded::Torn, "flipped at {at}");
        }
        assert_eq!(decode(b""), Decoded::End);
        assert_eq!(decode(&[0; 64]), Decoded::Torn, "zeros that a power loss left are no frame");
    }
}

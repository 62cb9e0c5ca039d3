//! Takes the gzip off a reply whose server compresses although it was asked not to. Bounded.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use crate::bounds::REPLY_BYTES_MAX;

/// The reply is not gzip, or grows beyond `REPLY_BYTES_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InflateFault;

/// A decoder for a reply that comes chunk by chunk; plain replies pass as they are.
pub enum Inflate {
    /// Nothing to take off.
    Plain,
    /// gzip.
    Gzip {
        /// The decoder with the bytes that it has ready.
        decoder: Box<MultiGzDecoder<Vec<u8>>>,
        /// Bytes given out so far.
        total: usize,
    },
}

impl Inflate {
    /// The decoder for a `content-encoding`; `None` where Weir can't read it.
    pub fn new(encoding: Option<&str>) -> Option<Self> {
        match encoding.map(str::trim) {
            None | Some("" | "identity") => Some(Self::Plain),
            Some("gzip" | "x-gzip") => {
                Some(Self::Gzip { decoder: Box::new(MultiGzDecoder::new(Vec::new())), total: 0 })
            }
            Some(_) => None,
        }
    }

    /// Takes a chunk, gives what it holds.
    pub fn push(&mut self, chunk: Bytes) -> Result<Bytes, InflateFault> {
        match self {
            Self::Plain => Ok(chunk),
            Self::Gzip { decoder, total } => {
                // In small steps, so that a bomb is seen before it is unpacked.
                for step in chunk.chunks(4096) {
                    decoder.write_all(step).and_then(|()| decoder.flush()).map_err(|_| InflateFault)?;
                    if decoder.get_ref().len().saturating_add(*total) > REPLY_BYTES_MAX {
                        return Err(InflateFault);
                    }
                }
                let out = std::mem::take(decoder.get_mut());
                *total = total.saturating_add(out.len());
                Ok(Bytes::from(out))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn any_split_gives_the_same_bytes() {
        let plain = b"data: {\"choices\":[]}\n\n".repeat(20);
        let packed = gzip(&plain);
        for cut in 0..packed.len() {
            let mut inflate = Inflate::new(Some("gzip")).unwrap();
            let mut out = inflate.push(Bytes::copy_from_slice(&packed[..cut])).unwrap().to_vec();
            out.extend_from_slice(&inflate.push(Bytes::copy_from_slice(&packed[cut..])).unwrap());
            assert_eq!(out, plain, "cut at {cut}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![0; REPLY_BYTES_MAX + 1]);
        let mut inflate = Inflate::new(Some("gzip")).unwrap();
        assert_eq!(inflate.push(Bytes::from(bomb)), Err(InflateFault));
    }

    #[test]
    fn an_unknown_encoding_is_refused() {
        assert!(Inflate::new(Some("br")).is_none());
    }
}

//! Frames of the runner's socket: a 4-byte big-endian length and that many bytes of JSON. Incremental, so that neither side
//! ever blocks on half a frame.

use crate::protocol::FRAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the length in front of each frame.
const HEADER_BYTES: usize = 4;

/// What is wrong with a frame. The stream cannot be used after it.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes, more than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// Not the message that was expected.
    #[error("not a message of the runner protocol: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// One message as a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let bytes = frame.len() - HEADER_BYTES;
    if bytes > FRAME_BYTES_MAX {
        return Err(WireError::TooLong(bytes));
    }
    frame[..HEADER_BYTES].copy_from_slice(&(bytes as u32).to_be_bytes());
    Ok(frame)
}

/// Turns bytes as they arrive into messages. Holds at most one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front that were decoded already.
    taken: usize,
}

impl Decoder {
    /// Adds bytes read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let Some(bytes) = self.frame_bytes() else { return Ok(None) };
        if bytes > FRAME_BYTES_MAX {
            return Err(WireError::TooLong(bytes));
        }
        let start = self.taken + HEADER_BYTES;
        let Some(frame) = self.buffer.get(start..start + bytes) else { return Ok(None) };
        let message = serde_json::from_slice(frame)?;
        self.taken = start + bytes;
        Ok(Some(message))
    }

    /// Whether [`Decoder::take`] would return something other than `Ok(None)`.
    pub fn ready(&self) -> bool {
        self.frame_bytes().is_some_and(|bytes| {
            bytes > FRAME_BYTES_MAX || self.buffer.len() >= self.taken + HEADER_BYTES + bytes
        })
    }

    fn frame_bytes(&self) -> Option<usize> {
        let header = self.buffer.get(self.taken..self.taken + HEADER_BYTES)?;
        Some(u32::from_be_bytes(header.try_into().expect("the slice has four bytes")) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Request;

    #[test]
    fn messages_survive_any_split_of_their_bytes() {
        let sent = [Request::Hello { version: 1 }, Request::KillAll, Request::Forget { id: "a.1".into() }];
        let bytes: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(step) {
                decoder.push(part);
                while let Some(message) = decoder.take::<Request>().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, sent, "in steps of {step}");
        }
    }

    #[test]
    fn an_overlong_frame_is_refused_before_it_is_held() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert!(decoder.ready());
        assert!(matches!(decoder.take::<Request>(), Err(WireError::TooLong(_))));
    }
}

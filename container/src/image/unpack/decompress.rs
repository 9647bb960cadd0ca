//! Reads a file whatever it is packed with, never more of it than the caps allow.
//!
//! flate2 on miniz_oxide and ruzstd, both written in Rust alone: slower than the C libraries by a factor of about two, and not a way into this process.

use super::error::UnpackError;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, Read};

const BUFFER_BYTES: usize = 128 << 10;
/// What compressors use at their highest setting without being asked for more.
const ZSTD_WINDOW_BYTES_MAX: u64 = 128 << 20;

/// What a file is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Nothing.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// Told from the first bytes.
    fn of(head: &[u8]) -> Result<Packing, UnpackError> {
        let refuse = |name: &str| {
            Err(UnpackError::Nonsense(format!(
                "it is packed with {name}; what can be read is tar, tar.gz and tar.zst"
            )))
        };
        match head {
            [0x1f, 0x8b, ..] => Ok(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Packing::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => refuse("xz"),
            [b'B', b'Z', b'h', ..] => refuse("bzip2"),
            [b'P', b'K', 3, 4, ..] => refuse("zip"),
            _ => Ok(Packing::Plain),
        }
    }
}

/// What is in `source`, at most `bytes_max` of it: beyond that, reading is an error.
pub fn open<'a>(
    source: impl Read + 'a,
    bytes_max: u64,
) -> Result<(Packing, Capped<Box<dyn Read + 'a>>), UnpackError> {
    let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
    let packing = Packing::of(source.fill_buf().map_err(UnpackError::Read)?)?;
    let reader: Box<dyn Read + 'a> = match packing {
        Packing::Plain => Box::new(source),
        Packing::Gzip => Box::new(MultiGzDecoder::new(source)),
        Packing::Zstd => Box::new(Frames::new(source)),
    };
    Ok((packing, Capped { reader, left: bytes_max, bytes_max }))
}

/// A reader that fails beyond a number of bytes, rather than to end there.
pub struct Capped<R> {
    reader: R,
    left: u64,
    bytes_max: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                let limit = self.bytes_max;
                return Err(io::Error::other(format!(
                    "unpacked stream bytes must be at most {limit}, was more"
                )));
            }
        }
        Ok(read)
    }
}

/// All frames of a Zstandard file, one behind the other.
struct Frames<R> {
    decoder: FrameDecoder,
    in_frame: bool,
    source: R,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Frames<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
        Frames { decoder, in_frame: false, source }
    }

    /// Opens the next frame that holds data; false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let given = self.decoder.get_checksum_from_data();
        match given.is_none() || given == self.decoder.get_calculated_checksum() {
            true => Ok(()),
            false => Err(io::Error::other("a zstd frame does not have its checksum")),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = if self.in_frame { self.decoder.read(buffer)? } else { 0 };
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if self.in_frame && self.decoder.is_finished() {
                self.end_frame()?;
            } else if self.in_frame {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| io::Error::other(error.to_string()))?;
            } else if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

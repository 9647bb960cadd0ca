//! A finished log, compressed so that any part of it can be read alone: zstd's seekable format, so `zstd -d` reads it too.
//!
//! Frames of [`FRAME_BYTES`] of the log each, with checksums; then, if there is one, the log's index of times in a skippable frame; then the seek
//! table, which ends the file. So a file that was cut off is none: it has no table. Another layout of the rest takes another magic.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of the log in each frame but the last: a reader decompresses at most this much more than it asked for.
pub const FRAME_BYTES: usize = 256 << 10;
/// Of a frame, compressed: what cannot be compressed grows by a few bytes.
const FRAME_PACKED_MAX: u64 = 2 * FRAME_BYTES as u64;
/// Fast, and logs shrink well at any level.
const LEVEL: i32 = 3;
/// Of skippable frames: that of the index of times, and that of the seek table as zstd's seekable format has it.
const INDEX_MAGIC: u32 = 0x184D_2A50;
const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Ends the file.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Bytes of a skippable frame's header, of an entry of the table (compressed and plain length), and of the table's end.
const HEADER_BYTES: u64 = 8;
const ENTRY_BYTES: u64 = 8;
const FOOTER_BYTES: u64 = 9;
/// Frames of a log of 64 GiB: a table that claims more is not ours.
const FRAMES_MAX: u64 = 1 << 18;
/// More than an index of times ever has.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// Compresses a log, read to its end, and its index of times, which may be empty.
pub fn pack(log: &File, index: &[u8], out: &mut impl Write) -> io::Result<()> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut table = Vec::new();
    let mut block = vec![0; FRAME_BYTES];
    let mut offset = 0;
    loop {
        let count = read_full(log, &mut block, offset)?;
        if count > 0 {
            let frame = compressor.compress(&block[..count])?;
            out.write_all(&frame)?;
            table.extend(length(frame.len())?.to_le_bytes());
            table.extend(length(count)?.to_le_bytes());
            offset += count as u64;
        }
        if count < FRAME_BYTES {
            break;
        }
    }
    if !index.is_empty() {
        out.write_all(&INDEX_MAGIC.to_le_bytes())?;
        out.write_all(&length(index.len())?.to_le_bytes())?;
        out.write_all(index)?;
    }
    let frames = length(table.len() / ENTRY_BYTES as usize)?;
    out.write_all(&TABLE_MAGIC.to_le_bytes())?;
    out.write_all(&length(table.len() + FOOTER_BYTES as usize)?.to_le_bytes())?;
    out.write_all(&table)?;
    out.write_all(&frames.to_le_bytes())?;
    // No checksums in the table: each frame has its own.
    out.write_all(&[0])?;
    out.write_all(&SEEKABLE_MAGIC.to_le_bytes())
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

/// An open compressed log. What it says of itself is checked: a copy comes from another node.
pub struct Packed {
    file: File,
    /// Where each frame begins, compressed, and the end of the last.
    starts: Vec<u64>,
    bytes: u64,
    /// The frame that was read last: readers go on where they were.
    recent: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

impl Packed {
    /// Reads the table. `InvalidData` when it is none, or not whole.
    pub fn open(file: File) -> io::Result<Packed> {
        let size = file.metadata()?.len();
        let footer: [u8; FOOTER_BYTES as usize] = read_at(&file, size.checked_sub(FOOTER_BYTES))?;
        let frames = u64::from(word(&footer[..4]));
        let table_bytes = frames * ENTRY_BYTES + FOOTER_BYTES;
        let table_at = size.checked_sub(table_bytes);
        let header: [u8; HEADER_BYTES as usize] =
            read_at(&file, table_at.and_then(|at| at.checked_sub(HEADER_BYTES)))?;
        let whole = word(&footer[5..]) == SEEKABLE_MAGIC
            && footer[4] == 0
            && frames <= FRAMES_MAX
            && word(&header[..4]) == TABLE_MAGIC
            && u64::from(word(&header[4..])) == table_bytes;
        let (Some(table_at), true) = (table_at, whole) else { return Err(invalid("no seek table")) };
        let mut table = vec![0; (frames * ENTRY_BYTES) as usize];
        file.read_exact_at(&mut table, table_at)?;
        let (mut starts, mut bytes) = (vec![0u64], 0);
        for (number, entry) in table.chunks_exact(ENTRY_BYTES as usize).enumerate() {
            let (packed, plain) = (u64::from(word(&entry[..4])), word(&entry[4..]) as usize);
            let last = number as u64 + 1 == frames;
            let plain_fits = plain == FRAME_BYTES || last && (1..FRAME_BYTES).contains(&plain);
            if !plain_fits || packed > FRAME_PACKED_MAX {
                return Err(invalid("a frame of another length"));
            }
            starts.push(starts[number] + packed);
            bytes += plain as u64;
        }
        if starts.last().is_some_and(|end| *end > table_at - HEADER_BYTES) {
            return Err(invalid("frames beyond the table"));
        }
        Ok(Packed { file, starts, bytes, recent: Mutex::default() })
    }

    /// Bytes of the log.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `bytes` from `offset` on, as far as the log goes; how far that was.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() && offset + (filled as u64) < self.bytes {
            let at = offset + filled as u64;
            let frame = self.frame((at / FRAME_BYTES as u64) as usize)?;
            let part = &frame[(at % FRAME_BYTES as u64) as usize..];
            let count = part.len().min(bytes.len() - filled);
            bytes[filled..filled + count].copy_from_slice(&part[..count]);
            filled += count;
        }
        Ok(filled)
    }

    /// The index of times; empty when it has none.
    pub fn index(&self) -> io::Result<Vec<u8>> {
        let at = self.starts.last().copied();
        let header: [u8; HEADER_BYTES as usize] = read_at(&self.file, at)?;
        let bytes = u64::from(word(&header[4..]));
        if word(&header[..4]) != INDEX_MAGIC || bytes > INDEX_BYTES_MAX {
            return Ok(Vec::new());
        }
        let mut index = vec![0; bytes as usize];
        self.file.read_exact_at(&mut index, at.unwrap_or(0) + HEADER_BYTES)?;
        Ok(index)
    }

    fn frame(&self, number: usize) -> io::Result<Arc<Vec<u8>>> {
        if let Some((recent, plain)) = &*self.recent()
            && *recent == number
        {
            return Ok(plain.clone());
        }
        let (start, end) = (self.starts[number], self.starts[number + 1]);
        let mut packed = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut packed, start)?;
        let plain = zstd::bulk::decompress(&packed, FRAME_BYTES)?;
        let expected = (self.bytes - number as u64 * FRAME_BYTES as u64).min(FRAME_BYTES as u64);
        if plain.len() as u64 != expected {
            return Err(invalid("a frame is not as long as its table says"));
        }
        let plain = Arc::new(plain);
        *self.recent() = Some((number, plain.clone()));
        Ok(plain)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Option<(usize, Arc<Vec<u8>>)>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills `bytes` from `offset` on, as far as the file goes; how far that was.
pub fn read_full(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_at<const N: usize>(file: &File, at: Option<u64>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at.ok_or_else(|| invalid("too short"))?).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof { invalid("too short") } else { error }
    })?;
    Ok(bytes)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(plain: &[u8], index: &[u8]) -> Vec<u8> {
        let mut log = tempfile::tempfile().unwrap();
        log.write_all(plain).unwrap();
        let mut out = Vec::new();
        pack(&log, index, &mut out).unwrap();
        out
    }

    fn open(bytes: &[u8]) -> io::Result<Packed> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Packed::open(file)
    }

    fn text(lines: usize) -> Vec<u8> {
        (0..lines).flat_map(|n| format!("line {n} of a log\n").into_bytes()).collect()
    }

    #[test]
    fn any_part_is_read_back_and_the_common_tool_reads_all() {
        for plain in
            [Vec::new(), b"x".to_vec(), vec![b'y'; FRAME_BYTES], vec![0; 2 * FRAME_BYTES], text(60_000)]
        {
            let bytes = packed(&plain, b"times");
            let log = open(&bytes).unwrap();
            assert_eq!(log.bytes(), plain.len() as u64);
            assert_eq!(log.index().unwrap(), b"times");
            for (offset, count) in [(0, 10), (FRAME_BYTES - 5, 10), (7, plain.len()), (plain.len(), 5)] {
                let expected = plain.get(offset..).unwrap_or(&[]);
                let mut part = vec![0; count];
                let read = log.read_at(&mut part, offset as u64).unwrap();
                assert!(part[..read] == expected[..count.min(expected.len())]);
            }
            assert!(
                zstd::stream::decode_all(&bytes[..]).unwrap() == plain,
                "frames beside the log's are skipped"
            );
        }
        assert!(open(&packed(b"x", b"")).unwrap().index().unwrap().is_empty());
    }

    #[test]
    fn a_file_that_was_cut_off_at_any_byte_is_none() {
        let bytes = packed(&text(30_000), b"times");
        for cut in (0..bytes.len()).step_by(97).chain(bytes.len() - 40..bytes.len()) {
            assert!(open(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
    }

    #[test]
    fn damage_is_an_error_and_never_other_bytes() {
        let plain = text(30_000);
        let bytes = packed(&plain, b"");
        for at in (0..bytes.len()).step_by(53) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            let Ok(log) = open(&damaged) else { continue };
            let mut read = vec![0; plain.len()];
            assert!(
                log.read_at(&mut read, 0).map_or(true, |count| count == plain.len() && read == plain),
                "{at}"
            );
        }
    }
}

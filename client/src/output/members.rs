//! The logs of several members of one task in one stream: whole lines, each with the rank of who wrote it before it (`2: text`), so that what
//! they write at the same time does not mix within a line.

use super::escape::Escaper;
use super::log::time_of;
use shoal_proto::v1;
use std::collections::BTreeMap;

/// A line that is longer is shown in pieces, each with a rank of its own: nothing is held back without bound.
const LINE_BYTES_MAX: usize = 8 << 10;

/// What is held back of each.
#[derive(Debug)]
pub struct Members {
    terminal: bool,
    timestamps: bool,
    open: BTreeMap<u32, Open>,
}

/// A line that is not whole yet.
#[derive(Debug, Default)]
struct Open {
    time: String,
    bytes: Vec<u8>,
}

impl Members {
    /// Harmless for a terminal, or byte by byte; with times or without.
    pub fn new(terminal: bool, timestamps: bool) -> Members {
        Members { terminal, timestamps, open: BTreeMap::new() }
    }

    /// The lines that these bytes, at `offset` of this member's log, complete.
    pub fn render(&mut self, rank: u32, data: &[u8], offset: u64, times: &[v1::LogTime]) -> Vec<u8> {
        let mut out = Vec::new();
        let open = self.open.entry(rank).or_default();
        let mut at = offset;
        for piece in data.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LINE_BYTES_MAX))
        {
            if open.bytes.is_empty() && self.timestamps {
                open.time = time_of(at, times);
            }
            open.bytes.extend_from_slice(piece);
            at += piece.len() as u64;
            if piece.ends_with(b"\n") || open.bytes.len() >= LINE_BYTES_MAX {
                line(rank, open, self.terminal, &mut out);
            }
        }
        out
    }

    /// What is held back, line after line: their logs are over.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for (rank, mut open) in std::mem::take(&mut self.open) {
            if !open.bytes.is_empty() {
                line(rank, &mut open, self.terminal, &mut out);
            }
        }
        out
    }
}

/// One line, with its end whether it had one or not; what colours it, ends with it.
fn line(rank: u32, open: &mut Open, terminal: bool, out: &mut Vec<u8>) {
    let Open { time, bytes } = std::mem::take(open);
    out.extend(format!("{rank}: {time}").as_bytes());
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if terminal {
        let mut escaper = Escaper::default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        escaper.push(text, out);
        escaper.finish(out);
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_of_members_do_not_mix() {
        let mut members = Members::new(false, false);
        assert_eq!(text(members.render(0, b"on", 0, &[])), "");
        assert_eq!(text(members.render(1, b"two\nth", 0, &[])), "1: two\n");
        assert_eq!(text(members.render(0, b"e\n\n", 2, &[])), "0: one\n0: \n");
        assert_eq!(text(members.render(1, b"ree\nfo", 6, &[])), "1: three\n");
        assert_eq!(text(members.end()), "1: fo\n");
        assert_eq!(text(members.end()), "");
    }

    #[test]
    fn each_has_the_time_at_which_its_line_began() {
        let mut members = Members::new(true, true);
        let times = |at_ms| [v1::LogTime { offset: 0, at_ms }];
        assert_eq!(text(members.render(3, b"a\x1b[2J", 0, &times(0))), "");
        let line = text(members.render(3, b"b\r\n", 5, &times(1_000)));
        assert_eq!(line, "3: 1970-01-01T00:00:00.000Z a^[[2Jb\n");
    }

    #[test]
    fn a_line_without_an_end_is_not_held_back_for_ever() {
        let mut members = Members::new(false, false);
        let long = vec![b'x'; 3 * LINE_BYTES_MAX + 1];
        let shown = members.render(0, &long, 0, &[]);
        assert_eq!(shown.iter().filter(|byte| **byte == b'x').count(), 3 * LINE_BYTES_MAX);
        assert_eq!(text(members.end()), "0: x\n");
    }

    #[test]
    fn the_colour_of_one_does_not_reach_another() {
        let mut members = Members::new(true, false);
        let shown = text(members.render(0, b"\x1b[31mred\n", 0, &[]));
        assert_eq!(shown, "0: \x1b[31mred\x1b[0m\n");
    }
}

//! A log on stdout: byte by byte for a program, made harmless for a terminal; with a time before each line when that is asked for.

use super::escape::Escaper;
use super::members::Members;
use shoal_proto::v1;
use std::io::{self, IsTerminal, Write};

/// Shows one log after the other on stdout.
#[derive(Debug)]
pub struct LogOutput {
    /// `None` where the bytes go out as they came.
    escaper: Option<Escaper>,
    timestamps: bool,
    line: Line,
    /// Of a task of several nodes.
    members: Option<Members>,
}

/// Where in a line the log is.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Begins,
    Goes,
}

impl LogOutput {
    /// Harmless on a terminal, unless `raw`.
    pub fn new(raw: bool, timestamps: bool) -> LogOutput {
        LogOutput::to(!raw && io::stdout().is_terminal(), timestamps)
    }

    fn to(terminal: bool, timestamps: bool) -> LogOutput {
        LogOutput { escaper: terminal.then(Escaper::default), timestamps, line: Line::Begins, members: None }
    }

    /// Shows these bytes, which begin at `offset` of the log of one member; line by line with its rank before each, once several speak.
    pub fn show_of(&mut self, rank: u32, data: &[u8], offset: u64, times: &[v1::LogTime]) -> io::Result<()> {
        match &mut self.members {
            Some(members) => write_out(&members.render(rank, data, offset, times)),
            None => self.show(data, offset, times),
        }
    }

    /// From here on several members speak: each line has the rank of its own before it.
    pub fn label(&mut self) {
        let (terminal, timestamps) = (self.escaper.is_some(), self.timestamps);
        self.members.get_or_insert_with(|| Members::new(terminal, timestamps));
    }

    /// Shows these bytes, which begin at `offset` of their log.
    pub fn show(&mut self, data: &[u8], offset: u64, times: &[v1::LogTime]) -> io::Result<()> {
        write_out(&self.render(data, offset, times))
    }

    /// Shows what was held back, and ends the task's colours. What comes next is another log.
    pub fn finish(&mut self) -> io::Result<()> {
        write_out(&self.end())
    }

    fn render(&mut self, data: &[u8], offset: u64, times: &[v1::LogTime]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + data.len() / 8);
        if !self.timestamps {
            self.push(data, &mut out);
            return out;
        }
        let mut at = offset;
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            if self.line == Line::Begins {
                out.extend(time_of(at, times).as_bytes());
            }
            self.push(line, &mut out);
            self.line = if line.ends_with(b"\n") { Line::Begins } else { Line::Goes };
            at += line.len() as u64;
        }
        out
    }

    fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        match &mut self.escaper {
            Some(escaper) => escaper.push(data, out),
            None => out.extend_from_slice(data),
        }
    }

    fn end(&mut self) -> Vec<u8> {
        let mut out = self.members.as_mut().map(Members::end).unwrap_or_default();
        if let Some(escaper) = &mut self.escaper {
            escaper.finish(&mut out);
        }
        self.line = Line::Begins;
        out
    }
}

/// The time of the byte at `offset`, with a blank behind; dashes of the same width where none is known.
pub(super) fn time_of(offset: u64, times: &[v1::LogTime]) -> String {
    let known = times.partition_point(|time| time.offset <= offset);
    let time =
        known.checked_sub(1).and_then(|last| jiff::Timestamp::from_millisecond(times[last].at_ms).ok());
    time.map_or_else(|| format!("{:24} ", "-"), |time| format!("{time:.3} "))
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(list: &[(u64, i64)]) -> Vec<v1::LogTime> {
        list.iter().map(|(offset, at_ms)| v1::LogTime { offset: *offset, at_ms: *at_ms }).collect()
    }

    #[test]
    fn a_pipe_gets_the_bytes_as_they_are() {
        let mut output = LogOutput::to(false, false);
        assert_eq!(output.render(b"\x1b]0;x\x07\xff\r", 0, &[]), b"\x1b]0;x\x07\xff\r");
        assert_eq!(output.end(), b"");
    }

    #[test]
    fn each_line_has_the_time_at_which_it_began() {
        let mut output = LogOutput::to(true, true);
        let mut out = output.render(b"one\ntw", 0, &times(&[(0, 0), (4, 1_000)]));
        out.extend(output.render(b"o\n\x1b[2Jthree\n", 6, &times(&[(4, 1_000), (8, 60_001)])));
        out.extend(output.end());
        let expected = "1970-01-01T00:00:00.000Z one\n1970-01-01T00:00:01.000Z two\n1970-01-01T00:01:00.001Z ^[[2Jthree\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_log_without_times_is_shown_without_them() {
        let line = LogOutput::to(false, true).render(b"x\n", 0, &[]);
        assert_eq!(String::from_utf8(line).unwrap(), format!("-{}x\n", " ".repeat(24)));
    }
}

//! What a task wrote, made harmless for a terminal: text, line ends, tabs and colours pass; every other control is shown instead of obeyed. So no
//! log can move the cursor, change the title, write to the clipboard, or hide what stands in it.
//!
//! Works on a stream: however the bytes are cut into pieces, the result is the same. What is held back at the end of a piece (a sequence that may
//! yet be a colour, half a character, a carriage return) is at most `HELD_BYTES_MAX` long.

use std::io::Write as _;

/// The longest colour sequence that is taken for one.
const HELD_BYTES_MAX: usize = 64;
const ESC: u8 = 0x1b;
const RESET: &[u8] = b"\x1b[0m";

/// The state between two pieces.
#[derive(Debug, Default)]
pub struct Escaper {
    held: Vec<u8>,
    /// Colours of the task's are on.
    coloured: bool,
}

/// What the held bytes and the next one are.
enum Seen {
    /// To be continued.
    Part,
    /// Harmless.
    Text,
    /// A colour sequence; whether it leaves colours on.
    Colour(bool),
    /// All but the last byte is to be shown; the last begins anew.
    ShowAllButLast,
    /// To be shown.
    Show,
}

impl Escaper {
    /// The next piece, made harmless, appended to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some((&byte, after)) = rest.split_first() {
            if self.held.is_empty() {
                let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
                if plain > 0 {
                    out.extend_from_slice(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.byte(byte, out);
            rest = after;
        }
    }

    /// What was held back, shown, and the end of all colours.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        show(&std::mem::take(&mut self.held), out);
        if std::mem::take(&mut self.coloured) {
            out.extend_from_slice(RESET);
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        match see(&self.held) {
            Seen::Part => return,
            Seen::Text => match self.held.as_slice() {
                b"\r\n" => out.push(b'\n'),
                text => out.extend_from_slice(text),
            },
            Seen::Colour(on) => {
                self.coloured = on;
                out.extend_from_slice(&self.held);
            }
            Seen::Show => show(&self.held, out),
            Seen::ShowAllButLast => {
                self.held.pop();
                show(&std::mem::take(&mut self.held), out);
                return self.byte(byte, out);
            }
        }
        self.held.clear();
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t')
}

/// `held` begins where something not plain begins, or is one plain byte.
fn see(held: &[u8]) -> Seen {
    match held {
        [byte] if is_plain(*byte) => Seen::Text,
        [ESC | b'\r' | 0xc2..=0xf4] => Seen::Part,
        [_] => Seen::Show,
        [b'\r', b'\n'] => Seen::Text,
        [b'\r', ..] => Seen::ShowAllButLast,
        [ESC, b'['] => Seen::Part,
        [ESC, b'[', parameters @ .., last] => see_sequence(parameters, *last),
        [ESC, ..] => Seen::ShowAllButLast,
        bytes => see_character(bytes),
    }
}

/// After `ESC [`.
fn see_sequence(parameters: &[u8], last: u8) -> Seen {
    match last {
        b'0'..=b'9' | b';' | b':' if parameters.len() < HELD_BYTES_MAX - 3 => Seen::Part,
        b'm' => match colours(parameters) {
            Some(on) => Seen::Colour(on),
            None => Seen::Show,
        },
        // Not a colour. Its own last byte may begin something else.
        _ => Seen::ShowAllButLast,
    }
}

/// Whether these parameters of a colour sequence leave any on; `None` when they hide text.
fn colours(parameters: &[u8]) -> Option<bool> {
    const CONCEAL: u32 = 8;
    let mut on = false;
    let mut numbers = parameters.split(|byte| *byte == b';').map(|part| {
        // Of `38:2:…` the first number says what it is, and the rest belongs to it.
        let mut parts = part.split(|byte| *byte == b':');
        let first = parts.next().unwrap_or_default();
        let number = std::str::from_utf8(first).ok().and_then(|text| text.parse().ok());
        (number.unwrap_or(if first.is_empty() { 0 } else { u32::MAX }), parts.next().is_some())
    });
    while let Some((number, whole)) = numbers.next() {
        match number {
            CONCEAL => return None,
            // A colour of its own: by number, or by three parts.
            38 | 48 | 58 if !whole => {
                let skip = match numbers.next() {
                    Some((5, _)) => 1,
                    Some((2, _)) => 3,
                    _ => return None,
                };
                // Fewer than that: terminals do not agree on what the rest then is.
                if numbers.by_ref().take(skip).count() < skip {
                    return None;
                }
            }
            _ => {}
        }
        on = number != 0;
    }
    Some(on)
}

/// Two bytes or more of what began as a character beyond ASCII.
fn see_character(bytes: &[u8]) -> Seen {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !is_control(c)) => Seen::Text,
        Ok(_) => Seen::Show,
        Err(error) if error.error_len().is_none() => Seen::Part,
        // The last byte is what made it wrong.
        Err(_) => Seen::ShowAllButLast,
    }
}

/// C1 controls, and what changes the direction of the text around it: a line must be read as it was written.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Controls by their customary names (`^[`), other bytes and characters by their numbers.
fn show(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let shown = match c {
                '\u{7f}' => write!(out, "^?"),
                '\0'..='\u{1f}' if !matches!(c, '\n' | '\t') => {
                    write!(out, "^{}", char::from(c as u8 + b'@'))
                }
                c if is_control(c) && !c.is_ascii() => write!(out, "\\u{{{:x}}}", c as u32),
                c => write!(out, "{c}"),
            };
            shown.expect("a vector takes everything");
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a vector takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut escaper, mut out) = (Escaper::default(), Vec::new());
        for piece in pieces {
            escaper.push(piece, &mut out);
        }
        escaper.finish(&mut out);
        out
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(escaped(&[bytes])).unwrap()
    }

    #[test]
    fn text_line_ends_tabs_and_colours_pass() {
        for same in
            ["a line\n\tand one\n", "grüße, 日本 🙂\n", "\x1b[31mred\x1b[0m\n", "\x1b[1;38;5;208mbold\x1b[m"]
        {
            assert_eq!(text(same.as_bytes()), same);
        }
        assert_eq!(text(b"\x1b[38:2::1:2:3;4mx\x1b[0m"), "\x1b[38:2::1:2:3;4mx\x1b[0m");
        assert_eq!(
            text(b"\x1b[38;2;8;8;8mx\x1b[0m"),
            "\x1b[38;2;8;8;8mx\x1b[0m",
            "an 8 that is part of a colour"
        );
        assert_eq!(text(b"dos\r\nunix\n"), "dos\nunix\n");
    }

    #[test]
    fn colours_that_are_left_on_end_with_the_log() {
        assert_eq!(text(b"\x1b[31mred"), "\x1b[31mred\x1b[0m");
        assert_eq!(text(b"\x1b[0;1mbold"), "\x1b[0;1mbold\x1b[0m");
        assert_eq!(text(b"\x1b[31mred\x1b[m"), "\x1b[31mred\x1b[m");
    }

    #[test]
    fn nothing_else_reaches_the_terminal() {
        for (nasty, shown) in [
            (&b"\x1b]0;title\x07"[..], "^[]0;title^G"),
            (b"\x1b]52;c;cm0gLXJm\x1b\\", "^[]52;c;cm0gLXJm^[\\"),
            (b"\x1b]8;;http://x\x1b\\link", "^[]8;;http://x^[\\link"),
            (b"\x1bP$q\"p\x1b\\", "^[P$q\"p^[\\"),
            (b"\x1b[2J\x1b[1;1Hcleared", "^[[2J^[[1;1Hcleared"),
            (b"\x1b[6n", "^[[6n"),
            (b"\x1b[?1049h", "^[[?1049h"),
            (b"\x1b[>0;1m", "^[[>0;1m"),
            (b"\x1b[1\x1b[31mx\x1b[0m", "^[[1\x1b[31mx\x1b[0m"),
            (b"\x1b[8mhidden", "^[[8mhidden"),
            (b"\x1b[1;8;1mhidden", "^[[1;8;1mhidden"),
            (b"\x1b[38;5;7;8mhidden", "^[[38;5;7;8mhidden"),
            (b"\x1b[38;5mcut", "^[[38;5mcut"),
            (b"\x1b[38;8mcut", "^[[38;8mcut"),
            (b"\x1b\x1b[31mx\x1b[0m", "^[\x1b[31mx\x1b[0m"),
            (b"\x1bc\x1b7\x1b(0", "^[c^[7^[(0"),
            (b"over\rwritten\r", "over^Mwritten^M"),
            (b"\r\r\n", "^M\n"),
            (b"a\x08b\x07\x00\x7f\x0e", "a^Hb^G^@^?^N"),
            (b"\x9b31m \x9d0;t\x9c", "\\x9b31m \\x9d0;t\\x9c"),
            (b"\xc2\x9b2J\xc2\x85", "\\u{9b}2J\\u{85}"),
            (b"\xe2\x80\xaetxt.exe", "\\u{202e}txt.exe"),
            (b"\xe6\x97 \xff\xc0\xaf", "\\xe6\\x97 \\xff\\xc0\\xaf"),
            (b"\xe0\x9b\x9b\xed\xa0\x80", "\\xe0\\x9b\\x9b\\xed\\xa0\\x80"),
            (b"\xc2\x1b[2J\xe6\n", "\\xc2^[[2J\\xe6\n"),
            (b"end\x1b[3", "end^[[3"),
            (b"end\xe6\x97", "end\\xe6\\x97"),
        ] {
            assert_eq!(text(nasty), shown, "{}", nasty.escape_ascii());
        }
    }

    #[test]
    fn a_sequence_without_end_is_not_held_for_ever() {
        let mut escaper = Escaper::default();
        let (mut out, endless) = (Vec::new(), [b"\x1b[".as_slice(), &[b'1'; 10_000]].concat());
        escaper.push(&endless, &mut out);
        assert!(out.len() + HELD_BYTES_MAX > endless.len(), "{} bytes came out", out.len());
        assert!(!out.contains(&ESC));
    }

    /// Bytes as a hostile task would choose them.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"\x1b".to_vec()),
            Just(b"\x1b[".to_vec()),
            Just(b"\x1b]52;c;".to_vec()),
            Just(b"\xc2".to_vec()),
            Just("\u{9b}日\u{202e}".as_bytes().to_vec()),
            Just(b"\r".to_vec()),
            "[0-9;:mHJK\n a]{0,6}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_the_pieces(bytes in hostile(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = escaped(&[&bytes]);
            prop_assert_eq!(&escaped(&pieces), &whole);
            prop_assert_eq!(&escaped(&single), &whole);
        }

        #[test]
        fn only_colours_escape(bytes in hostile()) {
            let out = String::from_utf8(escaped(&[&bytes])).expect("whole characters");
            let mut rest = out.as_str();
            while let Some(at) = rest.find(|c: char| is_control(c) && !matches!(c, '\n' | '\t')) {
                let sequence = rest[at..].strip_prefix("\x1b[").expect("nothing but colours");
                let end = sequence.find(|c: char| !matches!(c, '0'..='9' | ';' | ':')).expect("an end");
                prop_assert!(sequence[end..].starts_with('m'));
                rest = &sequence[end + 1..];
            }
        }
    }
}

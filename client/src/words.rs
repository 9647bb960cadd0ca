//! Splits a line into words as a shell would: blanks, quotes, backslashes and comments; no expansion of any kind.

/// A line that no shell would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// A quote that is not closed.
    #[error("quote {0} is not closed")]
    OpenQuote(char),
    /// A backslash at the end.
    #[error("backslash at the end of the line")]
    OpenEscape,
}

#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    /// The word being read; `Some("")` after an empty pair of quotes.
    word: Option<String>,
}

impl Splitter {
    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn quoted(&mut self, quote: char, chars: &mut std::str::Chars<'_>) -> Result<(), BadLine> {
        self.word.get_or_insert_default();
        loop {
            match chars.next().ok_or(BadLine::OpenQuote(quote))? {
                c if c == quote => return Ok(()),
                '\\' if quote == '"' => match chars.next().ok_or(BadLine::OpenQuote(quote))? {
                    c @ ('"' | '\\' | '$' | '`') => self.push(c),
                    c => {
                        self.push('\\');
                        self.push(c);
                    }
                },
                c => self.push(c),
            }
        }
    }
}

/// The words of `line`.
pub fn split(line: &str) -> Result<Vec<String>, BadLine> {
    let mut splitter = Splitter::default();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if splitter.word.is_none() => break,
            quote @ ('\'' | '"') => splitter.quoted(quote, &mut chars)?,
            '\\' => splitter.push(chars.next().ok_or(BadLine::OpenEscape)?),
            c if c.is_whitespace() => {
                let word = splitter.word.take();
                splitter.words.extend(word);
            }
            c => splitter.push(c),
        }
    }
    splitter.words.extend(splitter.word);
    Ok(splitter.words)
}

/// `words` as one line that [`split`] reads back.
pub fn join(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+=./:,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_comments_are_a_shells() {
        let cases: [(&str, &[&str]); 7] = [
            ("echo  a\tb ", &["echo", "a", "b"]),
            (r#"sh -c 'echo "$x" \n'"#, &["sh", "-c", r#"echo "$x" \n"#]),
            (r#""a \"b\" \$c \d""#, &[r#"a "b" $c \d"#]),
            (r"a\ b c\'d", &["a b", "c'd"]),
            ("a'b'\"c\"", &["abc"]),
            ("'' x", &["", "x"]),
            ("a#b # comment", &["a#b"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_wait_for_is_refused() {
        assert_eq!(split("a 'b"), Err(BadLine::OpenQuote('\'')));
        assert_eq!(split("a \"b\\\""), Err(BadLine::OpenQuote('"')));
        assert_eq!(split("a \\"), Err(BadLine::OpenEscape));
    }

    #[test]
    fn joined_words_split_again_into_themselves() {
        let words: Vec<String> = ["sh", "-c", "it's; $x", "", "a b", "#x", "ü"].map(str::to_owned).to_vec();
        assert_eq!(split(&join(&words)).unwrap(), words);
    }
}

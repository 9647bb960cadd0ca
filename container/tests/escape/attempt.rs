//! What an attempt is: a function that tries one thing a task must not be able to do, and says precisely what came of it.

use std::io;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, or had no effect: the errors or the observation.
    Held(String),
    /// It worked: what was reached.
    Escaped(String),
    /// It says nothing on this machine: why.
    Skipped(String),
    /// It ended in a way that proves neither.
    Broken(String),
}

/// How it is shown that an attempt can succeed at all, so that "held" means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The same attempt, as root in throw-away namespaces without the container's protection, must succeed.
    Root,
    /// The same, but with the host's network.
    HostNet,
    /// The same as an ordinary user without the container's protection.
    Nobody,
    /// It cannot be shown without harm to the machine, or nothing but the container's own arrangement is looked at: why.
    None(&'static str),
}

/// One attempt.
pub struct Attempt {
    /// `file::what_is_tried`.
    pub name: &'static str,
    /// Tries it, in a process of its own.
    pub run: fn() -> Outcome,
    /// Its control.
    pub control: Control,
}

impl Attempt {
    /// An attempt by these parts.
    pub const fn new(name: &'static str, run: fn() -> Outcome, control: Control) -> Attempt {
        Attempt { name, run, control }
    }
}

impl Outcome {
    /// Escaped if the call succeeded, else held by its error.
    pub fn of<T>(what: &str, result: io::Result<T>) -> Outcome {
        match result {
            Ok(_) => Outcome::Escaped(what.to_owned()),
            Err(error) => Outcome::Held(format!("{what}: {}", reason(&error))),
        }
    }

    /// Held if the observation is as it must be.
    pub fn expect(holds: bool, observation: String) -> Outcome {
        if holds { Outcome::Held(observation) } else { Outcome::Escaped(observation) }
    }

    /// All of several: escaped if one is, else held if one is.
    pub fn all(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
        let (mut held, mut escaped, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Outcome::Held(text) => held.push(text),
                Outcome::Escaped(text) => escaped.push(text),
                Outcome::Skipped(text) => skipped.push(text),
                Outcome::Broken(text) => return Outcome::Broken(text),
            }
        }
        if !escaped.is_empty() {
            Outcome::Escaped(few(&escaped))
        } else if !held.is_empty() || skipped.is_empty() {
            Outcome::Held(few(&held))
        } else {
            Outcome::Skipped(few(&skipped))
        }
    }

    /// A line for the harness: the kind, a tab, the text.
    pub fn line(&self) -> String {
        let (kind, text) = match self {
            Outcome::Held(text) => ("held", text),
            Outcome::Escaped(text) => ("ESCAPED", text),
            Outcome::Skipped(text) => ("skipped", text),
            Outcome::Broken(text) => ("broken", text),
        };
        format!("{kind}\t{}", text.replace(['\n', '\t'], " "))
    }

    /// Reads such a line.
    pub fn parse(line: &str) -> Option<Outcome> {
        let (kind, text) = line.split_once('\t')?;
        let text = text.to_owned();
        Some(match kind {
            "held" => Outcome::Held(text),
            "ESCAPED" => Outcome::Escaped(text),
            "skipped" => Outcome::Skipped(text),
            "broken" => Outcome::Broken(text),
            _ => return None,
        })
    }
}

/// The first few of many, and how many there are.
fn few(texts: &[String]) -> String {
    const SHOWN: usize = 40;
    let shown = texts.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    if texts.len() > SHOWN { format!("{shown}; and {} more", texts.len() - SHOWN) } else { shown }
}

/// The error's name as in errno(3), for those that mean something here.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::EACCES) => "EACCES".to_owned(),
        Some(libc::ENOENT) => "ENOENT".to_owned(),
        Some(libc::ENOSYS) => "ENOSYS".to_owned(),
        Some(libc::EROFS) => "EROFS".to_owned(),
        Some(libc::ESRCH) => "ESRCH".to_owned(),
        Some(libc::ENOSPC) => "ENOSPC".to_owned(),
        _ => error.to_string(),
    }
}

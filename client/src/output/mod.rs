//! What the commands print: one form for machines that is the REST body, tables for people.

pub mod escape;
pub mod json;
pub mod log;
pub mod members;
pub mod style;
pub mod table;
pub mod tasks;

use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, Write};

/// The form of data on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Aligned columns
    #[default]
    Table,
    /// Aligned columns, more of them, with full ids
    Wide,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// Ids or names only, one a line
    Name,
}

/// The table of output forms, as `docs/contract.md` shows it.
pub const TABLE: &[(&str, &str)] = &[
    ("table", "aligned columns for people; may change"),
    ("wide", "the same with more columns and full ids; may change"),
    ("json", "one document: the body of the REST answer; within v1 only fields are added"),
    ("jsonl", "one object of that document a line"),
    ("name", "full ids of tasks, names of nodes, one a line"),
];

/// Writes `value` as one document.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    io::stdout().lock().write_all(text.as_bytes())
}

/// Writes each value as a line.
pub fn json_lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> io::Result<()> {
    lines(values.into_iter().map(|value| serde_json::to_string(&value)).collect::<Result<Vec<_>, _>>()?)
}

/// Writes each text as a line.
pub fn lines<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for text in texts {
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes text with styles, which are left out where the reader cannot show them.
pub fn text(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to stderr. Nobody is left to tell when that fails.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "shoal: {text}");
}

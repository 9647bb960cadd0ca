//! `docs/contract.md` says what the program does: its tables and lists of fields equal the program's own.

use serde_json::Value;
use shoal_client::output::json::{self, kind_word, state_word};
use shoal_client::{exit, output, selector};
use shoal_proto::v1;
use std::collections::BTreeSet;

fn contract() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/contract.md");
    std::fs::read_to_string(path).unwrap()
}

/// The text behind `<!-- MARK -->`, up to the next empty line.
fn behind(mark: &str) -> String {
    let contract = contract();
    let (_, rest) = contract.split_once(&format!("<!-- {mark} -->\n")).unwrap_or_else(|| panic!("no {mark}"));
    rest.split("\n\n").next().unwrap().to_owned()
}

/// The rows of a table, without its heading.
fn rows(name: &str) -> Vec<(String, String)> {
    let table = behind(&format!("table: {name}"));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').splitn(2, '|').map(str::trim);
        (cells.next().unwrap().trim_matches('`').to_owned(), cells.next().unwrap().to_owned())
    };
    table.lines().skip(2).map(row).collect()
}

fn owned(table: &[(&str, &str)]) -> Vec<(String, String)> {
    table.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn the_tables_are_the_programs() {
    assert_eq!(rows("exit-codes"), owned(exit::TABLE));
    assert_eq!(rows("selectors"), owned(selector::TABLE));
    assert_eq!(rows("output-forms"), owned(output::TABLE));
}

#[test]
fn the_words_of_states_and_failures_are_the_programs() {
    let first = |name: &str| rows(name).into_iter().map(|row| row.0).collect::<Vec<_>>();
    let states = (1..=5).map(|number| state_word(v1::State::try_from(number).unwrap()));
    assert_eq!(first("task-states"), states.collect::<Vec<_>>());
    let kinds = (1..=6).map(|number| kind_word(v1::FailureKind::try_from(number).unwrap()));
    assert_eq!(first("failure-kinds"), kinds.collect::<Vec<_>>());
    assert!(
        v1::State::try_from(6).is_err() && v1::FailureKind::try_from(7).is_err(),
        "a new word needs its row"
    );
}

#[test]
fn the_forms_and_selectors_of_the_tables_are_accepted() {
    use clap::ValueEnum;
    let forms: Vec<String> = output::Form::value_variants()
        .iter()
        .map(|form| form.to_possible_value().unwrap().get_name().to_owned())
        .collect();
    assert_eq!(rows("output-forms").into_iter().map(|row| row.0).collect::<Vec<_>>(), forms);
    for (word, _) in rows("selectors").iter().filter(|row| row.0.starts_with('@')) {
        assert!(word.parse::<selector::Selector>().is_ok(), "{word}");
    }
}

#[test]
fn the_numbers_of_the_table_are_those_of_the_code() {
    let codes: BTreeSet<String> = rows("exit-codes").into_iter().map(|row| row.0).collect();
    for code in [
        exit::USAGE,
        exit::TIME_LIMIT,
        exit::SHOAL_FAILED,
        exit::NOT_EXECUTABLE,
        exit::NOT_FOUND,
        exit::CANCELED,
        exit::BROKEN_PIPE,
    ] {
        assert!(codes.contains(&code.to_string()), "{code}");
    }
    assert_eq!(exit::SIGNAL_BASE, 128);
}

#[test]
fn the_fields_are_the_programs() {
    let attempt = v1::Attempt { members: vec![v1::Member::default()], ..v1::Attempt::default() };
    let task = v1::Task { attempts: vec![attempt], ..v1::Task::default() };
    let task = serde_json::to_value(json::Task::from(&task)).unwrap();
    let node = serde_json::to_value(json::Node::from(&v1::Node::default())).unwrap();
    let status = serde_json::to_value(json::Status::from(&v1::StatusResponse::default())).unwrap();
    for (name, value) in [
        ("task", &task),
        ("spec", &task["spec"]),
        ("attempt", &task["attempts"][0]),
        ("member", &task["attempts"][0]["members"][0]),
        ("node", &node),
        ("status", &status),
    ] {
        assert_eq!(fields_of(name), keys(value), "{name}");
    }
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn fields_of(name: &str) -> BTreeSet<String> {
    let text = behind(&format!("fields: {name}"));
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

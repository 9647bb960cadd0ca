//! docs/KEY_SCHEMA.md says what the code does: its table names every key and no other, and its examples are real.

#![allow(clippy::unwrap_used)] // a test may

use shoal_core::duration::DurationEntry;
use shoal_core::entry::{ClockEntry, EndEntry, NodeEntry, OfferEntry, QueueEntry, RunEntry};
use shoal_core::gang_key::{GangEntry, GangValue};
use shoal_core::image::{Digest, ImageEntry};
use shoal_core::lock::{LockEntry, Lockable};
use shoal_core::reserve::ReserveEntry;
use shoal_core::task::Task;
use shoal_store::key::{self, EndKind, Epoch, Key};
use shoal_store::port::{KeyRange, KeyValue};
use shoal_store::record::{self, Record};
use std::collections::BTreeSet;

const ID: &str = "0192d000-0000-7000-8000-00000000000a";
const OTHER: &str = "0192d000-0000-7000-8000-00000000000b";

fn digest() -> Digest {
    Digest::new([0xd1; 32])
}

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/KEY_SCHEMA.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_table_names_every_key_and_no_other() {
    let page = page();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named: BTreeSet<String> = rows
        .map(|pattern| {
            let text = pattern.replace("DIGEST", &digest().to_string());
            let text = text
                .replace("NAME", "n1")
                .replace("UUID", ID)
                .replace("NODE", OTHER)
                .replace("ATTEMPT", "2")
                .replace("KEY", "addr.0")
                .replace("EPOCH", "000000000007");
            let key = Key::parse(&text).unwrap_or_else(|bad| panic!("{pattern}: {bad}"));
            assert_eq!(key.to_string(), text);
            text
        })
        .collect();
    let (task, node) = (ID.parse().unwrap(), OTHER.parse().unwrap());
    let plain = [
        Key::Task(task),
        Key::Queued(task),
        Key::Running(node, task),
        Key::Offered(task, node),
        Key::Node(node),
        Key::Image(digest()),
        Key::Clock,
        Key::Lock(Lockable::Queue),
        Key::Lock(Lockable::Node("n1".to_owned())),
        Key::Reserve,
        Key::Duration("n1".to_owned()),
        Key::Gang(task, 2),
        Key::GangKey(task, 2, "addr.0".to_owned()),
    ];
    let ends = EndKind::ALL.map(|kind| Key::Ended(kind, Epoch::new(7), task));
    let all: BTreeSet<String> = plain.into_iter().chain(ends).map(|key| key.to_string()).collect();
    assert_eq!(named, all);
}

#[test]
fn the_examples_are_keys_with_values_that_read_back_the_same() {
    let page = page();
    let shown: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let mut values = 0;
    for (at, line) in shown.iter().enumerate().filter(|(_, line)| line.starts_with('/')) {
        let key = Key::parse(line).unwrap_or_else(|bad| panic!("{bad}"));
        if let Some(value) = shown.get(at + 1).filter(|next| next.starts_with('{')) {
            values += 1;
            match key {
                Key::Task(_) => reads_back::<Task>(line, value),
                Key::Queued(_) => reads_back::<QueueEntry>(line, value),
                Key::Running(..) => reads_back::<RunEntry>(line, value),
                Key::Offered(..) => reads_back::<OfferEntry>(line, value),
                Key::Ended(..) => reads_back::<EndEntry>(line, value),
                Key::Node(_) => reads_back::<NodeEntry>(line, value),
                Key::Image(_) => reads_back::<ImageEntry>(line, value),
                Key::Clock => reads_back::<ClockEntry>(line, value),
                Key::Lock(_) => reads_back::<LockEntry>(line, value),
                Key::Reserve => reads_back::<ReserveEntry>(line, value),
                Key::Duration(_) => reads_back::<DurationEntry>(line, value),
                Key::Gang(..) => reads_back::<GangEntry>(line, value),
                Key::GangKey(..) => reads_back::<GangValue>(line, value),
            }
        }
    }
    assert!(values >= 7, "an example of each kind");
}

fn reads_back<T: Record>(key: &str, value: &str) {
    let kv = KeyValue {
        key: key.to_owned(),
        value: value.into(),
        create_revision: 1,
        mod_revision: 1,
        lease: None,
    };
    let mut stored = record::decode_kv::<T>(&kv).unwrap();
    assert!(stored.value.unknown_mut().is_empty(), "{key}: a field that the code does not know");
    assert_eq!(String::from_utf8(record::encode(&stored.value)).unwrap(), value);
}

#[test]
fn the_ranges_of_the_commands_are_those_of_the_code() {
    let page = page();
    let range = |start: &str, end: &str| KeyRange { start: start.to_owned(), end: end.to_owned() };
    let before = key::ended_before(EndKind::Complete, Epoch::new(1_764_000_001));
    for (command, of_command, of_code) in [
        ("get --keys-only /task/0 /task/g", range("/task/0", "/task/g"), key::records()),
        ("get --prefix /task/status/", KeyRange::prefix("/task/status/"), key::statuses()),
        ("get --prefix /node/", KeyRange::prefix("/node/"), key::nodes()),
        ("get --prefix /lock/", KeyRange::prefix("/lock/"), key::locks()),
        ("get --prefix /gang/", KeyRange::prefix("/gang/"), key::gangs()),
        ("get --prefix /duration/", KeyRange::prefix("/duration/"), key::durations()),
        ("get --prefix /image/", KeyRange::prefix("/image/"), key::images()),
        (
            "get --keys-only /task/status/complete/ /task/status/complete/001764000001",
            range("/task/status/complete/", "/task/status/complete/001764000001"),
            before,
        ),
    ] {
        assert!(page.contains(&format!("$ etcdctl {command}")), "{command}");
        assert_eq!(of_command, of_code);
    }
}

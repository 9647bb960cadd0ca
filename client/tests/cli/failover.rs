//! Several nodes: one that is dead, one that dies.

use crate::support::{Node, Running, Shared, shoal};
use shoal_proto::v1::exit::How;

/// An address where nothing listens.
fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_dead_first_address_does_not_matter() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-2");
    let status = shoal("", &["-N", &format!("{},{}", dead(), node.address), "status", "-o", "name"]);
    assert_eq!((status.code, status.stdout.as_str()), (0, "node-2\n"), "{}", status.stderr);
}

#[test]
fn when_all_are_dead_each_is_named_at_once() {
    let (a, b) = (dead(), dead());
    let status = shoal(&format!("{a},{b}"), &["status"]);
    assert_eq!(status.code, 125);
    assert!(status.stderr.contains(&a) && status.stderr.contains(&b), "{}", status.stderr);
}

#[test]
fn a_unix_socket_is_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Shared::new();
    let node = Node::start_unix(&shared, &dir.path().join("shoal.sock"));
    let ran = shoal(&node.address, &["run", "--", "echo", "unix"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "unix\n"), "{}", ran.stderr);
}

#[test]
fn a_run_goes_on_through_another_node_and_loses_no_byte() {
    let shared = Shared::new();
    let (first, second) = (Node::start(&shared, "node-1"), Node::start(&shared, "node-2"));
    let mut run = Running::start(&format!("{},{}", first.address, second.address), &["run", "--", "hold"]);
    let id = shared.first_task();
    shared.change(|world| world.write(&id, b"before\n"));
    assert_eq!(run.line(), "before\n");
    drop(first);
    shared.change(|world| {
        world.write(&id, b"after, and more than one chunk\n");
        world.exit(&id, How::Code(6), false);
    });
    let ended = run.finish();
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (6, "after, and more than one chunk\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_node_that_takes_the_connection_and_never_answers_is_left() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = Shared::new();
    let node = Node::start(&shared, "node-2");
    let status =
        shoal(&format!("{},{}", silent.local_addr().unwrap(), node.address), &["status", "-o", "name"]);
    assert_eq!((status.code, status.stdout.as_str()), (0, "node-2\n"), "{}", status.stderr);
}

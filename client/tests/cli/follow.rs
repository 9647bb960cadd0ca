//! `shoal log -f`.

use crate::support::{Node, Running, Shared, shoal};
use shoal_proto::v1::exit::How;

#[test]
fn it_follows_to_the_end_and_leaves_with_the_tasks_code() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let id = shoal(&node.address, &["submit", "-q", "--", "hold"]).stdout.trim().to_owned();
    shared.change(|world| world.write(&id, b"a\nb\n"));
    let mut follow = Running::start(&node.address, &["log", "-f", "-n", "1", "@last"]);
    assert_eq!(follow.line(), "b\n");
    shared.change(|world| world.lose(&id));
    shared.change(|world| {
        world.start(&id, "node-2");
        world.write(&id, b"c\n");
    });
    assert_eq!(follow.line(), "c\n", "the next attempt from its start");
    shared.change(|world| world.exit(&id, How::Code(5), false));
    let ended = follow.finish();
    assert_eq!((ended.code, ended.stdout.as_str()), (5, ""));
}

#[test]
fn it_waits_for_a_task_that_has_not_started() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let id = shoal(&node.address, &["submit", "-q", "--", "queue"]).stdout.trim().to_owned();
    let early = shoal(&node.address, &["log", &id]);
    assert!(early.code == 125 && early.stderr.contains("has not started"), "{}", early.stderr);
    let mut follow = Running::start(&node.address, &["log", "-f", &id]);
    shared.change(|world| {
        world.start(&id, "node-2");
        world.write(&id, b"now\n");
        world.exit(&id, How::Code(0), false);
    });
    assert_eq!(follow.line(), "now\n");
    assert_eq!(follow.finish().code, 0);
}

#[test]
fn a_log_that_reached_its_cap_says_so() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let id = shoal(&node.address, &["submit", "-q", "--", "echo", "x"]).stdout.trim().to_owned();
    shared.change(|world| world.logs.get_mut(&(id.clone(), 1)).unwrap().truncated = true);
    for args in [&["log", &id][..], &["log", "-f", &id]] {
        let log = shoal(&node.address, args);
        assert_eq!((log.code, log.stdout.as_str()), (0, "x\n"));
        assert!(log.stderr.contains("reached its cap"), "{}", log.stderr);
    }
}

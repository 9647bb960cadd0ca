//! Errors: three lines on stderr, nothing on stdout, an exit code that says whose fault it is.

use crate::support::{Node, Shared, shoal};

fn three_lines(stderr: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(
        lines[0].starts_with("error: ") && lines[1].starts_with("  why: ") && lines[2].starts_with("  try: "),
        "{stderr}"
    );
}

#[test]
fn what_the_cluster_refuses_is_three_lines_and_125() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let cases: [&[&str]; 6] = [
        &["show", "beefbeef"],
        &["why", "beefbeef"],
        &["log", "beefbeef"],
        &["wait", "0192d000-0000-7000-8000-00000000abcd"],
        &["submit", "--pids", "70000", "--", "queue"],
        &["run", "--pids", "70000", "--", "queue"],
    ];
    for args in cases {
        let failed = shoal(&node.address, args);
        assert_eq!((failed.code, failed.stdout.as_str()), (125, ""), "{args:?}: {}", failed.stderr);
        three_lines(&failed.stderr);
    }
}

#[test]
fn wrong_usage_is_2_and_helps() {
    for (args, said) in [
        (&["sumbit"][..], "similar subcommand"),
        (&["run"], "required"),
        (&["run", "--cpus", "x", "--", "a"], "wanted cores"),
        (&["list", "--state", "lost"], "possible values"),
        (&["-N", "unix:relative", "status"], "not absolute"),
    ] {
        let failed = shoal("", args);
        assert_eq!((failed.code, failed.stdout.as_str()), (2, ""), "{args:?}");
        assert!(failed.stderr.contains(said), "{args:?}: {}", failed.stderr);
    }
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    let run = |args: &[&str]| shoal(&node.address, args).stderr;
    assert!(!run(&["show", "beefbeef"]).contains('\u{1b}'));
    assert!(run(&["--color", "always", "show", "beefbeef"]).contains('\u{1b}'));
}

#[test]
fn help_is_data_and_completions_name_the_commands() {
    let help = shoal("", &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("Examples:"));
    for shell in ["bash", "zsh", "fish"] {
        let script = shoal("", &["completion", shell]);
        assert_eq!(script.code, 0);
        for command in ["submit", "cancel", "--on-node-loss"] {
            assert!(script.stdout.contains(command.trim_start_matches('-')), "{shell} lacks {command}");
        }
    }
}

#[test]
fn shoal_alone_is_the_status_or_the_help() {
    let shared = Shared::new();
    let node = Node::start(&shared, "node-1");
    assert!(shoal(&node.address, &[]).stdout.contains("2 nodes"));
    let help = shoal("127.0.0.1:1", &[]);
    assert!(help.code == 0 && help.stdout.contains("Usage:"), "{}", help.stderr);
}

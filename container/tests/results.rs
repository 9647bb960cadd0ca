//! What is reported of an attempt is what the kernel said of it, and a container that could not start is never shown as a task's exit code.

mod support;

use shoal_container::protocol::{Cause, Request, Root};
use support::TestRunner;

#[test]
fn exit_codes_and_signals_are_reported_as_they_were() {
    let mut runner = TestRunner::new();
    for code in [0, 1, 42, 255] {
        let start = runner.script(&format!("exit-{code}.1"), &format!("exit {code}"));
        assert_eq!(runner.run(start).cause, Cause::Code(code));
    }
    for signal in [1, 9, 11, 15] {
        let start = runner.script(&format!("signal-{signal}.1"), &format!("kill -{signal} $$"));
        assert_eq!(runner.run(start).cause, Cause::Signal(signal));
    }
}

#[test]
fn a_missing_program_is_not_found_and_what_cannot_run_is_not_executable() {
    let mut runner = TestRunner::new();
    for (id, program) in [("a.1", "no-such-program"), ("b.1", "/bin/no-such"), ("c.1", "/no/such/dir")] {
        let start = runner.command(id, &[program]);
        let cause = runner.run(start).cause;
        assert!(matches!(&cause, Cause::NotFound(what) if what.contains(program)), "{program}: {cause:?}");
    }
    std::fs::write(runner.path("root/bin/garbage"), [0x7f; 64]).unwrap();
    std::fs::write(runner.path("root/bin/orphan"), "#!/bin/no-such-shell\n").unwrap();
    for name in ["garbage", "orphan"] {
        use std::os::unix::fs::PermissionsExt;
        let path = runner.path("root/bin").join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (id, program) in
        [("d.1", "/etc/not-executable"), ("e.1", "/bin"), ("f.1", "garbage"), ("g.1", "orphan")]
    {
        let start = runner.command(id, &[program]);
        let cause = runner.run(start).cause;
        assert!(
            matches!(&cause, Cause::NotExecutable(what) if what.contains(program)),
            "{program}: {cause:?}"
        );
    }
    let mut start = runner.script("h.1", "true");
    start.workdir = "/no/such/workdir".into();
    let cause = runner.run(start).cause;
    assert!(matches!(&cause, Cause::NotExecutable(what) if what.contains("/no/such/workdir")), "{cause:?}");
}

#[test]
fn a_container_that_cannot_be_set_up_says_which_step_failed() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("root.1", "true");
    start.root = Root::Directory("/no/such/root".into());
    let cause = runner.run(start).cause;
    assert!(matches!(&cause, Cause::Setup(why) if why.contains("/no/such/root")), "{cause:?}");
    let mut start = runner.script("page.1", "true");
    start.deadline_page = "/no/such/page".into();
    let cause = runner.run(start).cause;
    assert!(matches!(&cause, Cause::Setup(why) if why.contains("/no/such/page")), "{cause:?}");
}

#[test]
fn an_attempt_without_room_for_its_directory_has_not_started_and_does_not_start_later() {
    let mut runner = TestRunner::new();
    let (attempts, away) = (runner.path("attempts"), runner.path("away"));
    std::fs::rename(&attempts, &away).unwrap();
    let start = runner.script("a.1", "exit 0");
    let cause = runner.run(start.clone()).cause;
    assert!(matches!(&cause, Cause::Setup(what) if what.contains("cannot make the directory")), "{cause:?}");
    std::fs::rename(&away, &attempts).unwrap();
    assert_eq!(runner.run(start).cause, cause, "the server may ask again before it has recorded the end");
    assert!(!attempts.join("a.1").exists());
    runner.send(&Request::Forget { id: "a.1".to_owned() });
    // Served after the request before it.
    runner.output("b.1", "true");
    let known: Vec<String> = runner.connect().into_iter().map(|report| report.id).collect();
    assert_eq!(known, ["b.1"], "it is forgotten though there was nothing to mark");
}

#[test]
fn output_and_errors_are_in_the_log_in_their_order() {
    let mut runner = TestRunner::new();
    let log = runner.output("a.1", "for i in 1 2 3; do echo out $i; echo err $i >&2; done");
    assert_eq!(log, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
}

#[test]
fn output_written_just_before_the_end_is_never_lost() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "yes 0123456789abcde | head -c 900000; kill -9 $$");
    start.log_bytes_max = 2 << 20;
    assert_eq!(runner.run(start).cause, Cause::Signal(9));
    assert_eq!(runner.log("a.1").len(), 900_000);
}

#[test]
fn the_log_is_cut_exactly_at_its_cap_and_the_task_runs_on() {
    let mut runner = TestRunner::new();
    let mut start =
        runner.script("a.1", "yes x | head -c 3000000; echo end >/work/end; test -f /work/end; exit 7");
    start.log_bytes_max = 100_001;
    let end = runner.run(start);
    assert_eq!((end.cause, end.log_truncated), (Cause::Code(7), true));
    let log = runner.log("a.1");
    let marker = shoal_container::truncation_marker(100_001);
    assert_eq!(log.len(), 100_001 + marker.len());
    assert!(log.ends_with(&marker));
    let exact = runner.script("b.1", "printf 12345");
    let end = runner.run(shoal_container::protocol::Start { log_bytes_max: 5, ..exact });
    assert!(!end.log_truncated);
    assert_eq!(runner.log("b.1"), "12345");
}

#[test]
fn environment_directory_and_host_name_are_the_ones_asked_for() {
    let mut runner = TestRunner::new();
    let mut start = runner.script("a.1", "env | sort; pwd; hostname; cat; umask");
    start.env.insert("GREETING".into(), "hello there".into());
    start.workdir = "/work/a/b".into();
    let log = runner.output_of(start);
    // The shell adds PWD and SHLVL of its own.
    assert_eq!(log, "GREETING=hello there\nPATH=/bin\nPWD=/work/a/b\nSHLVL=1\n/work/a/b\nbox\n0022\n");
}

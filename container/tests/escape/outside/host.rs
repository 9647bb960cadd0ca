//! After everything that was tried inside: the host.

use super::trial;
use crate::escape::arena::modes;
use crate::escape::suite::{with_arena, with_arena_of};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("host::is_as_it_was_before_all_attempts", || {
            for mode in modes() {
                with_arena_of(mode.rootless, |arena| {
                    arena.results(mode);
                    arena.assert_host_unchanged();
                });
            }
        }),
        trial("host::the_runners_program_cannot_be_written_to_by_a_container", || {
            with_arena(|arena| runner_program_is_safe(arena.runner.process.id()));
        }),
    ]
}

/// A process that has not yet executed the task's program is the runner's own, and a link to its program leads to the runner's (CVE-2019-5736). Whatever
/// a task makes of that, it must not be able to write there: either nobody can (a sealed copy), or no id of a container owns it.
fn runner_program_is_safe(pid: u32) {
    use std::os::unix::fs::MetadataExt;
    let program = format!("/proc/{pid}/exe");
    let sealed = std::fs::read_link(&program).unwrap().to_string_lossy().starts_with("/memfd:");
    let metadata = std::fs::metadata(&program).unwrap();
    let others = metadata.mode() & 0o022 != 0;
    assert!(
        sealed || (metadata.uid() == 0 && !others),
        "the program belongs to {} with mode {:o}",
        metadata.uid(),
        metadata.mode()
    );
}

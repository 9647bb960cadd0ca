//! The program inside, taking as much as it gets of what the kernel counts by user, and keeping it: what is left for others then?

use super::raw::call;
use std::io::Write;

/// More of anything than a container has files.
const MAX: usize = 1 << 16;

/// Takes instances of `inotify` or `epoll` until there are no more, says how many, and keeps them until it is killed.
pub fn run(what: &str) {
    let number = if what == "inotify" { libc::SYS_inotify_init1 } else { libc::SYS_epoll_create1 };
    let count = (0..MAX).take_while(|_| call!(number, libc::O_CLOEXEC).is_ok()).count();
    let mut output = std::io::stdout();
    let said = writeln!(output, "{what} {count}").and_then(|()| output.flush());
    while said.is_ok() {
        let _ = call!(libc::SYS_pause);
    }
}

//! Which system calls a task may make: a seccomp filter from an allow-list (`list`), compiled once per runner into a search tree
//! (`compile`) and loaded once per start, as the last step before the task's program is executed.
//!
//! Never a substitute for the other walls: a task has no capabilities and its own namespaces without it. The filter keeps it away from those
//! parts of the kernel that it does not need and where holes have been found, and from what no capability guards.
//!
//! What a task gets to see:
//!
//! | call | outcome |
//! |---|---|
//! | on the list | as the kernel does it |
//! | known and not on the list, or with arguments that are not allowed | EPERM |
//! | `clone3`: its flags lie in memory, where a filter cannot look | ENOSYS, for which C libraries have `clone` instead |
//! | newer than the list | ENOSYS, as from a kernel that does not have it: programs have a way for that and none for EPERM |
//! | of another architecture (x32 and 32-bit code on `x86_64`) | the process is killed: numbers mean other calls there |
//!
//! An allow-list can be loaded without privileges once `no_new_privs` is set, is inherited by all descendants, and can never be taken off.

mod compile;
mod list;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod interpret;
#[cfg(test)]
mod tests;

use std::io;

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
}

impl Filter {
    /// The filter of tasks, for the architecture that this program was built for.
    pub fn compile() -> Filter {
        Filter { program: compile::program(&list::ranges()) }
    }

    /// Instructions of classic BPF.
    pub fn instructions(&self) -> &[libc::sock_filter] {
        &self.program
    }

    /// Puts the calling thread, and all that it will ever execute, under the filter: one system call, no allocation, nothing written that a
    /// parent sharing this memory could notice. Other threads are left alone. EACCES when `no_new_privs` is not set.
    ///
    /// Whoever calls this can afterwards only do what a task can: it belongs directly before `execve`.
    #[allow(unsafe_code)]
    pub fn load(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            // The kernel takes at most 4096; a test holds the length far below that.
            len: self.program.len() as u16,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies the program, which lives across the call and has the length given; it writes to nothing.
        let loaded =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if loaded == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

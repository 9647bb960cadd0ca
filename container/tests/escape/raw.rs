//! System calls as an attacker makes them: by number, past the C library, with whatever arguments.

use std::io;

/// Makes a system call with up to six arguments; what it returns, or its error.
///
/// Not sound for arbitrary arguments, and meant not to be: attempts run in forked processes of their own and pass numbers and pointers to values
/// that live across the call.
pub fn invoke(number: libc::c_long, arguments: &[usize]) -> io::Result<usize> {
    let mut words = [0; 6];
    words[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = words;
    // SAFETY: pointers among the arguments are to values of the caller that live across the call and have the type that the call expects; a process
    // that is damaged all the same is the attempt's own.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// [`invoke`] with arguments of any type that `as usize` takes: numbers and raw pointers.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => { $crate::escape::raw::invoke($number, &[$($argument as usize),*]) };
}
pub(crate) use call;

/// Forks; 0 in the child, which has this thread alone.
pub fn fork() -> io::Result<i32> {
    // SAFETY: the program that attempts are run in has one thread, so the child finds no lock held.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// Waits for this child; its wait status.
pub fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    call!(libc::SYS_wait4, pid, &raw mut status, 0, 0)?;
    Ok(status)
}

/// Ends the process at once.
pub fn exit(code: i32) -> ! {
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(code) }
}

//! Whether anybody has a file open for writing. Only the kernel knows, and it tells whoever asks for a lease on the file (fcntl(2)): a lease for reading is
//! refused while there is a writer.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// From linux/fcntl.h.
const F_SETSIG: c_int = 10;

/// Whether somebody has this regular file, which must be open for reading alone, open for writing. An error of the kind `PermissionDenied`, where the caller neither
/// owns the file nor has CAP_LEASE.
pub fn is_written(file: impl AsFd) -> io::Result<bool> {
    let fd = file.as_fd().as_raw_fd();
    // Who opens the file for writing in the moment of the lease waits for its end, and we are sent a signal: the usual one would end this process, of this one
    // nothing comes.
    // SAFETY: no memory is touched.
    check(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) })?;
    // SAFETY: no memory is touched.
    match check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) }) {
        Ok(()) => {
            // SAFETY: no memory is touched.
            check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) })?;
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};

    #[test]
    fn a_file_is_written_as_long_as_somebody_has_it_open_for_that() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("a");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_written(&reader).unwrap());
        drop(writer);
        let other = File::open(&path).unwrap();
        assert!(!is_written(&reader).unwrap() && !is_written(&other).unwrap(), "readers are none");
        // The lease is given back: nobody waits for its end.
        OpenOptions::new().append(true).open(&path).unwrap();
    }

    #[test]
    fn who_opens_a_file_in_the_moment_of_the_question_ends_nothing() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "x").unwrap();
        std::thread::scope(|scope| {
            let opens = scope.spawn(|| {
                for _ in 0..2_000 {
                    OpenOptions::new().append(true).open(&path).unwrap();
                }
            });
            let reader = File::open(&path).unwrap();
            while !opens.is_finished() {
                is_written(&reader).unwrap();
            }
        });
    }
}

//! Looking at a file while nobody writes it. Only the kernel knows, and it tells whoever asks for a lease on the file (fcntl(2)): a lease for reading is refused while
//! somebody has the file open for writing, and who would open it so waits until the lease is given back.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// From linux/fcntl.h.
const F_SETSIG: c_int = 10;

/// Calls `look` while nobody can write this regular file, which must be open for reading alone; `None` when somebody has it open for writing. An error, and then `look` was
/// not called, where there are no such leases: the caller neither owns the file nor has CAP_LEASE, say. To be short: others wait.
pub fn while_unwritten<T>(file: impl AsFd, look: impl FnOnce() -> T) -> io::Result<Option<T>> {
    let fd = file.as_fd().as_raw_fd();
    // When somebody comes to write we are sent a signal: the usual one would end this process, of this one nothing comes.
    // SAFETY: no memory is touched.
    check(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) })?;
    // SAFETY: no memory is touched.
    match check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) }) {
        Ok(()) => {
            let seen = look();
            // SAFETY: no memory is touched.
            check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) })?;
            Ok(Some(seen))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
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

    fn is_written(file: &File) -> bool {
        while_unwritten(file, || ()).unwrap().is_none()
    }

    #[test]
    fn a_file_is_written_as_long_as_somebody_has_it_open_for_that() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("a");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_written(&reader));
        drop(writer);
        let other = File::open(&path).unwrap();
        assert!(!is_written(&reader) && !is_written(&other), "readers are none");
        // The lease is given back: nobody waits for its end.
        OpenOptions::new().append(true).open(&path).unwrap();
    }

    #[test]
    fn who_comes_to_write_waits_for_the_look_and_ends_nothing() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "whole").unwrap();
        std::thread::scope(|scope| {
            let writes = scope.spawn(|| (0..2_000).for_each(|_| std::fs::write(&path, "whole").unwrap()));
            while !writes.is_finished() {
                let reader = File::open(&path).unwrap();
                let seen = while_unwritten(&reader, || std::io::read_to_string(&reader).unwrap());
                assert!(seen.unwrap().is_none_or(|text| text == "whole"));
            }
        });
    }
}

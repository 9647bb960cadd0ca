//! The runner's own program, which a task must not execute. Until it executes something else, the task's process runs the runner's program, so
//! /proc/self/exe leads there, past all mounts: as the program itself, or as the interpreter in the first line of a script. A process that runs it inside
//! could hand on a descriptor of the host's file (CVE-2019-5736). Where the task is somebody else to the host than the file's owner it could still not
//! write to it; this holds also where it is not.

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, stat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the kernel reads of a file to see how to execute it (BINPRM_BUF_SIZE).
const HEAD_BYTES: usize = 256;
/// The kernel follows five interpreters that are scripts themselves, and then gives up.
const SCRIPTS_MAX: usize = 6;

/// Whether executing this path would execute the program of this process. Nothing that a task does can change the answer: no task of the
/// container runs yet.
pub fn leads_there(path: &str) -> bool {
    stat("/proc/self/exe").is_ok_and(|own| leads_to(&own, PathBuf::from(path)))
}

fn leads_to(own: &Stat, mut path: PathBuf) -> bool {
    for _ in 0..SCRIPTS_MAX {
        let Ok(found) = stat(&path) else { return false };
        if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
            return true;
        }
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return false;
        }
        let Some(head) = head(&path) else {
            // To be executed but not read: nobody knows what it leads to. That matters to whoever could write to the program.
            return own.st_uid == rustix::process::geteuid().as_raw();
        };
        let Some(next) = interpreter(&head) else { return false };
        path = next.to_owned();
    }
    true
}

fn head(path: &Path) -> Option<Vec<u8>> {
    let file =
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .ok()?;
    let mut head = vec![0; HEAD_BYTES];
    let read = rustix::io::read(&file, &mut head[..]).ok()?;
    head.truncate(read);
    Some(head)
}

/// What stands behind `#!`.
fn interpreter(head: &[u8]) -> Option<&Path> {
    let line = head.strip_prefix(b"#!")?.split(|b| matches!(b, b'\n' | 0)).next()?;
    let mut words = line.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.next().map(|word| Path::new(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_found_as_the_kernel_finds_it() {
        let found = |head: &[u8]| interpreter(head).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(found(b"#!/proc/self/exe\nrest"), Some("/proc/self/exe".into()));
        assert_eq!(found(b"#! \t/bin/sh -e\n"), Some("/bin/sh".into()));
        assert_eq!(found(b"#!/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(found(b"\x7fELF#!/bin/sh"), None);
        assert_eq!(found(b"#!\n/bin/sh"), None);
    }

    #[test]
    fn a_chain_of_scripts_is_followed_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, line: &str| {
            std::fs::write(dir.path().join(name), format!("#!{line}\n")).unwrap();
            dir.path().join(name).to_str().unwrap().to_owned()
        };
        let one = script("one", "/proc/self/exe");
        let two = script("two", &one);
        let own = std::env::current_exe().unwrap();
        assert!(
            [one.as_str(), &two, "/proc/self/exe", own.to_str().unwrap()]
                .map(leads_there)
                .iter()
                .all(|leads| *leads)
        );
        assert!(
            ![script("sh", "/bin/sh").as_str(), "/bin/sh", "/no/such", "/dev/null"]
                .map(leads_there)
                .iter()
                .any(|leads| *leads)
        );
        let endless = script("loop", dir.path().join("loop").to_str().unwrap());
        assert!(leads_there(&endless), "the kernel would not execute it either");
    }
}

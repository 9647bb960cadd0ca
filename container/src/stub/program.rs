//! Finding and executing the task's program, with errors that say exactly what was wrong.

use super::own;
use crate::protocol::Cause;
use crate::sys;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;

/// Searched when the task's environment has no PATH: the usual default of a login.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes the program; returns only when that failed.
pub fn execute(command: &[String], environment: &BTreeMap<String, String>) -> Cause {
    let Some(program) = command.first().filter(|p| !p.is_empty()) else {
        return Cause::NotExecutable("the command is empty".to_owned());
    };
    let (Some(arguments), Some(variables)) = (
        command.iter().map(|a| CString::new(a.as_str()).ok()).collect::<Option<Vec<_>>>(),
        environment.iter().map(|(k, v)| CString::new(format!("{k}={v}")).ok()).collect::<Option<Vec<_>>>(),
    ) else {
        return Cause::NotExecutable("the command or the environment contains a zero byte".to_owned());
    };
    let candidates = candidates(program, environment.get("PATH").map_or(PATH_DEFAULT, String::as_str));
    let mut refused = None;
    for candidate in &candidates {
        let Ok(path) = CString::new(candidate.as_str()) else { continue };
        if own::leads_there(candidate) {
            return Cause::NotExecutable(format!("{candidate}: it leads to the runner's own program"));
        }
        let error = sys::execve(&path, &arguments, &variables);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if !exists(candidate) => {}
            // As in a shell: a file that may not be executed does not end the search, but is what is told if nothing else is found.
            Some(libc::EACCES) => refused = refused.or(Some(not_executable(candidate, &error))),
            // Nothing is wrong with the program.
            Some(libc::ENOMEM | libc::EAGAIN) => {
                return Cause::Setup(format!("execute {candidate}: {error}"));
            }
            _ => return not_executable(candidate, &error),
        }
    }
    refused.unwrap_or_else(|| not_found(program, environment))
}

fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let dirs = path.split(':').map(|dir| if dir.is_empty() { "." } else { dir });
    dirs.map(|dir| format!("{}/{program}", dir.trim_end_matches('/'))).collect()
}

fn not_found(program: &str, environment: &BTreeMap<String, String>) -> Cause {
    if program.contains('/') {
        return Cause::NotFound(format!("{program}: no such file in the root"));
    }
    let path = environment.get("PATH").map_or(PATH_DEFAULT, String::as_str);
    Cause::NotFound(format!("{program}: not found in PATH ({path})"))
}

fn not_executable(path: &str, error: &io::Error) -> Cause {
    Cause::NotExecutable(match error.raw_os_error() {
        // The file is there; what is missing is what its first line or its ELF header names.
        Some(libc::ENOENT) => format!("{path}: its interpreter does not exist in the root"),
        Some(libc::ENOEXEC) => format!("{path}: not a program for this machine, nor a script with #!"),
        _ => format!("{path}: {error}"),
    })
}

fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_path_and_a_path_is_not() {
        assert_eq!(candidates("sh", "/bin:/usr/bin/:"), ["/bin/sh", "/usr/bin/sh", "./sh"]);
        assert_eq!(candidates("./sh", "/bin"), ["./sh"]);
    }

    #[test]
    fn what_is_missing_is_told_from_what_cannot_run() {
        let none = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        assert!(matches!(execute(&["no-such".into()], &none), Cause::NotFound(_)));
        assert!(matches!(execute(&["/no/such".into()], &none), Cause::NotFound(_)));
        assert!(matches!(execute(&["/".into()], &none), Cause::NotExecutable(_)));
        assert!(matches!(execute(&[], &none), Cause::NotExecutable(_)));
    }
}

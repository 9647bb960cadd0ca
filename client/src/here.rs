//! Where a command starts that is run on the host's own system: here, as it would without Shoal, when the task's user can be here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

/// What a task sees something else under, or nothing.
const PRIVATE: [&str; 6] = ["tmp", "proc", "sys", "dev", "run", "work"];
/// Others may list and enter.
const READ_AND_ENTER: u32 = 0o005;
/// Others may pass.
const ENTER: u32 = 0o001;

/// The current directory, if everybody may list and enter it (a task has a user of its own) and a task sees it as it is.
pub fn shared_directory() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    is_shared(&here).then(|| here.to_str().map(str::to_owned)).flatten()
}

fn is_shared(dir: &Path) -> bool {
    let first = dir.components().find_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let private = first.is_some_and(|name| PRIVATE.iter().any(|private| name == *private));
    let open = |dir: &Path, bits: u32| {
        std::fs::metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.permissions().mode() & bits == bits)
    };
    first.is_some()
        && !private
        && open(dir, READ_AND_ENTER)
        && dir.ancestors().skip(1).all(|parent| open(parent, ENTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_user_and_every_task_can_see() {
        for (dir, shared) in [
            ("/usr/share", true),
            ("/usr", true),
            ("/", false),
            ("/tmp", false),
            ("/proc/self", false),
            ("/work/here", false),
            ("/usr/share/nothing-of-this-name", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(is_shared(Path::new(dir)), shared, "{dir}");
        }
    }

    #[test]
    fn a_closed_directory_is_not_shared() {
        let parent = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let dir = parent.path().join("inside");
        std::fs::create_dir(&dir).expect("a directory");
        let open = std::fs::Permissions::from_mode(0o755);
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&dir, open.clone()).expect("opened");
        std::fs::set_permissions(parent.path(), closed).expect("closed");
        assert!(!is_shared(&dir), "its parent is closed");
        std::fs::set_permissions(parent.path(), open).expect("opened");
        assert!(is_shared(&dir));
    }
}

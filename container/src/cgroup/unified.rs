//! Where the groups are on a machine that has cgroup v2 alone, and how the controllers get there. A group of v2 hands controllers down only
//! while no process is in it, and only those that it was handed itself.

use super::CgroupError;
use super::file::{read, write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where v2 is mounted; cgroups-rs knows no other place.
const MOUNT: &str = "/sys/fs/cgroup";
/// What limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Where processes go that stand in a group which is to hand controllers down.
const LEAF: &str = "shoal-host";
/// The part of an attempt's group that has its quota of processor time, and holds all but the stub.
pub const TASK: &str = "task";
/// How systemd marks a group that it leaves to a service (`Delegate=yes`): as root, and since 254 for everybody.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];
/// Other runners that would have to end, or processes to be forked, in just these moments.
const TRIES: usize = 8;

/// Makes the parent group of a runner's attempts, ready to limit them.
pub fn prepare(relative: &Path) -> Result<PathBuf, CgroupError> {
    let membership = read(Path::new("/proc/self/cgroup"))?;
    prepare_below(&base(Path::new(MOUNT), &membership), relative, &CONTROLLERS)
}

/// The same with those controllers that are there, and which: systemd hands a user's session not all of them.
pub fn prepare_available(relative: &Path) -> Result<(PathBuf, Vec<&'static str>), CgroupError> {
    let membership = read(Path::new("/proc/self/cgroup"))?;
    let base = base(Path::new(MOUNT), &membership);
    let available = read(&base.join("cgroup.controllers"))?;
    let controllers: Vec<_> = CONTROLLERS.into_iter().filter(|name| has(&available, name)).collect();
    Ok((prepare_below(&base, relative, &controllers)?, controllers))
}

/// The nearest group around this process that was delegated to it: a limit on the service is then one on its tasks too, as whoever
/// asked for the delegation expects. Otherwise the top: of the machine, or of the container that this process is in.
fn base(mount: &Path, membership: &str) -> PathBuf {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // A group outside of the part that is mounted here begins with "..".
    let own = if own.starts_with("..") { mount.to_owned() } else { mount.join(own) };
    let mut around = own.ancestors().take_while(|dir| *dir != mount);
    around.find(|dir| is_delegated(dir)).unwrap_or(mount).to_owned()
}

/// Not one that was delegated to another user, such as the session of whoever called sudo.
fn is_delegated(dir: &Path) -> bool {
    let ours = std::fs::metadata(dir).is_ok_and(|it| it.uid() == rustix::process::geteuid().as_raw());
    ours && DELEGATED.iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(dir, *name, &mut value[..]).is_ok_and(|length| &value[..length] == b"1")
    })
}

/// Makes the groups from `base` down and hands the controllers on, level by level. Another runner that ends may remove the shared
/// one among them in between, and a third make it anew without controllers: then all of it once more.
fn prepare_below(base: &Path, relative: &Path, controllers: &[&'static str]) -> Result<PathBuf, CgroupError> {
    delegate(base, controllers)?;
    let mut result = descend(base, relative, controllers);
    for _ in 1..TRIES {
        if result.is_ok() {
            break;
        }
        result = descend(base, relative, controllers);
    }
    result
}

fn descend(base: &Path, relative: &Path, controllers: &[&'static str]) -> Result<PathBuf, CgroupError> {
    let mut dir = base.to_owned();
    for part in relative {
        dir.push(part);
        make(&dir)?;
        delegate(&dir, controllers)?;
    }
    Ok(dir)
}

/// Lets the children of a group use the controllers. Where the group still holds processes (the top of a container does, and a service's
/// own group), they are first moved into a leaf beside ours.
fn delegate(dir: &Path, controllers: &[&'static str]) -> Result<(), CgroupError> {
    let control = dir.join("cgroup.subtree_control");
    let available = read(&dir.join("cgroup.controllers"))?;
    if let Some(controller) = controllers.iter().copied().find(|name| !has(&available, name)) {
        return Err(CgroupError::NotDelegated { controller, group: dir.to_owned() });
    }
    let enabled = read(&control)?;
    if controllers.iter().all(|name| has(&enabled, name)) {
        return Ok(());
    }
    let all: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    let hand_down = || write(&control, &all.join(" "));
    let mut result = hand_down();
    for _ in 1..TRIES {
        if !matches!(&result, Err(CgroupError::File { source, .. }) if source.raw_os_error() == Some(libc::EBUSY))
        {
            break;
        }
        empty(dir)?;
        result = hand_down();
    }
    result
}

/// Lets the attempts below `parent` use the io controller, if whoever is above has left it to us. Not done at the start: a controller costs
/// every group something. What came of it is seen by the file that a group then has.
pub fn hand_down_io(parent: &Path) {
    let above: Vec<&Path> = parent.ancestors().take_while(|dir| dir.starts_with(MOUNT)).collect();
    for dir in above.into_iter().rev() {
        let _ = write(&dir.join("cgroup.subtree_control"), "+io");
    }
}

/// Gives an attempt's group, which must be empty still, a part with a quota of processor time of its own.
///
/// A part of the threaded kind: what memory, processes and the disk count stays one group, that of the whole attempt, in which a process may stand
/// beside the part. (Two parts of the usual kind, one for the stub and one for the task, would be a third directory for each start. And in
/// the group itself the stub competes with all of the task as one, where its niceness counts.) So `cgroup.procs` of the group lists
/// both, and `cgroup.kill` ends both; the part has no such list, only `cgroup.threads`.
pub fn split(group: &Path) -> Result<(), CgroupError> {
    write(&group.join("cgroup.subtree_control"), "+cpu")?;
    let part = group.join(TASK);
    std::fs::create_dir(&part).map_err(|e| CgroupError::file("make", &part, e))?;
    write(&part.join("cgroup.type"), "threaded")
}

/// Moves the processes of a group into its leaf.
fn empty(dir: &Path) -> Result<(), CgroupError> {
    let leaf = dir.join(LEAF);
    make(&leaf)?;
    for pid in read(&dir.join("cgroup.procs"))?.lines() {
        // It may have ended since; with one that cannot be moved, handing down fails again and says so.
        let _ = write(&leaf.join("cgroup.procs"), pid);
    }
    Ok(())
}

fn make(dir: &Path) -> Result<(), CgroupError> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(CgroupError::file("make", dir, error))
        }
        _ => Ok(()),
    }
}

fn has(list: &str, name: &str) -> bool {
    list.split(' ').any(|entry| entry == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_controller_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let error = prepare_below(dir.path(), Path::new("shoal"), &CONTROLLERS).unwrap_err().to_string();
        assert!(error.contains("the pids cgroup controller"), "{error}");
        assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn without_a_mark_and_outside_of_the_mount_the_top_is_the_base() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("system.slice/shoald.service")).unwrap();
        for membership in
            ["0::/", "0::/system.slice/shoald.service", "0::/../other", "0::/gone", "1:cpu:/a", ""]
        {
            assert_eq!(base(dir.path(), membership), dir.path(), "{membership}");
        }
    }
}

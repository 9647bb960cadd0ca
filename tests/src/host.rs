//! What a node leaves on this machine: processes, mounts, control groups. Used to end exactly what was started and to look for leftovers.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A process's command line with blanks between the words; `None` when it is gone (or a zombie, which has none).
pub fn command_line(pid: i32) -> Option<String> {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&raw).replace('\0', " ");
    (!text.is_empty()).then_some(text)
}

/// The pid in `file` if that process still runs and names `mark` (a node's data directory) in its command line: pids are used again.
pub fn pid_of(file: &Path, mark: &Path) -> Result<i32> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let pid: i32 =
        text.trim().parse().with_context(|| format!("{} holds no pid: {text:?}", file.display()))?;
    match command_line(pid) {
        Some(line) if line.contains(&*mark.to_string_lossy()) => Ok(pid),
        Some(line) => bail!("pid {pid} of {} is another process now: {line}", file.display()),
        None => bail!("process {pid} of {} is gone", file.display()),
    }
}

/// Sends a signal to one process.
pub fn signal(pid: i32, signal: Signal) -> Result<()> {
    let target = Pid::from_raw(pid).context("pid 0 is nobody")?;
    kill_process(target, signal).with_context(|| format!("send {signal:?} to {pid}"))
}

/// Pids of the processes whose command line names `mark`, this one excepted.
pub fn processes_naming(mark: &Path) -> Vec<i32> {
    let mark = mark.to_string_lossy().into_owned();
    let own = std::process::id() as i32;
    pids().filter(|pid| *pid != own && command_line(*pid).is_some_and(|line| line.contains(&mark))).collect()
}

/// The process that has a thread of this name.
pub fn process_with_thread(name: &str) -> Option<i32> {
    pids().find(|pid| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads
            .map(|thread| fs::read_to_string(thread.path().join("comm")))
            .any(|comm| comm.is_ok_and(|comm| comm.trim_end() == name))
    })
}

/// The parent of a process, 0 for one outside of this pid namespace; `None` when it is gone.
pub fn parent_of(pid: i32) -> Option<i32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// Zombies that `parent` has not reaped, by pid.
pub fn zombies_of(parent: i32) -> Vec<i32> {
    let is_one = |pid: &i32| {
        stat_fields(*pid).is_some_and(|fields| fields[0] == "Z" && fields[1] == parent.to_string())
    };
    pids().filter(is_one).collect()
}

/// The fields of `/proc/PID/stat` that follow the name: state, parent, and so on.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 1..];
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Mounts at or from below `mark`, in every mount namespace of this host.
fn mounts_below(mark: &Path) -> Vec<String> {
    let mark = mark.to_string_lossy().into_owned();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for pid in pids() {
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else { continue };
        if !seen.insert(namespace.clone()) {
            continue;
        }
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let ours = table.lines().filter(|line| line.contains(&mark));
        found.extend(ours.map(|line| format!("{line} (in {} of process {pid})", namespace.display())));
    }
    found
}

/// The attempts that a node's data directory knows, `TASK.NUMBER`.
pub fn attempts_of(data_dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(data_dir.join("attempts")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Control groups that are named after one of `attempts`. Hierarchies nest a few levels at most above them.
fn groups_of(attempts: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if attempts.contains(&*entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            } else if depth < 8 {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// The control groups of one attempt, `TASK.NUMBER`.
pub fn groups_of_attempt(attempt: &str) -> Vec<PathBuf> {
    groups_of(&BTreeSet::from([attempt.to_owned()]))
}

/// Processes in the control groups of one attempt, `TASK.NUMBER`.
pub fn processes_of_attempt(attempt: &str) -> Vec<i32> {
    processes_in(groups_of(&BTreeSet::from([attempt.to_owned()])))
}

/// Processes in the control groups of a node's attempts: the task's own and the stub.
pub fn container_processes(data_dir: &Path) -> Vec<i32> {
    processes_in(groups_of(&attempts_of(data_dir)))
}

fn processes_in(groups: Vec<PathBuf>) -> Vec<i32> {
    let mut found = BTreeSet::new();
    for group in groups {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    found.into_iter().collect()
}

/// Everything of a node's containers that must be gone after their end, in words.
pub fn container_leftovers(data_dir: &Path) -> Vec<String> {
    let mut found: Vec<String> = container_processes(data_dir).into_iter().map(name_process).collect();
    // A root file system may lie below the data directory; only what was mounted for an attempt counts.
    found.extend(mounts_below(&data_dir.join("attempts")).into_iter().map(|line| format!("mount {line}")));
    found.extend(
        groups_of(&attempts_of(data_dir)).into_iter().map(|path| format!("cgroup {}", path.display())),
    );
    found
}

/// Everything of a node that must be gone after its end, in words: its own processes too.
pub fn leftovers(data_dir: &Path) -> Vec<String> {
    let mut found: Vec<String> = processes_naming(data_dir).into_iter().map(name_process).collect();
    found.extend(mounts_below(data_dir).into_iter().map(|line| format!("mount {line}")));
    found.extend(container_leftovers(data_dir));
    found
}

/// Attempts of a node whose end its server has not let go of: the runner marks a forgotten one by renaming its `status`.
pub fn unforgotten(data_dir: &Path) -> Vec<String> {
    let status = |id: &String| data_dir.join("attempts").join(id).join("status").exists();
    attempts_of(data_dir).into_iter().filter(status).map(|id| format!("status of {id}")).collect()
}

/// Processes on this host, in whatever group and namespace, whose environment names an attempt of the node.
pub fn labelled(data_dir: &Path) -> Vec<String> {
    let attempts = attempts_of(data_dir);
    let labelled = pids().filter(|pid| {
        let raw = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let value = |name: &str| {
            let mut words = raw.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            words.find_map(|word| word.strip_prefix(name).map(str::to_owned))
        };
        let (task, number) = (value("SHOAL_TASK="), value("SHOAL_ATTEMPT="));
        task.zip(number).is_some_and(|(task, number)| attempts.contains(&format!("{task}.{number}")))
    });
    labelled.map(name_process).collect()
}

/// How many descriptors a process has of namespaces, and of all else.
pub fn descriptors(pid: i32) -> (usize, usize) {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_namespace = |target: &PathBuf| {
        target.to_str().is_some_and(|text| text.starts_with("net:[") || text.starts_with("user:["))
    };
    let (namespaces, others): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).partition(is_namespace);
    (namespaces.len(), others.len())
}

/// Loop devices on a file of the node.
pub fn loops_on(data_dir: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let on_ours = devices.filter_map(|device| {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        Path::new(file.trim_end())
            .starts_with(data_dir)
            .then(|| format!("{} on {file}", device.path().display()))
    });
    on_ours.collect()
}

fn name_process(pid: i32) -> String {
    format!("process {pid}: {}", command_line(pid).unwrap_or_default())
}

//! Task specifications: from the wire with every limit checked and every default filled in, and back.

use super::check::{Check, shown};
use super::{access, gang, limits};
use crate::v1;
use shoal_core::priority::Priority;
use shoal_core::resources::Resources;
use shoal_core::spec::{OnNodeLoss, RunAs, TaskSpec, Unknown};
use std::collections::BTreeMap;
use tonic_types::FieldViolation;

/// Bytes that each word costs in the record beside its text: quotes, separators.
const WORD_OVERHEAD_BYTES: usize = 6;

/// The specifications of a submit request, or all that is wrong with them.
pub fn specs_from_wire(tasks: Vec<v1::TaskSpec>) -> Result<Vec<TaskSpec>, Vec<FieldViolation>> {
    let mut check = Check::new();
    let count = tasks.len() as u64;
    if !limits::TASKS.contains(count) {
        let (min, max) = (limits::TASKS.min, limits::TASKS.max);
        check.refuse("tasks", format!("must be between {min} and {max} tasks, was {count}"));
        return check.finish(Vec::new());
    }
    let mut specs = Vec::with_capacity(tasks.len());
    for (index, task) in tasks.into_iter().enumerate() {
        if check.is_full() {
            break;
        }
        specs.push(spec_from_wire(task, &format!("tasks[{index}]"), &mut check));
    }
    check.finish(specs)
}

/// One specification; `path` names it in violations. Meaningless when `check` holds a violation afterwards.
pub fn spec_from_wire(wire: v1::TaskSpec, path: &str, check: &mut Check) -> TaskSpec {
    let at = |field: &str| format!("{path}.{field}");
    let asked = wire.resources.unwrap_or_default();
    command(&wire.command, &at("command"), check);
    env(&wire.env, &at("env"), check);
    total(&wire, path, check);
    check.line(&at("name"), &wire.name, limits::NAME_CHARS_MAX);
    check.line(&at("user"), &wire.user, limits::USER_CHARS_MAX);
    let cpu = check.number(&at("resources.cpu_milli"), asked.cpu_milli.into(), limits::CPU_MILLI);
    let memory_bytes = check.number(&at("resources.memory_bytes"), asked.memory_bytes, limits::MEMORY_BYTES);
    let pids = check.number(&at("pids_max"), wire.pids_max.into(), limits::PIDS);
    let attempts = check.number(&at("max_attempts"), wire.max_attempts.into(), limits::MAX_ATTEMPTS);
    let open_files =
        check.number_or_usual(&at("open_files_max"), wire.open_files_max.into(), limits::OPEN_FILES);
    let labels = access::labels(wire.labels, &at("labels"), check);
    let (parts, labels) = gang::parts(wire.parts, labels, &at("parts"), check);
    TaskSpec {
        root: root(wire.root, &at("root"), check),
        // Of one node it says nothing: specifications that mean the same are the same.
        gang_end: gang::end(wire.gang_end, !parts.is_empty(), &at("gang_end"), check),
        parts,
        exclusive: wire.exclusive,
        counts: gang::counts(wire.counts, &at("counts"), check),
        resources: Resources { cpu_milli: narrow(cpu), memory_bytes },
        pids_max: narrow(pids),
        workdir: workdir(wire.workdir, &at("workdir"), check),
        time_limit_ms: check.number(&at("time_limit_ms"), wire.time_limit_ms, limits::TIME_LIMIT_MS),
        kill_grace_ms: check.number(&at("kill_grace_ms"), wire.kill_grace_ms, limits::KILL_GRACE_MS),
        max_attempts: narrow(attempts),
        on_node_loss: on_node_loss(wire.on_node_loss, &at("on_node_loss"), check),
        net: access::net(wire.net, &at("net"), check),
        mounts: access::mounts(wire.mounts, &at("mounts"), check),
        labels,
        run_as: access::run_as(wire.run_as, &at("run_as"), check),
        open_files_max: narrow(open_files),
        disk_bytes_max: disk(wire.disk_bytes_max, memory_bytes, &at("disk_bytes_max"), check),
        io_bytes_per_s_max: check.number_or_usual(
            &at("io_bytes_per_s_max"),
            wire.io_bytes_per_s_max,
            limits::IO_BYTES_PER_S,
        ),
        log_bytes_max: check.number_or_usual(&at("log_bytes_max"), wire.log_bytes_max, limits::LOG_BYTES),
        priority: priority(wire.priority, &at("priority"), check),
        command: wire.command,
        env: wire.env.into_iter().collect::<BTreeMap<_, _>>(),
        name: wire.name,
        user: wire.user,
        unknown: Unknown::new(),
    }
}

/// A specification for the wire. What a newer version added stays in the record and is not shown.
pub fn spec_to_wire(spec: &TaskSpec) -> v1::TaskSpec {
    let on_node_loss = match spec.on_node_loss {
        OnNodeLoss::Requeue => v1::OnNodeLoss::Requeue,
        OnNodeLoss::Fail => v1::OnNodeLoss::Fail,
    };
    v1::TaskSpec {
        command: spec.command.clone(),
        env: spec.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        root: spec.root.clone(),
        resources: Some(resources_to_wire(&spec.resources)),
        pids_max: spec.pids_max,
        name: spec.name.clone(),
        user: spec.user.clone(),
        workdir: spec.workdir.clone(),
        time_limit_ms: spec.time_limit_ms,
        kill_grace_ms: spec.kill_grace_ms,
        max_attempts: spec.max_attempts,
        on_node_loss: on_node_loss.into(),
        net: access::net_to_wire(spec.net).into(),
        mounts: spec.mounts.iter().map(access::mount_to_wire).collect(),
        labels: spec.labels.clone(),
        run_as: spec.run_as.map(|RunAs { uid, gid }| v1::RunAs { uid, gid }),
        open_files_max: spec.open_files_max,
        disk_bytes_max: spec.disk_bytes_max,
        io_bytes_per_s_max: spec.io_bytes_per_s_max,
        log_bytes_max: spec.log_bytes_max,
        priority: spec.priority.number().into(),
        parts: spec.parts.iter().map(gang::part_to_wire).collect(),
        gang_end: gang::end_to_wire(spec).into(),
        exclusive: spec.exclusive,
        counts: gang::counts_to_wire(&spec.counts),
    }
}

/// A priority; 0 is the normal one.
pub fn priority(value: u32, field: &str, check: &mut Check) -> Priority {
    Priority::new(check.number(field, value.into(), limits::PRIORITY)).unwrap_or_default()
}

/// An amount of resources for the wire.
pub fn resources_to_wire(resources: &Resources) -> v1::Resources {
    v1::Resources { cpu_milli: resources.cpu_milli, memory_bytes: resources.memory_bytes }
}

/// What a word of a command or environment costs in the record, which is JSON: control characters take six bytes, quotes and
/// backslashes two.
pub fn stored_bytes(word: &str) -> usize {
    let cost = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0x7f.. => 1,
        byte if byte.is_ascii_control() => 6,
        _ => 1,
    };
    word.bytes().map(cost).sum::<usize>() + WORD_OVERHEAD_BYTES
}

fn command(words: &[String], field: &str, check: &mut Check) {
    let (count, range) = (words.len() as u64, limits::COMMAND_WORDS);
    if !range.contains(count) {
        check.refuse(field, format!("must be between {} and {} words, was {count}", range.min, range.max));
        return;
    }
    if words[0].is_empty() {
        check.refuse(format!("{field}[0]"), "must name a program, was empty");
    }
    for (index, word) in words.iter().enumerate() {
        if check.is_full() {
            return;
        }
        word_fits(word, word.len(), &format!("{field}[{index}]"), check);
    }
}

fn env(env: &std::collections::HashMap<String, String>, field: &str, check: &mut Check) {
    let mut sorted: Vec<_> = env.iter().collect();
    sorted.sort_unstable();
    for (name, value) in sorted {
        if check.is_full() {
            return;
        }
        let at = format!("{field}[{}]", shown(name));
        if name.is_empty() || name.contains(['=', '\0']) {
            check.refuse(at, "must have a name that is not empty and has no '=' and no NUL");
        } else if name.starts_with(limits::RESERVED_ENV_PREFIX) {
            check.refuse(
                at,
                format!("must not begin with {}, those are Shoal's own", limits::RESERVED_ENV_PREFIX),
            );
        } else {
            word_fits(value, name.len() + 1 + value.len(), &at, check);
        }
    }
}

fn word_fits(word: &str, bytes: usize, field: &str, check: &mut Check) {
    if bytes > limits::WORD_BYTES_MAX {
        check.refuse(field, format!("must be at most {} bytes, was {bytes}", limits::WORD_BYTES_MAX));
    }
    if word.contains('\0') {
        check.refuse(field, "must not contain NUL");
    }
}

fn total(wire: &v1::TaskSpec, path: &str, check: &mut Check) {
    let command: usize = wire.command.iter().map(|word| stored_bytes(word)).sum();
    let env: usize = wire.env.iter().map(|(name, value)| stored_bytes(name) + stored_bytes(value)).sum();
    let mounts: usize = wire.mounts.iter().map(|m| stored_bytes(&m.name) + stored_bytes(&m.target)).sum();
    let (bytes, max) = (command + env + mounts, limits::STORED_BYTES_MAX);
    if bytes > max {
        let what = "command, env and mounts";
        check.refuse(path, format!("{what} must take at most {max} bytes as stored, was {bytes}"));
    }
}

fn root(name: String, field: &str, check: &mut Check) -> String {
    if name.is_empty() {
        return limits::DEFAULT_ROOT.to_owned();
    }
    if shoal_core::image::is_image(&name) {
        if let Err(bad) = name.parse::<shoal_core::image::Digest>() {
            check.refuse(field, format!("{bad}, was {}", shown(&name)));
        }
        return name;
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    if name.chars().count() > limits::ROOT_CHARS_MAX || !name.chars().all(allowed) {
        let max = limits::ROOT_CHARS_MAX;
        check.refuse(field, format!("must be 1 to {max} of a-z 0-9 . _ -, was {}", shown(&name)));
    }
    name
}

fn workdir(path: String, field: &str, check: &mut Check) -> String {
    if path.is_empty() {
        return limits::DEFAULT_WORKDIR.to_owned();
    }
    check.path(field, &path);
    path
}

/// The layer is in memory: more than half of the task's memory cannot be given to it.
fn disk(value: u64, memory_bytes: u64, field: &str, check: &mut Check) -> u64 {
    let value = check.number_or_usual(field, value, limits::DISK_BYTES);
    let most = memory_bytes / 2;
    if value > most && limits::DISK_BYTES.contains(value) {
        check.refuse(field, format!("must be at most {most}, half of the task's memory, was {value}"));
    }
    value
}

fn on_node_loss(value: i32, field: &str, check: &mut Check) -> OnNodeLoss {
    match v1::OnNodeLoss::try_from(value) {
        Ok(v1::OnNodeLoss::Unspecified | v1::OnNodeLoss::Requeue) => OnNodeLoss::Requeue,
        Ok(v1::OnNodeLoss::Fail) => OnNodeLoss::Fail,
        Err(_) => {
            check.refuse(field, format!("must be 0 (default), 1 (requeue) or 2 (fail), was {value}"));
            OnNodeLoss::Requeue
        }
    }
}

/// For values whose range ends far below `u32::MAX`; what is out of range has been reported already.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

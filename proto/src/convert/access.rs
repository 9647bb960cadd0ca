//! What a task may see and be beside its root: its network, the host's directories, its user.

use super::check::{Check, shown};
use super::limits;
use crate::v1;
use shoal_core::features::{LABEL_CHARS_MAX, is_label};
use shoal_core::spec::{Mount, Net, RunAs};
use std::collections::BTreeSet;

/// What the task sees of the network.
pub fn net(value: i32, field: &str, check: &mut Check) -> Net {
    match v1::Net::try_from(value) {
        Ok(v1::Net::Unspecified | v1::Net::Loopback) => Net::Loopback,
        Ok(v1::Net::None) => Net::None,
        Ok(v1::Net::Host) => Net::Host,
        Err(_) => {
            let known = "0 (default), 1 (loopback), 2 (none) or 3 (host)";
            check.refuse(field, format!("must be {known}, was {value}"));
            Net::Loopback
        }
    }
}

/// The same for the wire.
pub fn net_to_wire(net: Net) -> v1::Net {
    match net {
        Net::Loopback => v1::Net::Loopback,
        Net::None => v1::Net::None,
        Net::Host => v1::Net::Host,
    }
}

/// The host's directories that the task asks to see, each at a place of its own.
pub fn mounts(wire: Vec<v1::Mount>, field: &str, check: &mut Check) -> Vec<Mount> {
    let count = wire.len() as u64;
    if !limits::MOUNTS.contains(count) {
        check.refuse(field, format!("must be at most {} mounts, was {count}", limits::MOUNTS.max));
        return Vec::new();
    }
    let mut targets = BTreeSet::new();
    for (index, mount) in wire.iter().enumerate() {
        mount_name(&mount.name, &format!("{field}[{index}].name"), check);
        let at = format!("{field}[{index}].target");
        if check.path(&at, &mount.target) && target_is_free(&mount.target, &at, check) {
            let place: Vec<&str> = parts(&mount.target).collect();
            if !targets.insert(place) {
                check.refuse(at, format!("must differ from the other mounts', was {}", shown(&mount.target)));
            }
        }
    }
    wire.into_iter().map(|v1::Mount { name, target, read_only }| Mount { name, target, read_only }).collect()
}

/// The same for the wire.
pub fn mount_to_wire(mount: &Mount) -> v1::Mount {
    v1::Mount { name: mount.name.clone(), target: mount.target.clone(), read_only: mount.read_only }
}

/// Labels that its node must have, each once.
pub fn labels(wire: Vec<String>, field: &str, check: &mut Check) -> Vec<String> {
    let count = wire.len() as u64;
    if !limits::LABELS.contains(count) {
        check.refuse(field, format!("must be at most {} labels, was {count}", limits::LABELS.max));
        return Vec::new();
    }
    for (index, label) in wire.iter().enumerate().filter(|(_, label)| !is_label(label)) {
        let (what, max) = ("NAME or NAME=VALUE of letters, digits, '.', '_' and '-'", LABEL_CHARS_MAX);
        check.refuse(
            format!("{field}[{index}]"),
            format!("must be {what}, at most {max} characters, was {}", shown(label)),
        );
    }
    wire.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Who the task is, inside.
pub fn run_as(wire: Option<v1::RunAs>, field: &str, check: &mut Check) -> Option<RunAs> {
    let v1::RunAs { uid, gid } = wire?;
    for (part, id) in [("uid", uid), ("gid", gid)] {
        if !limits::ID.contains(id.into()) {
            check.refuse(format!("{field}.{part}"), format!("must be at most {}, was {id}", limits::ID.max));
        }
    }
    Some(RunAs { uid, gid })
}

fn mount_name(name: &str, field: &str, check: &mut Check) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let max = limits::MOUNT_CHARS_MAX;
    if !(1..=max).contains(&name.len()) || !name.chars().all(allowed) {
        check.refuse(
            field,
            format!("must be 1 to {max} letters, digits, '.', '_' or '-', was {}", shown(name)),
        );
    }
}

/// Whether nothing of Shoal's own is there.
fn target_is_free(target: &str, field: &str, check: &mut Check) -> bool {
    let first = parts(target).next();
    let taken = limits::RESERVED_TARGETS.iter().any(|reserved| first == parts(reserved).next());
    if parts(target).any(|part| part == ".") {
        check.refuse(field, format!("must not contain '.' as a part, was {}", shown(target)));
    } else if taken || first.is_none() {
        let reserved = limits::RESERVED_TARGETS.join(", ");
        check.refuse(field, format!("must not be / or lie in {reserved}, was {}", shown(target)));
    } else {
        return true;
    }
    false
}

/// The parts of a path, however many slashes are between them.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

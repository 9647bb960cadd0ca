//! From what an attempt asks to what the operator's policy grants it: its root's tree and the directories it sees, with the maps of their owners.

use super::Runner;
use crate::protocol::{Mount, Net, Root, Start, User};
use crate::slot::users::{IdMap, IdMaps};
use crate::slot::{Slot, SlotError};
use crate::stub::{self, Bind, Tree};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

/// Ids that a task may be, inside; the next is the stub's.
const TASK_IDS: u32 = 65535;
/// Bytes of a digest in hexadecimal digits.
const DIGEST_DIGITS: usize = 64;
/// Where nothing of the host is mounted: what is there is the container's own.
const RESERVED: [&str; 3] = ["proc", "dev", "sys"];

/// Where the directory is that a task of several nodes shares; nothing may cover it.
const SHARED: [&str; 3] = ["run", "shoal", "gang"];

/// Why something is not granted although it could be asked for. Its `Display` is what the user reads.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// A directory of the policy cannot be looked at.
    #[error("look at {path}: {source}")]
    Look {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What tasks write would belong to root.
    #[error("mount {name}: {path} belongs to root, so tasks cannot write to it")]
    Roots {
        /// The mount's name.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// A namespace for a map of owners.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

/// What an attempt gets; borrowed by its stub's job.
pub struct Grant {
    tree: Option<Granted>,
    binds: Vec<(Granted, String)>,
}

/// A directory of the host.
struct Granted {
    path: PathBuf,
    map: Option<Rc<OwnedFd>>,
    writable: bool,
}

impl Grant {
    /// As the stub wants it.
    pub fn tree(&self) -> Option<Tree<'_>> {
        let Granted { path, map, writable } = self.tree.as_ref()?;
        Some(Tree { path, map: map.as_ref().map(|fd| fd.as_fd()), writable: *writable })
    }

    /// As the stub wants them.
    pub fn binds(&self) -> Vec<Bind<'_>> {
        let all = self.binds.iter();
        all.map(|(granted, target)| Bind {
            source: &granted.path,
            target,
            writable: granted.writable,
            map: granted.map.as_ref().map(|fd| fd.as_fd()),
        })
        .collect()
    }
}

impl Runner {
    /// What the policy does not allow, in words.
    pub(super) fn permitted(&self, start: &Start) -> Result<(), String> {
        let policy = &self.policy;
        match &start.root {
            Root::Directory(path) if !policy.roots.contains(path) => {
                return Err(format!("the policy of this node has no root {}", path.display()));
            }
            Root::Host if !policy.host_root => {
                return Err("the policy of this node does not allow the host's system as root".to_owned());
            }
            Root::Image(_) if policy.images_dir.is_none() => {
                return Err("the policy of this node has no images".to_owned());
            }
            Root::Image(digest) => check_digest(digest)?,
            Root::Directory(_) | Root::Host => {}
        }
        if start.net == Net::Host && !policy.host_net {
            return Err("the policy of this node does not allow the host's network".to_owned());
        }
        let User { uid, gid } = start.user;
        if uid.max(gid) >= TASK_IDS {
            return Err(format!("user and group ids are below {TASK_IDS} inside, not {uid} and {gid}"));
        }
        start.mounts.iter().try_for_each(|mount| self.mount_permitted(mount))?;
        match start.mounts.iter().find(|mount| start.gang && meets_shared(&mount.target)) {
            Some(Mount { name, target, .. }) => {
                Err(format!("mount {name:?}: {target:?} is where the task finds {}", stub::gang::PATH))
            }
            None => Ok(()),
        }
    }

    fn mount_permitted(&self, mount: &Mount) -> Result<(), String> {
        let Mount { name, target, .. } = mount;
        if !self.policy.mounts.contains_key(name) {
            return Err(format!("the policy of this node has no mount {name:?}"));
        }
        let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
        let absolute = target.starts_with('/') && !parts.iter().any(|part| matches!(*part, "." | ".."));
        match parts.first() {
            Some(first) if absolute && !RESERVED.contains(first) => Ok(()),
            _ => Err(format!(
                "mount {name:?}: the target must be absolute, without '.' and '..', and not in /{}; not {target:?}",
                RESERVED.join(", /")
            )),
        }
    }

    /// Prepares what [`Runner::permitted`] has allowed.
    pub(super) fn grant(&self, start: &Start, slot: &mut Slot) -> Result<Grant, GrantError> {
        let tree = match &start.root {
            Root::Host => None,
            Root::Directory(path) => {
                // The owners matter to a task that is somebody.
                let map = (start.user != User::NOBODY).then(|| Rc::clone(&slot.users));
                Some(Granted { path: path.clone(), map, writable: false })
            }
            Root::Image(digest) => {
                let images = self.policy.images_dir.clone().unwrap_or_default();
                let on_disk =
                    IdMap { inside: self.policy.users.first, outside: slot.ids.first, count: slot.ids.count };
                let map = Some(slot.map(IdMaps::both(on_disk))?);
                Some(Granted { path: images.join(digest).join("tree"), map, writable: true })
            }
        };
        let binds =
            start.mounts.iter().map(|mount| self.bind(start, mount, slot)).collect::<Result<_, _>>()?;
        Ok(Grant { tree, binds })
    }

    /// The task appears as the owner of the directory, whoever it is, so that what it writes is the owner's.
    fn bind(&self, start: &Start, mount: &Mount, slot: &mut Slot) -> Result<(Granted, String), GrantError> {
        let policy = &self.policy.mounts[&mount.name];
        let path = policy.path.clone();
        let writable = policy.writable && !mount.read_only;
        let look = |source| GrantError::Look { path: path.clone(), source };
        let owner = std::fs::metadata(&path).map_err(look)?;
        let map = match (owner.uid(), owner.gid()) {
            // A file of root's that carries its owner's powers would be one for the host.
            (0, _) | (_, 0) if writable => return Err(GrantError::Roots { name: mount.name.clone(), path }),
            (0, _) | (_, 0) => None,
            (uid, gid) => {
                let one = |inside, id| IdMap { inside, outside: slot.ids.host(id), count: 1 };
                let maps = IdMaps { users: one(uid, start.user.uid), groups: one(gid, start.user.gid) };
                Some(slot.map(maps)?)
            }
        };
        Ok((Granted { path, map, writable }, mount.target.clone()))
    }
}

/// Whether the target is on the way to the directory that is shared, or in it.
fn meets_shared(target: &str) -> bool {
    target.split('/').filter(|part| !part.is_empty()).zip(SHARED).all(|(part, shared)| part == shared)
}

fn check_digest(digest: &str) -> Result<(), String> {
    let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() == DIGEST_DIGITS && digest.bytes().all(hexadecimal) {
        return Ok(());
    }
    Err(format!("an image is named by {DIGEST_DIGITS} hexadecimal digits, not {digest:?}"))
}

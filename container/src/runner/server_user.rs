//! A server that is another user than the runner: `--server-user`. An administrator starts the runner; the server asks, and is not trusted with
//! the machine: it may use up what the policy allows, and lie about its tasks, and nothing else.
//!
//! What it may touch and what not:
//!
//! | what | owner, mode | the server |
//! |---|---|---|
//! | state directory | root, 0711 | passes through |
//! | `runner.sock` | the server, 0600 | connects; its credentials are asked for as well |
//! | attempts directory | root and the server's group, 3770 | makes entries (they start nothing), removes its own alone |
//! | an attempt's directory | root and the group, 2750 | reads |
//! | the same, once it is forgotten | the server and the group, 2750 | all: it is the server's to remove, and the runner never looks again |
//! | the deadline page | the server | writes; the runner maps it read-only, and only if it is a plain file of the server's |
//!
//! So no name that the runner opens as root can be made to mean something else by the server: that a link, a pipe or a device stands where a log
//! or a status should cannot come about in a directory that the server can only read.

use super::RunnerError;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fchown};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

/// Where users are listed.
const USERS: &str = "/etc/passwd";
/// Sticky, so that what is the runner's stays; with the group handed on, so that the server can read it.
const ATTEMPTS_MODE: u32 = 0o3770;
/// Everybody may pass through to the socket, which is the server's alone.
const STATE_MODE: u32 = 0o711;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The server's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl ServerUser {
    /// From `NAME`, `UID` or `UID:GID`; without a group the user's own, as /etc/passwd says. `None` when there is no such user. Never root: it
    /// needs no permission.
    pub fn parse(text: &str) -> Option<ServerUser> {
        ServerUser::find(text, &std::fs::read_to_string(USERS).unwrap_or_default())
    }

    fn find(text: &str, users: &str) -> Option<ServerUser> {
        let user = match text.split_once(':') {
            Some((uid, gid)) => ServerUser { uid: uid.parse().ok()?, gid: gid.parse().ok()? },
            None => users.lines().find_map(|line| {
                let mut fields = line.split(':');
                let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
                let named = name == text || uid == text;
                named.then(|| Some(ServerUser { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))?
            })?,
        };
        (user.uid != 0 && user.gid != 0).then_some(user)
    }

    /// Makes the attempts directory, or checks the one that is there.
    pub(super) fn prepare_attempts(self, path: &Path) -> Result<(), RunnerError> {
        let error = |source| RunnerError::File { action: "prepare", path: path.to_owned(), source };
        self.cannot_change(path)?;
        std::fs::create_dir_all(path).map_err(error)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .and_then(|dir| {
                // The owner first: to change it takes modes away.
                fchown(&dir, Some(Uid::ROOT), Some(Gid::from_raw(self.gid)))?;
                fchmod(&dir, Mode::from_bits_truncate(ATTEMPTS_MODE))
            })
            .map_err(|e| error(e.into()))
    }

    /// Lets the server reach the socket in the state directory, which it cannot change.
    pub(super) fn open_state(self, path: &Path) -> Result<(), RunnerError> {
        chmodat(CWD, path, Mode::from_bits_truncate(STATE_MODE), rustix::fs::AtFlags::empty())
            .map_err(|e| RunnerError::File { action: "open", path: path.to_owned(), source: e.into() })
    }

    /// Gives the server the socket. Until then nobody but root can connect.
    pub(super) fn give(self, socket: &Path) -> rustix::io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(CWD, socket, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Refuses a path that the server could make to mean something else: by a link, or by a directory on the way in which it may rename.
    pub(super) fn cannot_change(self, path: &Path) -> Result<(), RunnerError> {
        let changeable = |by: &Path| RunnerError::Changeable { path: path.to_owned(), by: by.to_owned() };
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(changeable(path));
        }
        // From the top, so that what is looked at is where it seems to be.
        let mut parts: Vec<&Path> = path.ancestors().collect();
        parts.reverse();
        // Whether the directory above is everybody's and sticky, as /tmp is: there the server can put what is missing and change what is its own.
        let mut everybodys = false;
        for part in parts {
            match std::fs::symlink_metadata(part) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return if everybodys { Err(changeable(part)) } else { Ok(()) };
                }
                Err(source) => {
                    return Err(RunnerError::File { action: "look at", path: part.to_owned(), source });
                }
                Ok(found) if found.is_symlink() => return Err(changeable(part)),
                Ok(found) if part != path && self.can_rename_in(&found) => return Err(changeable(part)),
                Ok(found) if everybodys && found.uid() == self.uid => return Err(changeable(part)),
                Ok(found) => everybodys = found.mode() & (GROUP_WRITES | OTHERS_WRITE) != 0,
            }
        }
        Ok(())
    }

    /// The same for a directory whose entries count: the runner makes and opens files in it by name.
    pub(super) fn cannot_fill(self, path: &Path) -> Result<(), RunnerError> {
        self.cannot_change(&path.join("any"))
    }

    /// The same for a file whose content counts.
    pub(super) fn cannot_write(self, path: &Path) -> Result<(), RunnerError> {
        self.cannot_change(path)?;
        let source =
            |source: io::Error| RunnerError::File { action: "look at", path: path.to_owned(), source };
        let file = std::fs::symlink_metadata(path).map_err(source)?;
        let writable = file.uid() == self.uid || file.mode() & (OTHERS_WRITE | GROUP_WRITES) != 0;
        match file.is_file() && !writable {
            true => Ok(()),
            false => Err(RunnerError::Changeable { path: path.to_owned(), by: path.to_owned() }),
        }
    }

    /// Groups are not told apart: the server may be a member of more than one.
    fn can_rename_in(self, dir: &std::fs::Metadata) -> bool {
        let shared = dir.mode() & (GROUP_WRITES | OTHERS_WRITE) != 0 && dir.mode() & STICKY == 0;
        dir.uid() == self.uid || shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_user_is_found_by_name_and_by_id_and_is_never_root() {
        let users = "root:x:0:0::/root:/bin/sh\nshoal:x:990:980::/nowhere:/bin/false\nbroken\n";
        let shoal = Some(ServerUser { uid: 990, gid: 980 });
        assert_eq!(ServerUser::find("shoal", users), shoal);
        assert_eq!(ServerUser::find("990", users), shoal);
        assert_eq!(ServerUser::find("7:8", users), Some(ServerUser { uid: 7, gid: 8 }));
        for nobody in ["root", "0", "0:7", "7:0", "broken", "other", "", "7:", ":"] {
            assert_eq!(ServerUser::find(nobody, users), None, "{nobody}");
        }
    }

    #[test]
    fn a_path_on_which_the_server_can_rename_is_refused() {
        let server = ServerUser { uid: 4321, gid: 4321 };
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        server.cannot_change(&inner).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(dir.path().join("a"), PermissionsExt::from_mode(mode)).unwrap();
        };
        for (bits, refused) in [(0o775, true), (0o757, true), (0o1777, false), (0o755, false)] {
            mode(bits);
            assert_eq!(server.cannot_change(&inner).is_err(), refused, "{bits:o}");
        }
        symlink(&inner, dir.path().join("link")).unwrap();
        assert!(server.cannot_change(&dir.path().join("link")).is_err());
        assert!(server.cannot_change(&dir.path().join("a/../a/b")).is_err());
        mode(0o1777);
        assert!(server.cannot_change(&dir.path().join("a/new")).is_err(), "the server can make it");
        std::os::unix::fs::chown(&inner, Some(server.uid), None).unwrap();
        assert!(server.cannot_change(&inner).is_err(), "what is its own it can rename even there");
        mode(0o755);
        server.cannot_change(&inner).unwrap();
        assert!(server.cannot_fill(&inner).is_err());
        server.cannot_fill(&dir.path().join("a")).unwrap();
        std::os::unix::fs::chown(dir.path().join("a"), Some(server.uid), None).unwrap();
        assert!(server.cannot_change(&inner).is_err());
        assert!(
            server.cannot_change(&dir.path().join("a")).is_ok(),
            "what it holds is the server's, where it is is not"
        );
    }
}

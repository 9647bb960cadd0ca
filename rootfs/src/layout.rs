//! What the default root holds: a pure function of busybox's image and applets. When it changes, raise
//! [`crate::manifest::FORMAT`]; a server then builds its root anew at its next start.

use crate::busybox::Busybox;
use std::collections::BTreeMap;

/// One entry of a tree; its path is the key of [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Its content.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Where it points to; relative, so that it holds wherever the root is mounted.
        target: String,
    },
}

/// Entries by path relative to the root, `.` being the root itself; a parent sorts before what is in it.
pub type Tree = BTreeMap<String, Entry>;

/// Uid and gid 65534 are `nobody` and `nogroup` on Debian and its kin; tasks run as that user.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/work:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Directories with their modes. `proc`, `sys`, `dev`, `tmp` and `work` are mount points, empty here.
const DIRS: [(&str, u32); 12] = [
    (".", 0o755),
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("work", 0o755),
];

/// All applets are in `bin`; the other places where scripts look for programs lead there.
const LINKS: [(&str, &str); 3] = [("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin")];

const FILES: [(&str, &str); 5] = [
    ("etc/group", GROUP),
    ("etc/hosts", HOSTS),
    ("etc/nsswitch.conf", NSSWITCH),
    ("etc/passwd", PASSWD),
    // Empty: a task has no network unless somebody mounts a resolver's address over it.
    ("etc/resolv.conf", ""),
];

/// The default root for this busybox.
pub fn default_tree(busybox: &Busybox) -> Tree {
    let mut tree = Tree::new();
    for (path, mode) in DIRS {
        tree.insert(path.to_owned(), Entry::Dir { mode });
    }
    tree.insert("var/tmp".to_owned(), Entry::Dir { mode: 0o1777 });
    for (path, target) in LINKS {
        tree.insert(path.to_owned(), Entry::Link { target: target.to_owned() });
    }
    for (path, content) in FILES {
        tree.insert(path.to_owned(), Entry::File { mode: 0o644, content: content.as_bytes().to_vec() });
    }
    for applet in &busybox.applets {
        tree.insert(format!("bin/{applet}"), Entry::Link { target: "busybox".to_owned() });
    }
    tree.insert("bin/busybox".to_owned(), Entry::File { mode: 0o755, content: busybox.image.clone() });
    tree
}

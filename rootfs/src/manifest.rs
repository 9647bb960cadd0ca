//! The manifest: one line for each entry of a tree, in path order, so that two trees are equal exactly when their manifests
//! are. Times are not in it, since all are the same; owners are not, since a root that an ordinary user builds is his.

use crate::error::Error;
use crate::layout::{Entry, Tree};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The manifest's first line. Raise the number when the form of the lines or the default layout's meaning changes: a manifest with
/// another first line never matches, so the tree is built anew.
pub const FORMAT: &str = "shoal-rootfs 1";

/// What a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    text: String,
    /// How many entries the tree has, the root itself included.
    pub entries: usize,
}

impl Manifest {
    /// The manifest of a tree that is to be written.
    pub fn of(tree: &Tree) -> Manifest {
        let mut text = format!("{FORMAT}\n");
        for (path, entry) in tree {
            let line = match entry {
                Entry::Dir { mode } => format!("d {mode:04o} {path}"),
                Entry::File { mode, content } => {
                    format!("f {mode:04o} {} {} {path}", content.len(), hex(&Sha256::digest(content)))
                }
                Entry::Link { target } => format!("l {target} {path}"),
            };
            text.push_str(&line);
            text.push('\n');
        }
        Manifest { text, entries: tree.len() }
    }

    /// The manifest of the tree at `root` as it is on disk.
    pub fn scan(root: &Path) -> Result<Manifest, Error> {
        let mut tree = Tree::new();
        scan_into(&mut tree, root, ".")?;
        Ok(Manifest::of(&tree))
    }

    /// As it stands in the manifest file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text, in hexadecimal: the name of exactly this tree.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.text.as_bytes()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written to it");
        text
    })
}

fn scan_into(tree: &mut Tree, root: &Path, path: &str) -> Result<(), Error> {
    let place = if path == "." { root.to_path_buf() } else { root.join(path) };
    let metadata = std::fs::symlink_metadata(&place).map_err(Error::io("examine", &place))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() {
        let target = std::fs::read_link(&place).map_err(Error::io("read link", &place))?;
        tree.insert(path.to_owned(), Entry::Link { target: target.to_string_lossy().into_owned() });
    } else if metadata.is_dir() {
        tree.insert(path.to_owned(), Entry::Dir { mode });
        for item in std::fs::read_dir(&place).map_err(Error::io("list", &place))? {
            let name = item.map_err(Error::io("list", &place))?.file_name();
            let name = name.to_string_lossy();
            let child = if path == "." { name.into_owned() } else { format!("{path}/{name}") };
            scan_into(tree, root, &child)?;
        }
    } else if metadata.is_file() {
        let content = std::fs::read(&place).map_err(Error::io("read", &place))?;
        tree.insert(path.to_owned(), Entry::File { mode, content });
    } else {
        // A socket, pipe or device was never written by us: recorded as what no layout has, so that nothing matches.
        tree.insert(path.to_owned(), Entry::Link { target: "(special file)".to_owned() });
    }
    Ok(())
}

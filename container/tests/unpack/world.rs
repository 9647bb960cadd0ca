//! A runner with an image store, and what lies around the store, which nothing may touch.

use super::archive::sha256;
use super::support::{TestRunner, write_policy};
use shoal_container::image::{Caps, Outcome, Unpacked, tree_path};
use shoal_container::policy::Policy;
use shoal_container::protocol::{Event, Request, Unpack};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub struct World {
    pub runner: TestRunner,
    pub policy: Policy,
    next: u32,
}

impl World {
    pub fn new() -> World {
        let mut runner = TestRunner::new();
        let policy = Policy {
            roots: vec![runner.path("root")],
            images_dir: Some(runner.path("images")),
            ..Policy::default()
        };
        write_policy(runner.dir.path(), &policy);
        std::fs::create_dir_all(runner.path("canary")).unwrap();
        std::fs::write(runner.path("canary/file"), "untouched").unwrap();
        runner.connect();
        World { runner, policy, next: 0 }
    }

    pub fn images(&self) -> PathBuf {
        self.runner.path("images")
    }

    pub fn tree(&self, unpacked: &Unpacked) -> PathBuf {
        tree_path(&self.images(), &unpacked.digest)
    }

    pub fn unpack(&mut self, archive: &[u8], caps: Caps) -> Outcome {
        self.unpack_expecting(archive, caps, None)
    }

    pub fn unpack_expecting(&mut self, archive: &[u8], caps: Caps, expected: Option<String>) -> Outcome {
        self.next += 1;
        let id = self.next.to_string();
        let blob = self.runner.path(&format!("blob-{id}"));
        std::fs::write(&blob, archive).unwrap();
        self.runner.send(&Request::Unpack(Box::new(Unpack {
            id: id.clone(),
            blob: blob.clone(),
            expected,
            caps,
        })));
        let outcome = self.answer(&id);
        std::fs::remove_file(&blob).unwrap();
        outcome
    }

    pub fn answer(&mut self, id: &str) -> Outcome {
        self.runner.event("answer to unpack", |event| match event {
            Event::Unpacked { id: other, outcome } if other == id => Some(outcome.clone()),
            _ => None,
        })
    }

    /// Unpacks what is to be unpacked.
    pub fn good(&mut self, archive: &[u8]) -> Unpacked {
        match self.unpack(archive, Caps::default()) {
            Outcome::Unpacked(unpacked) => unpacked,
            other => panic!("not unpacked: {other:?}"),
        }
    }

    pub fn remove(&mut self, digest: &str) -> Option<String> {
        self.runner.send(&Request::RemoveImage { digest: digest.to_owned() });
        self.runner.event("answer to remove", |event| match event {
            Event::ImageRemoved { digest: other, error } if other == digest => Some(error.clone()),
            _ => None,
        })
    }

    /// All that lies beside the image store, in a form to compare: names, owners, modes, times and contents.
    pub fn surroundings(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for name in ["canary", "root", "attempts", "policy.json"] {
            walk(&self.runner.path(name), &mut found);
        }
        found
    }

    /// What of unfinished work is left in the store.
    pub fn leftovers(&self) -> Vec<String> {
        let Ok(list) = std::fs::read_dir(self.images()) else { return Vec::new() };
        let names = list.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).collect()
    }
}

/// Owner, mode, links and contents of all below `path`.
pub fn walk(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let meta = path.symlink_metadata().unwrap();
    let content = match meta.is_file() {
        true => sha256(&std::fs::read(path).unwrap()),
        false => std::fs::read_link(path).map(|to| to.display().to_string()).unwrap_or_default(),
    };
    let text = format!(
        "{}:{} {:o} {} {} {content}",
        meta.uid(),
        meta.gid(),
        meta.mode(),
        meta.nlink(),
        meta.mtime()
    );
    found.insert(path.to_owned(), text);
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    }
}

//! The plan of failpoints (`container/src/fail.rs`): holds one process of a cluster at a named step, and finds it from outside.

use crate::{host, wait};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The variable that names the plan to the programs.
pub const VARIABLE: &str = "SHOAL_FAILPOINTS";

// The file's format, as `container/src/fail.rs` describes it.
const SLOTS: usize = 8;
const SLOT_BYTES: usize = 64;
const NAME_OFFSET: usize = 16;
const FREE: u32 = 0;
const ARMED: u32 = 1;
const HELD: u32 = 2;

/// The file.
#[derive(Debug)]
pub struct Plan {
    file: File,
    path: PathBuf,
    next_tag: AtomicU32,
}

/// A point that holds the next process that comes to it, or holds one.
#[derive(Debug)]
pub struct Point<'a> {
    plan: &'a Plan,
    slot: usize,
    name: &'static str,
    tag: u32,
}

impl Plan {
    /// A plan without points at `path`. Tags start at a number that no other run on this machine uses at the time.
    pub fn create(path: &Path) -> Result<Plan> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path);
        let file = file.with_context(|| format!("make the plan {}", path.display()))?;
        file.set_len((SLOTS * SLOT_BYTES) as u64)?;
        Ok(Plan { file, path: path.to_owned(), next_tag: AtomicU32::new(std::process::id() << 12) })
    }

    /// Its path, for [`VARIABLE`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Arms a point in this slot: the process that comes to it after `skip` others have passed is held.
    pub fn arm(&self, slot: usize, name: &'static str, skip: u32) -> Result<Point<'_>> {
        ensure!(slot < SLOTS && name.len() <= SLOT_BYTES - NAME_OFFSET, "no slot {slot} for {name}");
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; SLOT_BYTES];
        bytes[4..8].copy_from_slice(&skip.to_le_bytes());
        bytes[8..12].copy_from_slice(&tag.to_le_bytes());
        bytes[NAME_OFFSET..NAME_OFFSET + name.len()].copy_from_slice(name.as_bytes());
        // Whole before it is armed.
        self.file.write_all_at(&bytes, (slot * SLOT_BYTES) as u64)?;
        self.set_state(slot, ARMED)?;
        Ok(Point { plan: self, slot, name, tag })
    }

    fn state(&self, slot: usize) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, (slot * SLOT_BYTES) as u64)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn set_state(&self, slot: usize, state: u32) -> Result<()> {
        Ok(self.file.write_all_at(&state.to_le_bytes(), (slot * SLOT_BYTES) as u64)?)
    }
}

impl Point<'_> {
    /// Waits until it holds a process; its pid.
    pub async fn held(&self, limit: Duration) -> Result<i32> {
        wait::until(&format!("a process at {}", self.name), limit, async || {
            ensure!(self.plan.state(self.slot)? == HELD, "nobody came");
            host::process_with_thread(&format!("fp-{:08x}", self.tag)).context("its process is not found")
        })
        .await
    }

    /// Whether a process has come to it.
    pub fn is_held(&self) -> Result<bool> {
        Ok(self.plan.state(self.slot)? == HELD)
    }
}

impl Drop for Point<'_> {
    /// Lets go of whoever is held and disarms the point.
    fn drop(&mut self) {
        let _ = self.plan.set_state(self.slot, FREE);
    }
}

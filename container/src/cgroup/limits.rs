//! Setting the limits of a group and reading each back. A value that the kernel does not hold is an error, so a task never runs
//! without its limits.

use super::{CgroupError, Group, read, write};
use crate::protocol::Limits;
use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use std::path::Path;

/// The scheduler's accounting period: its default, and a compromise between latency and overhead that is customary.
const PERIOD_US: u64 = 100_000;
/// The kernel refuses a smaller quota.
const QUOTA_US_MIN: u64 = 1_000;
/// Bounds of `cpu.shares`.
const SHARES: (u64, u64) = (2, 262_144);
/// Bounds of `cpu.weight`.
const WEIGHT: (u64, u64) = (1, 10_000);
/// Limits are kept in whole pages.
const PAGE_BYTES: u64 = 4096;
/// The stub is a member of its attempt's group and must not cost the task a process.
const STUB_PIDS: u32 = 1;

impl Group {
    /// Sets and verifies all limits.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        self.limit_memory(limits.memory_bytes)?;
        self.limit_cpu(u64::from(limits.cpu_milli))?;
        self.limit_pids(limits.pids_max.saturating_add(STUB_PIDS))
    }

    fn limit_memory(&self, bytes: u64) -> Result<(), CgroupError> {
        let dir = &self.memory;
        let bytes = bytes / PAGE_BYTES * PAGE_BYTES;
        let value = i64::try_from(bytes).unwrap_or(i64::MAX);
        let memory = MemController::new(dir.clone(), dir.clone(), self.v2);
        memory.set_limit(value).map_err(|e| set_error(dir, e))?;
        if self.v2 {
            holds(&dir.join("memory.max"), &bytes.to_string())?;
            // Absent where the kernel has no swap accounting; then there is no swap to use either, or nothing to enforce it with.
            if dir.join("memory.swap.max").exists() {
                memory.set_memswap_limit(0).map_err(|e| set_error(dir, e))?;
                holds(&dir.join("memory.swap.max"), "0")?;
            }
            write(&dir.join("memory.oom.group"), "1")?;
            return holds(&dir.join("memory.oom.group"), "1");
        }
        holds(&dir.join("memory.limit_in_bytes"), &bytes.to_string())?;
        let with_swap = dir.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            // Memory and swap together: equal to the memory alone leaves no swap. Must not be below it, hence second.
            memory.set_memswap_limit(value).map_err(|e| set_error(dir, e))?;
            holds(&with_swap, &bytes.to_string())?;
        }
        Ok(())
    }

    fn limit_cpu(&self, milli: u64) -> Result<(), CgroupError> {
        let dir = &self.cpu;
        let cpu = CpuController::new(dir.clone(), dir.clone(), self.v2);
        let quota = quota_us(milli);
        let error = |e| set_error(dir, e);
        if self.v2 {
            cpu.set_cfs_quota_and_period(Some(quota as i64), Some(PERIOD_US)).map_err(error)?;
            holds(&dir.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
            let weight = weight(milli);
            cpu.set_shares(weight).map_err(error)?; // writes cpu.weight, unconverted
            return holds(&dir.join("cpu.weight"), &weight.to_string());
        }
        // The period of a new group is the default, ours.
        cpu.set_cfs_quota(quota as i64).map_err(error)?;
        holds(&dir.join("cpu.cfs_quota_us"), &quota.to_string())?;
        holds(&dir.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        let shares = shares(milli);
        cpu.set_shares(shares).map_err(error)?;
        holds(&dir.join("cpu.shares"), &shares.to_string())
    }

    fn limit_pids(&self, pids: u32) -> Result<(), CgroupError> {
        let dir = &self.pids;
        let controller = PidController::new(dir.clone(), dir.clone(), self.v2);
        controller.set_pid_max(MaxValue::Value(i64::from(pids))).map_err(|e| set_error(dir, e))?;
        holds(&dir.join("pids.max"), &pids.to_string())
    }
}

fn quota_us(milli: u64) -> u64 {
    (milli * PERIOD_US / 1000).max(QUOTA_US_MIN)
}

/// One core is 1024, as everywhere.
fn shares(milli: u64) -> u64 {
    (milli * 1024 / 1000).clamp(SHARES.0, SHARES.1)
}

/// The usual conversion of shares to the narrower range of weights.
fn weight(milli: u64) -> u64 {
    (1 + (shares(milli) - SHARES.0) * (WEIGHT.1 - 1) / (SHARES.1 - SHARES.0)).clamp(WEIGHT.0, WEIGHT.1)
}

fn holds(path: &Path, wanted: &str) -> Result<(), CgroupError> {
    let found = read(path)?;
    if found == wanted {
        return Ok(());
    }
    Err(CgroupError::NotHeld { path: path.to_owned(), wanted: wanted.to_owned(), found })
}

fn set_error(path: &Path, source: cgroups_rs::fs::error::Error) -> CgroupError {
    CgroupError::Set { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_cores_gives_values_that_the_kernel_takes() {
        for milli in [0, 1, 9, 10, 1000, 1500, 64_000, u64::from(u32::MAX)] {
            assert!(quota_us(milli) >= QUOTA_US_MIN, "{milli}");
            assert!((SHARES.0..=SHARES.1).contains(&shares(milli)), "{milli}");
            assert!((WEIGHT.0..=WEIGHT.1).contains(&weight(milli)), "{milli}");
        }
        assert_eq!((quota_us(1500), shares(1500)), (150_000, 1536));
    }
}

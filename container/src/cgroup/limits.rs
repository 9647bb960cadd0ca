//! Setting the limits of a group and reading each back. A value that the kernel does not hold is an error, so a task never runs
//! without its limits.

use super::file::set;
use super::layout::{Parents, is_there};
use super::{CgroupError, Group, disk};
use crate::protocol::Limits;

/// The scheduler's accounting period. A task with more threads than cores uses its quota up at the beginning of each period, on all processors, and
/// is stopped for the rest of it; so a period bounds how long its neighbours wait for a processor. With the usual 100 ms a fork bomb of
/// one core made starts beside it wait 50 ms on two processors; shorter periods cost a task nothing that was measurable (docs/benchmarks.md).
const PERIOD_US: u64 = 10_000;
/// The kernel refuses a longer one,
const PERIOD_US_MAX: u64 = 1_000_000;
/// and a smaller quota: a task of less than a tenth of a core has a longer period instead.
const QUOTA_US_MIN: u64 = 1_000;
/// Bounds of `cpu.shares`.
const SHARES: (u64, u64) = (2, 262_144);
/// Bounds of `cpu.weight`.
const WEIGHT: (u64, u64) = (1, 10_000);
/// On v2 no attempt weighs less than one of a whole core: its stub, which keeps the deadline, and the ends of what it kills then are weighed with it against
/// the attempts beside it, and with the weight of a twentieth of a core they took twice as long. More than its quota a task does not get by that.
const WEIGHT_MILLI_MIN: u64 = 1000;
/// Limits are kept in whole pages.
const PAGE_BYTES: u64 = 4096;
/// The stub is a member of its attempt's group and must not cost the task a process.
const STUB_PIDS: u32 = 1;

impl Group {
    /// Sets and verifies all limits whose controllers are there.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        let Parents { memory, cpu, pids, .. } = &*self.parents;
        if is_there(memory) {
            self.limit_memory(limits.memory_bytes)?;
        }
        if is_there(cpu) {
            self.limit_cpu(u64::from(limits.cpu_milli))?;
        }
        if is_there(pids) {
            set(&self.pids("pids.max"), &limits.pids_max.saturating_add(STUB_PIDS).to_string())?;
        }
        if limits.io_bytes_per_s > 0 { disk::limit(self, limits.io_bytes_per_s) } else { Ok(()) }
    }

    fn limit_memory(&self, bytes: u64) -> Result<(), CgroupError> {
        let bytes =
            (bytes / PAGE_BYTES * PAGE_BYTES).min(i64::MAX as u64 / PAGE_BYTES * PAGE_BYTES).to_string();
        if self.is_v2() {
            set(&self.memory("memory.max"), &bytes)?;
            optional(set(&self.memory("memory.swap.max"), "0"))?;
            return set(&self.memory("memory.oom.group"), "1");
        }
        set(&self.memory("memory.limit_in_bytes"), &bytes)?;
        // Memory and swap together: equal to the memory alone leaves no swap. Must not be below it, hence second.
        optional(set(&self.memory("memory.memsw.limit_in_bytes"), &bytes))
    }

    fn limit_cpu(&self, milli: u64) -> Result<(), CgroupError> {
        let (quota, period) = quota_and_period_us(milli);
        if let Some(own) = self.tasks_own() {
            set(&own.join("cpu.max"), &format!("{quota} {period}"))?;
            return set(&self.cpu("cpu.weight"), &weight(milli.max(WEIGHT_MILLI_MIN)).to_string());
        }
        set(&self.cpu("cpu.cfs_period_us"), &period.to_string())?;
        set(&self.cpu("cpu.cfs_quota_us"), &quota.to_string())?;
        set(&self.cpu("cpu.shares"), &shares(milli).to_string())
    }
}

/// Where the kernel has no swap accounting there is no such file; then there is no swap to use either, or nothing to enforce it with.
fn optional(result: Result<(), CgroupError>) -> Result<(), CgroupError> {
    match result {
        Err(CgroupError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn quota_and_period_us(milli: u64) -> (u64, u64) {
    let quota = (milli * PERIOD_US / 1000).max(QUOTA_US_MIN);
    (quota, (quota * 1000 / milli.max(1)).min(PERIOD_US_MAX))
}

/// One core is 1024, as everywhere.
fn shares(milli: u64) -> u64 {
    (milli * 1024 / 1000).clamp(SHARES.0, SHARES.1)
}

/// The usual conversion of shares to the narrower range of weights.
fn weight(milli: u64) -> u64 {
    (1 + (shares(milli) - SHARES.0) * (WEIGHT.1 - 1) / (SHARES.1 - SHARES.0)).clamp(WEIGHT.0, WEIGHT.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_cores_gives_values_that_the_kernel_takes() {
        for milli in [0, 1, 9, 10, 1000, 1500, 64_000, u64::from(u32::MAX)] {
            let (quota, period) = quota_and_period_us(milli);
            assert!(quota >= QUOTA_US_MIN && (PERIOD_US..=PERIOD_US_MAX).contains(&period), "{milli}");
            assert!(milli == 0 || quota * 1000 / period == milli, "{milli} is {quota} in {period}");
            assert!((SHARES.0..=SHARES.1).contains(&shares(milli)), "{milli}");
            assert!((WEIGHT.0..=WEIGHT.1).contains(&weight(milli)), "{milli}");
        }
        assert_eq!((quota_and_period_us(1500), shares(1500)), ((15_000, 10_000), 1536));
        assert_eq!(quota_and_period_us(20), (1_000, 50_000));
    }
}

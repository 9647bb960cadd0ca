//! Processor time and memory, as the kernel accounts for them.

use super::Result;
use std::time::Duration;

/// Processor time used so far.
pub struct Usage {
    /// By this process, by what it reaped, and by the servant with what that reaped.
    pub processes: Duration,
    /// By all, idle time and what the hypervisor took left out.
    pub machine: Duration,
}

impl Usage {
    /// As of now; `servant` is a process that works for the one that is measured.
    pub fn now(servant: Option<u32>) -> Result<Usage> {
        let own = rusage(libc::RUSAGE_SELF)? + rusage(libc::RUSAGE_CHILDREN)?;
        let servant = servant.map_or(Ok(Duration::ZERO), process)?;
        Ok(Usage { processes: own + servant, machine: machine()? })
    }

    /// What was used since then.
    pub fn since(&self, before: &Usage) -> Usage {
        Usage {
            processes: self.processes.saturating_sub(before.processes),
            machine: self.machine.saturating_sub(before.machine),
        }
    }
}

fn rusage(who: libc::c_int) -> Result<Duration> {
    let duration =
        |time: libc::timeval| Duration::from_micros((time.tv_sec * 1_000_000 + time.tv_usec) as u64);
    // SAFETY: rusage is plain old data for which zero is valid, and the kernel writes to it only during the call.
    #[allow(unsafe_code)]
    let (result, usage) = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        (libc::getrusage(who, &raw mut usage), usage)
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

/// User and system time of a process and of all that it reaped, in whole ticks: a hundredth of a second in each of four.
fn process(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("a process' stat without its name")?;
    // proc_pid_stat(5): utime is field 14, and the first behind the name is field 3.
    let ticks =
        fields.split(' ').skip(14 - 3).take(4).map(str::parse::<u64>).sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

fn machine() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // proc_stat(5): user, nice, system, idle, iowait, irq, softirq.
    let [user, nice, system, _, _, irq, softirq, ..] = ticks[..] else {
        return Err("no cpu line in /proc/stat".into());
    };
    let busy = user + nice + system + irq + softirq;
    Ok(Duration::from_millis(busy * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Lets the kernel's own threads work off what was left to them. No condition tells that they have, so this is a part of what is measured, of a fixed length.
#[allow(clippy::disallowed_methods)]
pub fn let_settle(duration: Duration) {
    std::thread::sleep(duration);
}

/// Lines of /proc/meminfo, in bytes.
pub fn memory(names: &[&str]) -> Result<Vec<i64>> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let find = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<i64>().ok());
        Ok(kib.ok_or(format!("no {name} in /proc/meminfo"))? * 1024)
    };
    names.iter().map(find).collect()
}

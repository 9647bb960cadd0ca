//! Tasks that tests submit.

use shoal_proto::v1::{Resources, TaskSpec};

/// Between two beats of a witness task.
pub const BEAT_MS: u64 = 20;

/// A task of this command with small reservations.
pub fn command(words: &[&str]) -> TaskSpec {
    TaskSpec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        resources: Some(Resources { cpu_milli: 100, memory_bytes: 32 << 20 }),
        ..Default::default()
    }
}

/// A shell script in the default root.
pub fn sh(script: &str) -> TaskSpec {
    command(&["sh", "-c", script])
}

/// `spec` with this many thousandths of a core.
pub fn with_cpu(mut spec: TaskSpec, cpu_milli: u32) -> TaskSpec {
    let resources = spec.resources.get_or_insert_default();
    resources.cpu_milli = cpu_milli;
    spec
}

/// `spec` with this much memory.
pub fn with_memory(mut spec: TaskSpec, memory_bytes: u64) -> TaskSpec {
    let resources = spec.resources.get_or_insert_default();
    resources.memory_bytes = memory_bytes;
    spec
}

/// A task that bears witness for `ms`: it writes `start`, a `beat` every [`BEAT_MS`], and `end`, each with the boot-time clock.
/// It waits on a pipe that nobody writes to, so that a beat costs no process.
pub fn witness(ms: u64) -> TaskSpec {
    sh(&witness_script(ms, ""))
}

/// The same, and then this command, which ends it.
pub fn witness_then(ms: u64, last: &str) -> TaskSpec {
    sh(&format!("{}; {last}", witness_script(ms, "")))
}

/// A witness that SIGTERM does not end.
pub fn stubborn_witness(ms: u64) -> TaskSpec {
    sh(&witness_script(ms, "trap '' TERM; "))
}

fn witness_script(ms: u64, first: &str) -> String {
    let beats = ms / BEAT_MS;
    let seconds = BEAT_MS as f64 / 1000.0;
    format!(
        "{first}mkfifo pipe && exec 3<>pipe; \
         say() {{ read now rest </proc/uptime; echo \"$1 $now\"; }}; \
         say start; i=0; \
         while [ $i -lt {beats} ]; do read -t {seconds} -u 3 none; say beat; i=$((i+1)); done; \
         say end"
    )
}

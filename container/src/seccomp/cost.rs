//! What a load costs, ours against the linear list that the oracle makes of the same rules:
//! `cargo test --release -p shoal-container --lib what_a_load_costs -- --ignored --nocapture`.

use super::Filter;
use super::tests::oracle;
use std::time::Duration;

/// Loads of each; every one in a process of its own, since a filter stays.
const LOADS: usize = 1000;

/// Nanoseconds that one load takes in a child that does nothing else.
#[allow(unsafe_code)]
fn load_ns(filter: &Filter) -> u64 {
    let (read, write) = rustix::pipe::pipe().unwrap();
    // SAFETY: the child makes system calls alone, takes no lock and allocates nothing, and ends by _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let loaded = rustix::thread::set_no_new_privs(true).is_ok();
            let before = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let loaded = loaded && filter.load().is_ok();
            let after = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let took = (after.tv_sec - before.tv_sec) as u64 * 1_000_000_000
                + (after.tv_nsec as u64).wrapping_sub(before.tv_nsec as u64);
            let _ = rustix::io::write(&write, &if loaded { took } else { u64::MAX }.to_ne_bytes());
            // SAFETY: has no preconditions.
            unsafe { libc::_exit(0) }
        }
        pid => {
            let mut bytes = [0; 8];
            assert_eq!(rustix::io::read(&read, &mut bytes).unwrap(), bytes.len());
            let took = u64::from_ne_bytes(bytes);
            assert_ne!(took, u64::MAX, "the filter was not loaded");
            let child = rustix::process::Pid::from_raw(pid);
            rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).unwrap();
            took
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn what_a_load_costs() {
    let filters = [Filter::compile(), Filter { program: oracle() }];
    let mut took = [Vec::new(), Vec::new()];
    // Alternately, so that both see the same machine.
    for _ in 0..LOADS {
        for (filter, took) in filters.iter().zip(&mut took) {
            took.push(load_ns(filter));
        }
    }
    for ((name, filter), took) in ["tree", "list"].into_iter().zip(&filters).zip(&mut took) {
        took.sort_unstable();
        let at = |permille: usize| Duration::from_nanos(took[LOADS * permille / 1000]);
        let length = filter.program.len();
        println!("{name}: {length} instructions, median {:?}, p99 {:?}", at(500), at(990));
    }
    let begin = std::time::Instant::now();
    assert!(!Filter::compile().program.is_empty());
    println!("compiled in {:?}", begin.elapsed());
}

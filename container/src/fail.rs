//! Places where a test can hold a process of a node: `failpoint!("stub.joined")` stands at every step of a start and of an end. Without the
//! cargo feature `failpoints`, which no released program has, the macro is nothing at all.
//!
//! A process that comes to an armed point stays there until it is released, and shows by its thread's name who it is; what happens to it
//! meanwhile (SIGKILL, SIGSTOP, the death of another process) is the test's doing, from outside. That is all a point can do: PID 1 of a
//! container could neither kill nor stop itself, since the kernel drops such signals from within.
//!
//! The plan is a file that every process maps and the test writes. (Not the crate `fail`: its registry lives in each process' own memory
//! behind locks, so that a point armed once would go off in every fork, and it brings a second `rand`.) Nothing is opened or locked at a point, so it
//! works between fork and exec, after the change of root and without privileges.
//!
//! Format of the file: `SLOTS` slots of 64 bytes: state, skip and tag as little-endian u32, four bytes of nothing, and the point's name filled up with
//! zeros. The test writes name, tag and skip, then `ARMED` as state; the process sets `HELD` and names its thread `fp-TAG` (tag in eight
//! hexadecimal digits); the test writes `FREE` to let it go on. `skip` counts how often the point is passed before.

/// Stands at one step of a start or an end; see [`mod@crate::fail`].
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::fail::at($name)
    };
    ($name:literal if $when:expr) => {
        if $when {
            $crate::fail::at($name)
        }
    };
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal $(if $when:expr)?) => {};
}

#[cfg(feature = "failpoints")]
pub use armed::{ARMED, FREE, HELD, PLAN_VARIABLE, SLOTS, at};

#[cfg(feature = "failpoints")]
mod armed {
    #![allow(unsafe_code)]

    use rustix::fs::{Mode, OFlags};
    use rustix::mm::{MapFlags, ProtFlags};
    use std::path::Path;
    use std::ptr::NonNull;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The environment variable that names the plan. A program that contains this text was built with failpoints.
    pub const PLAN_VARIABLE: &str = "SHOAL_FAILPOINTS";
    /// Slots of a plan.
    pub const SLOTS: usize = 8;
    /// State of a slot that means nothing, or no more.
    pub const FREE: u32 = 0;
    /// State of a slot whose point holds the next process that comes to it.
    pub const ARMED: u32 = 1;
    /// State of a slot that holds a process.
    pub const HELD: u32 = 2;

    /// Between two looks at a held slot.
    const LOOK_NS: i64 = 500_000;

    /// One slot, as it lies in the file.
    #[repr(C)]
    struct Slot {
        state: AtomicU32,
        skip: AtomicU32,
        tag: AtomicU32,
        _nothing: u32,
        name: [AtomicU32; 12],
    }
    const _: () = assert!(size_of::<Slot>() == 64);

    struct Plan(NonNull<[Slot; SLOTS]>);
    // SAFETY: the mapping lasts as long as the process and is made of atomics alone.
    unsafe impl Send for Plan {}
    // SAFETY: as above.
    unsafe impl Sync for Plan {}

    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

    /// Holds the process here if a test wants that. The first call maps the plan; forks inherit it.
    pub fn at(name: &str) {
        let Some(plan) = PLAN.get_or_init(|| map(Path::new(&std::env::var_os(PLAN_VARIABLE)?))) else {
            return;
        };
        // SAFETY: mapped for ever, and only accessed atomically.
        let slots = unsafe { plan.0.as_ref() };
        slots
            .iter()
            .filter(|slot| slot.state.load(Ordering::SeqCst) == ARMED && slot.is(name))
            .for_each(Slot::hold);
    }

    impl Slot {
        fn is(&self, name: &str) -> bool {
            let mut bytes = self.name.iter().flat_map(|word| word.load(Ordering::SeqCst).to_le_bytes());
            name.bytes().all(|byte| bytes.next() == Some(byte)) && bytes.next().is_none_or(|byte| byte == 0)
        }

        fn hold(&self) {
            if self.skip.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                return;
            }
            let before = rustix::thread::name();
            if self.state.compare_exchange(ARMED, HELD, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                return; // another process came first
            }
            let _ = std::ffi::CString::new(format!("fp-{:08x}", self.tag.load(Ordering::SeqCst)))
                .map(|name| rustix::thread::set_name(&name));
            let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: LOOK_NS };
            while self.state.load(Ordering::SeqCst) == HELD {
                let _ = rustix::thread::nanosleep(&pause);
            }
            let _ = before.map(|name| rustix::thread::set_name(&name));
        }
    }

    fn map(path: &Path) -> Option<Plan> {
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        if (rustix::fs::fstat(&file).ok()?.st_size as usize) < size_of::<[Slot; SLOTS]>() {
            return None;
        }
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping aliases nothing; the file is long enough, and tests do not cut it.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size_of::<[Slot; SLOTS]>(),
                flags,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        NonNull::new(address.ok()?.cast()).map(Plan)
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    #![allow(unsafe_code)] // to set an environment variable

    use super::armed::{ARMED, FREE, HELD, PLAN_VARIABLE, SLOTS, at};
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, Instant};

    fn word(file: &std::fs::File, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, offset).expect("the plan has this slot");
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn an_armed_point_holds_who_comes_after_the_skipped_and_shows_who_it_is() {
        let plan = tempfile::NamedTempFile::new().unwrap();
        let file = plan.as_file();
        file.set_len(64 * SLOTS as u64).unwrap();
        // The only test of this crate that has a plan; set before any thread of it can have looked.
        // SAFETY: nothing else in this process writes or reads the environment meanwhile.
        unsafe { std::env::set_var(PLAN_VARIABLE, plan.path()) };
        at("a.step");
        let put = |offset: u64, bytes: &[u8]| file.write_all_at(bytes, offset).unwrap();
        put(64 + 16, b"a.step");
        put(64 + 8, &0xabcd_u32.to_le_bytes());
        put(64 + 4, &1u32.to_le_bytes());
        put(64, &ARMED.to_le_bytes());
        at("a.st");
        at("a.step.more");
        at("a.step");
        assert_eq!((word(file, 64), word(file, 68)), (ARMED, 0), "passed once, and only by its own name");
        let held = std::thread::spawn(|| {
            at("a.step");
            rustix::thread::name().unwrap()
        });
        let limit = Instant::now() + Duration::from_secs(20);
        let names = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            tasks
                .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
                .collect::<String>()
        };
        while !names().contains("fp-0000abcd") {
            assert!(Instant::now() < limit, "nobody is held: {}", names());
            std::thread::yield_now();
        }
        assert_eq!(word(file, 64), HELD);
        put(64, &FREE.to_le_bytes());
        assert!(!held.join().unwrap().to_string_lossy().starts_with("fp-"), "it has its own name again");
        at("a.step");
    }
}

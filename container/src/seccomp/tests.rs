//! The compiler against another compiler and against its own definition; the list against what must and must not be possible.

use super::interpret::{Call, is_sound, run};
use super::list::{self, ARCHITECTURE, Check, Range, Verdict};
use super::{Filter, compile};
use libc::sock_filter;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// Numbers tried one by one; the kernel's are far below.
const NUMBERS: u32 = 2048;
/// Instructions that the filter may have. What it costs a task is its depth; what it costs a start is its length and the depth.
const LENGTH_MAX: usize = 512;
/// Instructions that any call may take. (One with a fixed verdict takes the kernel none.)
const STEPS_MAX: usize = 40;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

fn holds(check: &Check, arguments: &[u64; 6]) -> bool {
    let seen = arguments[usize::from(check.argument)] as u32 & check.mask;
    check.values.contains(&seen) == check.wanted
}

/// What ranges mean, without compiling them.
fn meaning(ranges: &[Range], number: u32, arguments: &[u64; 6]) -> u32 {
    match ranges.iter().rev().find(|range| range.first <= number).expect("ranges begin at 0").verdict {
        Verdict::Allow => ALLOW,
        Verdict::Errno(number) => errno(number),
        Verdict::Kill => KILL,
        Verdict::AllowIf(alternatives) => {
            let allowed =
                alternatives.iter().any(|checks| checks.iter().all(|check| holds(check, arguments)));
            if allowed { ALLOW } else { errno(libc::EPERM) }
        }
    }
}

fn verdict(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
    run(program, &Call::new(ARCHITECTURE, number, arguments)).0
}

/// The same list for the crate: an alternative with sets of values becomes as many rules as there are combinations.
pub(super) fn oracle() -> Vec<sock_filter> {
    let condition = |check: &Check, value: u32, op: Op| {
        SeccompCondition::new(check.argument, Len::Dword, op, value.into()).unwrap()
    };
    let expand = |checks: &[Check]| {
        checks.iter().fold(vec![Vec::new()], |rules: Vec<Vec<SeccompCondition>>, check| {
            if !check.wanted {
                let none = |mut rule: Vec<SeccompCondition>| {
                    rule.extend(check.values.iter().map(|value| condition(check, *value, Op::Ne)));
                    rule
                };
                return rules.into_iter().map(none).collect();
            }
            let with = |rule: &Vec<SeccompCondition>, value: u32| {
                [rule.clone(), vec![condition(check, value, Op::MaskedEq(check.mask.into()))]].concat()
            };
            rules.iter().flat_map(|rule| check.values.iter().map(|value| with(rule, *value))).collect()
        })
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let ranges = list::ranges();
    for number in 0..NUMBERS {
        match ranges.iter().rev().find(|range| range.first <= number).unwrap().verdict {
            Verdict::Allow => drop(rules.insert(number.into(), Vec::new())),
            Verdict::AllowIf(alternatives) => {
                let all = alternatives.iter().flat_map(|checks| expand(checks));
                rules.insert(number.into(), all.map(|rule| SeccompRule::new(rule).unwrap()).collect());
            }
            Verdict::Errno(_) | Verdict::Kill => {}
        }
    }
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    program.iter().map(|i| sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect()
}

/// Every value that any check names, its neighbours, single bits, and all of that with upper bits.
fn interesting() -> Vec<u64> {
    let named = [0, 1, 2, 6, 8, 10, 16, 17, 38, 40, 58, 132, 262, 0x2_0000, 0x2_0008, 0x5412, 0x541c, 0x5423];
    let bits = (0..32).map(|bit| 1 << bit);
    let mut values: Vec<u64> =
        named.into_iter().chain(bits).flat_map(|v: u64| [v, v + 1, v.wrapping_sub(1)]).collect();
    values.push(u64::from(u32::MAX));
    values.extend(values.clone().into_iter().map(|v| v ^ (1 << 32)));
    values.push(u64::MAX);
    values
}

/// A fixed sequence that looks random (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll() as usize % from.len()]
    }
}

#[test]
fn the_crate_allows_the_same_calls() {
    let (ours, theirs) = (Filter::compile(), oracle());
    assert!(is_sound(&theirs));
    let values = interesting();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut compared = 0;
    let mut compare = |number, arguments| {
        let (own, other) = (verdict(&ours.program, number, arguments), verdict(&theirs, number, arguments));
        // The crate knows one refusal; ours is ENOSYS where the call is unknown.
        assert_eq!(own == ALLOW, other == ALLOW, "{number} with {arguments:x?}: {own:#x}, {other:#x}");
        compared += 1;
    };
    for number in 0..NUMBERS {
        compare(number, [0; 6]);
        compare(number, [u64::MAX; 6]);
        compare(number, std::array::from_fn(|_| dice.pick(&values)));
    }
    for number in [
        libc::SYS_clone,
        libc::SYS_unshare,
        libc::SYS_ioctl,
        libc::SYS_personality,
        libc::SYS_socket,
        libc::SYS_socketpair,
    ] {
        for value in &values {
            for place in 0..3 {
                let mut arguments = [0; 6];
                arguments[place] = *value;
                compare(number as u32, arguments);
            }
        }
        for _ in 0..20_000 {
            compare(number as u32, std::array::from_fn(|_| dice.pick(&values)));
        }
    }
    assert!(compared > 120_000);
}

#[test]
fn a_compiled_program_means_what_its_ranges_mean() {
    let checked: Vec<Verdict> =
        list::ranges().iter().map(|r| r.verdict).filter(|v| matches!(v, Verdict::AllowIf(_))).collect();
    let plain = [Verdict::Allow, Verdict::Errno(libc::EPERM), Verdict::Errno(libc::ENOSYS), Verdict::Kill];
    let values = interesting();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for round in 0..60 {
        // Up to thousands of instructions, so that jumps are longer than a comparison's own.
        let mut ranges = vec![Range { first: 0, verdict: dice.pick(&plain) }];
        for _ in 0..dice.roll() % 600 {
            let verdict =
                if dice.roll().is_multiple_of(20) { dice.pick(&checked) } else { dice.pick(&plain) };
            let first = ranges.last().unwrap().first + 1 + (dice.roll() % 4) as u32;
            ranges.push(Range { first, verdict });
        }
        let program = compile::program(&ranges);
        assert!(is_sound(&program), "round {round}");
        let last = ranges.last().unwrap().first;
        for number in (0..last + 3).chain([0x3fff_ffff, 0x4000_0000, u32::MAX]) {
            let arguments = std::array::from_fn(|_| dice.pick(&values));
            let expected = meaning(&ranges, number, &arguments);
            assert_eq!(verdict(&program, number, arguments), expected, "round {round}, call {number}");
        }
    }
}

#[test]
fn the_filter_is_short_and_shallow() {
    let filter = Filter::compile();
    assert!(is_sound(&filter.program));
    assert!(filter.program.len() <= LENGTH_MAX, "{} instructions", filter.program.len());
    let values = interesting();
    let mut dice = Dice(7);
    for number in 0..NUMBERS {
        for _ in 0..50 {
            let call = Call::new(ARCHITECTURE, number, std::array::from_fn(|_| dice.pick(&values)));
            let (_, steps) = run(&filter.program, &call);
            assert!(steps <= STEPS_MAX, "call {number} takes {steps} instructions");
        }
    }
}

#[test]
fn what_reaches_beyond_the_container_is_refused() {
    let filter = Filter::compile();
    let refused = [
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_adjtimex,
        libc::SYS_bpf,
        libc::SYS_chroot,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_fanotify_init,
        libc::SYS_fanotify_mark,
        libc::SYS_finit_module,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_init_module,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_kcmp,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_lookup_dcookie,
        libc::SYS_mbind,
        libc::SYS_migrate_pages,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_move_pages,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pivot_root,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ];
    for number in refused {
        assert_eq!(verdict(&filter.program, number as u32, [0; 6]), errno(libc::EPERM), "call {number}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_this_architecture_alone_has_is_decided() {
    let filter = Filter::compile();
    for number in [libc::SYS_modify_ldt, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_kexec_file_load] {
        assert_eq!(verdict(&filter.program, number as u32, [0; 6]), errno(libc::EPERM), "call {number}");
    }
    for x32 in [0x4000_0000, 0x4000_0000 + 59, 0x4000_0000 + 520, 0x7fff_ffff] {
        assert_eq!(verdict(&filter.program, x32, [0; 6]), KILL, "call {x32:#x}");
    }
    // What a tracer writes to skip a call.
    assert_eq!(verdict(&filter.program, u32::MAX, [0; 6]), errno(libc::ENOSYS));
}

#[test]
fn other_architectures_are_killed_whatever_they_call() {
    let filter = Filter::compile();
    for architecture in [0x4000_0003, 0xc000_0016, ARCHITECTURE ^ 0x8000_0000, 0] {
        for number in 0..NUMBERS {
            assert_eq!(run(&filter.program, &Call::new(architecture, number, [0; 6])).0, KILL);
        }
    }
}

#[test]
fn calls_newer_than_the_list_do_not_exist() {
    let filter = Filter::compile();
    for number in (468..NUMBERS).chain([100_000, 0x3fff_ffff]) {
        assert_eq!(verdict(&filter.program, number, [0; 6]), errno(libc::ENOSYS), "call {number}");
    }
    assert_eq!(verdict(&filter.program, libc::SYS_clone3 as u32, [0; 6]), errno(libc::ENOSYS));
}

#[test]
fn arguments_decide_where_a_number_does_not() {
    let filter = Filter::compile();
    let allowed = |number: i64, arguments: &[u64]| {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        verdict(&filter.program, number as u32, all) == ALLOW
    };
    const THREAD: u64 = 0x3d_0f00; // what a C library passes for a thread
    assert!(allowed(libc::SYS_clone, &[THREAD]) && allowed(libc::SYS_clone, &[17]));
    assert!(allowed(libc::SYS_unshare, &[libc::CLONE_FILES as u64]));
    for bit in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000_u64] {
        assert!(!allowed(libc::SYS_clone, &[bit | 17]) && !allowed(libc::SYS_clone, &[bit | 1 << 40]));
        assert!(!allowed(libc::SYS_unshare, &[bit]) && !allowed(libc::SYS_unshare, &[bit | 0x200]));
    }
    assert!(!allowed(libc::SYS_unshare, &[0x80]), "a time namespace");
    for family in 0..64 {
        assert_eq!(allowed(libc::SYS_socket, &[family, 1, 0]), [1, 2, 10, 16].contains(&family), "{family}");
        assert_eq!(allowed(libc::SYS_socketpair, &[family, 1, 0]), family == 1, "{family}");
    }
    assert!(allowed(libc::SYS_socket, &[2, 0x8_0801, 6]), "flags of the type do not count");
    assert!(!allowed(libc::SYS_socket, &[2, 3, 1]) && !allowed(libc::SYS_socket, &[10, 1, 132]));
    assert!(!allowed(libc::SYS_socket, &[16, 3, 9]), "the audit protocol of netlink");
    assert!(!allowed(libc::SYS_ioctl, &[0, 0x5412]) && !allowed(libc::SYS_ioctl, &[0, 1 << 32 | 0x5412]));
    assert!(allowed(libc::SYS_ioctl, &[0, 0x5413]));
    assert!(allowed(libc::SYS_personality, &[u64::from(u32::MAX)]));
    assert!(!allowed(libc::SYS_personality, &[0x40_0000]), "executable data");
}

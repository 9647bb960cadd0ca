//! Keys of the kernel: they belong to users and sessions, not to namespaces.

use super::told;
use crate::escape::attempt::{Attempt, Control, Outcome};
use crate::escape::raw::call;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("keyrings::read_a_key_of_the_host", read, Control::Root),
    Attempt::new("keyrings::search_the_session_of_the_host", search, Control::Root),
    Attempt::new("keyrings::add_a_key", add, Control::Root),
    Attempt::new("keyrings::use_up_everyones_quota", join_many, Control::Root),
];

/// What a task must not find; what the harness puts into its own session.
pub const CANARY_KEY: &std::ffi::CStr = c"shoal-escape-canary";
/// Its content.
pub const CANARY_TEXT: &str = "secret";
const SESSION: isize = -3;
const KEYCTL_READ: usize = 11;
const KEYCTL_SEARCH: usize = 10;

fn read() -> Outcome {
    let Ok(key) = told::get(told::KEY).parse::<isize>() else {
        return Outcome::Skipped("this kernel gave the harness no key".into());
    };
    let mut bytes = [0u8; 64];
    Outcome::of(
        &format!("read key {key}"),
        call!(libc::SYS_keyctl, KEYCTL_READ, key, bytes.as_mut_ptr(), bytes.len(), 0),
    )
}

fn search() -> Outcome {
    if told::get(told::KEY).is_empty() {
        return Outcome::Skipped("this kernel gave the harness no key".into());
    }
    Outcome::all([
        Outcome::of("request_key", call!(libc::SYS_request_key, c"user".as_ptr(), CANARY_KEY.as_ptr(), 0, 0)),
        Outcome::of(
            "search the session",
            call!(libc::SYS_keyctl, KEYCTL_SEARCH, SESSION, c"user".as_ptr(), CANARY_KEY.as_ptr(), 0),
        ),
    ])
}

fn add_key(description: &std::ffi::CStr) -> std::io::Result<usize> {
    call!(
        libc::SYS_add_key,
        c"user".as_ptr(),
        description.as_ptr(),
        CANARY_TEXT.as_ptr(),
        CANARY_TEXT.len(),
        SESSION
    )
}

/// Puts the canary into this process' session; its serial number.
pub fn plant() -> Option<usize> {
    add_key(CANARY_KEY).ok()
}

fn add() -> Outcome {
    if told::get(told::KEY).is_empty() {
        return Outcome::Skipped("this kernel gave the harness no key".into());
    }
    Outcome::of("add_key", add_key(c"shoal-escape-own"))
}

fn join_many() -> Outcome {
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    if told::get(told::KEY).is_empty() {
        return Outcome::Skipped("this kernel gave the harness no key".into());
    }
    Outcome::of("make a session", call!(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0))
}

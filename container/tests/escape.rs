//! The escape suite: what a hostile task tries from inside of a container, and what a hostile root file system does to the runner that starts it.
//! None of it may succeed.
//!
//! This program plays every part. Without arguments of its own it is the suite; copied into a root file system and started by a real runner with
//! `attack` it is the task; with `control` it runs the same attempts where nothing protects from them, to show that they can succeed.
#![allow(clippy::unwrap_used, unsafe_code)]

mod support;

mod escape {
    pub mod arena;
    pub mod attacker;
    pub mod attempt;
    pub mod attempts;
    pub mod control;
    pub mod evil;
    pub mod hold;
    pub mod host;
    pub mod outside;
    pub mod raw;
    pub mod suite;
}

use escape::{attacker, attempts, control, hold, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["attack", ..] => attacker::run(&arguments[1..], || ()),
        ["control", kind, ..] => {
            if let Err(error) = control::run(kind, &arguments[2..]) {
                eprintln!("the control could not be set up: {error}");
                return ExitCode::FAILURE;
            }
        }
        ["whoami", field] => println!("{}", attempts::whoami(field)),
        ["hold", what] => hold::run(what),
        _ => return suite::run(),
    }
    ExitCode::SUCCESS
}

//! The suite: a trial for each attempt in each kind of container, a trial for each control, and what is looked at from outside.

use super::arena::{Arena, IN_PRIVATE_LAYER, WITHOUT_IDS, capable, modes};
use super::attempt::{Control, Outcome};
use super::{attempts, outside};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Made by the first trial that needs it.
static ARENAS: [Mutex<Option<Arena>>; 2] = [const { Mutex::new(None) }; 2];
/// A key of the host.
pub static KEY: OnceLock<Option<usize>> = OnceLock::new();
/// What was skipped, and why; how many held.
static TALLY: Mutex<Tally> = Mutex::new(Tally { held: 0, controls: 0, skipped: BTreeMap::new() });

struct Tally {
    held: usize,
    controls: usize,
    skipped: BTreeMap<String, String>,
}

/// Runs it as a test program's main.
pub fn run() -> ExitCode {
    let arguments = Arguments::from_args();
    // Into the session of this thread, which all others inherit, the runner's and the controls' as well.
    KEY.get_or_init(attempts::plant);
    let mut trials = inside();
    trials.extend(controls());
    trials.extend(outside::trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    for arena in &ARENAS {
        *arena.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    summary();
    conclusion.exit_code()
}

/// With the arena of a runner of root's; one trial at a time. A trial that panics in it leaves it usable: containers are independent.
pub fn with_arena<T>(action: impl FnOnce(&mut Arena) -> T) -> T {
    with_arena_of(false, action)
}

/// The same, or with that of an ordinary user.
pub fn with_arena_of<T>(rootless: bool, action: impl FnOnce(&mut Arena) -> T) -> T {
    let mut arena = ARENAS[usize::from(rootless)].lock().unwrap_or_else(PoisonError::into_inner);
    action(arena.get_or_insert_with(|| Arena::new(rootless)))
}

fn inside() -> Vec<Trial> {
    let pairs = modes().flat_map(|mode| attempts::all().map(move |attempt| (mode, attempt)));
    pairs
        .map(|(mode, attempt)| {
            let name = format!("{}::{}", mode.name, attempt.name);
            Trial::test(name.clone(), move || {
                let (results, ids) =
                    with_arena_of(mode.rootless, |arena| (arena.results(mode), arena.enforces("ids")));
                match results.outcomes.get(attempt.name) {
                    Some(Outcome::Escaped(what)) if !ids && WITHOUT_IDS.contains(&attempt.name) => {
                        let why = format!("known, and told to the server (ids): {what}");
                        judge(&name, Some(&Outcome::Skipped(why)), &results.text)
                    }
                    Some(Outcome::Escaped(_)) if mode.image && IN_PRIVATE_LAYER.contains(&attempt.name) => {
                        let why = "in the container's private layer; the image is looked at from outside"
                            .to_owned();
                        judge(&name, Some(&Outcome::Skipped(why)), &results.text)
                    }
                    outcome => judge(&name, outcome, &results.text),
                }
            })
        })
        .collect()
}

fn judge(name: &str, outcome: Option<&Outcome>, text: &str) -> Result<(), Failed> {
    let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Some(Outcome::Held(_)) => tally.held += 1,
        Some(Outcome::Skipped(why)) => _ = tally.skipped.insert(name.to_owned(), why.clone()),
        Some(Outcome::Escaped(what)) => return Err(format!("ESCAPED: {what}").into()),
        Some(Outcome::Broken(why)) => return Err(format!("proves nothing: {why}").into()),
        None => return Err(format!("the container said nothing about it, but: {text}").into()),
    }
    Ok(())
}

fn controls() -> Vec<Trial> {
    let controlled = attempts::all().filter(|attempt| !matches!(attempt.control, Control::None(_)));
    controlled
        .map(|attempt| {
            let name = format!("control::{}", attempt.name);
            Trial::test(name.clone(), move || {
                let results = with_arena(|arena| arena.control(attempt.control));
                let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
                match results.outcomes.get(attempt.name) {
                    Some(Outcome::Escaped(_)) => tally.controls += 1,
                    Some(Outcome::Skipped(why)) => _ = tally.skipped.insert(name.clone(), why.clone()),
                    Some(Outcome::Held(text))
                        if text.starts_with("this kernel") || text.split("; ").all(is_missing) =>
                    {
                        tally.skipped.insert(name.clone(), format!("this kernel does not have it: {text}"));
                    }
                    Some(Outcome::Held(text)) if !capable() => {
                        tally
                            .skipped
                            .insert(name.clone(), format!("root of this machine lacks capabilities: {text}"));
                    }
                    other => {
                        return Err(format!("does not succeed even without protection: {other:?}").into());
                    }
                }
                Ok(())
            })
        })
        .collect()
}

/// Whether the error says that this kernel does not have what was tried.
fn is_missing(part: &str) -> bool {
    // ENODEV, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT.
    let numbers = [19, 93, 94, 95, 97].map(|number| format!("(os error {number})"));
    ["ENOSYS", "ENOENT"].iter().any(|name| part.ends_with(name))
        || numbers.iter().any(|number| part.ends_with(number))
}

/// What the numbers of trials do not tell.
fn summary() {
    let tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    let uncontrolled = attempts::all().filter(|attempt| matches!(attempt.control, Control::None(_))).count();
    println!(
        "escape suite: {} attempts in {} kinds of containers: {} held, {} skipped; {} controls succeeded, {uncontrolled} attempts have none",
        attempts::all().count(),
        modes().count(),
        tally.held,
        tally.skipped.len(),
        tally.controls,
    );
    for (name, why) in &tally.skipped {
        println!("skipped  {name}: {why}");
    }
}

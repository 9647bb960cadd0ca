//! Selectors: how a command line names tasks. Ids, prefixes, `@`-words, comma lists, and `-` for ids on stdin.
//!
//! The `@`-words mean the caller's own tasks, so that nobody cancels another's work by a short word.

use crate::client::Client;
use crate::error::Error;
use futures::{StreamExt, TryStreamExt};
use shoal_proto::v1;
use shoal_proto::v1::State;
use std::collections::HashSet;
use std::str::FromStr;
use uuid::Uuid;

/// A shorter prefix would name half the cluster.
pub const PREFIX_DIGITS_MIN: usize = 4;
/// Digits of a whole short form.
pub const SHORT_DIGITS: usize = 8;
/// Hexadecimal digits of an id that hold its time.
const TIME_DIGITS: usize = 12;
/// Prefixes that are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// The table of selectors, as `docs/contract.md` shows it.
pub const TABLE: &[(&str, &str)] = &[
    ("ID", "a task's full id"),
    (
        "PREFIX",
        "4 to 8 digits: a unique prefix of the short form (the first eight digits of an id's last group)",
    ),
    ("@last", "the tasks of your latest submission"),
    ("@mine", "your tasks that have not ended"),
    ("@failed", "your tasks that failed, or exited with another code than 0"),
    ("@running", "your running tasks"),
    ("@queued", "your queued tasks"),
    ("@held", "your queued tasks that somebody holds"),
    ("A,B,…", "each of a list"),
    ("-", "ids on stdin, separated by blanks"),
];

/// One selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A full id.
    Full(Uuid),
    /// A prefix of a short form, in lower case.
    Prefix(String),
    /// `@last`
    Last,
    /// `@mine`
    Mine,
    /// `@failed`
    Failed,
    /// `@running`
    Running,
    /// `@queued`
    Queued,
    /// `@held`
    Held,
}

/// A text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a task: {0:?}; wanted an id, 4 to 8 digits of a short one, @last, @mine, @failed, @running, @queued or @held"
)]
pub struct BadSelector(String);

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Selector, BadSelector> {
        match text {
            "@last" => return Ok(Selector::Last),
            "@mine" => return Ok(Selector::Mine),
            "@failed" => return Ok(Selector::Failed),
            "@running" => return Ok(Selector::Running),
            "@queued" => return Ok(Selector::Queued),
            "@held" => return Ok(Selector::Held),
            _ => {}
        }
        if let Ok(id) = Uuid::parse_str(text) {
            return Ok(Selector::Full(id));
        }
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex && (PREFIX_DIGITS_MIN..=SHORT_DIGITS).contains(&text.len()) {
            return Ok(Selector::Prefix(text.to_ascii_lowercase()));
        }
        Err(BadSelector(text.to_owned()))
    }
}

/// The selectors of one word of the command line: a comma list.
pub fn parse_list(text: &str) -> Result<Vec<Selector>, BadSelector> {
    text.split(',').filter(|part| !part.is_empty()).map(str::parse).collect()
}

/// The short form of a full id: the first eight digits of its last group.
pub fn short(id: &str) -> &str {
    id.rsplit('-').next().and_then(|tail| tail.get(..SHORT_DIGITS)).unwrap_or(id)
}

/// The full ids that `selectors` name, each once, in order. Full ids are not looked up.
pub async fn resolve(client: &Client, user: &str, selectors: &[Selector]) -> Result<Vec<String>, Error> {
    let lookups = selectors.iter().cloned().map(|selector| one(client.clone(), user.to_owned(), selector));
    let found: Vec<Vec<String>> =
        futures::stream::iter(lookups).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
    let mut seen = HashSet::new();
    Ok(found.into_iter().flatten().filter(|id| seen.insert(id.clone())).collect())
}

async fn one(client: Client, user: String, selector: Selector) -> Result<Vec<String>, Error> {
    let of_states = |states: &[State]| v1::ListRequest {
        states: states.iter().map(|state| (*state).into()).collect(),
        user: user.clone(),
        page_size: 1000,
        newest_first: true,
        ..v1::ListRequest::default()
    };
    let tasks = match selector {
        Selector::Full(id) => return Ok(vec![id.to_string()]),
        Selector::Prefix(prefix) => return Ok(vec![client.get(&prefix).await?.id]),
        Selector::Last => return latest(&client, of_states(&[])).await,
        Selector::Mine => client.tasks(of_states(&[State::Queued, State::Running])),
        Selector::Running => client.tasks(of_states(&[State::Running])),
        // In the order in which they came: who moves them means them so.
        Selector::Queued => {
            client.tasks(v1::ListRequest { newest_first: false, ..of_states(&[State::Queued]) })
        }
        Selector::Held => {
            let queued = v1::ListRequest { newest_first: false, ..of_states(&[State::Queued]) };
            let queued = client.tasks(queued);
            queued.try_filter(|task| std::future::ready(task.hold.is_some())).boxed()
        }
        Selector::Failed => {
            let ended = client.tasks(of_states(&[State::Complete, State::Failed]));
            ended.try_filter(|task| std::future::ready(!crate::exit::succeeded(task))).boxed()
        }
    };
    tasks.map_ok(|task| task.id).try_collect().await
}

/// The tasks of the newest submission: all tasks of one share the time in their ids. Oldest first, as they were submitted.
async fn latest(client: &Client, request: v1::ListRequest) -> Result<Vec<String>, Error> {
    let mut newest = client.tasks(v1::ListRequest { page_size: 50, ..request });
    let mut ids: Vec<String> = Vec::new();
    while let Some(task) = newest.try_next().await? {
        if ids.first().is_some_and(|first| time_of(first) != time_of(&task.id)) {
            break;
        }
        ids.push(task.id);
    }
    ids.reverse();
    Ok(ids)
}

fn time_of(id: &str) -> String {
    id.chars().filter(|c| *c != '-').take(TIME_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        let id = "0192d000-0000-7000-8000-00000000abcd";
        let wanted = vec![
            Selector::Full(id.parse().unwrap()),
            Selector::Prefix("beef".into()),
            Selector::Last,
            Selector::Mine,
            Selector::Failed,
            Selector::Running,
            Selector::Queued,
            Selector::Held,
        ];
        let text = format!("{id},BEEF,@last,@mine,@failed,,@running,@queued,@held");
        assert_eq!(parse_list(&text).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["abc", "012345678", "xyzw", "@all", "@", "-1"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_short_form_is_the_beginning_of_the_last_group() {
        assert_eq!(short("0192d000-0000-7000-8000-00c0ffee0001"), "00c0ffee");
        assert_eq!(short("odd"), "odd");
        assert_eq!(time_of("0192d000-0000-7000-8000-00c0ffee0001"), "0192d0000000");
    }
}

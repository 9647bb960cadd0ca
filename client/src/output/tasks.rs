//! Tasks in every output form.

use super::json::{self, state_word};
use super::table::{Cell, Table};
use super::{Form, style};
use crate::selector::short;
use crate::{values, words};
use shoal_proto::convert::priority;
use shoal_proto::v1;
use shoal_proto::v1::State;
use shoal_proto::v1::exit::How;
use std::collections::HashMap;
use std::io;

/// Characters of a command in a narrow table.
const COMMAND_CHARS_MAX: usize = 40;

/// Milliseconds since 1970, for ages that people read.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Prints tasks: one as itself, several as a list, in the JSON forms.
pub fn print(form: Form, tasks: &[v1::Task]) -> io::Result<()> {
    match form {
        Form::Table | Form::Wide => super::text(&table(form, tasks, &HashMap::new()).render()),
        Form::Json => match tasks {
            [task] => super::json(&json::Task::from(task)),
            _ => super::json(&json::Tasks { tasks: tasks.iter().map(json::Task::from).collect() }),
        },
        Form::Jsonl => super::json_lines(tasks.iter().map(json::Task::from)),
        Form::Name => super::lines(tasks.iter().map(|task| task.id.as_str())),
    }
}

/// A table of tasks; `reasons` has why a queued one waits, by id.
pub fn table(form: Form, tasks: &[v1::Task], reasons: &HashMap<String, String>) -> Table {
    let now = now_ms();
    let wide = form == Form::Wide;
    let mut table = Table::new(match wide {
        true => &[
            "ID", "STATE", "NAME", "USER", "NODE", "TRY", "PRIO", "CPUS", "MEMORY", "ROOT", "AGE", "END",
            "COMMAND",
        ],
        false => &["ID", "STATE", "NAME", "USER", "NODE", "AGE", "END"],
    });
    for task in tasks {
        let spec = task.spec.clone().unwrap_or_default();
        let resources = spec.resources.unwrap_or_default();
        let end = reasons.get(&task.id).cloned().unwrap_or_else(|| end_text(task));
        let state = Cell::styled(state_word(task.state()), style::of_task(task));
        let attempt = task.attempts.last();
        let node: Cell = nodes_text(task).into();
        let age: Cell = values::age_text(age_ms(task, now)).into();
        table.row(match wide {
            true => vec![
                task.id.as_str().into(),
                state,
                spec.name.as_str().into(),
                spec.user.as_str().into(),
                node,
                attempt.map_or(String::new(), |attempt| attempt.number.to_string()).into(),
                priority::text(task.priority).into(),
                values::cpus_text(resources.cpu_milli).into(),
                values::bytes_text(resources.memory_bytes).into(),
                spec.root.as_str().into(),
                age,
                end.into(),
                words::join(&spec.command).into(),
            ],
            false => vec![
                short(&task.id).into(),
                state,
                title(&spec).into(),
                spec.user.as_str().into(),
                node,
                age,
                end.into(),
            ],
        });
    }
    table
}

/// Where its latest attempt is or was: the first of several nodes, and how many more there are.
pub fn nodes_of(task: &v1::Task) -> String {
    match task.attempts.last() {
        Some(attempt) if attempt.members.len() > 1 => {
            format!("{}+{}", attempt.node_name, attempt.members.len() - 1)
        }
        Some(attempt) => attempt.node_name.clone(),
        None => String::new(),
    }
}

/// The same; of a task that has not begun, how many nodes it waits for where they are several.
fn nodes_text(task: &v1::Task) -> String {
    let wanted = task.spec.as_ref().map_or(0, nodes_wanted);
    if task.attempts.is_empty() && wanted > 1 { format!("({wanted} nodes)") } else { nodes_of(task) }
}

/// How many nodes it runs on at once.
pub fn nodes_wanted(spec: &v1::TaskSpec) -> u32 {
    spec.parts.iter().fold(0_u32, |sum, part| sum.saturating_add(part.nodes)).max(1)
}

/// The task's name, else its command.
pub fn title(spec: &v1::TaskSpec) -> String {
    if !spec.name.is_empty() {
        return spec.name.clone();
    }
    let command = words::join(&spec.command);
    match command.char_indices().nth(COMMAND_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command,
    }
}

/// How long it waits, runs, or how long ago it ended.
fn age_ms(task: &v1::Task, now: i64) -> u64 {
    let since = match task.state() {
        State::Running => task.attempts.last().map_or(task.submitted_ms, |attempt| attempt.started_ms),
        State::Complete | State::Canceled | State::Failed => task.ended_ms,
        State::Queued | State::Unspecified => task.submitted_ms,
    };
    u64::try_from(now.saturating_sub(since)).unwrap_or(0)
}

/// Who holds a task, and why.
pub fn hold_text(hold: &v1::HoldInfo) -> String {
    if hold.reason.is_empty() {
        format!("by {}", hold.by)
    } else {
        format!("by {}: {}", hold.by, hold.reason)
    }
}

/// How the task ended, in a few words; empty while it has not.
pub fn end_text(task: &v1::Task) -> String {
    match task.state() {
        State::Unspecified | State::Queued => {
            task.hold.as_ref().map_or(String::new(), |hold| format!("held {}", hold_text(hold)))
        }
        State::Running => match &task.cancel {
            Some(cancel) => format!("being canceled by {}", cancel.by),
            None => String::new(),
        },
        State::Complete => complete_text(task),
        State::Canceled => match &task.cancel {
            Some(cancel) if cancel.reason.is_empty() => format!("by {}", cancel.by),
            Some(cancel) => format!("by {}: {}", cancel.by, cancel.reason),
            None => String::new(),
        },
        State::Failed => match &task.failure {
            Some(failure) => format!("{}: {}", json::kind_word(failure.kind()), failure.message),
            None => String::new(),
        },
    }
}

/// How its process ended; of several members, the one that counts is named.
fn complete_text(task: &v1::Task) -> String {
    let exit = task.exit.as_ref().map(exit_text).unwrap_or_default();
    match task.attempts.last() {
        // In the words of the attempt's end, which has the member.
        Some(last) if !last.members.is_empty() && last.end.starts_with(&exit) => last.end.clone(),
        Some(_) | None => exit,
    }
}

/// A wait status in words.
pub fn exit_text(exit: &v1::Exit) -> String {
    let how = match exit.how {
        Some(How::Code(code)) => format!("exit {code}"),
        Some(How::Signal(signal)) => format!("signal {signal}"),
        None => "no exit status".to_owned(),
    };
    if exit.oom_killed { format!("{how} (out of memory)") } else { how }
}

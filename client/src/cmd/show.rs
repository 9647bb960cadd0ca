//! `shoal show`: everything about tasks.

use super::list::by_ids;
use crate::cli::Done;
use crate::cli::args::Selection;
use crate::cli::context::Context;
use crate::output::json::{gang_end_word, net_word, state_word};
use crate::output::style::{self, paint};
use crate::output::table::Table;
use crate::output::{self, Form, tasks};
use crate::values::{about_text, age_text, bytes_text, counts_text, cpus_text, mount_text, nodes_text};
use crate::{selector, words};
use clap::Args;
use shoal_proto::convert::priority;
use shoal_proto::v1;

/// The options of `show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
}

/// Shows tasks.
pub async fn run(context: &Context, args: &ShowArgs) -> Done {
    let ids = context.resolve(&args.selection.tasks).await?;
    let found = by_ids(context, &ids, "cannot show the tasks").await?;
    match context.form {
        Form::Table => output::text(&found.iter().map(page).collect::<Vec<_>>().join("\n"))?,
        form => tasks::print(form, &found)?,
    }
    Ok(0)
}

/// All of one task, a fact a line.
fn page(task: &v1::Task) -> String {
    let spec = task.spec.clone().unwrap_or_default();
    let state = paint(style::of_task(task), &state_word(task.state()));
    let end = tasks::end_text(task);
    let on_node_loss = if spec.on_node_loss() == v1::OnNodeLoss::Fail { "fail" } else { "requeue" };
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    env.sort();
    let facts = [
        ("id", format!("{}   (short: {})", task.id, selector::short(&task.id))),
        ("state", if end.is_empty() { state } else { format!("{state}   {end}") }),
        ("held", task.hold.as_ref().map_or(String::new(), tasks::hold_text)),
        (
            "moved",
            task.moved.as_ref().map_or(String::new(), |moved| format!("{}   by {}", moved.to, moved.by)),
        ),
        ("priority", priority_text(task, &spec)),
        ("name", spec.name.clone()),
        ("user", spec.user.clone()),
        ("command", words::join(&spec.command)),
        ("env", words::join(&env)),
        ("root", format!("{}   in {}", spec.root, spec.workdir)),
        ("net", net_word(spec.net())),
        ("mounts", spec.mounts.iter().map(mount_text).collect::<Vec<_>>().join(" ")),
        ("labels", spec.labels.join(" ")),
        ("nodes", nodes_fact(&spec)),
        ("run as", spec.run_as.map_or(String::new(), |user| format!("{}:{}", user.uid, user.gid))),
        ("limits", limits(&spec)),
        ("expected", expected_text(task)),
        ("attempts", format!("at most {}; on node loss: {on_node_loss}", spec.max_attempts)),
        ("submitted", time_text(task.submitted_ms)),
        ("ended", time_text(task.ended_ms)),
    ];
    let facts = facts.iter().filter(|(_, fact)| !fact.is_empty());
    let mut text: String = facts.map(|(name, fact)| format!("{name:<10} {fact}\n")).collect();
    if !task.attempts.is_empty() {
        text.push_str(&attempts(&task.attempts).render());
    }
    for attempt in task.attempts.iter().filter(|attempt| !attempt.members.is_empty()) {
        text.push_str(&format!("\nmembers of attempt {}\n{}", attempt.number, members(attempt).render()));
    }
    text
}

/// The nodes that it runs on at once, and when it is over; nothing of an ordinary task.
fn nodes_fact(spec: &v1::TaskSpec) -> String {
    let parts: Vec<String> = spec.parts.iter().map(nodes_text).collect();
    let mut facts = Vec::new();
    if !parts.is_empty() {
        let end = gang_end_word(spec.gang_end()).replace('_', "-");
        facts.push(format!("{} at once ({}); ends by {end}", tasks::nodes_wanted(spec), parts.join(" + ")));
    }
    facts.extend(spec.exclusive.then(|| "exclusive".to_owned()));
    facts.join("; ")
}

/// An attempt's nodes by rank.
fn members(attempt: &v1::Attempt) -> Table {
    let mut table = Table::new(&["RANK", "NODE", "ADDRESS", "STATE", "END"]);
    for (rank, member) in attempt.members.iter().enumerate() {
        let state = if member.end.is_empty() && attempt.ended_ms == 0 { "running" } else { "ended" };
        table.row(vec![
            rank.to_string().into(),
            member.node_name.as_str().into(),
            member.address.as_str().into(),
            state.into(),
            member.end.as_str().into(),
        ]);
    }
    table
}

/// Its present priority, and the one that it was submitted with where that is another.
fn priority_text(task: &v1::Task, spec: &v1::TaskSpec) -> String {
    let now = priority::text(task.priority);
    if task.priority == spec.priority {
        now
    } else {
        format!("{now}   (was {})", priority::text(spec.priority))
    }
}

/// What it was expected to take, and why anybody should think so.
fn expected_text(task: &v1::Task) -> String {
    let runs = if task.expected_from == 1 { "run" } else { "runs" };
    match task.expected_ms {
        0 => String::new(),
        ms => format!("about {}   (learned from {} {runs} of this name)", about_text(ms), task.expected_from),
    }
}

/// What it may use; those that are the node's usual are left out.
fn limits(spec: &v1::TaskSpec) -> String {
    let resources = spec.resources.unwrap_or_default();
    let limit = if spec.time_limit_ms == 0 { "none".to_owned() } else { age_text(spec.time_limit_ms) };
    let mut limits = vec![
        format!("{} cpus", cpus_text(resources.cpu_milli)),
        format!("{} memory", bytes_text(resources.memory_bytes)),
        counts_text(&spec.counts),
        format!("{} processes", spec.pids_max),
        format!("time {limit}"),
        format!("grace {}", age_text(spec.kill_grace_ms)),
    ];
    let open_files = u64::from(spec.open_files_max);
    let chosen = [
        (open_files, format!("{open_files} open files")),
        (spec.disk_bytes_max, format!("{} written", bytes_text(spec.disk_bytes_max))),
        (spec.io_bytes_per_s_max, format!("{}/s of disk", bytes_text(spec.io_bytes_per_s_max))),
        (spec.log_bytes_max, format!("{} of log", bytes_text(spec.log_bytes_max))),
    ];
    limits.extend(chosen.into_iter().filter(|(value, _)| *value != 0).map(|(_, text)| text));
    limits.retain(|limit| !limit.is_empty());
    limits.join(", ")
}

fn attempts(attempts: &[v1::Attempt]) -> Table {
    let mut table = Table::new(&["TRY", "NODE", "STARTED", "TOOK", "END"]);
    for attempt in attempts {
        let until = if attempt.ended_ms == 0 { tasks::now_ms() } else { attempt.ended_ms };
        let took = u64::try_from(until.saturating_sub(attempt.started_ms)).unwrap_or(0);
        table.row(vec![
            attempt.number.to_string().into(),
            names(attempt).into(),
            time_text(attempt.started_ms).into(),
            age_text(took).into(),
            attempt.end.as_str().into(),
        ]);
    }
    table
}

/// Its node; of several, all by rank.
fn names(attempt: &v1::Attempt) -> String {
    match attempt.members.as_slice() {
        [] => attempt.node_name.clone(),
        members => members.iter().map(|member| member.node_name.as_str()).collect::<Vec<_>>().join(","),
    }
}

/// UTC; empty for no time.
fn time_text(ms: i64) -> String {
    if ms == 0 {
        return String::new();
    }
    jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.0}")).unwrap_or_default()
}

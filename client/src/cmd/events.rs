//! What a followed task does, shown: its log on stdout, everything else as notes on stderr.

use crate::cli::context::Context;
use crate::exit::exit_code;
use crate::follow::Event;
use crate::output::log::LogOutput;
use crate::output::{json, tasks};
use crate::selector::short;
use crate::values::bytes_text;
use shoal_proto::v1;
use std::io;

/// Shows an event.
pub fn show(context: &Context, out: &mut LogOutput, event: Event) -> io::Result<()> {
    match &event {
        Event::Bytes { rank, offset, data, times, .. } => return out.show_of(*rank, data, *offset, times),
        Event::State(_) => return Ok(()),
        // Before a note, and before another attempt's log.
        Event::Truncated { .. } | Event::Lost(_) | Event::LogIncomplete { .. } | Event::Ended(_) => {
            out.finish()?;
        }
    }
    match event {
        Event::Truncated { attempt, rank } => {
            let log = log_name(attempt, rank);
            context.note(&format!("{log} reached its cap; what came after was dropped"));
        }
        Event::Lost(attempt) => context.note(&format!(
            "attempt {} on {} is over ({}); the next one starts from the beginning",
            attempt.number,
            attempt.node_name,
            if attempt.end.is_empty() { "node lost" } else { &attempt.end }
        )),
        Event::LogIncomplete { attempt, rank, why } => {
            context.note(&format!("the rest of {} cannot be had: {why}", log_name(attempt, rank)));
        }
        Event::Bytes { .. } | Event::State(_) | Event::Ended(_) => {}
    }
    Ok(())
}

fn log_name(attempt: u32, rank: u32) -> String {
    let of = if rank == 0 { String::new() } else { format!(" of member {rank}") };
    format!("the log{of} of attempt {attempt}")
}

/// The exit code for the task, with a note when it did not end well.
pub fn ended(context: &Context, task: &v1::Task) -> u8 {
    let code = exit_code(task);
    if code != 0 {
        context.note(&ending(task));
    }
    code
}

/// One line on how a task ended that did not end well.
pub fn ending(task: &v1::Task) -> String {
    let id = short(&task.id);
    let node = tasks::nodes_of(task);
    let node = if node.is_empty() { node } else { format!(" on {node}") };
    let word = json::state_word(task.state());
    let end = tasks::end_text(task);
    let oom = match &task.exit {
        Some(exit) if exit.oom_killed => {
            format!("; give it more memory: --memory (it had {})", memory_of(task))
        }
        _ => String::new(),
    };
    format!("task {id} {word}{node}: {end}{oom}     shoal show {id}")
}

fn memory_of(task: &v1::Task) -> String {
    let resources = task.spec.as_ref().and_then(|spec| spec.resources);
    resources.map(|resources| bytes_text(resources.memory_bytes)).unwrap_or_default()
}

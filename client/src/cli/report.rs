//! Errors for people: what did not work, why, and what to type next. Three lines on stderr.

use crate::error::Error;
use crate::exit::SHOAL_FAILED;
use crate::output::style::{BOLD, RED, paint};
use std::io::{self, Write};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// An error in the form that people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What did not work.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to type next.
    pub next: String,
    /// The exit code.
    pub code: u8,
}

/// Why a command ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Something went wrong.
    Report(Box<Report>),
    /// Whoever read our output closed it: nothing to say, and nobody to say it to.
    BrokenPipe,
}

impl Report {
    /// A failure of Shoal.
    pub fn new(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Report {
        Report { what: what.into(), why: why.into(), next: next.into(), code: SHOAL_FAILED }
    }

    /// With another exit code.
    pub fn code(mut self, code: u8) -> Report {
        self.code = code;
        self
    }

    /// What did not work, with what the client saw.
    pub fn of(what: impl Into<String>, error: &Error) -> Report {
        Report::new(what, why(error), next(error))
    }

    /// Writes the three lines.
    pub fn print(&self) {
        let mut err = anstream::stderr().lock();
        let (why, next) = (one_line(&self.why), one_line(&self.next));
        // Nobody is left to tell when this fails.
        let _ = writeln!(err, "{} {}", paint(RED, "error:"), one_line(&self.what));
        let _ = writeln!(err, "  {} {why}", paint(BOLD, "why:"));
        let _ = writeln!(err, "  {} {next}", paint(BOLD, "try:"));
    }
}

impl From<Report> for Stop {
    fn from(report: Report) -> Stop {
        Stop::Report(Box::new(report))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::BrokenPipe;
        }
        Report::new("cannot write the output", error.to_string(), "df -h   (is the disk full?)").into()
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn why(error: &Error) -> String {
    match error {
        Error::Status(status) => status_why(status),
        Error::TimedOut { last: Some(last), .. } => format!("{error}; last: {}", why(last)),
        Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Protocol(_) => error.to_string(),
    }
}

/// All violations that a node names, else its message.
fn status_why(status: &Status) -> String {
    let details = status.get_error_details();
    let fields = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
    let fields: Vec<String> = fields.map(|field| format!("{} {}", field.field, field.description)).collect();
    let facts = details.precondition_failure().into_iter().flat_map(|failed| &failed.violations);
    let facts: Vec<String> = facts.map(|fact| format!("{}: {}", fact.subject, fact.description)).collect();
    let known = details.error_info().is_some_and(|info| {
        matches!(info.reason.as_str(), "TASK_ENDED" | "AMBIGUOUS_TASK" | "NOT_ENOUGH_NODES")
    });
    match (known, fields.is_empty(), facts.is_empty()) {
        (false, false, _) => fields.join("; "),
        (false, true, false) => facts.join("; "),
        _ if status.message().is_empty() => format!("the node answered {:?}", status.code()),
        _ => status.message().to_owned(),
    }
}

fn next(error: &Error) -> &'static str {
    match error {
        Error::Unreachable { .. } => "shoal dev up   (or name a live node: -N HOST:PORT, SHOAL_NODE)",
        Error::TimedOut { .. } => "shoal status   (has the cluster a majority?), or a longer --timeout",
        Error::Protocol(_) => "shoal version   (client and node should be the same)",
        Error::Status(status) => match error.reason().as_deref() {
            Some(reason) => next_of_reason(reason),
            None => next_of_code(status.code()),
        },
    }
}

fn next_of_reason(reason: &str) -> &'static str {
    match reason {
        "INVALID_FIELD" => "shoal submit --help   (limits and forms of each option)",
        "NO_SUCH_TASK" => "shoal list   (the tasks there are)",
        "AMBIGUOUS_TASK" => "more digits of the id, or the full id: shoal list -o name",
        "REQUEST_ID_REUSED" => "the same tasks as before, or another --request-id",
        "CANNOT_RUN_ANYWHERE" => {
            "shoal node ls   (what each node has), then ask for less, or submit --allow-impossible"
        }
        "QUEUE_FULL" | "TOO_MANY_CALLS" => "shoal status, and again when fewer tasks wait",
        "STORE_FULL" => "shoal status   (new tasks are refused until the store has space)",
        "SUBMIT_UNFINISHED" => "the same command with the --request-id named above",
        "NODE_LOCKED" => "shoal node ls   (whose it is), or --force",
        "NO_SUCH_NODE" | "NOT_ENOUGH_NODES" => "shoal node ls   (the nodes there are, and who has them)",
        "TASK_ENDED" => "shoal show with this id",
        "NOT_STARTED" => "shoal why with this id, or shoal log -f",
        "NO_SUCH_ATTEMPT" => "shoal show with this id   (its attempts)",
        "LOG_GONE" | "LOG_UNREACHABLE" => "shoal node ls   (is the node back?), then again",
        _ => next_of_code(Code::Unknown),
    }
}

fn next_of_code(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "shoal help",
        Code::NotFound => "shoal list",
        Code::Unavailable => "shoal status, or another node: -N HOST:PORT",
        Code::ResourceExhausted => "the same again in a while",
        Code::Unimplemented => "shoal version   (client and node should be the same)",
        _ => "shoal status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, FieldViolation};

    fn status(reason: &str, message: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "shoal", std::collections::HashMap::new());
        Status::with_error_details(Code::NotFound, message, details)
    }

    #[test]
    fn field_violations_name_every_field() {
        let mut details =
            ErrorDetails::with_error_info("INVALID_FIELD", "shoal", std::collections::HashMap::new());
        details.set_bad_request(vec![
            FieldViolation::new("tasks[0].command", "must not be empty"),
            FieldViolation::new("tasks[1].pids_max", "must be at most 65536, was 70000"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "bad", details);
        let report = Report::of("cannot submit", &status.into());
        assert_eq!(
            report.why,
            "tasks[0].command must not be empty; tasks[1].pids_max must be at most 65536, was 70000"
        );
        assert_eq!(report.code, SHOAL_FAILED);
    }

    #[test]
    fn a_reason_decides_what_to_type_next() {
        let report = Report::of("cannot show", &status("NO_SUCH_TASK", "no task \"beef\"").into());
        assert_eq!((report.why.as_str(), report.next.starts_with("shoal list")), ("no task \"beef\"", true));
    }

    #[test]
    fn what_has_no_details_still_has_three_lines() {
        for code in 0..17 {
            let report = Report::of("x", &Status::new(Code::from_i32(code), "").into());
            assert!(!report.why.is_empty() && !report.next.is_empty());
        }
        let unreachable = Error::Unreachable { tried: vec![("h:1".parse().unwrap(), "refused".into())] };
        assert_eq!(Report::of("x", &unreachable).why, "no node answers: h:1: refused");
    }
}

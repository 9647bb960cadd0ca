//! `shoal run`: submits, follows the log to stdout, passes the exit code on.

use super::events;
use super::task_options::TaskOptions;
use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::{Report, Stop};
use crate::error::Error;
use crate::exit;
use crate::follow::{Event, Follow};
use crate::output::log::LogOutput;
use crate::output::tasks::nodes_wanted;
use crate::selector::short;
use clap::Args;
use shoal_proto::v1;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

const AFTER_HELP: &str = "\
Examples:
  shoal run -- echo hello
  shoal run --cpus 2 --memory 1GiB --time-limit 10m --root host -- make test
  shoal run --nodes 3 -- hostname     on three nodes; each line of their logs with the rank of its node

Ctrl-C cancels the task and waits for its end; a second one leaves without waiting.";

/// The options of `run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArgs {
    /// The task.
    #[command(flatten)]
    pub task: TaskOptions,
    /// The command and its arguments; an image as --root may have one of its own
    #[arg(value_name = "CMD", required_unless_present = "root", trailing_var_arg = true)]
    pub command: Vec<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: RunArgs) -> Done {
    let spec = args.task.spec(args.command, &context.user);
    let mut out = LogOutput::new(false, false);
    if nodes_wanted(&spec) > 1 {
        out.label();
    }
    let mut signals = Signals::new()?;
    let (id, interrupted) = submit(context, spec, &mut signals).await?;
    let mut run = Run { context, follow: context.client.follow(&id), out, id, canceling: false };
    let to_end = async {
        let left = if interrupted { run.interrupted(&mut signals).await? } else { None };
        match left {
            Some(code) => Ok(code),
            None => run.follow_to_end(&mut signals).await,
        }
    };
    let done = context.within(to_end).await;
    match done {
        Some(done) => done,
        None => {
            context.note(&format!("--timeout has passed; the task goes on: shoal log -f {}", short(&run.id)));
            Ok(exit::TIME_LIMIT)
        }
    }
}

/// The task's id, and whether the first Ctrl-C came meanwhile: what is on its way cannot be taken back, so its id is waited for.
async fn submit(
    context: &Context,
    spec: v1::TaskSpec,
    signals: &mut Signals,
) -> Result<(String, bool), Stop> {
    let request = Uuid::now_v7();
    let submit = context.client.submit(request, vec![spec]);
    tokio::pin!(submit);
    let mut interrupted = false;
    let submitted = loop {
        tokio::select! {
            submitted = &mut submit => break submitted,
            () = signals.next() => {}
        }
        if interrupted {
            let why = format!("interrupted before the cluster answered; request {request}");
            let report = Report::new(
                "it is not known whether the task was queued",
                why,
                "shoal list   (is it there?)",
            );
            return Err(report.code(exit::CANCELED).into());
        }
        interrupted = true;
    };
    let ids = submitted.map_err(|partial| Report::of("cannot submit the task", &partial.source))?;
    let id = ids.into_iter().next();
    let id =
        id.ok_or_else(|| Report::of("cannot submit the task", &Error::Protocol("Submit without an id")))?;
    Ok((id, interrupted))
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Stop> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Report::new("cannot listen for signals", error.to_string(), "shoal submit instead")
            })
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Run<'a> {
    context: &'a Context,
    follow: Follow,
    out: LogOutput,
    id: String,
    canceling: bool,
}

enum Input {
    Event(Result<Option<Event>, Error>),
    Signal,
}

impl Run<'_> {
    async fn follow_to_end(&mut self, signals: &mut Signals) -> Done {
        loop {
            let input = tokio::select! {
                event = self.follow.next() => Input::Event(event),
                () = signals.next() => Input::Signal,
            };
            match input {
                Input::Event(Ok(Some(Event::Ended(task)))) => {
                    self.out.finish()?;
                    return Ok(events::ended(self.context, &task));
                }
                Input::Event(Ok(Some(event))) => match events::show(self.context, &mut self.out, event) {
                    Ok(()) => {}
                    Err(error) => return self.output_lost(error).await,
                },
                Input::Event(Ok(None)) => {
                    return Err(self.lost(&Error::Protocol("the task's end was not told")));
                }
                Input::Event(Err(error)) => return Err(self.lost(&error)),
                Input::Signal if self.canceling => {
                    self.context.note(&format!(
                        "left before the end; the task is being canceled: shoal show {}",
                        short(&self.id)
                    ));
                    crate::output::note(&self.id);
                    return Ok(exit::CANCELED);
                }
                Input::Signal => {
                    if let Some(code) = self.interrupted(signals).await? {
                        return Ok(code);
                    }
                }
            }
        }
    }

    /// The first Ctrl-C: cancel, and go on to the end. A second one while the cluster does not answer leaves.
    async fn interrupted(&mut self, signals: &mut Signals) -> Result<Option<u8>, Stop> {
        self.canceling = true;
        self.context.note("canceling; once more to leave without waiting");
        let canceled = tokio::select! {
            canceled = cancel(self.context, &self.id, "interrupted") => canceled,
            () = signals.next() => {
                self.context.note(&format!("left; the task may go on: shoal cancel {}", short(&self.id)));
                crate::output::note(&self.id);
                return Ok(Some(exit::CANCELED));
            }
        };
        match canceled {
            Ok(_) => Ok(None),
            // It has ended by itself: the follow tells how.
            Err(error) if error.code() == Some(tonic::Code::FailedPrecondition) => Ok(None),
            Err(error) => Err(Report::of(format!("cannot cancel task {}", self.id), &error).into()),
        }
    }

    /// Nobody reads our output any more. A local command would die of that, so the task does too.
    async fn output_lost(&self, error: io::Error) -> Done {
        if let Err(error) = cancel(self.context, &self.id, "its output was closed").await {
            self.context.note(&format!("task {} was not canceled: {error}", self.id));
        }
        Err(error.into())
    }

    fn lost(&self, error: &Error) -> Stop {
        let mut report = Report::of(format!("lost sight of task {}; it may go on", self.id), error);
        report.next = format!("shoal wait {id}, shoal log -f {id}", id = short(&self.id));
        report.into()
    }
}

async fn cancel(context: &Context, id: &str, reason: &str) -> Result<v1::Task, Error> {
    let request =
        v1::CancelRequest { task: id.to_owned(), reason: reason.to_owned(), by: context.user.clone() };
    context.client.cancel(request).await
}

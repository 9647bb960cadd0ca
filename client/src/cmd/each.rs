//! What `cancel`, `edit`, `hold` and `release` (and the print of `move`) have in common: each task is tried, the first that could not be changed is the exit code, and what has
//! become of them is printed.

use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::Report;
use crate::error::Error;
use crate::exit::SHOAL_FAILED;
use crate::output::{self, Form, tasks};
use crate::selector::short;
use futures::StreamExt;
use shoal_proto::v1;

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// Asks for each of the tasks. `verb` is for the error, `said` for what a table says of a task behind its id.
pub async fn run<F>(
    context: &Context,
    selection: &[String],
    verb: &str,
    ask: impl Fn(String) -> F,
    said: impl Fn(&v1::Task) -> String,
) -> Done
where
    F: Future<Output = Result<v1::Task, Error>>,
{
    let ids = context.resolve(selection).await?;
    let asked = ids.into_iter().map(|id| {
        let answer = ask(id.clone());
        async move { (id, answer.await) }
    });
    let mut answers = futures::stream::iter(asked).buffered(AT_ONCE);
    let (mut done, mut code) = (Vec::new(), 0);
    while let Some((id, answer)) = answers.next().await {
        match answer {
            Ok(task) => done.push(task),
            Err(error) => {
                Report::of(format!("cannot {verb} task {id}"), &error).print();
                code = SHOAL_FAILED;
            }
        }
    }
    print(context, &done, said)?;
    Ok(code)
}

/// Prints what has become of them; `said` as above.
pub(super) fn print(
    context: &Context,
    done: &[v1::Task],
    said: impl Fn(&v1::Task) -> String,
) -> std::io::Result<()> {
    let line = |id: &str, task: &v1::Task| format!("{id} {}", said(task));
    match context.form {
        Form::Table | Form::Wide if context.quiet => output::lines(done.iter().map(|task| task.id.as_str())),
        Form::Table => output::lines(done.iter().map(|task| line(short(&task.id), task))),
        Form::Wide => output::lines(done.iter().map(|task| line(&task.id, task))),
        Form::Json if done.is_empty() => Ok(()),
        form => tasks::print(form, done),
    }
}

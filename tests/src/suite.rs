//! Runs the cases of one test file: those that share the file's cluster, and those that bring one of their own because they
//! break it. Every cluster is ended and looked over for leftovers, whatever became of its cases.

use crate::cluster::{Cluster, Options};
use anyhow::{Result, anyhow};
use futures::future::LocalBoxFuture;
use futures::{FutureExt, TryFutureExt};
use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// No case takes longer unless it says so, its cluster's start and end excluded.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// What a case does with its cluster.
pub type Body = fn(Arc<Cluster>) -> LocalBoxFuture<'static, Result<()>>;

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    name: &'static str,
    options: Option<Options>,
    body: Body,
    limit: Duration,
}

impl Case {
    /// A case on the file's cluster, which it leaves as it found it.
    pub fn shared(name: &'static str, body: Body) -> Case {
        Case { name, options: None, body, limit: CASE_LIMIT }
    }
    /// A case on a cluster of its own.
    pub fn own(name: &'static str, options: Options, body: Body) -> Case {
        Case { name, options: Some(options), body, limit: CASE_LIMIT }
    }
    /// The same, with more time, or less.
    pub fn within(self, limit: Duration) -> Case {
        Case { limit, ..self }
    }
}

/// A case from an async function of the same name: `case!(shared, name)` or `case!(own options, name)`.
#[macro_export]
macro_rules! case {
    (shared, $name:ident) => {
        $crate::suite::Case::shared(stringify!($name), |cluster| Box::pin($name(cluster)))
    };
    (own $options:expr, $name:ident) => {
        $crate::suite::Case::own(stringify!($name), $options, |cluster| Box::pin($name(cluster)))
    };
}

/// Runs the cases one after the other. To be returned from `main` of a test file with `harness = false`.
pub fn run(options: Options, cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Nodes and their deadlines are real: cases that run beside each other would measure each other.
    arguments.test_threads = Some(1);
    let runtime = match Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(why) => {
            eprintln!("start tokio: {why}");
            return ExitCode::FAILURE;
        }
    };
    let shared: Arc<OnceCell<Arc<Cluster>>> = Arc::default();
    let trials = cases.into_iter().map(|case| {
        let (runtime, shared, options) = (runtime.clone(), shared.clone(), options.clone());
        Trial::test(case.name, move || {
            let outcome = runtime.block_on(async {
                match case.options {
                    Some(own) => on_own_cluster(own, case.body, case.limit).await,
                    None => on_shared_cluster(&shared, options, case.body, case.limit).await,
                }
            });
            outcome.map_err(|why| Failed::from(format!("{why:#}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Some(cluster) = shared.get()
        && let Err(why) = runtime.block_on(cluster.clear())
    {
        eprintln!("the file's cluster: {why:#}");
        return ExitCode::FAILURE;
    }
    if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn on_shared_cluster(
    shared: &OnceCell<Arc<Cluster>>,
    options: Options,
    body: Body,
    limit: Duration,
) -> Result<()> {
    let cluster = shared.get_or_try_init(|| Cluster::start(options).map_ok(Arc::new)).await?;
    judge(cluster, body, limit).await
}

async fn on_own_cluster(options: Options, body: Body, limit: Duration) -> Result<()> {
    let cluster = Arc::new(Cluster::start(options).await?);
    let outcome = judge(&cluster, body, limit).await;
    let cleared = cluster.clear().await;
    outcome.and(cleared)
}

/// Runs a body within its time; a panic is a failure like any other, so that the cluster is ended after it too.
async fn judge(cluster: &Arc<Cluster>, body: Body, limit: Duration) -> Result<()> {
    let guarded = AssertUnwindSafe(body(cluster.clone())).catch_unwind();
    let outcome = match tokio::time::timeout(limit, guarded).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(anyhow!("{}", panic_text(&*panic))),
        Err(_) => Err(anyhow!("not done after {} s", limit.as_secs())),
    };
    // The order matters to who reads it: first the nodes' words, then the failure itself.
    outcome.map_err(|why| anyhow!("{}\n--- failure\n{why:#}", cluster.outputs()))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

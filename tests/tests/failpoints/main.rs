//! Kill and stop of server, runner and stubs at every step of a start and of an end. After each round: every task has ended once, with the exit
//! status that the witness saw; none was lost, none ran twice at once; and of no container anything is left on the host.
//!
//! `make failpoints ROUNDS=100 SEED=1` plays as many rounds by chance; a failure names the round that plays it again. Needs programs that
//! were built with the feature `failpoints` (see `container/src/fail.rs`).

mod inflict;
mod round;
mod steps;
mod table;
mod verdict;
mod work;

use anyhow::{Context, Result};
use futures::FutureExt;
use round::{Chance, Round};
use shoal_tests::cluster::{Cluster, Options};
use shoal_tests::plan::{self, Plan};
use shoal_tests::suite::{self, Case};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use table::Table;

/// T. A server's restart, with etcd's, fits well into a container's deadline of 0.7 T.
const TTL: Duration = Duration::from_secs(6);
/// Rounds of each case where nobody says how many.
const ROUNDS: u64 = 16;
const ROUNDS_ON_THREE: u64 = 3;
/// For one round, all its limits together.
const ROUND_LIMIT: Duration = Duration::from_secs(240);

/// The plan that the nodes of the case under way have; cases run one after the other.
static PLAN: OnceLock<Plan> = OnceLock::new();

fn main() -> ExitCode {
    match prepare() {
        Ok(options) => suite::run(options.clone(), cases(options)),
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<Options> {
    let path = std::env::temp_dir().join(format!("shoal-failpoints-{}", std::process::id()));
    let plan = PLAN.get_or_init(|| Plan::create(&path).expect("a temporary file can be made"));
    let variables = vec![(plan::VARIABLE.to_owned(), plan.path().display().to_string())];
    Ok(Options { nodes: 1, lease_ttl: TTL, variables, ..Options::default() })
}

fn cases(options: Options) -> Vec<Case> {
    let three = Options { nodes: 3, ..options.clone() };
    let long = |rounds: u64| ROUND_LIMIT * rounds.try_into().unwrap_or(u32::MAX);
    vec![
        Case::own("every_step_survives_kill_and_stop_on_one_node", options, |cluster| {
            rounds(cluster, number("ROUNDS", ROUNDS)).boxed_local()
        })
        .within(long(number("ROUNDS", ROUNDS))),
        Case::own("every_step_survives_kill_and_stop_on_three_nodes", three, |cluster| {
            rounds(cluster, number("ROUNDS_ON_THREE", ROUNDS_ON_THREE)).boxed_local()
        })
        .within(long(number("ROUNDS_ON_THREE", ROUNDS_ON_THREE))),
    ]
}

/// Plays rounds by chance and prints what became of them.
async fn rounds(cluster: Arc<Cluster>, count: u64) -> Result<()> {
    let plan = PLAN.get().context("main has made the plan")?;
    let first = number("FIRST", 0);
    let seed = number("SEED", 1);
    let (mut table, mut ended) = (Table::default(), BTreeMap::new());
    let mut failed = None;
    for number in first..first + count {
        // Each round's own: it can be played again without those before it.
        let round = Round::random(&mut Chance(seed.wrapping_mul(1_000_003).wrapping_add(number)));
        let outcome = round.play(&cluster, plan, &mut ended).await;
        let again = || {
            format!(
                "round {number} of seed {seed}: {round:?}; again: make failpoints SEED={seed} FIRST={number} ROUNDS=1"
            )
        };
        eprintln!("round {number}: {} {}, {}", round.step.name, round.fault, table.enter(&round, &outcome));
        if let Err(why) = outcome {
            failed = Some(why.context(again()));
            break;
        }
    }
    eprintln!("{table}");
    failed.map_or(Ok(()), Err)
}

/// A number from the environment: how `make failpoints` hands its arguments on.
fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(format!("SHOAL_FAILPOINT_{name}"));
    given.ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

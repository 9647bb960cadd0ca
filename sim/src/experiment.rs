//! One comparison: the same workloads, seed by seed, under several policies; each policy's measures are the means over the seeds.

use crate::engine::{self, EngineError};
use crate::measure::{Measures, measure};
use crate::policy::named::{Named, Setting};
use crate::workload::{Workload, closed, open};
use serde::Serialize;

/// Where the jobs come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// So many jobs at time 0.
    Closed {
        /// How many.
        jobs_len: usize,
    },
    /// Arrivals under overload.
    Open(open::Params),
    /// A record; the seed only decides lots that policies draw.
    Replay(Workload),
}

impl Source {
    fn workload(&self, seed: u64) -> Workload {
        match self {
            Source::Closed { jobs_len } => closed::closed(seed, *jobs_len),
            Source::Open(params) => open::open(seed, params),
            Source::Replay(workload) => workload.clone(),
        }
    }
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The jobs.
    pub source: Source,
    /// Nodes of the pool.
    pub nodes: u32,
    /// R and W.
    pub setting: Setting,
    /// The first seed.
    pub seed: u64,
    /// How many seeds, counted up from the first.
    pub seeds: u32,
    /// The policies, in the order of the rows.
    pub policies: Vec<Named>,
}

/// One policy's row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The policy with its parameters.
    pub policy: String,
    /// Means over the seeds.
    pub measures: Measures,
}

/// The seed of the first open workload of the reference's six: docs/scheduling.md says how it was chosen.
pub const OPEN_SEED: u64 = 176;

impl Experiment {
    /// The reference's closed list: 1,000 jobs, 96 nodes, 50 workers, 20 seeds.
    pub fn closed(policies: Vec<Named>) -> Experiment {
        let source = Source::Closed { jobs_len: 1000 };
        let setting = Setting { reserve: 5, workers: 50 };
        Experiment { source, nodes: 96, setting, seed: 0, seeds: 20, policies }
    }

    /// The reference's open arrivals: 115 % load for 96 h, 200 nodes, 100 workers, 6 seeds.
    pub fn open(policies: Vec<Named>) -> Experiment {
        let source = Source::Open(open::Params { nodes: 200, load_percent: 115, hours: 96 });
        let setting = Setting { reserve: 5, workers: 100 };
        Experiment { source, nodes: 200, setting, seed: OPEN_SEED, seeds: 6, policies }
    }

    /// Simulates.
    pub fn run(&self) -> Result<Vec<Row>, EngineError> {
        let mut rows = Vec::with_capacity(self.policies.len());
        for named in &self.policies {
            let mut found = Vec::new();
            let mut name = String::new();
            for seed in self.seed..self.seed + u64::from(self.seeds) {
                let workload = self.source.workload(seed);
                let mut policy = named.build(self.setting, seed);
                let records = engine::run(&workload.jobs, self.nodes, policy.as_mut())?;
                found.push(measure(&records, self.nodes, workload.horizon_ms));
                name = policy.name();
            }
            rows.push(Row { policy: name, measures: Measures::mean(&found) });
        }
        Ok(rows)
    }
}

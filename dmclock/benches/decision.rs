//! What a decision costs: `cargo bench -p dmclock`. Criterion measures wall time; where others use the machine, `examples/decision_cost.rs` measures CPU time.

#![allow(missing_docs)]

mod workload;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dmclock::Config;
use std::time::Duration;
use workload::{Load, World};

fn decisions(criterion: &mut Criterion) {
    for (mode, config) in [("corrected", Config::corrected()), ("faithful", Config::faithful())] {
        for load in Load::ALL {
            let mut group = criterion.benchmark_group(format!("{mode}/{}", load.name()));
            group
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(2))
                .sample_size(50);
            for clients in [4, 100, 1_000, 10_000] {
                let mut world = World::new(load, clients, config);
                group.bench_function(BenchmarkId::from_parameter(clients), |b| b.iter(|| world.decide()));
            }
            group.finish();
        }
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);

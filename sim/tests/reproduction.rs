//! The reference's two tables (reference/teuthology.md §3) come out of our engine and workloads, and Shoal's policy stands above them.

#![allow(clippy::unwrap_used)]

use shoal_sim::experiment::{Experiment, Row};
use shoal_sim::policy::named::Named;

/// Of the closed table.
const PERCENT_CLOSED: f64 = 3.0;

/// Fails when a value is further from the reference than `percent` of it.
fn near(what: &str, seen: f64, reference: f64, percent: f64) {
    let off = 100.0 * (seen - reference) / reference;
    assert!(off.abs() <= percent, "{what}: {seen:.2} for {reference} is {off:+.1} %, more than {percent}");
}

#[test]
fn the_closed_table_comes_out_within_three_percent() {
    let rows = Experiment::closed(vec![Named::Workers, Named::Dispatcher(5), Named::Easy(0)]).run().unwrap();
    let reference =
        [[28.99, 35.0, 12.2, 14.0, 1.9], [29.56, 34.3, 12.9, 12.7, 0.0], [29.41, 34.5, 11.9, 12.9, 5.3]];
    for (row, [makespan, running, narrow, four, inverted]) in rows.iter().zip(reference) {
        let (name, seen) = (&row.policy, &row.measures);
        near(&format!("{name} makespan"), seen.makespan_h, makespan, PERCENT_CLOSED);
        near(&format!("{name} running"), seen.running_mean, running, PERCENT_CLOSED);
        near(&format!("{name} wait 1-2"), seen.by_width[0].mean_h, narrow, PERCENT_CLOSED);
        near(&format!("{name} wait >=4"), seen.four_and_more.mean_h, four, PERCENT_CLOSED);
        assert!((seen.inversions_percent - inverted).abs() < 0.5, "{name} {}", seen.inversions_percent);
    }
}

/// Makespan, running, wait 1-2, wait >=9, p95 >=9, p95 urgent, max low.
fn open_columns(row: &Row) -> [f64; 7] {
    let m = &row.measures;
    let waits = [m.by_width[0].mean_h, m.by_width[3].mean_h, m.by_width[3].p95_h];
    [m.makespan_h, m.running_mean, waits[0], waits[1], waits[2], m.by_band[0].p95_h, m.by_band[3].max_h]
}

#[test]
fn the_open_table_comes_out_close_to_the_reference() {
    let policies =
        vec![Named::Workers, Named::Dispatcher(5), Named::Dispatcher(60), Named::Easy(0), Named::Easy(100)];
    let rows = Experiment::open(policies).run().unwrap();
    let reference = [
        [118.3, 70.8, 5.4, 25.8, 87.0, 0.48, 104.9],
        [121.0, 69.2, 9.8, 9.4, 27.4, 0.53, 31.1],
        [147.9, 56.6, 24.0, 22.8, 55.5, 0.68, 58.0],
        [120.6, 69.4, 8.4, 9.5, 27.8, 0.51, 31.5],
        [119.5, 70.0, 8.4, 9.7, 17.9, 17.2, 20.1],
    ];
    let tolerance = [3.0, 4.0, 10.0, 18.0, 10.0, 14.0, 5.0];
    let mut squares = 0.0;
    for (row, reference) in rows.iter().zip(reference) {
        for (column, seen) in open_columns(row).into_iter().enumerate() {
            near(&format!("{} column {column}", row.policy), seen, reference[column], tolerance[column]);
            squares += (seen / reference[column] - 1.0).powi(2);
        }
    }
    let off = (squares / 35.0).sqrt();
    assert!(off < 0.07, "root mean square over the table: {off}");
}

#[test]
fn shoal_is_at_least_as_good_as_the_best_of_three_in_every_column() {
    let policies = vec![Named::Workers, Named::Dispatcher(5), Named::Easy(0), Named::Shoal];
    let rows = Experiment::open(policies).run().unwrap();
    let seen: Vec<[f64; 7]> = rows.iter().map(open_columns).collect();
    let best = |column: usize| (0..3).map(|row| seen[row][column]).fold(f64::INFINITY, f64::min);
    let most_running = (0..3).map(|row| seen[row][1]).fold(0.0, f64::max);
    let shoal = seen[3];
    assert!(shoal[1] >= most_running, "running {} {most_running}", shoal[1]);
    for column in [0, 2, 3] {
        assert!(shoal[column] <= best(column), "column {column}: {} {}", shoal[column], best(column));
    }
    assert!(shoal[4] < 0.9 * best(4), "p95 of wide jobs: {} {}", shoal[4], best(4));
    assert!(shoal[5] <= seen[1][5], "p95 of urgent: {} {}", shoal[5], seen[1][5]);
    assert!(shoal[6] < best(6), "the longest wait of low priority: {} {}", shoal[6], best(6));
    let longest = (0..3).map(|row| rows[row].measures.all.max_h).fold(f64::INFINITY, f64::min);
    assert!(
        rows[3].measures.all.max_h < longest,
        "the longest wait: {} {longest}",
        rows[3].measures.all.max_h
    );
}

//! The columns of the tables: the reference's own, and all there are.

use crate::experiment::Row;
use crate::job::{Band, Width};
use crate::measure::{Measures, Waits};

/// A heading, and the cell of a row under it.
pub struct Column {
    /// What stands over it; hours unless it says otherwise.
    pub heading: String,
    value: Box<dyn Fn(&Measures) -> f64>,
    decimals: usize,
}

impl Column {
    fn new(
        heading: impl Into<String>,
        decimals: usize,
        value: impl Fn(&Measures) -> f64 + 'static,
    ) -> Column {
        Column { heading: heading.into(), value: Box::new(value), decimals }
    }

    /// The cell.
    pub fn cell(&self, row: &Row) -> String {
        format!("{:.*}", self.decimals, (self.value)(&row.measures))
    }
}

/// The columns of the two tables of reference/teuthology.md §3, with utilisation, the longest wait and what was unfinished.
pub fn short() -> Vec<Column> {
    vec![
        Column::new("makespan", 1, |m| m.makespan_h),
        Column::new("running", 1, |m| m.running_mean),
        Column::new("used %", 1, |m| m.utilisation_percent),
        Column::new("wait 1-2", 1, |m| m.by_width[0].mean_h),
        Column::new("wait >=4", 1, |m| m.four_and_more.mean_h),
        Column::new("wait >=9", 1, |m| m.by_width[3].mean_h),
        Column::new("p95 >=9", 1, |m| m.by_width[3].p95_h),
        Column::new("p95 urgent", 2, |m| m.by_band[0].p95_h),
        Column::new("max low", 1, |m| m.by_band[3].max_h),
        Column::new("max", 1, |m| m.all.max_h),
        Column::new("inverted %", 1, |m| m.inversions_percent),
        Column::new("unfinished", 0, |m| m.unfinished),
    ]
}

/// These, and mean, p95 and maximum of the waits of every class.
pub fn wide() -> Vec<Column> {
    let mut columns = short();
    for (index, width) in Width::ALL.iter().enumerate() {
        columns.extend(waits(width.name(), move |m| m.by_width[index]));
    }
    for (index, band) in Band::ALL.iter().enumerate() {
        columns.extend(waits(band.name(), move |m| m.by_band[index]));
    }
    columns
}

fn waits(name: &str, of: impl Fn(&Measures) -> Waits + Copy + 'static) -> [Column; 3] {
    [
        Column::new(format!("{name} mean"), 2, move |m| of(m).mean_h),
        Column::new(format!("{name} p95"), 1, move |m| of(m).p95_h),
        Column::new(format!("{name} max"), 1, move |m| of(m).max_h),
    ]
}

//! What the harness tries and looks at from outside: hostile roots, swapped paths, several containers at once.

mod crun;
mod host;
mod lifetime;
mod logs;
mod neighbours;
mod races;
mod roots;
mod startup;

use libtest_mimic::Trial;

/// A trial that fails by panicking.
fn trial(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(format!("outside::{name}"), move || {
        run();
        Ok(())
    })
}

/// All of them.
pub fn trials() -> Vec<Trial> {
    [
        roots::trials(),
        races::trials(),
        startup::trials(),
        logs::trials(),
        lifetime::trials(),
        neighbours::trials(),
        host::trials(),
        crun::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

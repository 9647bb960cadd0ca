//! `shoal version`.

use crate::cli::Done;
use crate::cli::args::Global;
use crate::output::{self, Form};
use serde::Serialize;

#[derive(Serialize)]
struct Version {
    version: &'static str,
    api: &'static str,
}

/// Prints the version of this program and of the API it speaks.
pub async fn run(global: &Global) -> Done {
    let version = Version { version: env!("CARGO_PKG_VERSION"), api: "shoal.v1" };
    match global.output {
        Form::Json => output::json(&version)?,
        Form::Jsonl => output::json_lines([version])?,
        Form::Name => output::lines([version.version])?,
        Form::Table | Form::Wide => {
            output::lines([format!("shoal {} (api {})", version.version, version.api)])?
        }
    }
    Ok(0)
}

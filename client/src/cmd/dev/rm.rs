//! `shoal dev rm`: deletes a cluster.

use super::{PlaceArgs, down, failed};
use crate::cli::Done;
use crate::cli::args::Global;
use crate::cli::report::Report;
use crate::output::note;
use clap::Args;

/// The options of `dev rm`.
#[derive(Clone, Debug, Args)]
pub struct RmArgs {
    /// Stop the nodes first, if they run
    #[arg(short, long, visible_alias = "force")]
    pub yes: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Deletes the cluster. What does not exist is deleted already.
pub fn run(args: &RmArgs, global: &Global) -> Done {
    let Some(cluster) = args.place.find()? else {
        if !global.quiet {
            note("there is no dev cluster");
        }
        return Ok(0);
    };
    let runs =
        |node: &crate::dev::node::DevNode| node.server().or_else(|| node.etcd()).or_else(|| node.runner());
    if let Some(node) = cluster.nodes().iter().find(|node| runs(node).is_some()) {
        if !args.yes {
            let why = format!("{} runs", node.name);
            return Err(Report::new(
                "the dev cluster is not deleted",
                why,
                "shoal dev down, or shoal dev rm --yes",
            )
            .into());
        }
        down::stop(&cluster, global.quiet)?;
    }
    cluster.remove().map_err(|error| failed("cannot delete the dev cluster", &error))?;
    if !global.quiet {
        note(&format!("deleted {}", cluster.dir().display()));
    }
    Ok(0)
}

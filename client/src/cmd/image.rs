//! `shoal image`: root file systems that are imported once and run anywhere.

use crate::cli::Done;
use crate::cli::context::Context;
use crate::cli::report::{Report, Stop};
use crate::error::Error;
use crate::images::ImportError;
use crate::output::table::Table;
use crate::output::{self, Form, json};
use crate::values::bytes_text;
use clap::{Args, Subcommand};
use shoal_proto::v1;
use tokio::io::AsyncRead;

const IMPORT_AFTER_HELP: &str = "\
Examples:
  shoal image import rootfs.tar.gz --name tools
  docker save app:1 | shoal image import - --name app
  shoal run --root tools -- ls /

An archive is a tar, tar.gz or tar.zst of a root file system, an OCI image layout as a tar, or what docker save writes.
Devices and pipes are left out, set-user-id bits and extended attributes are dropped. A task in it is who the image says,
else root inside of its container, without any capability; the image itself is never changed.";

/// The commands of `image`.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageCommand {
    /// Import an archive; prints the image's digest
    #[command(after_help = IMPORT_AFTER_HELP)]
    Import(ImportArgs),
    /// The images of the cluster and which nodes have them
    #[command(visible_alias = "list")]
    Ls,
    /// Remove images from the cluster
    Rm(RmArgs),
}

/// The options of `image import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The archive; - is stdin
    #[arg(value_name = "FILE")]
    pub file: String,
    /// A name for it, by which tasks can name it as their root; another image loses the name [default: none]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// The options of `image rm`.
#[derive(Clone, Debug, Args)]
pub struct RmArgs {
    /// Images by name or digest
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Even if tasks that have not ended name it: those that did not start yet will fail
    #[arg(long)]
    pub force: bool,
}

/// Runs a command of `image`.
pub async fn run(context: &Context, command: &ImageCommand) -> Done {
    match command {
        ImageCommand::Import(args) => import(context, args).await,
        ImageCommand::Ls => ls(context).await,
        ImageCommand::Rm(args) => rm(context, args).await,
    }
}

async fn import(context: &Context, args: &ImportArgs) -> Done {
    let archive: Box<dyn AsyncRead + Send + Unpin> = match args.file.as_str() {
        "-" => Box::new(tokio::io::stdin()),
        path => Box::new(tokio::fs::File::open(path).await.map_err(|error| {
            Report::new(format!("cannot open {path}"), error.to_string(), "shoal image import --help")
        })?),
    };
    let mut doing = String::new();
    let said = |progress: &v1::ImageImportProgress| {
        // A word for each step, not for each byte: standard error may be a file.
        if progress.doing != doing {
            doing.clone_from(&progress.doing);
            context.note(&format!("{} {}", progress.doing, bytes_text(progress.received_bytes)));
        }
    };
    let imported = context.client.import_image(archive, args.name.as_deref().unwrap_or_default(), said).await;
    let image = imported.map_err(|error| report(&args.file, &error))?;
    match context.form {
        Form::Table | Form::Wide | Form::Name => output::lines([image.digest.as_str()])?,
        Form::Json => output::json(&json::Image::from(&image))?,
        Form::Jsonl => output::json_lines([json::Image::from(&image)])?,
    }
    Ok(0)
}

fn report(file: &str, error: &ImportError) -> Stop {
    let what = format!("cannot import {file}");
    match error {
        ImportError::Cluster(error) => Report::of(what, error).into(),
        ImportError::Read(error) => Report::new(what, error.to_string(), format!("ls -l {file}")).into(),
    }
}

async fn ls(context: &Context) -> Done {
    let images = context.client.list_images().await;
    let images = images.map_err(|error: Error| Report::of("cannot list the images", &error))?;
    match context.form {
        Form::Table | Form::Wide => output::text(&table(context.form, &images).render())?,
        Form::Json => {
            output::json(&json::Images { images: images.iter().map(json::Image::from).collect() })?;
        }
        Form::Jsonl => output::json_lines(images.iter().map(json::Image::from))?,
        Form::Name => output::lines(images.iter().map(|image| image.digest.as_str()))?,
    }
    Ok(0)
}

/// Digits of a digest that a table shows.
const DIGITS: usize = 12;

fn table(form: Form, images: &[v1::Image]) -> Table {
    let wide = form == Form::Wide;
    let mut headings = vec!["NAME", "DIGEST", "SIZE", "UNPACKED", "FORMAT", "NODES"];
    if wide {
        headings.extend(["COMMAND", "WORKDIR"]);
    }
    let mut table = Table::new(&headings);
    for image in images {
        let shown = match wide {
            true => image.digest.as_str(),
            false => image.digest.get(..image.digest.len().min("sha256:".len() + DIGITS)).unwrap_or_default(),
        };
        let mut row = vec![
            image.name.as_str().into(),
            shown.into(),
            bytes_text(image.archive_bytes).into(),
            bytes_text(image.bytes).into(),
            image.format.as_str().into(),
            image.nodes.join(",").into(),
        ];
        if wide {
            row.extend([image.command.join(" ").into(), image.workdir.as_str().into()]);
        }
        table.row(row);
    }
    table
}

async fn rm(context: &Context, args: &RmArgs) -> Done {
    for name in &args.images {
        let removed = context.client.remove_image(name, args.force).await.map_err(|error| {
            let mut report = Report::of(format!("cannot remove image {name}"), &error);
            if error.code() == Some(tonic::Code::FailedPrecondition) {
                report.next = format!("shoal list   (which tasks?), or shoal image rm --force {name}");
            }
            report
        })?;
        output::lines([removed.digest.as_str()])?;
    }
    Ok(0)
}

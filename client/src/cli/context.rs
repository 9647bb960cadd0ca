//! What every command needs: the client, the form of output, who asks. Made once from the global options.

use super::args::Global;
use super::report::{Report, Stop};
use crate::address::{Address, DEFAULT_PORT};
use crate::client::{Client, Options, PATIENCE};
use crate::dev::Cluster;
use crate::exit::USAGE;
use crate::output::{Form, note};
use crate::selector::{self, Selector};
use std::future::Future;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What every command needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// To the cluster.
    pub client: Client,
    /// Of data on stdout.
    pub form: Form,
    /// Ids only, no notes.
    pub quiet: bool,
    /// Who asks.
    pub user: String,
    /// For a command that waits.
    pub timeout: Option<Duration>,
}

impl Context {
    /// Connects at the first call, not here.
    pub fn new(global: &Global) -> Result<Context, Stop> {
        let addresses = if global.node.is_empty() { default_addresses() } else { global.node.clone() };
        let patience = global.timeout.unwrap_or(PATIENCE);
        Ok(Context {
            client: Client::new(Options { addresses, patience }),
            form: global.output,
            quiet: global.quiet,
            user: user(),
            timeout: global.timeout,
        })
    }

    /// A line for people, on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }

    /// The full ids that the words of a command line name. Fails when they name none.
    pub async fn resolve(&self, words: &[String]) -> Result<Vec<String>, Stop> {
        let what = || format!("cannot find {}", words.join(" "));
        let selectors = self.selectors(words).await?;
        let ids = selector::resolve(&self.client, &self.user, &selectors).await;
        let ids = ids.map_err(|error| Report::of(what(), &error))?;
        if ids.is_empty() {
            let why = format!("no task of {} matches", self.user);
            return Err(Report::new(what(), why, "shoal list   (all users' tasks)").into());
        }
        Ok(ids)
    }

    /// The one full id that a word names.
    pub async fn resolve_one(&self, word: &str) -> Result<String, Stop> {
        let ids = self.resolve(&[word.to_owned()]).await?;
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            _ => {
                let why = format!("{word} names {} tasks, and this takes one", ids.len());
                let next = format!("shoal show {word} -o name   (their ids)");
                Err(Report::new("cannot choose a task", why, next).into())
            }
        }
    }

    async fn selectors(&self, words: &[String]) -> Result<Vec<Selector>, Stop> {
        let mut selectors = Vec::new();
        for word in words {
            let text = if word == "-" { stdin().await? } else { word.clone() };
            for part in text.split_whitespace() {
                let parsed = selector::parse_list(part).map_err(|bad| {
                    Report::new("cannot find the task", bad.to_string(), "shoal list   (the tasks there are)")
                        .code(USAGE)
                })?;
                selectors.extend(parsed);
            }
        }
        Ok(selectors)
    }

    /// Runs `work` for at most `--timeout`; `None` when that passed.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.timeout {
            Some(limit) => tokio::time::timeout(limit, work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// All of stdin, as text.
pub async fn stdin() -> Result<String, Stop> {
    let mut text = String::new();
    let read = tokio::io::stdin().read_to_string(&mut text).await;
    read.map_err(|error| Report::new("cannot read stdin", error.to_string(), "a file of text instead of -"))?;
    Ok(text)
}

fn default_addresses() -> Vec<Address> {
    let local = Address::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT };
    let dev =
        Cluster::load_default().ok().flatten().map(|cluster| cluster.live_addresses()).unwrap_or_default();
    if dev.is_empty() { vec![local] } else { dev }
}

/// Who asks: not authenticated until access tokens exist.
fn user() -> String {
    let named = ["SHOAL_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()))
}

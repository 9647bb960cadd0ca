//! Tasks of several nodes whose members run here: what one of them writes into its directory goes into the store, and what stands there into the directories of
//! the others. One task for all of them, woken by the kernel (one inotify instance), by the store's watch, and by the runner's client.
//!
//! It keeps nothing on the disk: directory and store hold all, and a server that comes back reads both again.

pub mod directory;
pub mod member;
pub mod refusal;

use directory::{Directory, Seen};
use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use inotify::{Event, EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use member::Member;
use shoal_core::id::AttemptId;
use shoal_store::gang::{Published, publish, read_published};
use shoal_store::key;
use shoal_store::list_watch::{Follow, FollowItem};
use shoal_store::port::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Holds many events of one read.
const EVENT_BUFFER_BYTES: usize = 16 << 10;
/// Events heard before what they mean is done.
const BURST: usize = 1024;
/// Names of one directory that are remembered until they are looked at; beyond that all of it is.
const NAMES_MAX: usize = 64;
/// A look at directories is followed by this many times of what it took without another, up to [`REST_MAX`]: tasks that do nothing but make files cannot keep this
/// server from its work.
const REST_FACTOR: u32 = 4;
const REST_MAX: Duration = Duration::from_millis(100);
/// Between tries to publish while the store does not take it.
const RETRY: Duration = Duration::from_secs(1);
/// Between full lists behind the watch.
const RECONCILE: Duration = Duration::from_secs(60);

/// What the runner's client says, in the order in which the runner did; attempts by their names there.
#[derive(Debug)]
pub enum Told {
    /// This attempt's directory. Said again after each connection.
    Directory(String, OwnedFd),
    /// All attempts that are alive; those that are not in it have ended.
    Alive(BTreeSet<String>),
    /// This one has ended.
    Ended(String),
}

/// A member, and what belongs to it in here.
struct Local {
    member: Member,
    watch: WatchDescriptor,
    /// Its publications are on their way.
    in_flight: bool,
    /// Its container is gone: what it has left is published, and then it goes.
    ended: bool,
    /// Ends the following of the store.
    stop: CancellationToken,
}

/// What has to be looked at in a directory.
#[derive(Default)]
struct Dirty {
    all: bool,
    names: BTreeMap<OsString, Seen>,
}

/// What became of publications.
struct Done {
    attempt: AttemptId,
    keys: Vec<String>,
    outcome: anyhow::Result<Vec<Published>>,
}

/// The work.
pub struct Gangs {
    store: Arc<dyn Store>,
    node: String,
    watches: Watches,
    events: EventStream<Vec<u8>>,
    locals: BTreeMap<AttemptId, Local>,
    by_watch: HashMap<WatchDescriptor, AttemptId>,
    dirty: BTreeMap<AttemptId, Dirty>,
    follows: SelectAll<BoxStream<'static, (AttemptId, FollowItem)>>,
    work: JoinSet<Done>,
    /// No directory is looked at before this.
    rest_until: Option<Instant>,
    /// Nothing is published before this.
    retry_at: Option<Instant>,
}

impl Gangs {
    /// Of the node of this name; needs one inotify instance.
    pub fn new(store: Arc<dyn Store>, node: String) -> io::Result<Gangs> {
        let events = Inotify::init()?.into_event_stream(vec![0; EVENT_BUFFER_BYTES])?;
        Ok(Gangs {
            store,
            node,
            watches: events.watches(),
            events,
            locals: BTreeMap::new(),
            by_watch: HashMap::new(),
            dirty: BTreeMap::new(),
            follows: SelectAll::new(),
            work: JoinSet::new(),
            rest_until: None,
            retry_at: None,
        })
    }

    /// Runs until stopped.
    pub async fn run(
        mut self,
        mut told: mpsc::UnboundedReceiver<Told>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let (mut said, mut event, mut followed, mut done) = (None, None, None, None);
            let (resting, waiting) = (self.rest_until.is_some(), self.retry_at.is_some());
            let (rest, retry) = (self.rest_until, self.retry_at);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = told.recv() => said = Some(received),
                heard = self.events.next(), if !resting => event = Some(heard),
                Some(item) = self.follows.next() => followed = Some(item),
                Some(joined) = self.work.join_next() => done = Some(joined),
                () = until(rest), if resting => self.rest_until = None,
                () = until(retry), if waiting => self.retry_at = None,
            }
            match said {
                Some(Some(said)) => self.told(said),
                Some(None) => anyhow::bail!("runner client ended"),
                None => {}
            }
            if let Some(heard) = event {
                self.note(heard)?;
                for _ in 0..BURST {
                    let Some(heard) = self.events.next().now_or_never() else { break };
                    self.note(heard)?;
                }
                self.look();
            }
            if let Some((attempt, item)) = followed
                && let Some(local) = self.locals.get_mut(&attempt)
            {
                local.member.hear(item);
            }
            if let Some(done) = done {
                self.published(done?);
            }
            self.publish();
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Directory(id, fd) => {
                let Some(attempt) = parse(&id) else { return };
                if !self.locals.contains_key(&attempt)
                    && let Err(error) = self.begin(attempt, Directory::new(fd))
                {
                    tracing::error!(%attempt, %error, "what this member writes for the others is not seen");
                }
            }
            Told::Alive(alive) => {
                let ended = self.locals.keys().filter(|attempt| !alive.contains(&attempt.to_string()));
                ended.copied().collect::<Vec<_>>().into_iter().for_each(|attempt| self.end(attempt));
            }
            Told::Ended(id) => parse(&id).into_iter().for_each(|attempt| self.end(attempt)),
        }
    }

    /// The watch comes before the list, so that nothing is missed.
    fn begin(&mut self, attempt: AttemptId, directory: Directory) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::DELETE
            | WatchMask::ONLYDIR;
        let watch = self.watches.add(directory.path(), mask)?;
        let mut member = Member::new(directory);
        member.look_at_all();
        let stop = CancellationToken::new();
        let follow = follow(self.store.clone(), attempt);
        self.follows.push(follow.take_until(stop.clone().cancelled_owned()).boxed());
        self.by_watch.insert(watch.clone(), attempt);
        self.locals.insert(attempt, Local { member, watch, in_flight: false, ended: false, stop });
        Ok(())
    }

    /// Nobody writes any more: all that is there is whole.
    fn end(&mut self, attempt: AttemptId) {
        let Some(local) = self.locals.get_mut(&attempt) else { return };
        if !std::mem::replace(&mut local.ended, true) {
            local.member.look_at_all();
        }
    }

    /// Remembers what has happened in a directory.
    fn note(&mut self, event: Option<io::Result<Event<OsString>>>) -> anyhow::Result<()> {
        let Event { wd, mask, name, .. } = event.ok_or_else(|| anyhow::anyhow!("inotify ended"))??;
        if mask.contains(EventMask::Q_OVERFLOW) {
            for attempt in self.locals.keys() {
                self.dirty.entry(*attempt).or_default().all = true;
            }
        }
        let Some(attempt) = self.by_watch.get(&wd) else { return Ok(()) };
        let dirty = self.dirty.entry(*attempt).or_default();
        let finished = mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO);
        let seen = if finished { Seen::Done } else { Seen::Made };
        match name {
            Some(name) if dirty.names.len() < NAMES_MAX && !mask.contains(EventMask::DELETE) => {
                let known = dirty.names.entry(name).or_insert(seen);
                *known = (*known).max(seen);
            }
            Some(_) => dirty.all |= !mask.contains(EventMask::DELETE),
            None => {}
        }
        Ok(())
    }

    /// Looks at all that was remembered.
    fn look(&mut self) {
        let begin = Instant::now();
        for (attempt, dirty) in std::mem::take(&mut self.dirty) {
            let Some(local) = self.locals.get_mut(&attempt) else { continue };
            dirty.names.iter().for_each(|(name, seen)| local.member.look_at(name, *seen));
            if dirty.all {
                local.member.look_at_all();
            }
            local.member.show_rest();
        }
        let now = Instant::now();
        self.rest_until = Some(now + ((now - begin) * REST_FACTOR).min(REST_MAX));
    }

    /// Publishes what can be, and lets go of members that have ended and have nothing left to say.
    fn publish(&mut self) {
        if self.retry_at.is_none() {
            for (attempt, local) in self.locals.iter_mut().filter(|(_, local)| !local.in_flight) {
                let values = local.member.publications(&self.node);
                if values.is_empty() {
                    continue;
                }
                local.in_flight = true;
                let (store, attempt) = (self.store.clone(), *attempt);
                let txn = publish(attempt, values.iter().map(|(key, value)| (key.as_str(), value)));
                let keys = values.into_iter().map(|(key, _)| key).collect();
                self.work.spawn(async move {
                    let outcome = match store.txn(txn).await {
                        Ok(reply) => read_published(&reply).map_err(Into::into),
                        Err(error) => Err(error.into()),
                    };
                    Done { attempt, keys, outcome }
                });
            }
        }
        let over = |local: &Local| local.ended && !local.in_flight && !local.member.is_publishing();
        let gone: Vec<_> = self.locals.iter().filter(|(_, local)| over(local)).map(|(id, _)| *id).collect();
        for attempt in gone {
            let Some(local) = self.locals.remove(&attempt) else { continue };
            local.stop.cancel();
            self.by_watch.remove(&local.watch);
            // It fails only where the directory is gone, and the watch with it.
            let _ = self.watches.remove(local.watch);
        }
    }

    /// An unknown outcome is no special case: a key is written once, so the next try finds its own.
    fn published(&mut self, done: Done) {
        let Done { attempt, keys, outcome } = done;
        let Some(local) = self.locals.get_mut(&attempt) else { return };
        local.in_flight = false;
        match outcome {
            Ok(outcomes) => {
                keys.iter().zip(outcomes).for_each(|(key, outcome)| local.member.published(key, outcome));
            }
            Err(error) => {
                tracing::warn!(%attempt, "not published yet: {error:#}");
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What the store says of an attempt, for ever.
fn follow(
    store: Arc<dyn Store>,
    attempt: AttemptId,
) -> impl futures::Stream<Item = (AttemptId, FollowItem)> + Send + 'static {
    let follow = Follow::new(store, vec![key::gang_keys(attempt.task, attempt.number)]);
    let mut reconcile = tokio::time::interval(RECONCILE);
    reconcile.reset();
    futures::stream::unfold((follow, reconcile), move |(mut follow, mut reconcile)| async move {
        let item = loop {
            tokio::select! {
                item = follow.next() => break item,
                _ = reconcile.tick() => follow.resync(),
            }
        };
        Some(((attempt, item), (follow, reconcile)))
    })
}

fn parse(id: &str) -> Option<AttemptId> {
    id.parse().inspect_err(|error| tracing::error!(%error, "the runner named a strange attempt")).ok()
}

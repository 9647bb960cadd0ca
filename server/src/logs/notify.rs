//! Tells followers that something was written: one inotify instance for the whole node, because a user has only 128 of them. Directories are watched, not
//! files, so that a log that does not exist yet is seen when it comes.
//!
//! [`Hub::run`] must be running for anyone to be told.

use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Holds many events of one read; each is some 16 bytes and a name.
const EVENT_BUFFER_BYTES: usize = 16 << 10;

type Subscribers = HashMap<WatchDescriptor, Vec<Arc<Notify>>>;

/// The node's inotify instance and who listens.
pub struct Hub {
    watches: Watches,
    events: tokio::sync::Mutex<EventStream<Vec<u8>>>,
    subscribers: Mutex<Subscribers>,
}

impl Hub {
    /// Needs one inotify instance.
    pub fn new() -> io::Result<Arc<Hub>> {
        let events = Inotify::init()?.into_event_stream(vec![0; EVENT_BUFFER_BYTES])?;
        let watches = events.watches();
        Ok(Arc::new(Hub { watches, events: tokio::sync::Mutex::new(events), subscribers: Mutex::default() }))
    }

    /// Passes events on until it fails. Run it once, for the server's whole life.
    pub async fn run(&self) -> io::Result<()> {
        let mut events = self.events.lock().await;
        while let Some(event) = events.next().await {
            let event = event?;
            let mut subscribers = self.subscribers();
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                subscribers.values().flatten().for_each(|subscriber| subscriber.notify_one());
            }
            if let Some(told) = subscribers.get(&event.wd) {
                told.iter().for_each(|subscriber| subscriber.notify_one());
            }
            if event.mask.contains(EventMask::IGNORED) {
                subscribers.remove(&event.wd);
            }
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "inotify ended"))
    }

    /// Listens to nothing yet.
    pub fn subscribe(self: &Arc<Hub>) -> Subscription {
        Subscription { hub: self.clone(), told: Arc::default(), watched: Vec::new() }
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        // Nothing that holds the lock can panic half-way through a change.
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One follower's interest in some directories; dropping it ends that.
pub struct Subscription {
    hub: Arc<Hub>,
    told: Arc<Notify>,
    watched: Vec<WatchDescriptor>,
}

impl Subscription {
    /// Listens to `directory` too; `false` when it does not exist.
    pub fn add(&mut self, directory: &Path) -> io::Result<bool> {
        // The same mask for everybody: a second watch of one directory replaces the mask of the first.
        let mask = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        // Under the lock, so that nobody's drop takes away the watch that this call has just been given again.
        let mut subscribers = self.hub.subscribers();
        match self.hub.watches.clone().add(directory, mask) {
            Ok(watch) => {
                if !self.watched.contains(&watch) {
                    subscribers.entry(watch.clone()).or_default().push(self.told.clone());
                    self.watched.push(watch);
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns when something has happened in a directory since the last call. Safe to drop and call again.
    pub async fn told(&self) {
        self.told.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.hub.subscribers();
        for watch in self.watched.drain(..) {
            let Some(others) = subscribers.get_mut(&watch) else { continue };
            others.retain(|other| !Arc::ptr_eq(other, &self.told));
            if others.is_empty() {
                subscribers.remove(&watch);
                // It fails only where the directory is gone, and the watch with it.
                let _ = self.hub.watches.clone().remove(watch);
            }
        }
    }
}

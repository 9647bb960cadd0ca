//! The endpoints, which of them is preferred, and how a call goes on to the next.
//!
//! The first endpoint is home: the node's own member. When the preferred endpoint fails, the preference moves on; a later read tries home
//! again, at most once in [`HOME_RETRY`], and moves back when home answers. No timer, no background work.

use super::CALL_TIMEOUT;
use super::error::Failure;
use crate::port::StoreError;
use etcd_client::{Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A frozen member is found out after interval and timeout together, while a call or a watch waits on it.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Largest reply: a page of a list, or what a watch catches up with. The client's default of 4 MiB is less than 1,000 records may have.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A home that failed is not tried again before this.
const HOME_RETRY: Duration = Duration::from_secs(5);

/// One member's client URL, with its connections.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: String,
    kv: KvClient,
    lease: LeaseClient,
    watch: WatchClient,
}

impl Endpoint {
    async fn new(url: &str) -> Result<Endpoint, StoreError> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            // etcd hangs up on a client that pings while it has nothing open, and would do so in the middle of a call.
            .with_keep_alive_while_idle(false);
        // A watch must end when its member has no leader; a stale read must not. Hence two clients, and two connections, so
        // that a watch that catches up does not stand before the calls.
        let calls = connect(url, options.clone()).await?;
        let watches = connect(url, options.with_require_leader(true)).await?;
        Ok(Endpoint {
            url: url.to_owned(),
            kv: calls.kv_client().max_decoding_message_size(REPLY_BYTES_MAX),
            lease: calls.lease_client(),
            watch: watches.watch_client().max_decoding_message_size(REPLY_BYTES_MAX),
        })
    }
    pub(super) fn kv(&self) -> KvClient {
        self.kv.clone()
    }
    pub(super) fn lease(&self) -> LeaseClient {
        self.lease.clone()
    }
    pub(super) fn watch(&self) -> WatchClient {
        self.watch.clone()
    }
}

async fn connect(url: &str, options: ConnectOptions) -> Result<Client, StoreError> {
    // The client connects lazily: this fails on a bad URL only.
    Client::connect([url], Some(options))
        .await
        .map_err(|error| StoreError::Refused(format!("etcd endpoint {url}: {error}")))
}

/// All endpoints.
pub(super) struct Endpoints {
    /// Grows only, so that an index means the same endpoint for ever.
    all: RwLock<Vec<Endpoint>>,
    preferred: AtomicUsize,
    home_retry: Mutex<Instant>,
}

impl Endpoints {
    pub(super) async fn new(urls: &[String]) -> Result<Endpoints, StoreError> {
        let mut all = Vec::with_capacity(urls.len());
        for url in urls {
            all.push(Endpoint::new(url).await?);
        }
        if all.is_empty() {
            return Err(StoreError::Refused("no etcd endpoint given".to_owned()));
        }
        let all = RwLock::new(all);
        Ok(Endpoints { all, preferred: AtomicUsize::new(0), home_retry: Mutex::new(Instant::now()) })
    }

    /// Adds the endpoints that are not known yet, behind the others. One that has left the cluster is kept: it fails, and calls go on.
    pub(super) async fn learn(&self, urls: &[String]) -> Result<(), StoreError> {
        for url in urls {
            let known = || self.read_all().iter().any(|endpoint| endpoint.url == *url);
            if known() {
                continue;
            }
            let endpoint = Endpoint::new(url).await?;
            if !known() {
                self.all.write().expect("no panic while held").push(endpoint);
            }
        }
        Ok(())
    }

    fn read_all(&self) -> RwLockReadGuard<'_, Vec<Endpoint>> {
        self.all.read().expect("no panic while held")
    }

    /// Makes a call that may be repeated: on each endpoint in turn until one answers.
    pub(super) async fn read<T, F>(&self, call: impl Fn(Endpoint) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut last = String::new();
        for index in self.order_for_reads() {
            match self.attempt(index, &call).await {
                Ok(reply) => {
                    self.succeeded(index);
                    return Ok(reply);
                }
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => last = why,
            }
        }
        Err(StoreError::Unavailable(last))
    }

    /// Makes a call that must not be repeated: goes on to the next endpoint only where the request was never sent.
    pub(super) async fn write<T, F>(&self, call: impl Fn(Endpoint) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut last = String::new();
        for index in self.order_from(self.preferred.load(Ordering::Relaxed)) {
            match self.attempt(index, &call).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::NoAnswer(why)) => return Err(StoreError::Unknown(why)),
                Err(Failure::NotSent(why)) => last = why,
            }
        }
        Err(StoreError::Unavailable(last))
    }

    /// One call to one endpoint, bounded in time; a failure of the way there moves the preference on.
    async fn attempt<T, F>(&self, index: usize, call: &impl Fn(Endpoint) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let endpoint = self.read_all()[index].clone();
        let failure = match tokio::time::timeout(CALL_TIMEOUT, call(endpoint)).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => Failure::of(error),
            Err(_) => Failure::NoAnswer(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
        };
        Err(match failure {
            Failure::Refused(error) => Failure::Refused(error),
            Failure::NotSent(why) => Failure::NotSent(self.failed(index, &why)),
            Failure::NoAnswer(why) => Failure::NoAnswer(self.failed(index, &why)),
        })
    }

    /// The preferred endpoint and its index, for what stays on one endpoint.
    pub(super) fn preferred(&self) -> (usize, Endpoint) {
        let index = self.preferred.load(Ordering::Relaxed);
        (index, self.read_all()[index].clone())
    }

    pub(super) fn len(&self) -> usize {
        self.read_all().len()
    }

    /// Notes that an endpoint did not answer; returns the reason with its URL.
    pub(super) fn failed(&self, index: usize, why: &str) -> String {
        let all = self.read_all();
        let next = (index + 1) % all.len();
        let moved =
            self.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if index == 0 {
            self.put_off_home();
        }
        let (from, to) = (&all[index].url, &all[next].url);
        if moved && next != index {
            tracing::warn!(endpoint = %from, next = %to, why, "etcd endpoint does not answer, going on to the next");
        }
        format!("{from}: {why}")
    }

    fn succeeded(&self, index: usize) {
        if index == 0 && self.preferred.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!(endpoint = %self.read_all()[0].url, "own etcd member answers again");
        }
    }

    fn order_from(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.len();
        (0..count).map(move |step| (first + step) % count)
    }

    /// Reads try home first again from time to time: a failed read costs nothing but time.
    fn order_for_reads(&self) -> impl Iterator<Item = usize> + use<> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let first = if preferred != 0 && self.home_is_due() { 0 } else { preferred };
        self.order_from(first)
    }

    fn home_is_due(&self) -> bool {
        let due = Instant::now() >= *self.home_retry.lock().expect("no panic while held");
        if due {
            self.put_off_home();
        }
        due
    }

    fn put_off_home(&self) {
        *self.home_retry.lock().expect("no panic while held") = Instant::now() + HOME_RETRY;
    }
}

//! Faults at the port: a wrapper over any store that, as a hook says, loses or holds replies, refuses calls, delays them or cuts watches.
//! For tests; the server runs against it unchanged.

use crate::port::{
    KeyRange, KeyValue, LeaseId, ListOptions, Listing, Revision, Store, StoreError, Txn, TxnReply, Watch,
    WatchItem, WatchLost,
};
use async_trait::async_trait;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// A call at the port, as the hook sees it.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// `get` of a key.
    Get(&'a str),
    /// `get_many_stale`.
    GetMany(&'a [String]),
    /// `list` of a range.
    List(&'a KeyRange),
    /// `txn`.
    Txn(&'a Txn),
    /// `watch` of ranges.
    Watch(&'a [KeyRange]),
    /// `lease_grant`.
    LeaseGrant,
    /// `lease_renew`.
    LeaseRenew(LeaseId),
    /// `lease_revoke`.
    LeaseRevoke(LeaseId),
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing special.
    None,
    /// It is not carried out, and the caller knows.
    Unavailable,
    /// It is refused: to send it again would be of no use.
    Refused,
    /// It is not carried out, and the caller does not know.
    NotApplied,
    /// It is carried out, and the caller does not know.
    LoseReply,
    /// It is carried out later.
    Delay(Duration),
}

type Hook = Box<dyn FnMut(&Call<'_>) -> Fault + Send>;

struct Once {
    matches: Box<dyn Fn(&Call<'_>) -> bool + Send>,
    fault: Fault,
    fired: oneshot::Sender<()>,
}

/// The reply to one call, which was carried out and has not reached its caller: see [`FaultyStore::hold_reply`].
pub struct HeldReply {
    /// Resolves when the call has been carried out.
    pub carried_out: oneshot::Receiver<()>,
    /// Lets the caller have its reply, when it is used or dropped.
    pub release: oneshot::Sender<()>,
}

struct Hold {
    matches: Box<dyn Fn(&Call<'_>) -> bool + Send>,
    carried_out: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

impl Hold {
    async fn wait(self) {
        // Nobody needs to wait for it, and a release that is dropped is one too.
        let _ = self.carried_out.send(());
        let _ = self.released.await;
    }
}

#[derive(Default)]
struct Script {
    hook: Option<Hook>,
    once: Vec<Once>,
    hold: Vec<Hold>,
}

/// A store with faults.
pub struct FaultyStore<S: ?Sized> {
    inner: Arc<S>,
    script: Mutex<Script>,
    cuts: tokio::sync::watch::Sender<u64>,
}

impl<S: Store + ?Sized> FaultyStore<S> {
    /// Wraps a store; no faults yet.
    pub fn new(inner: Arc<S>) -> FaultyStore<S> {
        FaultyStore { inner, script: Mutex::default(), cuts: tokio::sync::watch::Sender::new(0) }
    }

    /// Asks `hook` about each call from now on.
    pub fn set_hook(&self, hook: impl FnMut(&Call<'_>) -> Fault + Send + 'static) {
        self.lock().hook = Some(Box::new(hook));
    }

    /// Ends the hook and all faults that have not yet happened.
    pub fn clear(&self) {
        *self.lock() = Script::default();
    }

    /// Does this to the next call that `matches`, once; what is returned resolves when it has been decided.
    pub fn once(
        &self,
        fault: Fault,
        matches: impl Fn(&Call<'_>) -> bool + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (fired, happened) = oneshot::channel();
        self.lock().once.push(Once { matches: Box::new(matches), fault, fired });
        happened
    }

    /// Carries out the next call that `matches`, once, and keeps the caller waiting for its reply: what happens until it is released
    /// comes between the call and what the caller makes of the reply.
    pub fn hold_reply(&self, matches: impl Fn(&Call<'_>) -> bool + Send + 'static) -> HeldReply {
        let (carried_out, happened) = oneshot::channel();
        let (release, released) = oneshot::channel();
        self.lock().hold.push(Hold { matches: Box::new(matches), carried_out, released });
        HeldReply { carried_out: happened, release }
    }

    /// Ends all watches that are open now, as a lost connection does.
    pub fn cut_watches(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("hooks do not panic")
    }

    fn decide(&self, call: &Call<'_>) -> Fault {
        let mut script = self.lock();
        if let Some(at) = script.once.iter().position(|once| (once.matches)(call)) {
            let once = script.once.remove(at);
            // Nobody needs to wait for it.
            let _ = once.fired.send(());
            return once.fault;
        }
        script.hook.as_mut().map_or(Fault::None, |hook| hook(call))
    }

    fn take_hold(&self, call: &Call<'_>) -> Option<Hold> {
        let mut script = self.lock();
        let at = script.hold.iter().position(|hold| (hold.matches)(call))?;
        Some(script.hold.remove(at))
    }

    async fn run<T>(
        &self,
        call: Call<'_>,
        inner: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let hold = self.take_hold(&call);
        let reply = self.carry_out(&call, inner).await;
        if let Some(hold) = hold {
            hold.wait().await;
        }
        reply
    }

    async fn carry_out<T>(
        &self,
        call: &Call<'_>,
        inner: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.decide(call) {
            Fault::None => inner.await,
            Fault::Unavailable => Err(StoreError::Unavailable("injected".to_owned())),
            Fault::Refused => Err(StoreError::Refused("injected".to_owned())),
            Fault::NotApplied => Err(StoreError::Unknown("injected: request lost".to_owned())),
            Fault::LoseReply => match inner.await {
                Ok(_) => Err(StoreError::Unknown("injected: reply lost".to_owned())),
                Err(error) => Err(error),
            },
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                inner.await
            }
        }
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for FaultyStore<S> {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.run(Call::Get(key), self.inner.get(key)).await
    }

    async fn get_many_stale(&self, keys: &[String]) -> Result<Vec<Option<KeyValue>>, StoreError> {
        self.run(Call::GetMany(keys), self.inner.get_many_stale(keys)).await
    }

    async fn list(&self, range: KeyRange, options: ListOptions) -> Result<Listing, StoreError> {
        self.run(Call::List(&range), self.inner.list(range.clone(), options)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, StoreError> {
        self.run(Call::Txn(&txn), self.inner.txn(txn.clone())).await
    }

    async fn watch(&self, ranges: Vec<KeyRange>, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let cuts = self.cuts.subscribe();
        let inner = self.run(Call::Watch(&ranges), self.inner.watch(ranges.clone(), from)).await?;
        let cuts_before = *cuts.borrow();
        Ok(Box::new(CuttableWatch { inner, cuts, cuts_before }))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        self.run(Call::LeaseGrant, self.inner.lease_grant(ttl)).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.run(Call::LeaseRenew(lease), self.inner.lease_renew(lease)).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.run(Call::LeaseRevoke(lease), self.inner.lease_revoke(lease)).await
    }
}

struct CuttableWatch {
    inner: Box<dyn Watch>,
    cuts: tokio::sync::watch::Receiver<u64>,
    cuts_before: u64,
}

#[async_trait]
impl Watch for CuttableWatch {
    async fn next(&mut self) -> WatchItem {
        let cut = || WatchItem::Lost(WatchLost::Disconnected("injected: watch cut".to_owned()));
        let before = self.cuts_before;
        tokio::select! {
            biased;
            // The count never falls: once cut, cut for ever.
            _ = self.cuts.wait_for(|count| *count > before) => cut(),
            item = self.inner.next() => item,
        }
    }
}

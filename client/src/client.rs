//! The connection to the cluster: any of several nodes, whichever answers.

use crate::address::Address;
use crate::channel;
use crate::error::{Error, is_connection_loss, is_transient, root_cause};
use shoal_proto::v1;
use shoal_proto::v1::shoal_client::ShoalClient;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tonic_types::StatusExt;

/// The first pause between two tries; doubles up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
pub(crate) const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Patience when none is given: longer than a cluster needs to elect a new leader and let a lost node's lease expire.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes to try, the preferred first. Not empty.
    pub addresses: Vec<Address>,
    /// How long a call is tried again while the cluster is unavailable. A cluster of which no node ever answered is given up after
    /// one round.
    pub patience: Duration,
}

/// A client. Cheap to clone; clones share their connection.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Index of the address in use, or to be tried next.
    at: usize,
    channel: Option<Channel>,
    ever_connected: bool,
}

/// A stub, and which connection it belongs to.
pub(crate) struct Link {
    pub(crate) stub: ShoalClient<Channel>,
    at: usize,
}

impl Client {
    /// A client that connects at its first call.
    pub fn new(options: Options) -> Client {
        assert!(!options.addresses.is_empty(), "a client needs at least one address");
        Client { inner: Arc::new(Inner { options, state: Mutex::default() }) }
    }

    /// A client that has found a node that answers.
    pub async fn connect(options: Options) -> Result<Client, Error> {
        let client = Client::new(options);
        client.link().await?;
        Ok(client)
    }

    /// The nodes it tries.
    pub fn addresses(&self) -> &[Address] {
        &self.inner.options.addresses
    }

    /// The node it talks to, or would try first.
    pub fn address(&self) -> &Address {
        let at = self.state().at;
        &self.inner.options.addresses[at]
    }

    /// How long a call is tried again.
    pub fn patience(&self) -> Duration {
        self.inner.options.patience
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere leaves it usable.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present connection, or a new one to the first address that takes it.
    pub(crate) async fn link(&self) -> Result<Link, Error> {
        let first = {
            let state = self.state();
            if let Some(channel) = &state.channel {
                return Ok(Link { stub: channel::stub(channel.clone()), at: state.at });
            }
            state.at
        };
        let addresses = &self.inner.options.addresses;
        let mut tried = Vec::new();
        for at in (first..addresses.len()).chain(0..first) {
            match channel::connect(&addresses[at]).await {
                Ok(channel) => {
                    *self.state() = State { at, channel: Some(channel.clone()), ever_connected: true };
                    return Ok(Link { stub: channel::stub(channel), at });
                }
                Err(error) => tried.push((addresses[at].clone(), root_cause(&error))),
            }
        }
        Err(Error::Unreachable { tried })
    }

    /// The connection itself, for other services than the first.
    pub(crate) async fn channel(&self) -> Result<Channel, Error> {
        self.link().await?;
        let channel = self.state().channel.clone();
        channel.ok_or(Error::Protocol("a connection that was left"))
    }

    /// Leaves the node of `link` for the next one.
    pub(crate) fn leave(&self, link: &Link) {
        let mut state = self.state();
        if state.at == link.at {
            state.at = (link.at + 1) % self.inner.options.addresses.len();
            state.channel = None;
        }
    }

    /// Calls until it succeeds, is refused, or the patience is over. Only for calls that are safe to repeat.
    pub(crate) async fn call<T, Call, Answer>(&self, mut call: Call) -> Result<T, Error>
    where
        Call: FnMut(ShoalClient<Channel>) -> Answer,
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = Tries::new(self.patience());
        loop {
            let left = tries.left();
            let error = match tokio::time::timeout(left, self.once(&mut call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_elapsed) => return Err(tries.over()),
            };
            let hopeless = matches!(error, Error::Unreachable { .. }) && !self.state().ever_connected;
            if hopeless || !error.is_transient() {
                return Err(error);
            }
            tries.failed(error).await?;
        }
    }

    async fn once<T, Call, Answer>(&self, call: &mut Call) -> Result<T, Error>
    where
        Call: FnMut(ShoalClient<Channel>) -> Answer,
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let link = self.link().await?;
        let status = match call(link.stub.clone()).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        if is_transient(&status) {
            self.leave(&link);
        }
        Err(status.into())
    }

    /// Reads one task, by full id or by a unique prefix of its short form.
    pub async fn get(&self, task: &str) -> Result<v1::Task, Error> {
        let request = v1::GetRequest { task: task.to_owned() };
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.get(request).await }
        };
        self.call(call).await?.task.ok_or(Error::Protocol("Get without a task"))
    }

    /// Asks that a task end as canceled. Safe to repeat.
    pub async fn cancel(&self, request: v1::CancelRequest) -> Result<v1::Task, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.cancel(request).await }
        };
        self.call(call).await?.task.ok_or(Error::Protocol("Cancel without a task"))
    }

    /// Changes a task's priority. Safe to repeat.
    pub async fn reprioritize(&self, request: v1::ReprioritizeRequest) -> Result<v1::Task, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.reprioritize(request).await }
        };
        self.call(call).await?.task.ok_or(Error::Protocol("Reprioritize without a task"))
    }

    /// Keeps a queued task from starting. Safe to repeat.
    pub async fn hold(&self, request: v1::HoldRequest) -> Result<v1::Task, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.hold(request).await }
        };
        self.call(call).await?.task.ok_or(Error::Protocol("Hold without a task"))
    }

    /// Lets a held task start. Safe to repeat.
    pub async fn release(&self, request: v1::ReleaseRequest) -> Result<v1::Task, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.release(request).await }
        };
        self.call(call).await?.task.ok_or(Error::Protocol("Release without a task"))
    }

    /// Keeps a node from taking tasks. Safe to repeat.
    pub async fn lock_node(&self, request: v1::LockNodeRequest) -> Result<v1::LockInfo, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.lock_node(request).await }
        };
        self.call(call).await?.lock.ok_or(Error::Protocol("LockNode without a lock"))
    }

    /// Lets a node take tasks again. Safe to repeat.
    pub async fn unlock_node(&self, request: v1::UnlockNodeRequest) -> Result<(), Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.unlock_node(request).await }
        };
        self.call(call).await.map(|v1::UnlockNodeResponse {}| ())
    }

    /// Keeps queued tasks from starting. Safe to repeat.
    pub async fn pause_queue(&self, request: v1::PauseQueueRequest) -> Result<v1::LockInfo, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.pause_queue(request).await }
        };
        self.call(call).await?.pause.ok_or(Error::Protocol("PauseQueue without a pause"))
    }

    /// Lets queued tasks start again. Safe to repeat.
    pub async fn resume_queue(&self) -> Result<(), Error> {
        let call = |mut stub: ShoalClient<Channel>| async move {
            stub.resume_queue(v1::ResumeQueueRequest {}).await
        };
        self.call(call).await.map(|v1::ResumeQueueResponse {}| ())
    }

    /// Says why a task waits.
    pub async fn why(&self, task: &str) -> Result<v1::WhyResponse, Error> {
        let request = v1::WhyRequest { task: task.to_owned() };
        self.call(|mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.why(request).await }
        })
        .await
    }

    /// The live nodes.
    pub async fn nodes(&self) -> Result<Vec<v1::Node>, Error> {
        let call = |mut stub: ShoalClient<Channel>| async move { stub.nodes(v1::NodesRequest {}).await };
        Ok(self.call(call).await?.nodes)
    }

    /// Counts of tasks, and the cluster's state.
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        self.call(|mut stub: ShoalClient<Channel>| async move { stub.status(v1::StatusRequest {}).await })
            .await
    }
}

/// The tries of one call, with growing pauses, until the patience is over.
pub(crate) struct Tries {
    patience: Duration,
    until: Instant,
    pause: Duration,
    last: Option<Box<Error>>,
}

impl Tries {
    pub(crate) fn new(patience: Duration) -> Tries {
        Tries { patience, until: Instant::now() + patience, pause: BACK_OFF, last: None }
    }

    /// What is left of the patience.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// A success: the patience starts anew.
    pub(crate) fn succeeded(&mut self) {
        *self = Tries::new(self.patience);
    }

    /// The patience is over.
    pub(crate) fn over(&mut self) -> Error {
        Error::TimedOut { after: self.patience, last: self.last.take() }
    }

    /// Pauses after a failed try: as long as the node asked, else by back-off. An error when the patience is over.
    pub(crate) async fn failed(&mut self, error: Error) -> Result<(), Error> {
        let asked = match &error {
            // A lost connection asks for nothing, and another node may answer at once.
            Error::Status(status) if !is_connection_loss(status) => {
                status.get_details_retry_info().and_then(|info| info.retry_delay)
            }
            _ => None,
        };
        let pause = asked.unwrap_or(self.pause).min(BACK_OFF_MAX);
        self.last = Some(Box::new(error));
        self.pause = (self.pause * 2).min(BACK_OFF_MAX);
        if self.left() <= pause {
            return Err(self.over());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

//! The gRPC service `shoal.v1`: one file for each operation, one enum for all errors, and the servers that listen.
//!
//! Never in here: a decision about a task (it is proposed through the seam), or state of the node loop.

pub mod adjust;
pub mod cancel;
pub mod connection;
pub mod create;
pub mod drained;
pub mod error;
pub mod fit;
pub mod get;
pub mod images;
pub mod list;
pub mod list_newest;
pub mod list_source;
pub mod listen;
pub mod lock;
pub mod lock_any;
pub mod log;
pub mod move_task;
pub mod nodes;
pub mod page_token;
pub mod records;
pub mod reserve;
pub mod resolve;
pub mod serve;
pub mod status;
pub mod submit;
pub mod watch;
pub mod why;

use crate::logs::notify::Hub;
use crate::seam::Api;
use create::Creator;
use error::ApiError;
use futures::Stream;
use shoal_core::clock::Tick;
use shoal_proto::v1::{self, shoal_server::Shoal};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// A stream of answers. It does work only when it is polled, and nothing runs on when it is dropped.
pub type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the operations share.
pub struct Service {
    /// The seam.
    pub api: Arc<Api>,
    /// Creates records.
    pub creator: Creator,
    /// Tells of writes to logs.
    pub hub: Arc<Hub>,
    /// Bounds submits under way.
    pub submits: Semaphore,
    /// Bounds searches through all ids: one, because each reads many keys.
    pub searches: Semaphore,
    /// Bounds lists under way: each may hold some tens of megabytes while it reads.
    pub lists: Semaphore,
}

/// Lists under way at once; more wait.
const LISTS_MAX: usize = 16;

impl Service {
    /// The service of a node; takes one inotify instance.
    pub fn new(api: Arc<Api>) -> std::io::Result<Arc<Service>> {
        Ok(Arc::new(Service {
            creator: Creator::new(api.store.clone()),
            hub: Hub::new()?,
            submits: Semaphore::new(api.limits.submits_max),
            searches: Semaphore::new(1),
            lists: Semaphore::new(LISTS_MAX),
            api,
        }))
    }
}

impl Service {
    /// The cluster's clock. What is dated without it would count from the beginning of time.
    pub async fn tick(&self) -> Result<Tick, ApiError> {
        let unread = "this node has just started and has not read it yet";
        self.api.insight.tick().await.ok_or_else(|| ApiError::StoreUnavailable(unread.to_owned()))
    }
}

/// The operations as tonic calls them.
#[derive(Clone)]
pub struct Rpc(pub Arc<Service>);

#[tonic::async_trait]
impl Shoal for Rpc {
    type LogStream = ResponseStream<v1::LogChunk>;
    type WatchStream = ResponseStream<v1::WatchEvent>;

    async fn submit(&self, r: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        Ok(Response::new(submit::submit(&self.0, r.into_inner()).await?))
    }
    async fn get(&self, r: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Ok(Response::new(get::get(&self.0, r.into_inner()).await?))
    }
    async fn list(&self, r: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        Ok(Response::new(list::list(&self.0, r.into_inner()).await?))
    }
    async fn cancel(&self, r: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        Ok(Response::new(cancel::cancel(&self.0, r.into_inner()).await?))
    }
    async fn reprioritize(
        &self,
        r: Request<v1::ReprioritizeRequest>,
    ) -> Result<Response<v1::ReprioritizeResponse>, Status> {
        Ok(Response::new(adjust::reprioritize(&self.0, r.into_inner()).await?))
    }
    async fn hold(&self, r: Request<v1::HoldRequest>) -> Result<Response<v1::HoldResponse>, Status> {
        Ok(Response::new(adjust::hold(&self.0, r.into_inner()).await?))
    }
    async fn release(&self, r: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        Ok(Response::new(adjust::release(&self.0, r.into_inner()).await?))
    }
    async fn move_task(
        &self,
        r: Request<v1::MoveTaskRequest>,
    ) -> Result<Response<v1::MoveTaskResponse>, Status> {
        Ok(Response::new(move_task::move_task(&self.0, r.into_inner()).await?))
    }
    async fn log(&self, r: Request<v1::LogRequest>) -> Result<Response<Self::LogStream>, Status> {
        Ok(Response::new(log::log(self.0.clone(), r.into_inner()).await?))
    }
    async fn watch(&self, r: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(watch::watch(self.0.clone(), r.into_inner()).await?))
    }
    async fn nodes(&self, _: Request<v1::NodesRequest>) -> Result<Response<v1::NodesResponse>, Status> {
        Ok(Response::new(nodes::nodes(&self.0).await))
    }
    async fn lock_node(
        &self,
        r: Request<v1::LockNodeRequest>,
    ) -> Result<Response<v1::LockNodeResponse>, Status> {
        Ok(Response::new(lock::lock_node(&self.0, r.into_inner()).await?))
    }
    async fn unlock_node(
        &self,
        r: Request<v1::UnlockNodeRequest>,
    ) -> Result<Response<v1::UnlockNodeResponse>, Status> {
        Ok(Response::new(lock::unlock_node(&self.0, r.into_inner()).await?))
    }
    async fn lock_any(
        &self,
        r: Request<v1::LockAnyRequest>,
    ) -> Result<Response<v1::LockAnyResponse>, Status> {
        Ok(Response::new(lock_any::lock_any(&self.0, r.into_inner()).await?))
    }
    async fn wait_drained(
        &self,
        r: Request<v1::WaitDrainedRequest>,
    ) -> Result<Response<v1::WaitDrainedResponse>, Status> {
        Ok(Response::new(drained::wait_drained(&self.0, r.into_inner()).await?))
    }
    async fn reserve(&self, r: Request<v1::ReserveRequest>) -> Result<Response<v1::ReserveResponse>, Status> {
        Ok(Response::new(reserve::reserve(&self.0, r.into_inner()).await?))
    }
    async fn pause_queue(
        &self,
        r: Request<v1::PauseQueueRequest>,
    ) -> Result<Response<v1::PauseQueueResponse>, Status> {
        Ok(Response::new(lock::pause_queue(&self.0, r.into_inner()).await?))
    }
    async fn resume_queue(
        &self,
        _: Request<v1::ResumeQueueRequest>,
    ) -> Result<Response<v1::ResumeQueueResponse>, Status> {
        Ok(Response::new(lock::resume_queue(&self.0).await?))
    }
    async fn why(&self, r: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        Ok(Response::new(why::why(&self.0, r.into_inner()).await?))
    }
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(status::status(&self.0).await?))
    }
}

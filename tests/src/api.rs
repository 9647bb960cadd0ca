//! Calls of the public API, over plain gRPC: what any user's program could do.

use crate::wait;
use anyhow::{Context, Result, anyhow, bail};
use hyper_util::rt::TokioIo;
use shoal_proto::v1::images_client::ImagesClient;
use shoal_proto::v1::shoal_client::ShoalClient;
use shoal_proto::v1::{
    CancelRequest, GetRequest, HoldRequest, ListRequest, LogRequest, Node, NodesRequest, ReleaseRequest,
    ReprioritizeRequest, State, StatusRequest, StatusResponse, SubmitRequest, Task, TaskSpec,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A call that takes longer has failed: no call of the API may hang.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Tasks in one submit call of [`Api::submit_many`].
const SUBMIT_BATCH: usize = 500;
/// The largest page that the API gives.
const PAGE: u32 = 1000;

/// One node's API.
#[derive(Clone, Debug)]
pub struct Api {
    client: ShoalClient<Channel>,
    images: ImagesClient<Channel>,
    health: HealthClient<Channel>,
}

/// What a log call returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Whether the stream said that the attempt has ended and all is sent.
    pub end: bool,
    /// Whether it said that bytes after the cap were dropped.
    pub truncated: bool,
}

impl Log {
    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Whether the state has no exits.
pub fn is_terminal(state: State) -> bool {
    matches!(state, State::Complete | State::Canceled | State::Failed)
}

/// The task's exit code, when it is complete and its process called exit.
pub fn exit_code(task: &Task) -> Option<i32> {
    use shoal_proto::v1::exit::How;
    match task.exit.as_ref()?.how.as_ref()? {
        How::Code(code) => Some(*code),
        How::Signal(_) => None,
    }
}

/// The signal that ended the task, when it is complete.
pub fn exit_signal(task: &Task) -> Option<i32> {
    use shoal_proto::v1::exit::How;
    match task.exit.as_ref()?.how.as_ref()? {
        How::Signal(signal) => Some(*signal),
        How::Code(_) => None,
    }
}

impl Api {
    /// The API at `address` (`host:port`). Connects at the first call.
    pub fn at(address: &str) -> Result<Api> {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("address {address}"))?
            .connect_timeout(Duration::from_secs(2))
            .timeout(CALL_LIMIT)
            .connect_lazy();
        Ok(Api::over(channel))
    }

    /// The API at a unix socket. Connects at the first call.
    pub fn at_socket(path: &Path) -> Api {
        let path = path.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The name only fills the `:authority` header.
        let endpoint = Endpoint::from_static("http://localhost").timeout(CALL_LIMIT);
        Api::over(endpoint.connect_with_connector_lazy(connector))
    }

    fn over(channel: Channel) -> Api {
        let client = ShoalClient::new(channel.clone()).max_decoding_message_size(256 << 20);
        Api {
            client: client.max_encoding_message_size(256 << 20),
            images: ImagesClient::new(channel.clone()),
            health: HealthClient::new(channel),
        }
    }

    /// The generated client, for calls that a test makes itself.
    pub fn raw(&self) -> ShoalClient<Channel> {
        self.client.clone()
    }

    /// The same, of images.
    pub fn images(&self) -> ImagesClient<Channel> {
        self.images.clone()
    }

    /// Fails unless the node says that it serves.
    pub async fn serving(&self) -> Result<()> {
        let request = HealthCheckRequest { service: "shoal.v1.Shoal".to_owned() };
        let answer = self.health.clone().check(request).await?.into_inner();
        match answer.status() {
            ServingStatus::Serving => Ok(()),
            other => bail!("health is {other:?}"),
        }
    }

    /// Submits one task and returns its id.
    pub async fn submit(&self, spec: TaskSpec) -> Result<String> {
        self.submit_many(vec![spec]).await?.pop().context("one id for one task")
    }

    /// Submits tasks in batches, each under a request id of its own.
    pub async fn submit_many(&self, specs: Vec<TaskSpec>) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(specs.len());
        for batch in specs.chunks(SUBMIT_BATCH) {
            let request_id = uuid::Uuid::now_v7().to_string();
            let request = SubmitRequest { request_id, tasks: batch.to_vec(), ..Default::default() };
            ids.extend(self.client.clone().submit(request).await?.into_inner().ids);
        }
        Ok(ids)
    }

    /// Reads one task.
    pub async fn get(&self, id: &str) -> Result<Task> {
        let request = GetRequest { task: id.to_owned() };
        let answer = self.client.clone().get(request).await?.into_inner();
        answer.task.context("an answer to Get has a task")
    }

    /// Asks for a task's end.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<Task, tonic::Status> {
        let request =
            CancelRequest { task: id.to_owned(), reason: reason.to_owned(), by: "shoal-tests".to_owned() };
        let answer = self.client.clone().cancel(request).await?.into_inner();
        answer.task.ok_or_else(|| tonic::Status::internal("an answer to Cancel has a task"))
    }

    /// Gives a task another priority.
    pub async fn reprioritize(&self, id: &str, priority: u32) -> Result<Task, tonic::Status> {
        let request = ReprioritizeRequest { task: id.to_owned(), priority };
        let answer = self.client.clone().reprioritize(request).await?.into_inner();
        answer.task.ok_or_else(|| tonic::Status::internal("an answer to Reprioritize has a task"))
    }

    /// Keeps a queued task from starting.
    pub async fn hold(&self, id: &str, reason: &str) -> Result<Task, tonic::Status> {
        let request =
            HoldRequest { task: id.to_owned(), reason: reason.to_owned(), by: "shoal-tests".to_owned() };
        let answer = self.client.clone().hold(request).await?.into_inner();
        answer.task.ok_or_else(|| tonic::Status::internal("an answer to Hold has a task"))
    }

    /// Lets a held task start.
    pub async fn release(&self, id: &str) -> Result<Task, tonic::Status> {
        let request = ReleaseRequest { task: id.to_owned() };
        let answer = self.client.clone().release(request).await?.into_inner();
        answer.task.ok_or_else(|| tonic::Status::internal("an answer to Release has a task"))
    }

    /// The log of the latest attempt; with `follow`, until the attempt has ended.
    pub async fn log(&self, id: &str, follow: bool) -> Result<Log> {
        self.log_of(LogRequest { task: id.to_owned(), follow, ..Default::default() }).await
    }

    /// Any log request, read to its end.
    pub async fn log_of(&self, request: LogRequest) -> Result<Log> {
        let start = request.offset;
        let mut stream = self.client.clone().log(request).await?.into_inner();
        let mut log = Log::default();
        while let Some(chunk) = stream.message().await? {
            let expected = start + log.bytes.len() as u64;
            let gap = !chunk.data.is_empty() && start > 0 && chunk.offset != expected;
            if gap {
                bail!("log chunk at {} where {expected} was next", chunk.offset);
            }
            log.bytes.extend(chunk.data);
            log.end |= chunk.end;
            log.truncated |= chunk.truncated;
        }
        Ok(log)
    }

    /// All tasks, page by page.
    pub async fn list(&self) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListRequest { page_size: PAGE, page_token, ..Default::default() };
            let page = self.client.clone().list(request).await?.into_inner();
            tasks.extend(page.tasks);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(tasks);
            }
        }
    }

    /// Live nodes.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.client.clone().nodes(NodesRequest {}).await?.into_inner().nodes)
    }

    /// Counts and the cluster's state.
    pub async fn status(&self) -> Result<StatusResponse> {
        Ok(self.client.clone().status(StatusRequest {}).await?.into_inner())
    }

    /// Waits until the task has the state, and returns it; fails at once when it has ended in another.
    pub async fn wait_state(&self, id: &str, state: State, limit: Duration) -> Result<Task> {
        let what = format!("task {id} to be {state:?}");
        let task = wait::until(&what, limit, async || {
            let task = self.get(id).await?;
            let reached = task.state() == state || is_terminal(task.state());
            if reached { Ok(task) } else { Err(anyhow!("it is {:?}", task.state())) }
        })
        .await?;
        if task.state() != state {
            bail!("task {id} ended as {:?}, not {state:?}: {task:?}", task.state());
        }
        Ok(task)
    }

    /// Waits until the task has ended.
    pub async fn wait_end(&self, id: &str, limit: Duration) -> Result<Task> {
        wait::until(&format!("the end of task {id}"), limit, async || {
            let task = self.get(id).await?;
            if is_terminal(task.state()) { Ok(task) } else { Err(anyhow!("it is {:?}", task.state())) }
        })
        .await
    }

    /// Waits until all of `ids` have ended, and returns them by id.
    pub async fn wait_all(&self, ids: &[String], limit: Duration) -> Result<BTreeMap<String, Task>> {
        wait::until(&format!("the end of {} tasks", ids.len()), limit, async || {
            let all: BTreeMap<String, Task> =
                self.list().await?.into_iter().map(|task| (task.id.clone(), task)).collect();
            let missing = ids.iter().filter(|id| !all.contains_key(*id)).count();
            if missing > 0 {
                bail!("{missing} accepted tasks are not in the list");
            }
            let open = ids.iter().filter(|id| !is_terminal(all[*id].state())).count();
            if open > 0 {
                bail!("{open} have not ended");
            }
            Ok(ids.iter().map(|id| (id.clone(), all[id].clone())).collect())
        })
        .await
    }
}

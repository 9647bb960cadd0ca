//! What people say of the queue and of nodes, beside what stands in [`crate::client`]: moves, the reserve, any nodes, and the wait for an empty one.

use crate::client::Client;
use crate::error::Error;
use shoal_proto::v1;
use shoal_proto::v1::shoal_client::ShoalClient;
use tonic::transport::Channel;

impl Client {
    /// Gives a queued task a place of its own. Safe to repeat.
    pub async fn move_task(&self, request: v1::MoveTaskRequest) -> Result<v1::Task, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.move_task(request).await }
        };
        self.call(call).await?.task.ok_or(Error::Protocol("MoveTask without a task"))
    }

    /// Keeps so many nodes for people; what is kept then. Safe to repeat.
    pub async fn reserve(&self, request: v1::ReserveRequest) -> Result<Option<v1::ReserveInfo>, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.reserve(request).await }
        };
        Ok(self.call(call).await?.reserve)
    }

    /// Locks so many nodes, whichever are best. Safe to repeat, for it must have a request id.
    pub async fn lock_any(&self, request: v1::LockAnyRequest) -> Result<Vec<v1::LockedNode>, Error> {
        let call = |mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.lock_any(request).await }
        };
        Ok(self.call(call).await?.nodes)
    }

    /// Waits until a locked node is empty, however long that is.
    pub async fn wait_drained(&self, node: &str) -> Result<(), Error> {
        let request = v1::WaitDrainedRequest { node: node.to_owned() };
        loop {
            let call = |mut stub: ShoalClient<Channel>| {
                let request = request.clone();
                async move { stub.wait_drained(request).await }
            };
            if self.call(call).await?.drained {
                return Ok(());
            }
        }
    }
}

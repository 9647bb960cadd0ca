//! List: page after page, as one stream.

use crate::client::Client;
use crate::error::Error;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use shoal_proto::v1;
use shoal_proto::v1::shoal_client::ShoalClient;
use tonic::transport::Channel;

impl Client {
    /// One page.
    pub async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        self.call(|mut stub: ShoalClient<Channel>| {
            let request = request.clone();
            async move { stub.list(request).await }
        })
        .await
    }

    /// All pages, each read when the one before it has been used. A page may be short, or empty, and not be the last.
    pub fn pages(&self, request: v1::ListRequest) -> BoxStream<'static, Result<v1::ListResponse, Error>> {
        let client = self.clone();
        let next = move |at: Option<v1::ListRequest>| {
            let client = client.clone();
            async move {
                let Some(mut request) = at else { return Ok(None) };
                let page = client.list(request.clone()).await?;
                request.page_token.clone_from(&page.next_page_token);
                let more = (!page.next_page_token.is_empty()).then_some(request);
                Ok(Some((page, more)))
            }
        };
        stream::try_unfold(Some(request), next).boxed()
    }

    /// All tasks of all pages, one by one.
    pub fn tasks(&self, request: v1::ListRequest) -> BoxStream<'static, Result<v1::Task, Error>> {
        let pages = self.pages(request);
        pages.map_ok(|page| stream::iter(page.tasks.into_iter().map(Ok))).try_flatten().boxed()
    }
}

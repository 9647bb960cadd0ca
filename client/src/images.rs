//! Images: import with a stream that waits for the node, list, remove.

use crate::client::Client;
use crate::error::Error;
use futures::Stream;
use shoal_proto::v1::images_client::ImagesClient;
use shoal_proto::v1::{self, image_import_event, image_import_request::What};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tonic::transport::Channel;

/// Bytes of one message of an import.
const CHUNK_BYTES: usize = 256 << 10;

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive cannot be read here.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] Error),
}

impl Client {
    async fn images(&self) -> Result<ImagesClient<Channel>, Error> {
        Ok(ImagesClient::new(self.channel().await?))
    }

    /// Imports an archive. `said` is told how far it is. Not tried again: the archive may be a pipe.
    pub async fn import_image(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        name: &str,
        mut said: impl FnMut(&v1::ImageImportProgress),
    ) -> Result<v1::Image, ImportError> {
        let trouble = Arc::new(Mutex::new(None));
        let requests = requests(archive, name.to_owned(), trouble.clone());
        let mut images = self.images().await?;
        let told = async {
            let mut events = images.import(requests).await.map_err(Error::from)?.into_inner();
            while let Some(event) = events.message().await.map_err(Error::from)? {
                match event.what {
                    Some(image_import_event::What::Progress(progress)) => said(&progress),
                    Some(image_import_event::What::Image(image)) => return Ok(image),
                    None => {}
                }
            }
            Err(Error::Protocol("Import without an image"))
        };
        let told = told.await;
        // A read that failed broke the stream off: that is the reason, whatever the node made of it.
        match trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(ImportError::Read(error)),
            None => Ok(told?),
        }
    }

    /// All images, by name.
    pub async fn list_images(&self) -> Result<Vec<v1::Image>, Error> {
        let answer = self.images().await?.list_images(v1::ListImagesRequest {}).await?;
        Ok(answer.into_inner().images)
    }

    /// Removes an image by name or digest.
    pub async fn remove_image(&self, image: &str, force: bool) -> Result<v1::Image, Error> {
        let request = v1::RemoveImageRequest { image: image.to_owned(), force };
        let answer = self.images().await?.remove_image(request).await?.into_inner();
        answer.image.ok_or(Error::Protocol("RemoveImage without an image"))
    }
}

enum Sending<R> {
    Head(R, String),
    Data(R, u64),
    Done,
}

/// The messages of an import; each is read when the connection takes it.
fn requests<R: AsyncRead + Send + Unpin + 'static>(
    archive: R,
    name: String,
    trouble: Arc<Mutex<Option<io::Error>>>,
) -> impl Stream<Item = v1::ImageImportRequest> + Send + 'static {
    let message = |what| v1::ImageImportRequest { what: Some(what) };
    futures::stream::unfold(Sending::Head(archive, name), move |at| {
        let trouble = trouble.clone();
        async move {
            match at {
                Sending::Head(archive, name) => {
                    Some((message(What::Head(v1::ImageImportHead { name })), Sending::Data(archive, 0)))
                }
                Sending::Data(mut archive, sent) => {
                    let mut data = vec![0; CHUNK_BYTES];
                    match archive.read(&mut data).await {
                        Ok(0) => {
                            let end = v1::ImageImportEnd { archive_bytes: sent };
                            Some((message(What::End(end)), Sending::Done))
                        }
                        Ok(read) => {
                            data.truncate(read);
                            Some((message(What::Data(data)), Sending::Data(archive, sent + read as u64)))
                        }
                        Err(error) => {
                            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            None
                        }
                    }
                }
                Sending::Done => None,
            }
        }
    })
}

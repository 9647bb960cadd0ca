//! The service `shoal.v1.Images`: import, list, remove; and what nodes ask each other.

use super::ResponseStream;
use super::error::ApiError;
use crate::images::peers::{CHUNK_BYTES, Peer};
use crate::images::{ImageError, Images};
use futures::StreamExt;
use shoal_core::image::{Digest, ImageEntry};
use shoal_proto::convert::check::{Check, shown};
use shoal_proto::convert::limits;
use shoal_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Code, Request, Response, Status, Streaming};

/// Imports under way at once: each writes to the disk as fast as it may.
const IMPORTS_MAX: usize = 4;
/// Archives that this node fetches at once because it was asked to keep them; more wait so long, and then go elsewhere.
const KEEPS_MAX: usize = 4;
const PLACE_WAIT: Duration = Duration::from_secs(30);
/// Messages that wait for who reads them; the sender waits beyond that.
const MESSAGES_LEN: usize = 8;
/// A client that sends nothing for so long has gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes between two words about how far it is.
const REPORT_BYTES: u64 = 4 << 20;
/// Between two signs of life of work whose end is not known.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// The operations.
#[derive(Clone)]
pub struct ImagesRpc {
    images: Arc<Images>,
    imports: Arc<Semaphore>,
    keeps: Arc<Semaphore>,
}

impl ImagesRpc {
    /// Of this node.
    pub fn new(images: Arc<Images>) -> ImagesRpc {
        let places = |max| Arc::new(Semaphore::new(max));
        ImagesRpc { images, imports: places(IMPORTS_MAX), keeps: places(KEEPS_MAX) }
    }
}

impl From<ImageError> for Status {
    fn from(error: ImageError) -> Status {
        let code = match &error {
            ImageError::Unknown(_) => Code::NotFound,
            ImageError::Refused(_) | ImageError::TooLarge { .. } | ImageError::Upload(_) => {
                Code::InvalidArgument
            }
            ImageError::DiskFull { .. } => Code::ResourceExhausted,
            ImageError::Used { .. } => Code::FailedPrecondition,
            ImageError::Nowhere { .. } | ImageError::NoCopy(_) | ImageError::Stopping => Code::Unavailable,
            ImageError::Damaged { .. } => Code::DataLoss,
            ImageError::Store(shoal_store::port::StoreError::NoSpace) => Code::ResourceExhausted,
            ImageError::Store(_) => Code::Unavailable,
            ImageError::File { .. } | ImageError::Record(_) => Code::Internal,
        };
        Status::new(code, error.to_string())
    }
}

fn digest(field: &str, text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|bad| ApiError::field(field, format!("{bad}, was {}", shown(text))).into())
}

/// The name of an image: as roots are named, and not what a root of every node is called.
fn check_name(name: &str) -> Result<(), Status> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let mut check = Check::new();
    let max = limits::ROOT_CHARS_MAX;
    if name.len() > max || !name.chars().all(allowed) {
        check.refuse("head.name", format!("must be 1 to {max} of a-z 0-9 . _ -, was {}", shown(name)));
    } else if matches!(name, "host" | "default") {
        check.refuse("head.name", format!("must not be {name}: every node has a root of that name"));
    }
    check.finish(()).map_err(|violations| ApiError::from(violations).into())
}

fn to_wire(digest: Digest, entry: &ImageEntry, nodes: Vec<String>) -> v1::Image {
    v1::Image {
        digest: digest.to_string(),
        name: entry.name.clone(),
        archive: entry.blob.to_string(),
        archive_bytes: entry.blob_bytes,
        bytes: entry.bytes,
        inodes: entry.inodes,
        format: entry.format.clone(),
        created_ms: entry.created.0,
        command: entry.command.clone(),
        env: entry.env.clone().into_iter().collect(),
        workdir: entry.workdir.clone(),
        run_as: Some(v1::RunAs { uid: entry.run_as.uid, gid: entry.run_as.gid }),
        nodes,
    }
}

type Events<T> = mpsc::Sender<Result<T, Status>>;

/// Answers with what `work` says, and with its error in the end. It runs on its own, and ends when nobody reads any more.
fn answer<T, W>(work: impl FnOnce(Events<T>) -> W + Send + 'static) -> Response<ResponseStream<T>>
where
    T: Send + 'static,
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (events, stream) = mpsc::channel(MESSAGES_LEN);
    let last = events.clone();
    let run = async move {
        let gone = events.clone();
        let done = tokio::select! {
            done = work(events) => done,
            () = gone.closed() => return,
        };
        if let Err(status) = done {
            let _ = last.send(Err(status)).await;
        }
    };
    // Driven by whoever polls the stream: nothing runs on when that is dropped.
    let run = futures::stream::once(run).filter_map(|()| async { None });
    let stream =
        futures::stream::unfold(stream, |mut stream| async { stream.recv().await.map(|e| (e, stream)) });
    Response::new(Box::pin(futures::stream::select(stream, run)))
}

/// Sends; a reader that is gone ends the work by itself.
async fn send<T>(events: &Events<T>, event: T) {
    let _ = events.send(Ok(event)).await;
}

fn progress(received_bytes: u64, doing: &str) -> v1::ImageImportEvent {
    let progress = v1::ImageImportProgress { received_bytes, doing: doing.to_owned() };
    v1::ImageImportEvent { what: Some(v1::image_import_event::What::Progress(progress)) }
}

async fn import(
    images: &Images,
    mut requests: Streaming<v1::ImageImportRequest>,
    events: &Events<v1::ImageImportEvent>,
) -> Result<(), Status> {
    use v1::image_import_request::What;
    let misuse = |why: &str| Status::from(ImageError::Upload(why.to_owned()));
    let Some(What::Head(head)) = next(&mut requests).await?.and_then(|request| request.what) else {
        return Err(misuse("an import begins with its head"));
    };
    if !head.name.is_empty() {
        check_name(&head.name)?;
    }
    send(events, progress(0, "receiving")).await;
    let mut upload = images.upload()?;
    let mut said = 0;
    loop {
        match next(&mut requests).await?.and_then(|request| request.what) {
            Some(What::Data(data)) => upload.write(&data)?,
            Some(What::End(end)) if end.archive_bytes == upload.bytes() => break,
            Some(What::End(_)) => {
                return Err(misuse("an import ended with another number of bytes than came"));
            }
            Some(What::Head(_)) => return Err(misuse("an import has one head")),
            None => return Err(misuse("an import broke off before its end")),
        }
        if upload.bytes() - said >= REPORT_BYTES {
            said = upload.bytes();
            send(events, progress(said, "receiving")).await;
        }
    }
    let bytes = upload.bytes();
    let (words, mut spoken) = mpsc::unbounded_channel();
    let work = images.import(upload, head.name, |word| {
        let _ = words.send(word.to_owned());
    });
    tokio::pin!(work);
    let mut beat = tokio::time::interval(SIGN_OF_LIFE);
    let mut doing = "received".to_owned();
    let (digest, entry) = loop {
        tokio::select! {
            done = &mut work => break done?,
            Some(word) = spoken.recv() => doing = word,
            _ = beat.tick() => {}
        }
        send(events, progress(bytes, &doing)).await;
    };
    let nodes = vec![images.insight.identity().name];
    let image = to_wire(digest, &entry, nodes);
    send(events, v1::ImageImportEvent { what: Some(v1::image_import_event::What::Image(image)) }).await;
    Ok(())
}

async fn next(
    requests: &mut Streaming<v1::ImageImportRequest>,
) -> Result<Option<v1::ImageImportRequest>, Status> {
    match tokio::time::timeout(SILENCE_MAX, requests.message()).await {
        Ok(message) => message,
        Err(_) => Err(Status::deadline_exceeded(format!("nothing was sent for {SILENCE_MAX:?}"))),
    }
}

async fn fetch(images: &Images, archive: Digest, events: &Events<v1::ArchiveChunk>) -> Result<(), Status> {
    let gone =
        |error: std::io::Error| Status::unavailable(format!("archive {archive} cannot be read: {error}"));
    let mut file = match tokio::fs::File::open(images.archives.path(archive)).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Status::not_found(format!("archive {archive} is not here")));
        }
        Err(error) => return Err(gone(error)),
    };
    loop {
        let mut data = vec![0; CHUNK_BYTES];
        let read = file.read(&mut data).await.map_err(gone)?;
        if read == 0 {
            return Ok(());
        }
        data.truncate(read);
        send(events, v1::ArchiveChunk { data }).await;
    }
}

async fn keep(
    images: &Images,
    request: v1::KeepArchiveRequest,
    events: &Events<v1::KeepArchiveEvent>,
) -> Result<(), Status> {
    let archive = digest("archive", &request.archive)?;
    if request.archive_bytes > crate::images::archives::BYTES_MAX {
        return Err(ImageError::TooLarge { max: crate::images::archives::BYTES_MAX }.into());
    }
    let from = [Peer { name: "the importing node".to_owned(), address: request.from_address }];
    let work = images.fetch(archive, request.archive_bytes, &from, archive, None);
    tokio::pin!(work);
    let mut beat = tokio::time::interval(SIGN_OF_LIFE);
    loop {
        tokio::select! {
            done = &mut work => { done?; break }
            _ = beat.tick() => {}
        }
        let received_bytes = images.progress(archive).map_or(0, |progress| progress.bytes);
        send(events, v1::KeepArchiveEvent { received_bytes, kept: false }).await;
    }
    send(events, v1::KeepArchiveEvent { received_bytes: request.archive_bytes, kept: true }).await;
    Ok(())
}

#[tonic::async_trait]
impl v1::images_server::Images for ImagesRpc {
    type ImportStream = ResponseStream<v1::ImageImportEvent>;
    type FetchArchiveStream = ResponseStream<v1::ArchiveChunk>;
    type KeepArchiveStream = ResponseStream<v1::KeepArchiveEvent>;

    async fn import(
        &self,
        request: Request<Streaming<v1::ImageImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let busy = ApiError::Busy { what: "imports", max: IMPORTS_MAX };
        let permit = self.imports.clone().try_acquire_owned().map_err(|_| busy)?;
        let images = self.images.clone();
        Ok(answer(move |events| async move {
            let _permit = permit;
            import(&images, request.into_inner(), &events).await
        }))
    }

    async fn list_images(
        &self,
        _: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let (all, holders) = (self.images.all().await?, self.images.holders().await);
        let mut newest = std::collections::BTreeMap::new();
        for (digest, stored) in &all {
            let last = newest.entry(stored.value.name.clone()).or_insert((stored.mod_revision, *digest));
            *last = (*last).max((stored.mod_revision, *digest));
        }
        let mut images: Vec<v1::Image> = all
            .iter()
            .map(|(digest, stored)| {
                let entry = &stored.value;
                let has = holders.iter().filter(|(_, held)| held.contains(&entry.blob));
                let mut image = to_wire(*digest, entry, has.map(|(name, _)| name.clone()).collect());
                if newest.get(&entry.name).is_some_and(|(_, owner)| owner != digest) {
                    image.name.clear();
                }
                image
            })
            .collect();
        images.sort_by(|a, b| {
            (a.name.is_empty(), &a.name, &a.digest).cmp(&(b.name.is_empty(), &b.name, &b.digest))
        });
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let request = request.into_inner();
        let (digest, entry) = self.images.remove(&request.image, request.force).await?;
        Ok(Response::new(v1::RemoveImageResponse { image: Some(to_wire(digest, &entry, Vec::new())) }))
    }

    async fn fetch_archive(
        &self,
        request: Request<v1::FetchArchiveRequest>,
    ) -> Result<Response<Self::FetchArchiveStream>, Status> {
        let archive = digest("archive", &request.into_inner().archive)?;
        let images = self.images.clone();
        Ok(answer(move |events| async move { fetch(&images, archive, &events).await }))
    }

    async fn keep_archive(
        &self,
        request: Request<v1::KeepArchiveRequest>,
    ) -> Result<Response<Self::KeepArchiveStream>, Status> {
        let busy = ApiError::Busy { what: "archives to keep", max: KEEPS_MAX };
        let Ok(Ok(place)) = tokio::time::timeout(PLACE_WAIT, self.keeps.clone().acquire_owned()).await else {
            return Err(busy.into());
        };
        let images = self.images.clone();
        Ok(answer(move |events| async move {
            let _place = place;
            keep(&images, request.into_inner(), &events).await
        }))
    }

    async fn held_archives(
        &self,
        _: Request<v1::HeldArchivesRequest>,
    ) -> Result<Response<v1::HeldArchivesResponse>, Status> {
        let archives = self.images.held().iter().map(Digest::to_string).collect();
        Ok(Response::new(v1::HeldArchivesResponse { archives }))
    }
}

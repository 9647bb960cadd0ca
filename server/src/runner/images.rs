//! What the runner is asked about images. A request is answered once; one that a lost connection left unanswered is asked again, which is safe: an image
//! that is there is not unpacked again, and one that is gone is not removed again.

use super::link::{Link, LinkError};
use super::{Command, Gone, Runner};
use shoal_container::image::{Caps, Outcome, Unpacked};
use shoal_container::protocol::{Request, Unpack};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive or the node does not allow it, in words.
    #[error("{0}")]
    Refused(String),
    /// The server is stopping.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// One request.
pub enum Ask {
    /// Unpack an archive, or find its image there.
    Unpack(Unpack, oneshot::Sender<Outcome>),
    /// Remove the image of this digest; answered with why it could not be.
    Remove(String, oneshot::Sender<Option<String>>),
}

impl Runner {
    /// Unpacks an archive into the runner's store, or finds it there. With `expected`, only that digest is accepted.
    pub async fn unpack(&self, blob: PathBuf, expected: Option<String>) -> Result<Unpacked, UnpackError> {
        let (reply, answer) = oneshot::channel();
        let id = uuid::Uuid::now_v7().to_string();
        let unpack = Unpack { id, blob, expected, caps: Caps::default() };
        self.send(Command::Image(Ask::Unpack(unpack, reply))).await?;
        match answer.await.map_err(|_| Gone)? {
            Outcome::Unpacked(unpacked) => Ok(unpacked),
            Outcome::Failed(why) => Err(UnpackError::Refused(why)),
            Outcome::Done => Err(UnpackError::Refused("the runner unpacked nothing".to_owned())),
        }
    }

    /// Removes an image from the runner's store; fine where there is none. No attempt may be using it.
    pub async fn remove_image(&self, digest: String) -> Result<(), UnpackError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Image(Ask::Remove(digest, reply))).await?;
        match answer.await.map_err(|_| Gone)? {
            None => Ok(()),
            Some(why) => Err(UnpackError::Refused(why)),
        }
    }
}

/// Requests without an answer yet.
#[derive(Default)]
pub(super) struct Asked {
    unpacking: BTreeMap<String, (Unpack, oneshot::Sender<Outcome>)>,
    removing: BTreeMap<String, Vec<oneshot::Sender<Option<String>>>>,
}

impl Asked {
    pub(super) async fn ask(&mut self, link: &mut Link, ask: Ask) -> Result<(), LinkError> {
        match ask {
            Ask::Unpack(unpack, reply) => {
                self.unpacking.insert(unpack.id.clone(), (unpack.clone(), reply));
                link.send(&Request::Unpack(Box::new(unpack))).await
            }
            Ask::Remove(digest, reply) => {
                self.removing.entry(digest.clone()).or_default().push(reply);
                link.send(&Request::RemoveImage { digest }).await
            }
        }
    }

    /// On a new connection.
    pub(super) async fn ask_again(&mut self, link: &mut Link) -> Result<(), LinkError> {
        for (unpack, _) in self.unpacking.values() {
            link.send(&Request::Unpack(Box::new(unpack.clone()))).await?;
        }
        for digest in self.removing.keys() {
            link.send(&Request::RemoveImage { digest: digest.clone() }).await?;
        }
        Ok(())
    }

    /// Who asked may have gone.
    pub(super) fn unpacked(&mut self, id: &str, outcome: Outcome) {
        if let Some((_, reply)) = self.unpacking.remove(id) {
            let _ = reply.send(outcome);
        }
    }

    pub(super) fn removed(&mut self, digest: &str, error: Option<String>) {
        for reply in self.removing.remove(digest).into_iter().flatten() {
            let _ = reply.send(error.clone());
        }
    }
}

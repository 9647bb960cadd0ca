//! Logs on their way: read in pieces from the disk, no faster than the peer takes them.

use crate::logs::copies::keep::PIECE_BYTES_MAX;
use crate::logs::file::{INDEX, PACKED, RAW, open_plain, read_index};
use crate::logs::name::LogName;
use crate::logs::pack::PACK_BYTES_MIN;
use crate::logs::packed::{pack, read_full};
use futures::SinkExt;
use futures::channel::mpsc;
use shoal_proto::v1;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes of one call, and one log more: a call is over long before the peer's limit of time for it.
const BATCH_BYTES: u64 = 32 << 20;

/// A log in the form in which it is copied.
enum Form {
    Small(Vec<u8>),
    Large(File, u64),
}

/// Feeds these logs into `out`, as long as it is listened to and up to [`BATCH_BYTES`]; how many that were. What cannot be read is left out, with a
/// warning.
pub async fn feed(dir: &Path, logs: &[LogName], mut out: mpsc::Sender<v1::LogPiece>) -> usize {
    let mut bytes = 0;
    for (fed, log) in logs.iter().enumerate() {
        if bytes >= BATCH_BYTES {
            return fed;
        }
        let directory = dir.join(log.attempt.to_string());
        let opened = tokio::task::spawn_blocking(move || open(&directory)).await;
        match opened.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Some(form)) => match send(*log, form, &mut out).await {
                Ok(sent) => bytes += sent,
                // The peer has ended the call, and says why in its answer.
                Err(Gone) => return fed,
            },
            Ok(None) => {}
            Err(error) => tracing::warn!(%log, %error, "log not copied"),
        }
    }
    logs.len()
}

/// `None` when there is no log: it never started, or is forgotten by now.
fn open(directory: &Path) -> io::Result<Option<Form>> {
    if let Some(log) = open_plain(&directory.join(RAW))? {
        if log.metadata()?.len() >= PACK_BYTES_MIN {
            return Err(io::Error::other("it is not compressed"));
        }
        let mut bytes = Vec::new();
        pack(&log, &read_index(&directory.join(INDEX))?, &mut bytes)?;
        return Ok(Some(Form::Small(bytes)));
    }
    let Some(packed) = open_plain(&directory.join(PACKED))? else { return Ok(None) };
    let bytes = packed.metadata()?.len();
    Ok(Some(Form::Large(packed, bytes)))
}

/// How many bytes it was.
async fn send(log: LogName, form: Form, out: &mut mpsc::Sender<v1::LogPiece>) -> Result<u64, Gone> {
    let (mut file, bytes) = match form {
        Form::Small(data) => {
            let bytes = data.len() as u64;
            if data.len() > PIECE_BYTES_MAX {
                tracing::warn!(%log, "log not copied: the times of a small log are large");
                return Ok(0);
            }
            piece(out, v1::LogPiece { attempt: log.to_string(), bytes, data }).await?;
            return Ok(bytes);
        }
        Form::Large(file, bytes) => (file, bytes),
    };
    let mut offset = 0;
    while offset < bytes {
        let (data, back) = tokio::task::spawn_blocking(move || {
            let mut data =
                vec![0; PIECE_BYTES_MAX.min(usize::try_from(bytes - offset).unwrap_or(usize::MAX))];
            let count = read_full(&file, &mut data, offset);
            data.truncate(count.unwrap_or(0));
            (data, file)
        })
        .await
        .map_err(|_| Gone)?;
        if data.is_empty() {
            // A disk that fails. The peer refuses what is not whole.
            return Err(Gone);
        }
        file = back;
        let first = offset == 0;
        offset += data.len() as u64;
        let name = if first { log.to_string() } else { String::new() };
        piece(out, v1::LogPiece { attempt: name, bytes: if first { bytes } else { 0 }, data }).await?;
    }
    Ok(bytes)
}

/// Nobody listens any more.
struct Gone;

async fn piece(out: &mut mpsc::Sender<v1::LogPiece>, piece: v1::LogPiece) -> Result<(), Gone> {
    out.send(piece).await.map_err(|_| Gone)
}

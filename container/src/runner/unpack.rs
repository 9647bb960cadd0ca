//! Work on images, each piece in a process of its own: it may take minutes, and the loop waits for nothing. Here is the account of it; what the
//! processes do is in [`crate::image::work`].

use super::{Runner, RunnerError};
use crate::image::work::{self, Place, Work};
use crate::image::{Outcome, RESULT_BYTES_MAX, is_digest};
use crate::protocol::{Event, Unpack};
use crate::sys::{self, Fork};
use rustix::event::epoll;
use rustix::fs::MemfdFlags;
use rustix::process::{WaitId, WaitIdOptions};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

/// Epoll tokens of workers; attempts are numbered far below.
const TOKEN_WORKERS: u64 = 1 << 62;
/// At once: unpacking keeps a core and the disk busy, and tasks have a claim to both.
const WORKERS_MAX: usize = 2;
/// Pieces of work that wait; more are refused.
const WAITING_MAX: usize = 64;

/// The account.
#[derive(Default)]
pub struct Images {
    workers: BTreeMap<u64, Worker>,
    waiting: VecDeque<(Work, Place)>,
    next: u64,
}

struct Worker {
    work: Work,
    pidfd: OwnedFd,
    /// Where it leaves what came of it: a file without a name, which holds more than a pipe.
    result: OwnedFd,
}

/// Whether an epoll token is a worker's.
pub fn is_worker(token: u64) -> bool {
    token >= TOKEN_WORKERS
}

impl Runner {
    /// Removes what earlier workers left unfinished.
    pub(super) fn sweep_images(&mut self) {
        if self.policy.images_dir.is_some() {
            self.image_work(Work::Sweep);
        }
    }

    pub(super) fn unpack(&mut self, unpack: Unpack) {
        match &unpack.expected {
            Some(digest) if !is_digest(digest) => {
                let why = format!("a digest is 64 hexadecimal digits, not {digest:?}");
                self.tell(&Event::Unpacked { id: unpack.id, outcome: Outcome::Failed(why) });
            }
            _ => self.image_work(Work::Unpack(unpack)),
        }
    }

    pub(super) fn remove_image(&mut self, digest: String) {
        match is_digest(&digest) {
            true => self.image_work(Work::Remove(digest)),
            false => {
                let error = Some(format!("a digest is 64 hexadecimal digits, not {digest:?}"));
                self.tell(&Event::ImageRemoved { digest, error });
            }
        }
    }

    fn image_work(&mut self, work: Work) {
        match self.place() {
            Ok(_) if self.images.waiting.len() >= WAITING_MAX => {
                self.answer(work, Outcome::Failed("too much work on images waits already".to_owned()));
            }
            Ok(place) => {
                self.images.waiting.push_back((work, place));
                self.next_work();
            }
            Err(why) => self.answer(work, Outcome::Failed(why)),
        }
    }

    /// Where the work is done, and for whom.
    fn place(&self) -> Result<Place, String> {
        let Some(images_dir) = self.policy.images_dir.clone() else {
            return Err("the policy of this node has no images".to_owned());
        };
        let peer = match &self.connection {
            Some(connection) => connection.peer().map_err(|e| format!("look at the server's user: {e}"))?,
            None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        let program = std::env::current_exe()
            .map_err(|e| format!("find the runner's own program: {e}"))?
            .with_file_name("shoal-unpack");
        Ok(Place { images_dir, users: self.policy.users, peer, program })
    }

    fn next_work(&mut self) {
        while self.images.workers.len() < WORKERS_MAX
            && let Some((work, place)) = self.images.waiting.pop_front()
        {
            match self.start_worker(&work, &place) {
                Ok((pidfd, result)) => {
                    let number = self.images.next;
                    self.images.next += 1;
                    self.images.workers.insert(number, Worker { work, pidfd, result });
                }
                Err(error) => self.answer(work, Outcome::Failed(error.to_string())),
            }
        }
    }

    fn start_worker(&mut self, work: &Work, place: &Place) -> Result<(OwnedFd, OwnedFd), RunnerError> {
        let result = rustix::fs::memfd_create("shoal-image", MemfdFlags::CLOEXEC)
            .map_err(|e| RunnerError::system("make a file for the result", e))?;
        // SAFETY: the runner has one thread, and the child's branch never returns.
        #[allow(unsafe_code)]
        let forked = unsafe { sys::fork_into(0) }.map_err(|e| RunnerError::system("fork", e))?;
        let pidfd = match forked {
            Fork::Child => work::main(work, place, result.as_fd()),
            Fork::Parent(_, pidfd) => pidfd,
        };
        let data = epoll::EventData::new_u64(TOKEN_WORKERS + self.images.next);
        if let Err(error) = epoll::add(&self.epoll, &pidfd, data, epoll::EventFlags::IN) {
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            return Err(RunnerError::system("watch a worker", error));
        }
        Ok((pidfd, result))
    }

    pub(super) fn worker_ended(&mut self, token: u64) {
        let Some(worker) = self.images.workers.remove(&(token - TOKEN_WORKERS)) else { return };
        let _ = rustix::process::waitid(WaitId::PidFd(worker.pidfd.as_fd()), WaitIdOptions::EXITED);
        let outcome = read_result(&worker.result)
            .unwrap_or_else(|| Outcome::Failed("the work ended without a result".to_owned()));
        self.answer(worker.work, outcome);
        self.next_work();
    }

    fn answer(&mut self, work: Work, outcome: Outcome) {
        match work {
            Work::Unpack(unpack) => self.tell(&Event::Unpacked { id: unpack.id, outcome }),
            Work::Remove(digest) => {
                let error = match outcome {
                    Outcome::Failed(why) => Some(why),
                    Outcome::Unpacked(_) | Outcome::Done => None,
                };
                self.tell(&Event::ImageRemoved { digest, error });
            }
            Work::Sweep => {}
        }
    }
}

fn read_result(file: &OwnedFd) -> Option<Outcome> {
    let size = usize::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
    let mut bytes = vec![0; size.min(RESULT_BYTES_MAX)];
    let read = rustix::io::pread(file, &mut bytes, 0).ok()?;
    serde_json::from_slice(&bytes[..read]).ok()
}

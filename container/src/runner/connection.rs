//! The connection to the server: at most one, a new one replaces the old. Never waited for: what cannot be written is kept up to a bound, and a
//! server that does not read beyond that is cut off. It loses nothing by it, since the next `Welcome` says everything again.

use super::{Runner, TOKEN_CONNECTION};
use crate::protocol::{Event, FRAME_BYTES_MAX, VERSION};
use crate::wire::{self, Decoder};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, send, sendmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes kept for a server that does not read.
const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// Descriptors kept for one. It reads them as they come, so that there are hardly ever two.
const DESCRIPTORS_MAX: usize = 64;
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// Attempts beyond this many bytes of a `Welcome` go into another.
const WELCOME_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
/// What a report takes in JSON beside its texts; generous.
const REPORT_BYTES: usize = 160;

/// One connection.
pub struct Connection {
    socket: OwnedFd,
    /// What came and was not handled yet.
    pub decoder: Decoder,
    /// What one read gives. Kept, and never cleared: after each fork every page that is written to is first copied.
    input: Vec<u8>,
    /// Whether `Hello` came.
    pub greeted: bool,
    output: Vec<u8>,
    /// Each goes with the byte of `output` that has this number.
    descriptors: VecDeque<(usize, OwnedFd)>,
    /// Whether epoll tells when there is room to write.
    waits_to_write: bool,
}

impl Connection {
    /// User and group of the server.
    pub fn peer(&self) -> rustix::io::Result<(u32, u32)> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket)?;
        Ok((peer.uid.as_raw(), peer.gid.as_raw()))
    }

    /// Writes what the socket takes of the output from this byte on, up to the next that a descriptor goes with.
    fn write_from(&mut self, from: usize) -> rustix::io::Result<usize> {
        let at = |place: usize| self.descriptors.get(place).map(|(at, _)| *at);
        let with_first = at(0) == Some(from);
        let end = if with_first { at(1) } else { at(0) };
        let bytes = &self.output[from..end.unwrap_or(self.output.len())];
        match self.descriptors.front().filter(|_| with_first) {
            None => send(&self.socket, bytes, SendFlags::NOSIGNAL),
            Some((_, descriptor)) => {
                let sent = send_with(&self.socket, bytes, descriptor.as_fd())?;
                self.descriptors.pop_front();
                Ok(sent)
            }
        }
    }
}

fn send_with(socket: &OwnedFd, bytes: &[u8], descriptor: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

impl Runner {
    pub(super) fn accept(&mut self) {
        let Some(listener) = self.state.listener() else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(listener, flags) else { return };
        // The socket's mode says the same; this also holds for one that was connected before a change of it, and where modes are not looked at.
        if !self.may_ask(&socket) {
            return;
        }
        self.connection = None; // closed before the new one is watched: the token is the same
        let data = epoll::EventData::new_u64(TOKEN_CONNECTION);
        if epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).is_ok() {
            self.connection = Some(Connection {
                socket,
                decoder: Decoder::default(),
                input: Vec::with_capacity(READ_BYTES),
                greeted: false,
                output: Vec::new(),
                descriptors: VecDeque::new(),
                waits_to_write: false,
            });
        }
    }

    /// Whether this is the server's user, or the runner's own.
    fn may_ask(&self, socket: &OwnedFd) -> bool {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(socket) else { return false };
        let server = self.options.server_user.map(|server| server.uid);
        peer.uid == rustix::process::geteuid() || server.is_some_and(|uid| peer.uid.as_raw() == uid)
    }

    /// Reads once; requests are handled by [`Runner::serve_requests`].
    pub(super) fn receive(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        // Frames that wait already are enough for a while; the socket holds the rest back.
        if connection.decoder.ready() {
            return;
        }
        connection.input.clear();
        match rustix::io::read(&connection.socket, rustix::buffer::spare_capacity(&mut connection.input)) {
            Ok(0) => self.connection = None,
            Ok(_) => connection.decoder.push(&connection.input),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.connection = None,
        }
    }

    /// Queues an event for the server, if one is there to hear it.
    pub(super) fn tell(&mut self, event: &Event) {
        let Some(connection) = self.connection.as_mut().filter(|c| c.greeted) else { return };
        match wire::encode(event) {
            Ok(frame) if connection.output.len() + frame.len() <= OUTPUT_BYTES_MAX => {
                connection.output.extend_from_slice(&frame);
            }
            _ => self.connection = None,
        }
    }

    /// The same with a descriptor, which goes with the event's first byte.
    pub(super) fn tell_with(&mut self, event: &Event, descriptor: OwnedFd) {
        let Some(connection) = self.connection.as_mut().filter(|c| c.greeted) else { return };
        if connection.descriptors.len() >= DESCRIPTORS_MAX {
            self.connection = None;
            return;
        }
        connection.descriptors.push_back((connection.output.len(), descriptor));
        self.tell(event);
    }

    /// Answers `Hello` with all attempts that are not forgotten, in as many frames as they take: what is not in the list is gone, so the list
    /// must be whole.
    pub(super) fn welcome(&mut self) {
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for report in self.attempts.reports() {
            let length = REPORT_BYTES + serde_json::to_vec(&report).map_or(0, |text| text.len());
            if bytes + length > WELCOME_BYTES_MAX && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += length;
            parts.last_mut().expect("there is one from the start").push(report);
        }
        let last = parts.len() - 1;
        for (number, attempts) in parts.into_iter().enumerate() {
            let (more, unenforced) = (number < last, self.unenforced.clone());
            self.tell(&Event::Welcome { version: VERSION, attempts, more, unenforced });
        }
        self.tell_stuck();
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let mut written = 0;
        while written < connection.output.len() {
            match connection.write_from(written) {
                Ok(n) => written += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.connection = None;
                    return;
                }
            }
        }
        connection.output.drain(..written);
        connection.descriptors.iter_mut().for_each(|(at, _)| *at -= written);
        let wants = !connection.output.is_empty();
        if wants != connection.waits_to_write {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants);
            let data = epoll::EventData::new_u64(TOKEN_CONNECTION);
            if epoll::modify(&self.epoll, &connection.socket, data, flags).is_err() {
                self.connection = None;
                return;
            }
            connection.waits_to_write = wants;
        }
    }
}

//! The runner's state directory: `runner.pid`, locked for as long as the runner lives, and `runner.sock`.

use super::{RunnerError, ServerUser};
use crate::record;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Connections waiting to be accepted; the server has one.
const BACKLOG: i32 = 4;

/// The directory, locked.
pub struct StateDir {
    path: PathBuf,
    server: Option<ServerUser>,
    pid_file: OwnedFd,
    listener: Option<OwnedFd>,
}

impl StateDir {
    /// Makes the directory if need be and takes it, or says who has it.
    pub fn take(path: &Path, server: Option<ServerUser>) -> Result<StateDir, RunnerError> {
        server.map_or(Ok(()), |server| server.cannot_fill(path))?;
        std::fs::create_dir_all(path).map_err(|e| file_error("make", path, e))?;
        let path = path.canonicalize().map_err(|e| file_error("find", path, e))?;
        if let Some(server) = server {
            server.open_state(&path)?;
        }
        let name = path.join("runner.pid");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let pid_file = rustix::fs::open(&name, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
            .map_err(|e| file_error("open", &name, e.into()))?;
        // A record lock: stubs, which are forked from us, do not inherit it.
        if !record::try_lock(&pid_file).map_err(|e| file_error("lock", &name, e))? {
            let holder = record::lock_holder(&pid_file).ok().flatten();
            return Err(RunnerError::Taken { path, pid: holder.map_or(0, |p| p.as_raw_nonzero().get()) });
        }
        let text = format!("{}\n", std::process::id());
        rustix::fs::ftruncate(&pid_file, 0)
            .and_then(|()| rustix::io::pwrite(&pid_file, text.as_bytes(), 0))
            .map_err(|e| file_error("write", &name, e.into()))?;
        Ok(StateDir { path, server, pid_file, listener: None })
    }

    /// Its path, free of links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens on the socket, for this user or the server's alone.
    pub fn listen(&mut self) -> Result<(), RunnerError> {
        let name = self.path.join("runner.sock");
        let listen = || {
            match std::fs::remove_file(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let address = SocketAddrUnix::new(&name)?;
            // There must be no moment at which others could connect, so the mode is not changed afterwards.
            let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
            let bound = rustix::net::bind(&socket, &address);
            rustix::process::umask(before);
            bound?;
            self.server.map_or(Ok(()), |server| server.give(&name))?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        self.listener = Some(listen().map_err(|e| file_error("listen on", &name, e))?);
        Ok(())
    }

    /// The listening socket.
    pub fn listener(&self) -> Option<&OwnedFd> {
        self.listener.as_ref()
    }

    /// Removes the socket and empties the pid file; the lock goes with the process.
    pub fn release(&mut self) {
        self.listener = None;
        let _ = std::fs::remove_file(self.path.join("runner.sock"));
        let _ = rustix::fs::ftruncate(&self.pid_file, 0);
    }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> RunnerError {
    RunnerError::File { action, path: path.to_owned(), source }
}

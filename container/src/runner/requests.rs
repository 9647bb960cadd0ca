//! Carrying out the server's requests.

use super::Runner;
use super::attempt::Phase;
use super::stuck::Killed;
use crate::cgroup::CpuQuota;
use crate::deadline::boottime_ms;
use crate::failpoint;
use crate::policy::Policy;
use crate::protocol::{Event, Request, VERSION};
use crate::record::AttemptDir;
use crate::sys;
use rustix::process::{Signal, pidfd_send_signal};

/// Requests handled between two looks at what else has happened: a flood of starts must not delay a stop's reaping.
const REQUESTS_PER_TURN: usize = 8;
/// A stub that has not ended so long after the grace it was given is killed itself.
const STOP_SLACK_MS: u64 = 500;

impl Runner {
    /// Whether a request waits that was received already.
    pub(super) fn request_waits(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.decoder.ready())
    }

    pub(super) fn serve_requests(&mut self) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(connection) = &mut self.connection else { return };
            match connection.decoder.take::<Request>() {
                Ok(Some(Request::Hello { version })) => self.hello(version),
                Ok(Some(_)) if !connection.greeted => self.connection = None,
                Ok(Some(request)) => self.serve(request),
                Ok(None) => return,
                Err(error) => {
                    self.refuse(None, error.to_string());
                    self.flush();
                    self.connection = None;
                }
            }
        }
    }

    fn hello(&mut self, version: u32) {
        let Some(connection) = &mut self.connection else { return };
        connection.greeted = true;
        if version == VERSION {
            // The server may have been started anew because its operator allows other things now.
            match self.options.read_policy(self.rootless.as_ref()) {
                // But for the ids: slots are made of those that this runner began with.
                Ok(policy) => self.policy = Policy { users: self.policy.users, ..policy },
                Err(error) => self.refuse(None, error.to_string()),
            }
            return self.welcome();
        }
        self.refuse(None, format!("this runner speaks version {VERSION} of the protocol, not {version}"));
        self.flush();
        self.connection = None;
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Hello { version } => self.hello(version),
            Request::Start(start) => self.start(*start),
            Request::Stop { id, grace_ms } => self.stop(&id, grace_ms),
            Request::Forget { id } => self.forget(id),
            Request::KillAll => {
                self.kill_all("the node's fence");
                self.all_dead_below = Some(self.attempts.next_number());
            }
            Request::Shutdown => self.shut_down(),
            Request::GangDirectory { id } => self.tell_gang_directory(id),
            Request::Unpack(unpack) => self.unpack(*unpack),
            Request::RemoveImage { digest } => self.remove_image(digest),
        }
    }

    pub(super) fn refuse(&mut self, id: Option<String>, why: String) {
        self.tell(&Event::Refused { id, why, never_started: false });
    }

    /// The stub does it; should it not, the runner kills the stub.
    fn stop(&mut self, id: &str, grace_ms: u64) {
        let Some(alive) = self.attempts.number(id).and_then(|n| self.attempts.alive_mut(n)) else {
            // Ended already: the server knows or is about to hear.
            if self.attempts.number(id).is_none() {
                self.refuse(Some(id.to_owned()), "no such attempt".to_owned());
            }
            return;
        };
        let _ = sys::send_stop(&alive.pidfd, grace_ms);
        let at = boottime_ms().saturating_add(grace_ms).saturating_add(STOP_SLACK_MS);
        alive.kill_at_ms = Some(alive.kill_at_ms.map_or(at, |earlier| earlier.min(at)));
    }

    fn forget(&mut self, id: String) {
        if self.attempts.end(&id).is_none() {
            return self.refuse(Some(id), "it has not ended, or is forgotten already".to_owned());
        }
        let dir = AttemptDir::at(&self.options.attempts_dir, &id);
        failpoint!("runner.before_forget");
        match dir.set_done(self.options.server_user.map(|server| server.uid)) {
            // Kept, so that the next Welcome brings it up again.
            Err(error) if dir.path().exists() => self.refuse(Some(id), error.to_string()),
            // Without a directory there is nothing to mark: it could not be made, or somebody has removed it.
            Ok(()) | Err(_) => {
                failpoint!("runner.after_forget");
                if let Some(number) = self.attempts.number(&id) {
                    self.attempts.remove(number);
                }
            }
        }
    }

    pub(super) fn kill_all(&mut self, why: &'static str) {
        for number in self.attempts.live() {
            self.kill(number, why);
        }
    }

    /// Kills the stub, and with it all of the container, at once.
    pub(super) fn kill(&mut self, number: u64, why: &'static str) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Phase::Alive(alive) = &mut attempt.phase else { return };
        alive.killed.get_or_insert_with(|| Killed::now(why));
        alive.kill_at_ms = None;
        let _ = pidfd_send_signal(&alive.pidfd, Signal::KILL);
        self.cgroups.group(&attempt.id).cpu_quota().inspect(CpuQuota::lift);
    }

    pub(super) fn report_all_dead(&mut self) {
        let Some(below) = self.all_dead_below else { return };
        if self.attempts.first_live().is_none_or(|first| first >= below) {
            self.all_dead_below = None;
            self.tell(&Event::AllDead);
        }
    }
}

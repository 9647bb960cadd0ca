//! The attempts, by what they are aimed at.

mod cgroups;
mod credentials;
mod devices;
mod files;
mod gang;
mod keyrings;
mod limits;
mod logs;
mod mounts;
mod namespaces;
mod network;
mod proc;
mod process;
mod signals;
mod syscalls;

use super::attempt::Attempt;
pub use credentials::whoami;
pub use keyrings::plant;

/// All of them, in the order in which they are run: those that use up what the task may have come last.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    [
        process::ATTEMPTS,
        mounts::ATTEMPTS,
        proc::ATTEMPTS,
        devices::ATTEMPTS,
        namespaces::ATTEMPTS,
        cgroups::ATTEMPTS,
        credentials::ATTEMPTS,
        network::ATTEMPTS,
        files::ATTEMPTS,
        gang::ATTEMPTS,
        keyrings::ATTEMPTS,
        signals::ATTEMPTS,
        syscalls::ATTEMPTS,
        logs::ATTEMPTS,
        limits::ATTEMPTS,
    ]
    .into_iter()
    .flatten()
}

/// What the harness tells the attempts about the host, by environment variables.
pub mod told {
    /// A directory of the host that no task may see.
    pub const CANARY: &str = "SHOAL_ESCAPE_CANARY";
    /// The root's directory with what a hostile image would carry: set-id programs, device nodes, links.
    pub const EVIL: &str = "SHOAL_ESCAPE_EVIL";
    /// A process of the host, by its number there.
    pub const HOST_PID: &str = "SHOAL_ESCAPE_HOST_PID";
    /// An abstract socket of the host.
    pub const SOCKET: &str = "SHOAL_ESCAPE_SOCKET";
    /// A TCP port of the host's loopback interface.
    pub const PORT: &str = "SHOAL_ESCAPE_PORT";
    /// A key of the host's, by its serial number; absent where the kernel has none.
    pub const KEY: &str = "SHOAL_ESCAPE_KEY";
    /// The directory of the attempts on the host.
    pub const ATTEMPTS: &str = "SHOAL_ESCAPE_ATTEMPTS";
    /// The namespaces of the host, as the links in /proc name them.
    pub const NAMESPACES: &str = "SHOAL_ESCAPE_NAMESPACES";
    /// The most processes that the container may have; empty where that cannot be enforced.
    pub const PIDS: &str = "SHOAL_ESCAPE_PIDS";

    /// Not empty where the root is a private layer that may be written to.
    pub const PRIVATE_LAYER: &str = "SHOAL_ESCAPE_PRIVATE_LAYER";
    /// Not empty where the runner has all capabilities.
    pub const CAPABLE: &str = "SHOAL_ESCAPE_CAPABLE";

    /// The value of one of these.
    pub fn get(name: &str) -> String {
        std::env::var(name).unwrap_or_default()
    }
}

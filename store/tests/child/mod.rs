//! A real etcd as a child of the test: in a directory of its own, on free loopback ports, killed by its process id at the end.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Another process may take a port between our finding it free and etcd's taking it.
const TRIES: usize = 5;
const START_DEADLINE: Duration = Duration::from_secs(30);

pub struct Etcd {
    pub url: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Etcd {
    pub fn start() -> Etcd {
        let mut complaints = String::new();
        for _ in 0..TRIES {
            match Etcd::try_start() {
                Ok(etcd) => return etcd,
                Err(complaint) => complaints = complaint,
            }
        }
        panic!("etcd did not become ready in {TRIES} tries; the last one said:\n{complaints}");
    }

    fn try_start() -> Result<Etcd, String> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (client, peer) = (format!("http://{}", free_address()), format!("http://{}", free_address()));
        // The kernel kills it when the test dies, however that happens.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary())
            .args(["--name", "test", "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv (util-linux) starts etcd");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let etcd = Etcd { url: client, child, _dir: dir };
        let (tell, told) = mpsc::channel();
        // Reads on after etcd is ready, so that it never blocks on a full pipe.
        std::thread::spawn(move || {
            let mut said = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains("ready to serve client requests") {
                    let _ = tell.send(Ok(()));
                }
                said.push_str(&line);
                said.push('\n');
            }
            let _ = tell.send(Err(said));
        });
        told.recv_timeout(START_DEADLINE).map_err(|_| "nothing".to_owned())?.map(|()| etcd)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    listener.local_addr().expect("bound")
}

/// SHOAL_ETCD, else PATH, else where `make` unpacks it.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SHOAL_ETCD") {
        return path.into();
    }
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/etcd");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    let found = dirs.chain([PathBuf::from(unpacked)]).find(|path| path.is_file());
    found.expect(
        "no etcd: set SHOAL_ETCD to the binary, or run `make tools`, which unpacks it to target/tools/etcd",
    )
}

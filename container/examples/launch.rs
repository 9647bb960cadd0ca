//! Measures starts: `cargo run --release -p shoal-container --example launch -- RUNNER ROOT [COUNT] [IN_FLIGHT]` starts `true` COUNT
//! times in ROOT (a directory with /bin/true) with IN_FLIGHT at once, and prints what a start to its reported end takes.

use shoal_container::deadline::{DeadlinePage, boottime_ns};
use shoal_container::protocol::{Cause, Event, Limits, Net, Request, Root, Start, User, VERSION};
use shoal_container::wire::{Decoder, encode};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runner, root, rest @ ..] = &arguments[..] else {
        return Err("usage: launch RUNNER ROOT [COUNT] [IN_FLIGHT]".into());
    };
    let count = rest.first().map_or(Ok(500), |text| text.parse())?;
    let in_flight = rest.get(1).map_or(Ok(1), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let page = DeadlinePage::create(&dir.path().join("deadline"))?;
    page.advance_to(boottime_ns() + 600_000_000_000);
    let mut process = std::process::Command::new(runner)
        .arg("--state-dir")
        .arg(dir.path())
        .arg("--attempts-dir")
        .arg(dir.path().join("attempts"))
        .spawn()?;
    let mut client = Client::connect(&dir.path().join("runner.sock"))?;
    let begin = Instant::now();
    let mut took = measure(&mut client, dir.path(), Path::new(root), count, in_flight)?;
    let total = begin.elapsed();
    client.send(&Request::Shutdown)?;
    process.wait()?;
    took.sort();
    let ms = |at: usize| took[at.min(took.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "{count} starts, {in_flight} in flight: median {:.2} ms, p99 {:.2} ms, {:.0} per second",
        ms(count / 2),
        ms(count * 99 / 100),
        count as f64 / total.as_secs_f64()
    );
    Ok(())
}

fn measure(
    client: &mut Client,
    dir: &Path,
    root: &Path,
    count: usize,
    in_flight: usize,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut begun: HashMap<String, Instant> = HashMap::new();
    let (mut next, mut took) = (0, Vec::with_capacity(count));
    while took.len() < count {
        while next < count && begun.len() < in_flight {
            let start = start(format!("bench.{next}"), dir.join("deadline"), root.to_owned());
            begun.insert(start.id.clone(), Instant::now());
            client.send(&Request::Start(Box::new(start)))?;
            next += 1;
        }
        match client.receive()? {
            Event::Ended { id, end } if end.cause == Cause::Code(0) => {
                took.extend(begun.remove(&id).map(|at| at.elapsed()));
                client.send(&Request::Forget { id })?;
            }
            Event::Ended { id, end } => return Err(format!("{id}: {end:?}").into()),
            _ => {}
        }
    }
    Ok(took)
}

fn start(id: String, deadline_page: PathBuf, root: PathBuf) -> Start {
    Start {
        id,
        command: vec!["/bin/true".to_owned()],
        env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
        workdir: "/work".to_owned(),
        root: Root::Directory(root),
        hostname: "bench".to_owned(),
        user: User::NOBODY,
        net: Net::Loopback,
        mounts: Vec::new(),
        limits: Limits::new(1000, 64 << 20, 64),
        time_limit_ms: 0,
        kill_grace_ms: 1000,
        log_bytes_max: 1 << 20,
        deadline_page,
    }
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    /// Waits for the runner to listen, at most five seconds.
    fn connect(socket: &Path) -> Result<Client, Box<dyn Error>> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
            }
        };
        let mut client = Client { stream, decoder: Decoder::default() };
        client.send(&Request::Hello { version: VERSION })?;
        client.receive()?;
        Ok(client)
    }

    fn send(&mut self, request: &Request) -> Result<(), Box<dyn Error>> {
        Ok(self.stream.write_all(&encode(request)?)?)
    }

    fn receive(&mut self) -> Result<Event, Box<dyn Error>> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(event) = self.decoder.take()? {
                return Ok(event);
            }
            match self.stream.read(&mut bytes)? {
                0 => return Err("the runner hung up".into()),
                read => self.decoder.push(&bytes[..read]),
            }
        }
    }
}

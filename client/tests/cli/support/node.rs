//! Serves the node in memory on a loopback port or a unix socket. It is gone, with all its connections, when it is dropped.

use super::api::Api;
use super::world::Shared;
use shoal_proto::v1::shoal_server::ShoalServer;
use std::path::Path;
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

/// A node that serves.
pub struct Node {
    /// What `-N` takes.
    pub address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// On a free port.
    pub fn start(shared: &Shared, name: &str) -> Node {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let api = Api { shared: shared.clone(), name: name.to_owned() };
        Node::serve(address, async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(ShoalServer::new(api)).serve_with_incoming(incoming).await.unwrap();
        })
    }

    /// On a unix socket.
    pub fn start_unix(shared: &Shared, path: &Path) -> Node {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let api = Api { shared: shared.clone(), name: "node-1".to_owned() };
        Node::serve(format!("unix:{}", path.display()), async move {
            let incoming = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener).unwrap());
            Server::builder().add_service(ShoalServer::new(api)).serve_with_incoming(incoming).await.unwrap();
        })
    }

    fn serve(address: String, work: impl Future<Output = ()> + Send + 'static) -> Node {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = work => {}
                    _ = stopped => {}
                }
            });
            // Connections are cut, as a killed process's are.
            runtime.shutdown_background();
        });
        Node { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

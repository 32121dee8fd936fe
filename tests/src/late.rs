//! A server that comes up late. Nothing listens at its address until it is opened; then all bytes go to the real server.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::proxy::at_address;

/// The address of a server that is not up yet. It takes no more connections once it is dropped.
#[derive(Debug)]
pub struct Late {
    address: SocketAddr,
    real: String,
    forwarding: Option<JoinHandle<()>>,
}

impl Late {
    /// Returns an address in front of the server in this URL, and the URL with that address.
    ///
    /// # Panics
    /// When it is not a URL with one host and its port, or there is no port.
    pub async fn before(url: &str) -> (Self, String) {
        // The port is freed at once: the kernel gives it to nobody else soon.
        let address =
            TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let (real, late) = at_address(url, address);
        (Self { address, real, forwarding: None }, late)
    }

    /// Lets the server come up.
    ///
    /// # Panics
    /// When its address is taken.
    pub async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is still free");
        let real = self.real.clone();
        self.forwarding = Some(tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let real = real.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(real).await.expect("the real server is there");
                    // Either side may break off at any time.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.abort();
        }
    }
}

//! The way to the controller: a connection for each call, so that none is used that has died meanwhile.
//!
//! A name is looked up on the thread `controller-name`, since the system's look-up blocks for as long as name servers do.
//! What it found is used as long as it leads somewhere.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::config::ControllerUrl;

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What connects to a controller. Whoever waits for it has a deadline, and may drop it at any time.
pub(super) trait Dial: Send + Sync {
    /// Opens a connection.
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;

    /// Where the last connection led, if that is an address.
    fn reached(&self) -> Option<IpAddr> {
        None
    }
}

/// Connections over TCP.
pub(super) struct Tcp {
    place: Place,
    reached: Mutex<Option<IpAddr>>,
}

enum Place {
    Address(SocketAddr),
    Name(Names),
}

impl Tcp {
    /// To the host of an address. Starts a thread if that is a name.
    pub(super) fn to(url: &ControllerUrl) -> io::Result<Self> {
        let place = match url.host().parse::<IpAddr>() {
            Ok(address) => Place::Address(SocketAddr::new(address, url.port())),
            Err(_) => Place::Name(Names::of(url.host().to_owned(), url.port())?),
        };
        Ok(Self { place, reached: Mutex::default() })
    }
}

impl Dial for Tcp {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        async {
            let stream = match &self.place {
                Place::Address(address) => TcpStream::connect(address).await?,
                Place::Name(names) => names.connect().await?,
            };
            let reached = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
            *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = reached;
            // Requests are small, and nothing follows them.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn reached(&self) -> Option<IpAddr> {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of a name.
struct Names {
    /// Asks the thread to look; one that waits to be asked needs no second word.
    ask: SyncSender<()>,
    found: watch::Receiver<Option<Result<Vec<SocketAddr>, String>>>,
    /// Whether the last connection did not come about: they may be old.
    is_doubted: AtomicBool,
}

impl Names {
    fn of(host: String, port: u16) -> io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let (tell, found) = watch::channel(None);
        let look = move || {
            while asked.recv().is_ok() {
                tell.send_replace(Some(look_up(&host, port)));
            }
        };
        thread::Builder::new().name("controller-name".into()).spawn(look)?;
        Ok(Self { ask, found, is_doubted: AtomicBool::new(false) })
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let addresses = self.addresses().await?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    self.is_doubted.store(false, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Those that were found last. Only where there are none this waits for the thread.
    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut found = self.found.clone();
        let known = found.borrow_and_update().clone();
        if self.is_doubted.swap(true, Ordering::Relaxed) || known.is_none() {
            let _ = self.ask.try_send(());
        }
        if let Some(Ok(addresses)) = known {
            return Ok(addresses);
        }
        let gone = || io::Error::other("nobody looks its name up any more");
        found.changed().await.map_err(|_| gone())?;
        let now = found.borrow().clone();
        now.unwrap_or_else(|| Err(gone().to_string())).map_err(io::Error::other)
    }
}

/// The addresses of a name, those of IPv4 first: most controllers listen on no other.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| format!("its name is not known: {error}"))?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() { Err("its name has no address".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netloom_engine::task;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_and_leads_to_the_controller() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        task::spawn("server", async move { while listener.accept().await.is_ok() {} });
        let tcp = Tcp::to(&format!("http://localhost:{port}").parse().unwrap()).unwrap();
        for _ in 0..2 {
            timeout(Duration::from_secs(10), tcp.dial()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_said_each_time() {
        let tcp = Tcp::to(&"http://no-such-host.invalid:1".parse().unwrap()).unwrap();
        for _ in 0..2 {
            let error = timeout(Duration::from_secs(60), tcp.dial()).await.unwrap().err().unwrap();
            assert!(error.to_string().contains("its name"), "{error}");
        }
    }
}

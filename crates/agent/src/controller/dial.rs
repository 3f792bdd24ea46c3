//! The way to the controller: a connection for each call, so that none is used that has died meanwhile.
//!
//! A name is looked up on the thread `controller-name`, since the system's look-up blocks for as long as name servers do.
//! What it found is used as long as it leads somewhere. It is looked up again when a connection did not come about, when the
//! last look-up found nothing, and with each registration; who only wants to know whether an address is the controller's
//! reads what there is, and waits for nobody.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::config::ControllerUrl;

/// How long a look-up may take before the name counts as one that has no address now. Resolvers give up after 10 to 30 s
/// (resolv.conf(5): 5 s, two attempts, three servers).
const LOOK_UP: Duration = Duration::from_secs(30);

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

    /// Whether the controller has this address now, and it is none of this host's loopback. Never waits.
    fn is_at(&self, _peer: IpAddr) -> bool {
        false
    }

    /// Has a name looked up anew with the next connection.
    fn look_again(&self) {}
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

    fn is_at(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        // Who is on this host is trusted only by an address that says so, not by what a name server says.
        if peer.is_loopback() {
            return false;
        }
        match &self.place {
            Place::Address(address) => address.ip().to_canonical() == peer,
            Place::Name(names) => names.have(peer, self.reached()),
        }
    }

    fn look_again(&self) {
        if let Place::Name(names) = &self.place {
            names.is_doubted.store(true, Ordering::Relaxed);
        }
    }
}

/// The addresses of a name.
struct Names {
    /// Asks the thread to look; one that waits to be asked needs no second word.
    ask: SyncSender<()>,
    found: watch::Receiver<Option<Found>>,
    /// Since when the thread looks, while it does.
    since: watch::Receiver<Option<Instant>>,
    limit: Duration,
    /// Whether the last connection did not come about: they may be old.
    is_doubted: AtomicBool,
}

/// What look-ups came to.
#[derive(Debug, Clone, Default)]
struct Found {
    /// The addresses that were found last; the way to the controller, also when name servers are away.
    addresses: Vec<SocketAddr>,
    /// Why the last look-up has found none, if that is so.
    failure: Option<String>,
}

impl Found {
    /// Takes what a look-up came to.
    fn take(&mut self, host: &str, looked: Result<Vec<SocketAddr>, String>) {
        match looked {
            Ok(addresses) => {
                if self.failure.take().is_some() {
                    tracing::info!(host, "the controller's name is known again");
                }
                self.addresses = addresses;
            }
            Err(why) => {
                if self.failure.is_none() {
                    tracing::warn!(
                        host,
                        why,
                        "the controller's name leads nowhere; no address counts as the controller's"
                    );
                }
                self.failure = Some(why);
            }
        }
    }
}

impl Names {
    fn of(host: String, port: u16) -> io::Result<Self> {
        let of = host.clone();
        Self::by(host, LOOK_UP, move || look_up(&of, port))
    }

    /// Those that something finds, which may take its time; what takes longer than the limit has found nothing so far.
    fn by(
        host: String,
        limit: Duration,
        mut look_up: impl FnMut() -> Result<Vec<SocketAddr>, String> + Send + 'static,
    ) -> io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let (tell, found) = watch::channel(None);
        let (begin, since) = watch::channel(None);
        let look = move || {
            while asked.recv().is_ok() {
                begin.send_replace(Some(Instant::now()));
                let looked = look_up();
                tell.send_modify(|found: &mut Option<Found>| found.get_or_insert_default().take(&host, looked));
                begin.send_replace(None);
            }
        };
        thread::Builder::new().name("controller-name".into()).spawn(look)?;
        Ok(Self { ask, found, since, limit, is_doubted: AtomicBool::new(false) })
    }

    /// Whether this is an address of the name, or that of a connection which is not doubted. None is while the name has none.
    fn have(&self, peer: IpAddr, reached: Option<IpAddr>) -> bool {
        if self.since.borrow().is_some_and(|since| since.elapsed() > self.limit) {
            return false;
        }
        let found = self.found.borrow();
        let Some(Found { addresses, failure: None }) = &*found else { return false };
        let is_reached = reached == Some(peer) && !self.is_doubted.load(Ordering::Relaxed);
        is_reached || addresses.iter().any(|address| address.ip().to_canonical() == peer)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let Found { addresses, failure } = self.look().await?;
        let nothing = failure.unwrap_or_else(|| "its name has no address".to_owned());
        let mut last = io::Error::new(io::ErrorKind::NotFound, nothing);
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

    /// What was found last. Only where there are no addresses this waits for the thread.
    async fn look(&self) -> io::Result<Found> {
        let mut found = self.found.clone();
        let known = found.borrow_and_update().clone();
        let is_good = known.as_ref().is_some_and(|known| known.failure.is_none());
        if self.is_doubted.swap(true, Ordering::Relaxed) || !is_good {
            let _ = self.ask.try_send(());
        }
        if let Some(known) = known.filter(|known| !known.addresses.is_empty()) {
            return Ok(known);
        }
        found.changed().await.map_err(|_| io::Error::other("nobody looks its name up any more"))?;
        Ok(found.borrow().clone().unwrap_or_default())
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
    use netloom_engine::task;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// Names are found by whoever has this.
    type Finder = SyncSender<Result<Vec<SocketAddr>, String>>;

    fn names(limit: Duration) -> (Names, Finder) {
        let (say, said) = sync_channel(1);
        let names = Names::by("controller".into(), limit, move || said.recv().unwrap()).unwrap();
        (names, say)
    }

    fn at(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 8000)).collect()
    }

    async fn looked(names: &Names, find: &Finder, found: Result<Vec<SocketAddr>, String>) -> Vec<SocketAddr> {
        find.send(found).unwrap();
        let mut news = names.found.clone();
        news.borrow_and_update();
        let known = names.look().await.unwrap();
        // What was known already is used at once, and the answer comes later.
        if !known.addresses.is_empty() {
            let _ = timeout(Duration::from_secs(10), news.changed()).await.unwrap();
        }
        known.addresses
    }

    fn have(names: &Names, peer: &str) -> bool {
        names.have(peer.parse().unwrap(), None)
    }

    #[tokio::test]
    async fn the_addresses_of_a_name_are_those_of_the_last_look_up() {
        let (names, find) = names(LOOK_UP);
        assert!(!have(&names, "192.0.2.1"), "nobody has looked");
        looked(&names, &find, Ok(at(&["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1"]))).await;
        for peer in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            assert!(have(&names, peer), "{peer}");
        }
        assert!(!have(&names, "192.0.2.3"));
        looked(&names, &find, Ok(at(&["192.0.2.3"]))).await;
        assert_eq!((have(&names, "192.0.2.1"), have(&names, "192.0.2.3")), (false, true));
    }

    #[tokio::test]
    async fn a_name_that_is_lost_is_nobodys_and_the_way_to_it_is_tried_all_the_same() {
        let (names, find) = names(LOOK_UP);
        looked(&names, &find, Ok(at(&["192.0.2.1"]))).await;
        names.is_doubted.store(false, Ordering::Relaxed);
        assert!(
            names.have("192.0.2.9".parse().unwrap(), Some("192.0.2.9".parse().unwrap())),
            "a connection leads there"
        );
        names.is_doubted.store(true, Ordering::Relaxed);
        assert!(!names.have("192.0.2.9".parse().unwrap(), Some("192.0.2.9".parse().unwrap())), "it led there once");
        looked(&names, &find, Err("its name is not known".to_owned())).await;
        names.is_doubted.store(false, Ordering::Relaxed);
        let one = "192.0.2.1".parse().unwrap();
        assert!(!names.have(one, Some(one)));
        // It is looked up again although nothing is doubted, until it is found.
        assert_eq!(looked(&names, &find, Ok(at(&["192.0.2.1"]))).await, at(&["192.0.2.1"]));
        assert!(names.have(one, None));
    }

    #[tokio::test]
    async fn a_look_up_that_does_not_end_has_found_nothing() {
        let (names, find) = names(Duration::ZERO);
        looked(&names, &find, Ok(at(&["192.0.2.1"]))).await;
        let mut since = names.since.clone();
        let _ = since.wait_for(Option::is_none).await.unwrap();
        assert!(have(&names, "192.0.2.1"));
        names.is_doubted.store(true, Ordering::Relaxed);
        assert_eq!(names.look().await.unwrap().addresses.len(), 1, "nobody waits for it");
        let _ = since.wait_for(Option::is_some).await.unwrap();
        assert!(!have(&names, "192.0.2.1"));
        find.send(Ok(at(&["192.0.2.1"]))).unwrap();
        let _ = since.wait_for(Option::is_none).await.unwrap();
        assert!(have(&names, "192.0.2.1"));
    }

    #[test]
    fn who_is_on_this_host_is_not_the_controller_for_the_word_of_a_name_server() {
        let tcp = |url: &str| Tcp::to(&url.parse().unwrap()).unwrap();
        let is_at = |tcp: &Tcp, peer: &str| tcp.is_at(peer.parse().unwrap());
        let written = tcp("http://192.0.2.1:8000");
        assert!(is_at(&written, "192.0.2.1") && is_at(&written, "::ffff:192.0.2.1") && !is_at(&written, "192.0.2.2"));
        assert!(!is_at(&tcp("http://127.0.0.1:8000"), "127.0.0.1"));
        let (names, find) = names(LOOK_UP);
        let local = Tcp { place: Place::Name(names), reached: Mutex::new(Some(IpAddr::from([127, 0, 1, 1]))) };
        let Place::Name(names) = &local.place else { panic!() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(looked(names, &find, Ok(at(&["127.0.1.1", "192.0.2.1"]))));
        assert_eq!((is_at(&local, "127.0.1.1"), is_at(&local, "192.0.2.1")), (false, true));
    }

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

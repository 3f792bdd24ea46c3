//! A unix socket in front of that of a daemon. It passes everything on, whatever is spoken, and behaves as it is told; where
//! that is HTTP it counts requests, and can refuse them.
//!
//! ```text
//!   client ──▶ Proxy (thread of its own) ──▶ daemon
//!          ◀── delay line, as late as told ◀──
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How a daemon behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// As it is.
    #[default]
    Faithful,
    /// Whatever it says arrives so much later.
    Late(Duration),
    /// Connections are taken, and nothing passes. What was asked meanwhile is asked when this ends.
    Hung,
    /// Connections break: those that there are at once, new ones in the middle of the answer.
    Cut,
    /// Heads of answers are right, bodies are not what they should be; where there is no head all of it is body.
    Corrupt,
    /// Every request is answered with 500; only where HTTP is spoken.
    Failing,
}

/// Beginnings of requests. A client writes the head of one at once, so that is where a piece begins.
const METHODS: [&[u8]; 5] = [b"GET /", b"POST /", b"PUT /", b"DELETE /", b"HEAD /"];
/// Questions whether the daemon is there at all, which are no calls about anything.
const PINGS: [&[u8]; 2] = [b"/_ping ", b"/version "];
const REFUSAL: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\
    Connection: close\r\n\r\n{\"message\":\"fault on purpose\"}    ";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The name of the socket.
const SOCKET: &str = "daemon.sock";
const PIECE: usize = 16 * 1024;
/// Pieces that are on their way at once, on one connection.
const ON_THE_WAY: usize = 256;

/// The socket; it ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    directory: TempDir,
    manner: watch::Sender<Manner>,
    count: Arc<AtomicU32>,
    /// Its end ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Begins to stand in front of the socket `daemon`.
    ///
    /// # Errors
    /// Where no socket or thread can be made.
    pub fn start(daemon: &Path) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (manner, told) = watch::channel(Manner::default());
        let (stop, stopped) = mpsc::channel(1);
        let count = Arc::new(AtomicU32::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            UnixListener::bind(directory.path().join(SOCKET))?
        };
        let door = Door { daemon: daemon.to_owned(), manner: told, count: count.clone() };
        let serve = move || {
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, door.serve(listener, stopped));
        };
        let thread = thread::Builder::new().name("fault proxy".into()).spawn(serve)?;
        Ok(Self { directory, manner, count, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// From now on it behaves so, on connections that there are too.
    pub fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// How many requests there were since this was asked last, but for those whether the daemon is there.
    pub fn take(&self) -> u32 {
        self.count.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Door {
    daemon: PathBuf,
    manner: watch::Receiver<Manner>,
    count: Arc<AtomicU32>,
}

impl Door {
    async fn serve(self, listener: UnixListener, mut stopped: mpsc::Receiver<()>) {
        loop {
            let client = tokio::select! {
                client = listener.accept() => client,
                _ = stopped.recv() => return,
            };
            let Ok((client, _)) = client else { continue };
            tokio::task::spawn_local(self.clone().connection(client));
        }
    }

    /// One connection, until one side closes it or the manner breaks it.
    async fn connection(mut self, client: UnixStream) {
        self.manner.mark_unchanged();
        let breaks = {
            let mut manner = self.manner.clone();
            async move { while manner.changed().await.is_ok_and(|()| !breaks_off(*manner.borrow())) {} }
        };
        tokio::select! {
            () = self.carry(client) => {}
            () = breaks => {}
        }
    }

    async fn carry(&self, client: UnixStream) {
        let Ok(daemon) = UnixStream::connect(&self.daemon).await else { return };
        let ((from_client, to_client), (from_daemon, to_daemon)) = (client.into_split(), daemon.into_split());
        let (line, delayed) = mpsc::channel(ON_THE_WAY);
        // The one who refuses is the one that hears the question, and it is said where answers are.
        let questions = self.questions(from_client, to_daemon, line.clone());
        let answers = self.answers(from_daemon, line);
        let talk = async {
            tokio::join!(questions, answers);
            std::future::pending::<()>().await;
        };
        // A daemon that has closed answers no question any more: the client hears of it at once.
        tokio::select! {
            () = talk => {}
            () = deliver(delayed, to_client) => {}
        }
    }

    async fn questions(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        line: mpsc::Sender<Piece>,
    ) {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.awake().await;
            if *self.manner.borrow() == Manner::Failing {
                let _ = line.send(Piece::Last(REFUSAL.to_vec())).await;
                return;
            }
            let piece = &buffer[..read];
            if is_request(piece) {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    }

    async fn answers(&self, mut from: impl AsyncRead + Unpin, line: mpsc::Sender<Piece>) {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.awake().await;
            let mut piece = buffer[..read].to_vec();
            let manner = *self.manner.borrow();
            let piece = match manner {
                Manner::Faithful | Manner::Hung | Manner::Failing => Piece::At(Instant::now(), piece),
                Manner::Late(late) => Piece::At(Instant::now() + late, piece),
                Manner::Cut => {
                    piece.truncate(read / 2);
                    Piece::Last(piece)
                }
                Manner::Corrupt => {
                    let body = piece.windows(HEAD_END.len()).position(|end| end == HEAD_END);
                    let body = body.map_or(0, |at| at + HEAD_END.len());
                    piece[body..].iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte ^= 0x15);
                    Piece::At(Instant::now(), piece)
                }
            };
            if line.send(piece).await.is_err() {
                return;
            }
        }
        let _ = line.send(Piece::Last(Vec::new())).await;
    }

    /// Waits while it hangs.
    async fn awake(&self) {
        let mut manner = self.manner.clone();
        let _ = manner.wait_for(|manner| *manner != Manner::Hung).await;
    }
}

fn breaks_off(manner: Manner) -> bool {
    matches!(manner, Manner::Cut | Manner::Failing)
}

fn is_request(piece: &[u8]) -> bool {
    let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let is_ping = PINGS.iter().any(|ping| line.windows(ping.len()).any(|window| window == *ping));
    METHODS.iter().any(|method| piece.starts_with(method)) && !is_ping
}

/// What goes to the client.
enum Piece {
    At(Instant, Vec<u8>),
    /// Nothing comes after it.
    Last(Vec<u8>),
}

async fn deliver(mut line: mpsc::Receiver<Piece>, mut to: impl AsyncWrite + Unpin) {
    while let Some(piece) = line.recv().await {
        match piece {
            Piece::At(when, bytes) => {
                sleep_until(when).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Piece::Last(bytes) => {
                let _ = to.write_all(&bytes).await;
                break;
            }
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// A daemon that answers each request on a connection of its own.
    fn daemon() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut request = [0; 1024];
                    while matches!(stream.read(&mut request), Ok(1..)) {
                        let answer =
                            b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"well\":true}";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (directory, path)
    }

    fn ask(proxy: &Proxy) -> UnixStream {
        let mut stream = UnixStream::connect(proxy.socket()).unwrap();
        stream.write_all(b"GET /containers/json HTTP/1.1\r\n\r\n").unwrap();
        stream
    }

    fn answer(mut stream: &UnixStream) -> String {
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[test]
    fn it_passes_on_and_counts() {
        let (_keep, daemon) = daemon();
        let proxy = Proxy::start(&daemon).unwrap();
        assert!(answer(&ask(&proxy)).ends_with("{\"well\":true}"));
        assert_eq!((proxy.take(), proxy.take()), (1, 0));
    }

    #[test]
    fn a_late_daemon_answers_right_and_late_and_a_hung_one_when_it_goes_on() {
        let (_keep, daemon) = daemon();
        let proxy = Proxy::start(&daemon).unwrap();
        let late = Duration::from_millis(200);
        proxy.behave(Manner::Late(late));
        let asked = std::time::Instant::now();
        assert!(answer(&ask(&proxy)).ends_with("{\"well\":true}"));
        assert!(asked.elapsed() >= late);
        proxy.behave(Manner::Hung);
        let stream = ask(&proxy);
        stream.set_read_timeout(Some(late)).unwrap();
        assert!((&stream).read(&mut [0; 8]).is_err(), "nothing comes");
        stream.set_read_timeout(None).unwrap();
        proxy.behave(Manner::Faithful);
        assert!(answer(&stream).ends_with("{\"well\":true}"));
    }

    /// A daemon that says what it is told, on connections that stay.
    fn echo() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut from, mut to) = (stream.as_ref().unwrap().try_clone().unwrap(), stream.unwrap());
                thread::spawn(move || io::copy(&mut from, &mut to));
            }
        });
        (directory, path)
    }

    #[test]
    fn a_client_that_waits_for_an_answer_hears_that_the_daemon_has_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon");
        let listener = UnixListener::bind(&path).unwrap();
        let proxy = Proxy::start(&path).unwrap();
        let asked = ask(&proxy);
        let (mut daemon, _) = listener.accept().unwrap();
        assert!(daemon.read(&mut [0; 1024]).unwrap() > 0, "the question arrives");
        drop(daemon);
        asked.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(answer(&asked), "");
    }

    #[test]
    fn what_is_no_http_passes_too_on_one_connection_late_or_when_it_goes_on_until_it_is_cut() {
        let (_keep, daemon) = echo();
        let proxy = Proxy::start(&daemon).unwrap();
        let mut stream = UnixStream::connect(proxy.socket()).unwrap();
        let said = |mut stream: &UnixStream, text: &[u8]| {
            stream.write_all(text).unwrap();
            answer(stream)
        };
        assert_eq!(said(&stream, b"{\"id\":1}"), "{\"id\":1}");
        let late = Duration::from_millis(200);
        proxy.behave(Manner::Late(late));
        let asked = std::time::Instant::now();
        assert_eq!(said(&stream, b"{\"id\":2}"), "{\"id\":2}");
        assert!(asked.elapsed() >= late);
        proxy.behave(Manner::Hung);
        stream.write_all(b"{\"id\":3}").unwrap();
        proxy.behave(Manner::Faithful);
        assert_eq!(answer(&stream), "{\"id\":3}");
        proxy.behave(Manner::Corrupt);
        let nonsense = said(&stream, b"{\"id\":4}");
        assert!(nonsense.len() == 8 && !nonsense.contains("id"), "{nonsense}");
        proxy.behave(Manner::Cut);
        assert_eq!(answer(&stream), "", "connections that there were break");
        let cut = said(&UnixStream::connect(proxy.socket()).unwrap(), b"{\"id\":5}");
        assert_eq!(cut, "{\"id");
        assert_eq!(proxy.take(), 0, "nothing of it was a request");
    }

    #[test]
    fn a_daemon_that_is_out_of_its_mind_says_nonsense_fails_or_breaks_off() {
        let (_keep, daemon) = daemon();
        let proxy = Proxy::start(&daemon).unwrap();
        let there = ask(&proxy);
        assert!(answer(&there).contains("200 OK"));
        proxy.behave(Manner::Corrupt);
        let nonsense = answer(&ask(&proxy));
        assert!(nonsense.contains("200 OK") && !nonsense.contains("well"), "{nonsense}");
        proxy.behave(Manner::Failing);
        assert_eq!(answer(&there), "", "connections that there were break");
        assert!(answer(&ask(&proxy)).starts_with("HTTP/1.1 500 "));
        proxy.behave(Manner::Cut);
        let cut = answer(&ask(&proxy));
        assert!(!cut.is_empty() && !cut.ends_with('}'), "{cut}");
    }
}

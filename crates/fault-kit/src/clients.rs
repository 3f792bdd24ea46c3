//! Clients that connect and say nothing, or next to nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

/// What clients do when they are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Nothing.
    Silent,
    /// They send the head of a request, a byte each half second, and never come to its end.
    Slow,
}

/// How soon one that was closed comes again: 10,000 of them are 1,000 a second then.
const AGAIN: Duration = Duration::from_secs(10);
/// How long one waits until it is taken.
const TAKEN: Duration = Duration::from_secs(5);
/// How many begin at once, and how often.
const WAVE: (usize, Duration) = (50, Duration::from_millis(25));

/// The clients; they go when this is dropped.
#[derive(Debug)]
pub struct Clients {
    connected: Arc<AtomicUsize>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    /// So many connect to `to`, 2,000 a second, and again when they are closed.
    ///
    /// # Errors
    /// Where no thread can be started. That this process has descriptors enough is the caller's affair.
    pub fn start(to: SocketAddr, many: usize, habit: Habit) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = mpsc::channel::<()>(1);
        let connected = Arc::new(AtomicUsize::new(0));
        let counted = connected.clone();
        let work = move || {
            let tasks = tokio::task::LocalSet::new();
            let start = async {
                let mut waves = interval(WAVE.1);
                for wave in 0..many.div_ceil(WAVE.0) {
                    waves.tick().await;
                    for _ in 0..WAVE.0.min(many - wave * WAVE.0) {
                        tokio::task::spawn_local(client(to, habit, counted.clone()));
                    }
                }
                std::future::pending::<()>().await;
            };
            tasks.block_on(&runtime, async {
                tokio::select! {
                    () = start => {}
                    _ = stopped.recv() => {}
                }
            });
        };
        let thread = thread::Builder::new().name("fault clients".into()).spawn(work)?;
        Ok(Self { connected, stop: Some(stop), thread: Some(thread) })
    }

    /// How many are connected now.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn client(to: SocketAddr, habit: Habit, connected: Arc<AtomicUsize>) {
    loop {
        // One that is not taken is one that waits: the queue of the listener is theirs too.
        if let Ok(Ok(stream)) = timeout(TAKEN, TcpStream::connect(to)).await {
            connected.fetch_add(1, Ordering::Relaxed);
            stay(stream, habit).await;
            connected.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Stays until it is closed.
async fn stay(mut stream: TcpStream, habit: Habit) {
    let mut said = b"GET /labs HTTP/1.1\r\nHost: localhost\r\nX-Long: ".iter().chain(std::iter::repeat(&b'x'));
    let mut pace = interval(Duration::from_millis(500));
    let mut heard = [0; 512];
    loop {
        tokio::select! {
            read = stream.read(&mut heard) => if !matches!(read, Ok(1..)) {
                return;
            },
            _ = pace.tick(), if habit == Habit::Slow => {
                let byte = said.next().copied().unwrap_or_default();
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
    }
}

//! One new connection on the health thread: look at its first bytes, answer a probe, or give it away.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Health, Probe};

/// The longest head of a health request, in bytes.
const HEAD: usize = 8 * 1024;
/// How long a client has to take its answer and to close.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the first bytes show.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// A health request of the simple form that probes send.
    Health,
    /// Anything else.
    Other,
    /// Too little to say.
    Unclear,
}

fn classify(bytes: &[u8]) -> First {
    let mut unclear = false;
    for (path, _) in Probe::PATHS {
        let rest = bytes.strip_prefix(b"GET ").and_then(|rest| rest.strip_prefix(path.as_bytes()));
        match rest {
            Some([b' ' | b'?', ..]) => return First::Health,
            Some([]) => unclear = true,
            Some(_) => {}
            None => unclear |= [b"GET ", path.as_bytes()].concat().starts_with(bytes),
        }
    }
    if unclear { First::Unclear } else { First::Other }
}

/// Serves one connection: at most `limit` until it has shown what it wants, and as long again for a probe's head.
pub(super) async fn attend(
    stream: TcpStream,
    health: Arc<Health>,
    main: mpsc::Sender<std::net::TcpStream>,
    limit: Duration,
) {
    match timeout(limit, look(&stream)).await {
        Ok(Ok(First::Health)) => {
            // A probe that breaks off is no event.
            let _ = timeout(limit, answer(stream, &health)).await;
        }
        Ok(Ok(First::Other)) => hand_over(stream, &health, &main),
        Ok(Ok(First::Unclear) | Err(_)) | Err(_) => {}
    }
}

/// Looks without consuming, until it is clear what comes. Every new segment wakes it once: `WouldBlock` makes
/// tokio wait for the next edge although bytes are there.
async fn look(stream: &TcpStream) -> io::Result<First> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let looked = stream.try_io(Interest::READABLE, || {
            let mut bytes = [0_u8; 32];
            let (_, count) = rustix::net::recv(stream, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
            match classify(&bytes[..count]) {
                _ if count == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                First::Unclear => Err(io::ErrorKind::WouldBlock.into()),
                first => Ok(first),
            }
        });
        match looked {
            // A closed stream stays ready for ever, and nothing more comes: waiting for it would be a busy loop.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}

async fn answer(mut stream: TcpStream, health: &Health) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(probe) = Probe::of(path) else { return Ok(()) };
    let (status, body) = health.answer(probe, query);
    let reason = if status == 200 { "OK" } else { "Service Unavailable" };
    stream.write_all(&response(status, reason, "application/json", "", &body)).await?;
    health.counts.answered.fetch_add(1, Ordering::Relaxed);
    // Closing with bytes unread would send a reset, which may overtake the answer.
    stream.shutdown().await?;
    let mut rest = [0_u8; 512];
    let drained = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(GOODBYE, drained).await;
    Ok(())
}

fn hand_over(stream: TcpStream, health: &Health, main: &mpsc::Sender<std::net::TcpStream>) {
    // Fails only if the stream is not known to this runtime's reactor.
    let Ok(stream) = stream.into_std() else { return };
    match main.try_send(stream) {
        Ok(()) => {
            health.counts.handed_over.fetch_add(1, Ordering::Relaxed);
        }
        Err(mpsc::error::TrySendError::Full(mut stream) | mpsc::error::TrySendError::Closed(mut stream)) => {
            health.counts.refused.fetch_add(1, Ordering::Relaxed);
            let problem = crate::wire::Problem::new(503, "busy", "Try again in a moment", "too many connections wait");
            let body = serde_json::to_vec(&problem).unwrap_or_default();
            // The stream does not block, and its empty send buffer takes this at once.
            let _ = stream.write_all(&response(
                503,
                "Service Unavailable",
                crate::wire::PROBLEM,
                "retry-after: 1\r\n",
                &body,
            ));
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

fn response(status: u16, reason: &str, kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         {more}connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_told_from_other_requests_by_their_first_bytes() {
        for health in ["GET /healthz HTTP/1.1\r\n", "GET /health ", "GET /livez?x", "GET /readyz?verbose HTTP/1.1"] {
            assert_eq!(classify(health.as_bytes()), First::Health, "{health}");
        }
        for unclear in ["", "G", "GET ", "GET /", "GET /h", "GET /health", "GET /healthz", "GET /readyz"] {
            assert_eq!(classify(unclear.as_bytes()), First::Unclear, "{unclear}");
        }
        for other in [
            "P",
            "GET /l1",
            "GET /labs",
            "GET /healthzz",
            "GET  /healthz",
            "POST /healthz ",
            "get /healthz ",
            "\x16\x03",
        ] {
            assert_eq!(classify(other.as_bytes()), First::Other, "{other}");
        }
    }
}

//! Questions asked without pause on 16 connections by one thread: how many are answered in a second, how long one takes, and how often
//! Docker is asked because of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use netloom_dockerd_fixture::busybox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{JSON, head, request};
use super::{AGENT, Controlled, set};
use crate::host::wait;
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

const CONNECTIONS: usize = 16;
const PIECE: usize = 16 * 1024;
const DELIVERED: &str = "library.bench/given:1";
/// How long each is asked before it counts.
const WARM: Duration = Duration::from_millis(500);

/// What is asked: its path, what it did in a second before, how often it asked Docker for one, and the bar of the first.
struct Question {
    path: String,
    what: String,
    before: &'static str,
    calls: &'static str,
    bar: f64,
}

/// Asks everything for so long each; whether the bars hold.
pub(super) fn measure(controlled: &Controlled, time: Duration) -> Result<bool> {
    let question = |path: &str, before, calls, bar| Question {
        path: path.to_owned(),
        what: format!("GET {path}"),
        before,
        calls,
        bar,
    };
    // One that a controller has not delivered is not listed.
    controlled.set.client.deliver(DELIVERED, &busybox(DELIVERED))?;
    let listed = controlled.set.client.get("/images")?;
    ensure!(
        listed["images"].as_array().is_some_and(|images| images.len() == 1),
        "what was delivered is listed: {listed}"
    );
    let status = Question {
        path: format!("/labs/{}/status", set::lab(0)),
        what: format!("status of {} nodes", controlled.set.nodes),
        before: "19.2/s",
        calls: "31",
        bar: 1450.0,
    };
    let questions = [
        status,
        question("/images", "119/s", "", 5950.0),
        question("/info", "238/s", "", 2380.0),
        question("/metrics", "383/s", "", 3830.0),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    controlled.calls.take();
    wait(time);
    let at_rest = controlled.calls.take();
    let mut good = true;
    for Question { path, what, before, calls, bar } in questions {
        runtime.block_on(ask(&path, WARM))?;
        controlled.calls.take();
        let started = Instant::now();
        let times = runtime.block_on(ask(&path, time))?;
        let seconds = started.elapsed().as_secs_f64();
        let called = controlled.calls.take();
        #[expect(clippy::cast_precision_loss, reason = "answers of a few seconds")]
        let rate = times.count() as f64 / seconds;
        good &= print_all([
            Line {
                what: format!("controller: {what}"),
                floor: before.to_owned(),
                figure: format!("{rate:.0}/s"),
                more: format!("p50 {}, p99 {}", milliseconds(times.median()), milliseconds(times.at(0.99))),
                bar: Some((format!("≥ {bar}/s"), rate >= bar)),
            },
            Line {
                what: format!("… calls of Docker for {} of them", times.count()),
                floor: if calls.is_empty() { String::new() } else { format!("{calls} each") },
                figure: called.to_string(),
                more: format!("{at_rest} at rest, as long"),
                bar: Some(("0, or as at rest".to_owned(), called <= at_rest)),
            },
        ]);
    }
    Ok(good)
}

/// Asks for so long; how long each answer took.
async fn ask(path: &str, time: Duration) -> Result<Sample> {
    let request = request("GET", path, JSON, &[]);
    let until = Instant::now() + time;
    let all = try_join_all((0..CONNECTIONS).map(|_| ask_on_one(&request, until))).await;
    let mut sample = Sample::default();
    all.with_context(|| format!("GET {path}"))?.into_iter().flatten().for_each(|took| sample.time(took));
    Ok(sample)
}

async fn ask_on_one(request: &[u8], until: Instant) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(AGENT).await?;
    stream.set_nodelay(true)?;
    let (mut read, mut piece, mut times) = (Vec::new(), vec![0; PIECE], Vec::new());
    while Instant::now() < until {
        let asked = Instant::now();
        stream.write_all(request).await?;
        read.clear();
        let status = loop {
            if let Some((begins, status, length)) = head(&read)?
                && read.len() >= begins + length
            {
                break status;
            }
            let count = stream.read(&mut piece).await?;
            ensure!(count > 0, "the agent closes");
            read.extend(&piece[..count]);
        };
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&read));
        times.push(asked.elapsed());
    }
    Ok(times)
}

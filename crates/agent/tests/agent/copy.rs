//! Archives of files, and rates.

use hyper::Method;
use netloom_engine::Rates;
use netloom_engine::testing::Sketch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::bench::{Bench, within};

const AT: &str = "/labs/lab/nodes/r1/archive";

fn archive(size: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "file", vec![7; size].as_slice()).unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn an_archive_goes_in_and_comes_out_however_large() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    // Larger than any other body may be.
    let large = archive(17 * 1024 * 1024);
    let put = bench.send(Method::PUT, &format!("{AT}?path=/tmp/new"), large).await;
    assert_eq!((put.status.as_u16(), put.body.len()), (204, 0), "{}", put.text());
    let got = bench.get(&format!("{AT}?path=/tmp/new")).await;
    assert_eq!((got.status.as_u16(), &got.headers["content-type"]), (200, &"application/x-tar".parse().unwrap()));
    let mut there = tar::Archive::new(&*got.body);
    let entry = there.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((entry.path().unwrap().to_str(), entry.size()), (Some("new"), 17 * 1024 * 1024));

    assert!(bench.get(&format!("{AT}?path=/none")).await.problem(422, "copy").detail.contains("/none"));
    bench.get("/labs/lab/nodes/r9/archive?path=/tmp").await.problem(404, "no-node");
    bench.get(AT).await.problem(400, "bad-request");
    bench.get(&format!("{AT}?path=")).await.problem(400, "bad-request");
    let cut = archive(1000)[..700].to_vec();
    bench.send(Method::PUT, &format!("{AT}?path=/tmp/cut"), cut).await.problem(422, "copy");
    bench.world.exit("lab", "r1", 0, "");
    bench.get(&format!("{AT}?path=/tmp")).await.problem(409, "not-running");
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_read_its_answer() {
    let bench = Bench::new().await;
    let size = 4_000_000;
    let mut stream = UnixStream::connect(bench.layout.socket()).await.unwrap();
    let head = format!("PUT {AT}?path=/tmp HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // All of it, although the answer is there after the first byte.
    within(stream.write_all(&vec![0; size])).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = within(stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("there is no lab `lab`"), "{answer}");
}

#[tokio::test]
async fn rates_are_sent_as_long_as_somebody_listens() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    bench.get("/labs/none/rates").await.problem(404, "no-lab");
    bench.get("/labs/lab/rates?every=1ms").await.problem(400, "bad-request");
    bench.get("/rates?every=often").await.problem(400, "bad-request");
    assert!(bench.get("/metrics").await.text().contains("netloom_samples_total 0\n"));
    let mut stream = crate::streams::Stream::open(&bench, "/labs/lab/rates?every=200ms").await;
    for _ in 0..2 {
        let (name, data) = stream.next().await.unwrap();
        assert_eq!((name.as_str(), serde_json::from_str::<Rates>(&data).unwrap().links.len()), ("rates", 1));
    }
    let mut all = crate::streams::Stream::open(&bench, "/rates").await;
    let (_, data) = all.next().await.unwrap();
    assert_eq!(serde_json::from_str::<Vec<Rates>>(&data).unwrap().len(), 1);
    bench.send(Method::DELETE, "/labs/lab", "").await;
    while let Some((name, data)) = stream.next().await {
        assert!(name == "rates" || data == r#"{"lab":"lab"}"#, "{name} {data}");
    }
}

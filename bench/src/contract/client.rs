//! Requests to the agent as a controller makes them: by TCP, with the secret, on connections that are kept.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{AGENT, SECRET};

/// So many connections are kept at most.
const KEPT: usize = 64;
const PIECE: usize = 16 * 1024;
pub(super) const JSON: &str = "application/json";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A controller's client, for any number of threads.
#[derive(Debug)]
pub(crate) struct Client {
    /// Nobody waits longer for a piece of an answer.
    limit: Duration,
    kept: Mutex<Vec<TcpStream>>,
}

impl Client {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, JSON, &[])
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, JSON, body.to_string().as_bytes())
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        self.ask("DELETE", path, JSON, &[])
    }

    /// Sends an archive of an image, as a controller delivers it.
    pub(super) fn deliver(&self, reference: &str, archive: &[u8]) -> Result<()> {
        let boundary = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
        let mut body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"image.tar\"\r\n\
             content-type: application/x-tar\r\n\r\n"
        )
        .into_bytes();
        body.extend(archive);
        body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        let (id, name, bytes) = (encoded(&format!("docker:{reference}")), encoded(reference), archive.len());
        let path =
            format!("/images/receive?image_id={id}&reference={name}&total_bytes={bytes}&job_id=j1&device_id=linux");
        let answer = self.ask("POST", &path, &format!("multipart/form-data; boundary={boundary}"), &body)?;
        ensure!(answer["success"] == true, "the image is not taken: {answer}");
        Ok(())
    }

    /// As [`Self::post`], of what has to work out.
    pub(crate) fn does(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.post(path, body)?;
        ensure!(answer["success"] == true, "POST {path}: {answer}");
        Ok(answer)
    }

    /// The body of an answer of 200.
    fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Value> {
        let request = request(method, path, content_type, body);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // One that was kept may have been closed meanwhile.
        let again = kept.map(|stream| exchange(stream, &request)).filter(|tried| !tried.as_ref().is_err_and(is_closed));
        let answered = again.unwrap_or_else(|| exchange(self.connect()?, &request));
        let (status, answer, stream) = answered.with_context(|| format!("{method} {path}"))?;
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT {
                kept.push(stream);
            }
        }
        if status != 200 {
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        }
        serde_json::from_slice(&answer).with_context(|| format!("{method} {path}"))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&AGENT, self.limit)?;
        stream.set_read_timeout(Some(self.limit))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// A request in bytes.
pub(super) fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {AGENT}\r\naccept: */*\r\nauthorization: Bearer {SECRET}\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Where the body begins, the status and the length of the body, once the head is there.
pub(super) fn head(read: &[u8]) -> io::Result<Option<(usize, u16, usize)>> {
    let Some(end) = read.windows(HEAD_END.len()).position(|window| window == HEAD_END) else { return Ok(None) };
    let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    // The agent knows how long its answers are.
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Ok(Some((end + HEAD_END.len(), status, length.ok_or(io::ErrorKind::InvalidData)?)))
}

/// The status and the body of an answer, and the connection.
fn exchange(mut stream: TcpStream, request: &[u8]) -> io::Result<(u16, Vec<u8>, TcpStream)> {
    stream.write_all(request)?;
    let (mut read, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        if let Some((begins, status, length)) = head(&read)?
            && read.len() >= begins + length
        {
            return Ok((status, read.split_off(begins), stream));
        }
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read.extend(&piece[..count]),
        }
    }
}

/// A reference of an image as one segment of a path.
pub(crate) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

//! The library of images that a controller has: one request for each image, bounded at every step.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use netloom_engine::task;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::listen::ServeConfig;

/// How long a name may take until it is an address.
const NAMED: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECTED: Duration = Duration::from_secs(10);
/// How long the head of the answer may take.
const ANSWERED: Duration = Duration::from_secs(30);

/// Where it is.
pub(super) struct Library {
    host: String,
    port: u16,
    authority: String,
    /// What stands before the paths.
    prefix: String,
    secret: String,
}

impl Library {
    pub(super) fn of(config: &ServeConfig) -> Result<Self, String> {
        let url = config.images_from.as_deref().ok_or("this agent knows no controller to fetch images from")?;
        let bad = |why: &str| format!("the controller's address {url} {why}");
        let uri: Uri = url.parse().map_err(|_| bad("is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("must begin with http://"));
        }
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            secret: config.secret.clone().unwrap_or_default(),
        })
    }

    /// Opens an image: its length, if that is known, and what follows.
    pub(super) async fn open(&self, image: &str) -> Result<(Option<u64>, Incoming), String> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("the controller: {error}"))?;
        // Ends with the body, or when that is dropped.
        task::spawn("connection to the library", async move {
            let _ = connection.await;
        });
        let request = Request::get(format!("{}/images/library/{}/stream", self.prefix, segment(image)))
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/octet-stream")
            .header(AUTHORIZATION, format!("Bearer {}", self.secret))
            .body(Empty::<Bytes>::new())
            .map_err(|_| "the secret cannot be sent in a header".to_owned())?;
        let answer = timeout(ANSWERED, sender.send_request(request)).await;
        let answer = answer.map_err(|_| format!("the controller does not answer within {} s", ANSWERED.as_secs()))?;
        let answer = answer.map_err(|error| format!("the controller: {error}"))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Err(format!("the controller's library has no image {image}")),
            status => return Err(format!("the controller answers with {status} to the request for image {image}")),
        }
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Ok((length, answer.into_body()))
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let addresses = self.addresses().await?;
        let mut why = "it has no address".to_owned();
        for address in addresses {
            match timeout(CONNECTED, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("no connection within {} s", CONNECTED.as_secs()),
            }
        }
        Err(format!("the controller at {} cannot be reached: {why}", self.authority))
    }

    /// A name is looked up on a thread of its own, which nothing waits for longer than for a name server that works.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let (tell, told) = oneshot::channel();
        let asked = (self.host.clone(), self.port);
        let thread = std::thread::Builder::new().name("library-name".into()).spawn(move || {
            // Whoever asked may have given up.
            let _ = tell.send(asked.to_socket_addrs().map(Iterator::collect));
        });
        thread.map_err(|error| format!("no thread to look up {}: {error}", self.host))?;
        match timeout(NAMED, told).await {
            Ok(Ok(Ok(addresses))) => Ok(addresses),
            Ok(Ok(Err(error))) => Err(format!("the controller's name {} is not known: {error}", self.host)),
            Ok(Err(_)) | Err(_) => Err(format!("the controller's name {} is not answered for", self.host)),
        }
    }
}

/// One segment of a path, whatever is in it (RFC 3986, 2.3).
fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut segment, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
        segment
    })
}

#[cfg(test)]
mod tests {
    use netloom_engine::Layout;

    use super::*;

    fn library(url: Option<&str>) -> Result<Library, String> {
        let mut config = ServeConfig::new(Layout::new("/nowhere").unwrap());
        config.images_from = url.map(str::to_owned);
        Library::of(&config)
    }

    #[test]
    fn a_library_is_where_the_controller_is() {
        let there = library(Some("http://controller:8000/api/")).unwrap();
        assert_eq!((&*there.host, there.port, &*there.prefix), ("controller", 8000, "/api"));
        let there = library(Some("http://[2001:db8::1]")).unwrap();
        assert_eq!((&*there.host, there.port, &*there.prefix), ("2001:db8::1", 80, ""));
        for (url, why) in [
            (None, "knows no controller"),
            (Some("https://a"), "http://"),
            (Some("a b"), "URL"),
            (Some("/a"), "http://"),
        ] {
            assert!(library(url).err().unwrap().contains(why), "{url:?}");
        }
    }

    #[test]
    fn an_image_is_one_segment_whatever_it_is_called() {
        assert_eq!(segment("docker:a/b~1"), "docker%3Aa%2Fb~1");
    }
}

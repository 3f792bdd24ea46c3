//! A registry of a test's own, on the loopback of a sandbox: Docker takes one there without a certificate.
//!
//! It speaks as much of the distribution API (OCI distribution-spec, pull) as Docker asks for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use netloom_kernel::Netns;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A registry; it goes with the test's process.
pub(crate) struct Registry {
    at: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

/// What it has, by path: media type and content.
#[derive(Default)]
struct Shelf {
    content: BTreeMap<String, (String, Vec<u8>)>,
    asked: Vec<String>,
}

impl Registry {
    /// An empty one.
    pub(crate) fn start(host: &Netns) -> Self {
        let listener = host.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let (at, shelf) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Shelf::default())));
        let shared = shelf.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &shared);
            }
        });
        Self { at, shelf }
    }

    /// How an image of it is called.
    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}:1", self.at)
    }

    /// Puts an image of busybox into it.
    pub(crate) fn add(&self, image: &str) {
        let mut files = unpacked(&netloom_dockerd_fixture::busybox("image:1"));
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap().to_owned();
        let (config, layer) = (files.remove(&config_name).unwrap(), files.remove("layer.tar").unwrap());
        let config_digest = format!("sha256:{}", config_name.trim_end_matches(".json"));
        let parsed: Value = serde_json::from_slice(&config).unwrap();
        let layer_digest = parsed["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned();
        let of = "application/vnd.docker";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": format!("{of}.distribution.manifest.v2+json"),
            "config": { "mediaType": format!("{of}.container.image.v1+json"), "size": config.len(), "digest": config_digest },
            "layers": [{ "mediaType": format!("{of}.image.rootfs.diff.tar.gzip"), "size": layer.len(), "digest": layer_digest }],
        });
        let mut shelf = self.shelf.lock().unwrap();
        let kind = format!("{of}.distribution.manifest.v2+json");
        let manifest = manifest.to_string().into_bytes();
        for named in ["1".to_owned(), digest(&manifest)] {
            shelf.content.insert(format!("/v2/{image}/manifests/{named}"), (kind.clone(), manifest.clone()));
        }
        for (digest, blob) in [(config_digest, config), (layer_digest, layer)] {
            let path = format!("/v2/{image}/blobs/{digest}");
            shelf.content.insert(path, ("application/octet-stream".into(), blob));
        }
    }

    /// How often the manifest of an image was fetched.
    pub(crate) fn pulls(&self, image: &str) -> usize {
        let asked = format!("GET /v2/{image}/manifests/");
        self.shelf.lock().unwrap().asked.iter().filter(|line| line.starts_with(&asked)).count()
    }
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The files of an archive.
fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    files.collect()
}

fn answer(mut stream: TcpStream, shelf: &Mutex<Shelf>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let found = {
        let mut shelf = shelf.lock().unwrap();
        shelf.asked.push(format!("{method} {path}"));
        shelf.content.get(path).cloned()
    };
    let (status, (kind, body)) = match found {
        Some(found) => ("200 OK", found),
        None if path == "/v2/" => ("200 OK", ("application/json".into(), b"{}".to_vec())),
        None => {
            let unknown = json!({ "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown" }] });
            ("404 Not Found", ("application/json".into(), unknown.to_string().into_bytes()))
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\nDocker-Content-Digest: {}\r\n\r\n",
        body.len(),
        digest(&body)
    )?;
    if method == "HEAD" { Ok(()) } else { stream.write_all(&body) }
}

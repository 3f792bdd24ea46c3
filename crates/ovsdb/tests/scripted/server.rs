//! A database server that plays a script, on threads of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use netloom_ovsdb::{Config, Endpoint, Scanner};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// Long enough for a loaded machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Zeros, as a standalone server has for the last transaction.
pub(crate) const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The name of a row.
pub(crate) fn uuid(number: u128) -> String {
    netloom_ovsdb::Uuid::from_u128(number).to_string()
}

/// A server that does with its n-th connection what its script says, from 0.
pub(crate) struct Server {
    directory: TempDir,
}

impl Server {
    pub(crate) fn start(script: impl Fn(usize, &mut Peer) -> Option<()> + Send + Sync + 'static) -> Self {
        let server = Self { directory: TempDir::new().unwrap() };
        let listener = UnixListener::bind(server.path()).unwrap();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (script, stream) = (script.clone(), Box::new(stream.unwrap()));
                std::thread::spawn(move || script(number, &mut Peer::new(stream)));
            }
        });
        server
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("db.sock")
    }

    /// A client of it that mirrors the table `T`, and soon tries again.
    pub(crate) fn config(&self) -> Config {
        config(Endpoint::Unix(self.path()))
    }
}

pub(crate) fn config(endpoint: Endpoint) -> Config {
    let mut config = Config::new(endpoint, "D").mirror("T", ["name", "ports"]);
    (config.first_pause, config.longest_pause) = (Duration::from_millis(5), Duration::from_millis(20));
    config.patience = Duration::from_secs(20);
    config
}

/// As [`Server::start`], for one connection over TCP; gives the address.
pub(crate) fn start_tcp(script: impl FnOnce(&mut Peer) -> Option<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || script(&mut Peer::new(Box::new(listener.accept().unwrap().0))));
    address
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// The other side of a connection. What it does ends with the connection: `None`.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    scanner: Scanner,
}

impl Peer {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, scanner: Scanner::new(1 << 24) }
    }

    /// The next request; echoes are answered.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        loop {
            let asked = self.hear_any()?;
            if asked["method"] != "echo" {
                return Some(asked);
            }
            self.answer(&asked, &asked["params"]);
        }
    }

    fn hear_any(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.scanner.take().unwrap() {
                return Some(serde_json::from_slice(&frame).unwrap());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.scanner.space().extend_from_slice(&piece[..length]),
            }
        }
    }

    /// The next request, which has to call this method.
    pub(crate) fn expect(&mut self, method: &str) -> Option<Value> {
        let asked = self.hear()?;
        assert_eq!(asked["method"], method, "{asked}");
        Some(asked)
    }

    pub(crate) fn say(&mut self, message: &str) {
        self.say_bytes(message.as_bytes());
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        // The other side may have gone.
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn answer(&mut self, asked: &Value, result: &Value) {
        self.say(&json!({"id": asked["id"], "result": result, "error": null}).to_string());
    }

    pub(crate) fn refuse(&mut self, asked: &Value, error: &Value) {
        self.say(&json!({"id": asked["id"], "result": null, "error": error}).to_string());
    }

    /// Says something that wants no answer.
    pub(crate) fn tell(&mut self, method: &str, params: &Value) {
        self.say(&json!({"id": null, "method": method, "params": params}).to_string());
    }

    /// Tells what changed in the table.
    pub(crate) fn update(&mut self, transaction: &str, rows: &Value) {
        self.tell("update3", &json!(["mirror", transaction, {"T": rows}]));
    }

    /// Plays the beginning of a session in which the client asks for what came since nothing.
    pub(crate) fn open(&mut self, transaction: &str, rows: &Value) -> Option<()> {
        self.open_since(NIL, (false, transaction), rows)
    }

    /// Plays the beginning of a session in which the client asks for what came since a transaction: whether that was found,
    /// the last one, and rows.
    pub(crate) fn open_since(&mut self, since: &str, (found, last): (bool, &str), rows: &Value) -> Option<()> {
        self.tell_schema()?;
        let asked = self.expect("monitor_cond_since")?;
        assert_eq!(asked["params"], json!(["D", "mirror", {"T": [{"columns": ["name", "ports"]}]}, since]));
        self.answer(&asked, &json!([found, last, {"T": rows}]));
        Some(())
    }

    pub(crate) fn tell_schema(&mut self) -> Option<()> {
        let asked = self.expect("get_schema")?;
        assert_eq!(asked["params"], json!(["D"]));
        self.answer(
            &asked,
            &schema(&json!({
                "name": {"type": "string"},
                "ports": {"type": {"key": "integer", "min": 0, "max": "unlimited"}},
            })),
        );
        Some(())
    }

    /// Waits for the end of the connection.
    pub(crate) fn stay(&mut self) -> Option<()> {
        while self.hear().is_some() {}
        None
    }
}

pub(crate) fn schema(columns: &Value) -> Value {
    json!({"name": "D", "version": "1.0.0", "tables": {"T": {"columns": columns}}})
}

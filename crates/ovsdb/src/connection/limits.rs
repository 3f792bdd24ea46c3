//! What a session may hold, and what it counts.

use std::time::Duration;

/// What a session may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a message of the server may be, in bytes. The first answer to a monitor holds all that is monitored.
    pub frame: usize,
    /// How many calls may be without an answer.
    pub calls: usize,
    /// How many bytes of requests may wait to be sent.
    pub queued: usize,
    /// How many events may wait to be read.
    pub events: usize,
    /// How long the server may be silent before it is asked whether it is there; after twice that it is dead.
    pub probe: Duration,
}

impl Default for Limits {
    /// 64 MiB, 256 calls, 16 MiB, 16 events, 5 s (what Open vSwitch's own clients take).
    fn default() -> Self {
        Self { frame: 64 << 20, calls: 256, queued: 16 << 20, events: 16, probe: Duration::from_secs(5) }
    }
}

/// Answers that nobody waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strays {
    /// To calls that were given up, or a second time.
    pub late: u64,
    /// To calls that were never made.
    pub unknown: u64,
}

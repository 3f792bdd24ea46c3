//! The far ends of tunnels: which are listened to, and what they say, as part of what is known of their interfaces.
//!
//! ```text
//!   Mirror ──a tunnel of ours came or went──▶ SignalFail ──▶ the other host
//!     ▲                                           │
//!     └── heard ◀── fabric-far-ends ◀──bounded────┘
//! ```

use netloom_engine::PortMark;
use netloom_kernel::FarEnd;
use netloom_plan::AdminState;
use tokio::sync::mpsc;

use super::Shared;
use super::mirror::Mirror;

impl Shared {
    /// Listens in tunnels of ours that are among these interfaces of the host, and no longer in those that are gone.
    pub(super) fn follow(&self, mirror: &mut Mirror, ifindexes: impl IntoIterator<Item = u32>) {
        for ifindex in ifindexes {
            let tunnel = mirror.on_host(ifindex).filter(|link| link.kind.as_deref() == Some("vxlan"));
            let ours = tunnel.filter(|link| matches!(self.marks.read(link), Some(PortMark::Link { .. })));
            if let Some(mac) = ours.and_then(|link| link.mac) {
                self.signals.watch(ifindex, mac);
            } else {
                self.signals.forget(ifindex);
                mirror.hang_up(ifindex);
            }
        }
    }

    /// Has the far end of a tunnel told that what is behind this one is on, or off.
    pub(super) fn tell_far_end(&self, ifindex: u32, state: AdminState) {
        let sent = state == AdminState::Down;
        let mut mirror = self.mirror();
        let touched = mirror.signal(ifindex, |signals| signals.sent = sent);
        self.signals.signal(ifindex, sent);
        self.report(&mut mirror, touched);
    }
}

/// The thread `fabric-far-ends`: from what other hosts say to what the engine believes.
pub(super) fn listen(shared: &Shared, mut heard: mpsc::Receiver<FarEnd>) {
    while let Some(FarEnd { ifindex, fails }) = heard.blocking_recv() {
        let mut mirror = shared.mirror();
        let touched = mirror.signal(ifindex, |signals| signals.heard = fails);
        shared.report(&mut mirror, touched);
    }
}

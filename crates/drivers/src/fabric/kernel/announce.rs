//! The addresses of a node announced to its neighbours, so that none of them waits to ask again.

use std::time::Instant;

use netloom_engine::{Place, PortMark};
use netloom_kernel::{Announcement, NamespaceDump};

use super::KernelFabric;

impl KernelFabric {
    /// Announces the addresses at the ends of links in a place, as they are now, whoever gave them. Nothing hangs on
    /// it but time, so what goes wrong is only noted.
    pub(super) async fn announce_from(&self, place: &Place, deadline: Instant) {
        let opened = self.places.open_to_read(vec![place.clone()], deadline).await;
        let Ok(Some(Ok(open))) = opened.map(|mut opened| opened.pop()) else { return };
        let Ok(dump) = self.dump(&open, deadline).await else { return };
        let all = self.announcements(&dump);
        if all.is_empty() {
            return;
        }
        match self.places.announce(open, all, deadline).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(?place, %error, "addresses cannot be announced"),
            Err(class) => tracing::debug!(?place, ?class, "addresses cannot be announced"),
        }
    }

    fn announcements(&self, dump: &NamespaceDump) -> Vec<Announcement> {
        let ends = dump
            .links
            .iter()
            .filter(|link| link.up && matches!(self.shared.marks.read(link), Some(PortMark::Link { .. })));
        let usable =
            |ifindex: u32| dump.addresses.iter().filter(move |info| info.ifindex == ifindex && !info.tentative);
        let all = ends.filter_map(|link| Some((link, link.mac?))).flat_map(|(link, mac)| {
            usable(link.ifindex).map(move |info| Announcement {
                ifindex: link.ifindex,
                interface: link.name.clone(),
                mac,
                address: info.address.ip(),
            })
        });
        all.collect()
    }
}

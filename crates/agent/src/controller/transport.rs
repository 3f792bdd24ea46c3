//! What the controller has for the transport of this host: asked once after each registration.
//!
//! Only what is said counts. A controller that refuses to say it, or knows nothing of it, is done with; one that does not
//! answer is asked again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netloom_engine::{Transport, TransportKeys, TransportText, Unusable};
use serde::Deserialize;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::call::{Caller, Failure};
use super::member::Member;

/// How long the controller may take.
const LIMIT: Duration = Duration::from_secs(10);
/// What the parts are called there.
const KEYS: TransportKeys = TransportKeys {
    mode: "transport_mode",
    parent: "parent_interface",
    vlan: "vlan_id",
    interface: "data_plane_interface",
    mtu: "desired_mtu",
    address: "transport_ip",
};

/// `GET /infrastructure/agents/{id}/transport-config`
#[derive(Debug, Deserialize)]
struct Said {
    transport_mode: String,
    #[serde(default)]
    parent_interface: Option<String>,
    #[serde(default)]
    vlan_id: Option<u32>,
    #[serde(default)]
    transport_ip: Option<String>,
    #[serde(default)]
    desired_mtu: Option<u32>,
    #[serde(default)]
    data_plane_interface: Option<String>,
}

impl Said {
    /// What it means. What does not belong to its mode is passed over: the controller sends all fields in each.
    fn read(self) -> Result<Transport, Unusable> {
        let mode = self.transport_mode.as_str();
        let of = |belongs: &str, text: Option<String>| text.filter(|_| mode == belongs);
        let more = mode != "management";
        let text = TransportText {
            parent: of("subinterface", self.parent_interface),
            vlan: of("subinterface", self.vlan_id.map(|id| id.to_string())),
            interface: of("dedicated", self.data_plane_interface),
            mtu: self.desired_mtu.filter(|_| more).map(|mtu| mtu.to_string()),
            address: self.transport_ip.filter(|_| more),
            mode: Some(mode.to_owned()),
        };
        // It has a mode, so there is one.
        Ok(text.parse(KEYS)?.unwrap_or(Transport::Management))
    }
}

/// Asks after each registration, for ever, and hands on what is said, with the address of who said it. Cancel-safe.
pub(super) async fn fetch(caller: Caller, member: Arc<Member>, take: impl Fn(Transport, Option<IpAddr>)) {
    let mut registered = member.registered.subscribe();
    loop {
        if registered.wait_for(|is| *is).await.is_err() {
            return;
        }
        match ask(&caller, &member).await {
            Some(Ok(transport)) => take(transport, caller.reached()),
            Some(Err(why)) => tracing::warn!(%why, "what the controller has for the transport cannot be used"),
            None => {}
        }
        if registered.wait_for(|is| !*is).await.is_err() {
            return;
        }
    }
}

/// What the controller says, if it says anything.
async fn ask(caller: &Caller, member: &Member) -> Option<Result<Transport, Unusable>> {
    let mut backoff = Backoff::default();
    loop {
        let path = format!("/infrastructure/agents/{}/transport-config", member.id());
        match caller.get::<Said>(&path, LIMIT).await {
            Ok(said) => return Some(said.read()),
            Err(Failure::NoAnswer(why)) => tracing::debug!(%why, "the transport is asked for again"),
            Err(Failure::Late(_)) => {}
            // It says nothing to agents, as most do.
            Err(why) => {
                tracing::debug!(%why, "the controller has nothing for the transport");
                return None;
            }
        }
        sleep(backoff.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_controller_says_is_read_by_its_mode() {
        let read = |said: serde_json::Value| serde_json::from_value::<Said>(said).unwrap().read();
        assert_eq!(read(json!({ "transport_mode": "management" })), Ok(Transport::Management));
        let whole = |mode: &str| {
            json!({ "transport_mode": mode, "parent_interface": "eth1", "vlan_id": 100, "transport_ip": "10.0.0.5/24",
                "desired_mtu": 1500, "data_plane_interface": "eth2" })
        };
        assert_eq!(read(whole("management")), Ok(Transport::Management));
        let Ok(Transport::Subinterface(sub)) = read(whole("subinterface")) else { panic!() };
        assert_eq!((sub.name.as_str(), sub.mtu.unwrap().bytes()), ("eth1.100", 1500));
        let Ok(Transport::Dedicated(own)) = read(whole("dedicated")) else { panic!() };
        assert_eq!((own.name.as_str(), own.address.unwrap().to_string()), ("eth2", "10.0.0.5/24".to_owned()));
        let missing = read(json!({ "transport_mode": "dedicated", "transport_ip": null })).unwrap_err().to_string();
        assert!(missing.contains("`data_plane_interface` is not set"), "{missing}");
        assert!(read(whole("vlan")).unwrap_err().to_string().contains("`transport_mode` is `vlan`"));
    }
}

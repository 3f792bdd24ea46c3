//! Names of the far ends of tunnels, looked up before an agent is asked for anything.
//!
//! Nothing in an agent waits for a name server; a name is looked up anew with each deploy, and the lab has the address.

use std::net::{IpAddr, ToSocketAddrs};

use netloom_model::{Lab, Link};

use crate::failure::{Failure, Result, plain};

/// The lab with an address for each far end that is a name.
pub(crate) fn resolved(lab: Lab) -> Result<Lab> {
    let is_name = |link: &Link| link.kind.tunnel().is_some_and(|tunnel| tunnel.remote.parse::<IpAddr>().is_err());
    if !lab.links().iter().any(is_name) {
        return Ok(lab);
    }
    let mut parts = lab.into_parts();
    for link in parts.links.iter_mut().filter(|link| is_name(link)) {
        let id = link.id();
        let Some(tunnel) = link.kind.tunnel_mut() else { continue };
        let found = address(&tunnel.remote).map_err(|why| {
            let name = &tunnel.remote;
            Failure::input(format_args!(
                "link {id}: its remote `{name}` is a name that no address is found for ({why}); write an address, or a \
                 name that `getent hosts {name}` knows"
            ))
        })?;
        tunnel.remote = found.to_string();
    }
    Lab::new(parts).map_err(Failure::input)
}

/// The address of a name, of IPv4 if it has one.
pub(crate) fn address(name: &str) -> std::result::Result<IpAddr, String> {
    let found: Vec<IpAddr> =
        (name, 0).to_socket_addrs().map_err(|error| plain(&error))?.map(|address| address.ip()).collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "it has none".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lab(remote: &str) -> Lab {
        let node = json!({ "kind": "linux", "runtime": "namespace", "hostname": "r1" });
        let end = json!({ "at": { "node": "r1" }, "interface": "eth1", "mac": "02:00:00:00:00:01" });
        let tunnel = json!({ "vxlan": { "remote": remote, "vni": 7, "dst_port": 4789 } });
        let links = json!([{ "a": end, "kind": tunnel }]);
        serde_json::from_value(json!({ "name": "t", "nodes": { "r1": node }, "links": links })).unwrap()
    }

    fn remote(lab: &Lab) -> &str {
        &lab.links()[0].kind.tunnel().unwrap().remote
    }

    #[test]
    fn a_name_becomes_an_address_and_an_address_stays() {
        assert_eq!(remote(&resolved(lab("localhost")).unwrap()), "127.0.0.1");
        assert_eq!(remote(&resolved(lab("2001:db8::7")).unwrap()), "2001:db8::7");
    }

    #[test]
    fn a_name_without_an_address_is_said_with_its_link() {
        let said = resolved(lab("no-such-host.invalid")).unwrap_err().text.unwrap();
        assert!(
            said.starts_with("link r1:eth1: its remote `no-such-host.invalid` is a name that no address"),
            "{said}"
        );
    }
}

//! The routes of the host, as the kernel lists them: a subnet that one leads to is taken.
//!
//! Sources: `/proc/net/route` (net/ipv4/fib_trie.c) and `/proc/net/ipv6_route` (net/ipv6/route.c).

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use netloom_model::{Ipv4Net, Ipv6Net};

/// The routes other than default routes, each with the interface that it leaves by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Routes {
    pub(super) v4: Vec<(Ipv4Net, String)>,
    pub(super) v6: Vec<(Ipv6Net, String)>,
}

/// Reads them; those of a family that cannot be read are none.
pub(super) fn read() -> Routes {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Routes { v4: parse4(&text("/proc/self/net/route")), v6: parse6(&text("/proc/self/net/ipv6_route")) }
}

fn parse4(text: &str) -> Vec<(Ipv4Net, String)> {
    let routes = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (interface, destination) = (fields.next()?, fields.next()?);
        // In the byte order of the host.
        let number = |field: &str| Some(u32::from_str_radix(field, 16).ok()?.to_ne_bytes());
        let mask = number(fields.nth(5)?)?;
        let prefix = u8::try_from(u32::from_be_bytes(mask).leading_ones()).ok()?;
        Some((Ipv4Net { address: Ipv4Addr::from(number(destination)?), prefix }, interface.to_owned()))
    });
    routes.filter(|(net, _)| net.prefix > 0).collect()
}

fn parse6(text: &str) -> Vec<(Ipv6Net, String)> {
    let routes = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = u128::from_str_radix(fields.first()?, 16).ok()?;
        let prefix = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        Some((Ipv6Net { address: Ipv6Addr::from(address), prefix }, (*fields.last()?).to_owned()))
    });
    let is_subnet = |net: &Ipv6Net| {
        // Link-local and multicast are on every interface; single addresses are the host's own.
        let first = net.address.segments()[0];
        net.prefix > 0 && net.prefix < 128 && first & 0xffc0 != 0xfe80 && first & 0xff00 != 0xff00
    };
    routes.filter(|(net, interface)| is_subnet(net) && interface != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  br-m1\t001414AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let found: Vec<String> = parse4(v4).iter().map(|(net, interface)| format!("{net} {interface}")).collect();
        assert_eq!(found, ["172.20.20.0/24 br-m1"]);
        let zeros = "00000000000000000000000000000000";
        let v6 = format!(
            "fe800000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001    br-m1\n\
             3fff0172002000200000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001    br-m1\n"
        );
        let found: Vec<String> = parse6(&v6).iter().map(|(net, interface)| format!("{net} {interface}")).collect();
        assert_eq!(found, ["3fff:172:20:20::/64 br-m1"]);
    }
}

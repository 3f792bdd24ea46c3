//! Addresses and the networks that they are in. Names are not looked up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::convert::{to_int, to_text};
use super::{Answer, Function, MANY, family, quick, walk};
use crate::error::{Trouble, cut};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("net."),
    quick("net.CIDRHost", 2, 2, host),
    quick("net.CidrHost", 2, 2, host),
    quick("cidrHost", 2, 2, host),
    quick("net.CIDRNetmask", 1, 1, netmask),
    quick("net.CidrNetmask", 1, 1, netmask),
    quick("cidrNetmask", 1, 1, netmask),
    walk("net.CIDRSubnets", 2, 2, subnets),
    walk("net.CidrSubnets", 2, 2, subnets),
    walk("cidrSubnets", 2, 2, subnets),
    walk("net.CIDRSubnetSizes", 2, MANY, subnet_sizes),
    walk("net.CidrSubnetSizes", 2, MANY, subnet_sizes),
    walk("cidrSubnetSizes", 2, MANY, subnet_sizes),
    quick("net.ParseAddr", 1, 1, |values| Ok(address(&to_text(&values[0]))?.to_string().into())),
    quick("net.ParsePrefix", 1, 1, |values| Ok(Network::parse(&values[0])?.to_string().into())),
];

/// Subnets that one call gives at most.
const MAX_SUBNETS: u32 = 16;

/// An address with the length of its network's prefix. Both families count as numbers of 128 bits.
#[derive(Clone, Copy)]
struct Network {
    address: u128,
    bits: u32,
    /// 32 or 128.
    width: u32,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.at(self.address), self.bits)
    }
}

fn address(text: &str) -> Result<IpAddr, Trouble> {
    text.parse().map_err(|_| Trouble::new(format!("`{}` is not an IP address", cut(text))))
}

impl Network {
    fn parse(value: &Value) -> Result<Self, Trouble> {
        let text = to_text(value);
        let wrong = || {
            let trouble = Trouble::new(format!("`{}` is not a network", cut(&text)));
            trouble.hint("write it with its prefix length, for example `10.0.0.0/24`")
        };
        let (number, bits) = text.split_once('/').ok_or_else(wrong)?;
        let (address, width) = match number.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits| digits && *bits <= width).ok_or_else(wrong)?;
        Ok(Self { address, bits, width })
    }

    fn at(&self, number: u128) -> IpAddr {
        match u32::try_from(number) {
            Ok(number) if self.width == 32 => IpAddr::V4(Ipv4Addr::from(number)),
            _ => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }

    /// How many bits are left for hosts.
    fn free(&self) -> u32 {
        self.width - self.bits
    }

    /// All bits behind the prefix.
    fn host_bits(&self) -> u128 {
        u128::MAX.checked_shr(128 - self.free()).unwrap_or(0)
    }

    fn base(&self) -> u128 {
        self.address & !self.host_bits()
    }
}

/// `net.CIDRHost number network`: that address in it; a negative number counts from its end.
fn host(values: &[Value]) -> Answer {
    let (number, network) = (to_int(&values[0])?, Network::parse(&values[1])?);
    let size = u128::from(number.unsigned_abs());
    let offset = if number < 0 { size - 1 } else { size };
    if offset > network.host_bits() {
        return Err(Trouble::new(format!("the network {network} has no host number {number}")));
    }
    let offset = if number < 0 { network.host_bits() - offset } else { offset };
    Ok(network.at(network.base() | offset).to_string().into())
}

fn netmask(values: &[Value]) -> Answer {
    let network = Network::parse(&values[0])?;
    let all = u128::MAX.checked_shr(128 - network.width).unwrap_or(0);
    Ok(network.at(all & !network.host_bits()).to_string().into())
}

fn longer(network: &Network, bits: i64, most: u32) -> Result<u32, Trouble> {
    match u32::try_from(bits) {
        Ok(bits @ 1..) if bits <= network.free() && bits <= most => Ok(bits),
        _ => {
            let most = most.min(network.free());
            Err(Trouble::new(format!("the prefix of {network} cannot be {bits} bits longer; 1 to {most} are possible")))
        }
    }
}

/// `net.CIDRSubnets bits network`: all its subnets whose prefixes are so many bits longer.
fn subnets(values: &[Value]) -> Answer {
    let network = Network::parse(&values[1])?;
    let more = longer(&network, to_int(&values[0])?, MAX_SUBNETS)?;
    let bits = network.bits + more;
    let subnet = |number: u128| {
        let address = network.base() | number.checked_shl(network.width - bits).unwrap_or(0);
        Value::from(Network { address, bits, ..network }.to_string())
    };
    Ok(Value::list((0..1_u128 << more).map(subnet).collect()))
}

/// `net.CIDRSubnetSizes bits… network`: one subnet after the other, each with its own size.
fn subnet_sizes(values: &[Value]) -> Answer {
    let Some((network, sizes)) = values.split_last() else { return Ok(Value::Missing) };
    let network = Network::parse(network)?;
    let mut next = Some(network.base());
    let mut found = Vec::new();
    for size in sizes {
        let bits = network.bits + longer(&network, to_int(size)?, 32)?;
        let subnet = Network { bits, ..network };
        // The first place from here on that such a subnet can begin at.
        let aligned = next.and_then(|next| next.checked_add(subnet.host_bits())).map(|end| end & !subnet.host_bits());
        let address = aligned.filter(|address| address & !network.host_bits() == network.base());
        let Some(address) = address else {
            return Err(Trouble::new(format!("the network {network} has no room left for a /{bits}")));
        };
        found.push(Value::from(Network { address, ..subnet }.to_string()));
        next = (address | subnet.host_bits()).checked_add(1);
    }
    Ok(Value::list(found))
}

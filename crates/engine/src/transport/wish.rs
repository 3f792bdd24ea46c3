//! What is wanted of an interface of the host, parsed: behind here nothing can be wrong with it by itself. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use netloom_model::{InterfaceName, Ipv4Net, Ipv6Net, Mtu};
use serde::{Deserialize, Serialize};

/// The MTU of a transport that names none.
pub const TRANSPORT_MTU: u32 = 9000;

/// Why something cannot be wanted; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// A tag of IEEE 802.1Q: 1 to 4094.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

impl VlanId {
    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = Unusable;

    fn try_from(number: u16) -> Result<Self, Unusable> {
        if (1..=4094).contains(&number) {
            return Ok(Self(number));
        }
        Err(Unusable(format!("VLAN {number} is none; write a number from 1 to 4094")))
    }
}

impl FromStr for VlanId {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let number = text.parse::<u16>();
        number.map_err(|_| Unusable(format!("VLAN `{text}` is none; write a number from 1 to 4094")))?.try_into()
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> u16 {
        id.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address that an interface can have, with the prefix length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Cidr {
    /// IPv4.
    V4(Ipv4Net),
    /// IPv6.
    V6(Ipv6Net),
}

impl Cidr {
    /// The address itself.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::V4(net) => net.address.into(),
            Self::V6(net) => net.address.into(),
        }
    }

    /// The prefix length in bits.
    pub fn prefix(self) -> u8 {
        match self {
            Self::V4(net) => net.prefix,
            Self::V6(net) => net.prefix,
        }
    }

    /// Whether both are of one family.
    pub fn is_like(self, other: Self) -> bool {
        self.ip().is_ipv4() == other.ip().is_ipv4()
    }

    /// Whether both are in one network: the kernel takes the second away with the first.
    pub fn shares_network_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(a), Self::V4(b)) => a.prefix == b.prefix && network(a) == network(b),
            _ => false,
        }
    }

    /// One that the kernel shows. Those that nobody could want are read too.
    pub fn seen(text: &str) -> Option<Self> {
        text.parse().map(Self::V4).or_else(|_| text.parse().map(Self::V6)).ok()
    }
}

fn network(net: Ipv4Net) -> u32 {
    let host = u32::MAX.checked_shr(net.prefix.into()).unwrap_or_default();
    u32::from(net.address) & !host
}

impl FromStr for Cidr {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let wrong = |why: &str| Unusable(format!("address `{text}` {why}; write for example `10.100.0.5/24`"));
        let cidr = Self::seen(text).ok_or_else(|| wrong("is no address with a prefix length"))?;
        let ip = cidr.ip();
        if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || cidr.prefix() == 0 {
            return Err(wrong("is none that an interface of a host can have"));
        }
        if let Self::V4(net) = cidr
            && net.prefix < 31
        {
            let host = u32::MAX >> net.prefix;
            match u32::from(net.address) & host {
                0 => return Err(wrong("is that of a network, not of a host in it")),
                all if all == host => return Err(wrong("is the broadcast address of its network")),
                _ => {}
            }
        }
        Ok(cidr)
    }
}

impl TryFrom<String> for Cidr {
    type Error = Unusable;

    fn try_from(text: String) -> Result<Self, Unusable> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip(), self.prefix())
    }
}

/// What a subinterface is of its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The interface that it is on.
    pub parent: InterfaceName,
    /// The tag there.
    pub id: VlanId,
}

/// What is wanted of one interface of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its name.
    pub name: InterfaceName,
    /// That it is a subinterface, which is made if it is not there. Without this it is somebody's and has to be there.
    pub vlan: Option<Vlan>,
    /// Its MTU; as it is if none is named.
    pub mtu: Option<Mtu>,
    /// Its address; none of ours if none is named.
    pub address: Option<Cidr>,
}

impl Uplink {
    /// A subinterface, called `PARENT.VLAN` unless it has a name, and with an MTU of 9000 unless another one is named.
    pub fn subinterface(vlan: Vlan, name: Option<InterfaceName>) -> Result<Self, Unusable> {
        let name = if let Some(name) = name {
            name
        } else {
            let long = |why| Unusable(format!("{why}; give the subinterface a shorter name"));
            format!("{}.{}", vlan.parent, vlan.id).parse().map_err(long)?
        };
        if name == vlan.parent {
            return Err(Unusable(format!("`{name}` cannot be its own subinterface; leave its name out")));
        }
        Ok(Self { name, vlan: Some(vlan), mtu: Some(transport_mtu()), address: None })
    }

    /// An interface that is there and is left as it is.
    pub fn of(name: InterfaceName) -> Self {
        Self { name, vlan: None, mtu: None, address: None }
    }
}

/// The MTU of a transport that names none.
pub(crate) fn transport_mtu() -> Mtu {
    TRANSPORT_MTU.try_into().expect("68 to 65535")
}

/// What carries the tunnels of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// What the host has anyway: nothing of it is changed.
    Management,
    /// A subinterface, which is made.
    Subinterface(Uplink),
    /// An interface that is there, which has nothing else to do.
    Dedicated(Uplink),
}

/// A transport as somebody wrote it: each part by itself, and none of them checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportText {
    /// `management`, `subinterface` or `dedicated`.
    pub mode: Option<String>,
    /// The interface that a subinterface is of.
    pub parent: Option<String>,
    /// The tag of a subinterface.
    pub vlan: Option<String>,
    /// The interface that is dedicated.
    pub interface: Option<String>,
    /// The MTU.
    pub mtu: Option<String>,
    /// The address.
    pub address: Option<String>,
}

/// What the parts of a [`TransportText`] are called where they were written.
#[derive(Debug, Clone, Copy)]
pub struct TransportKeys {
    /// The mode.
    pub mode: &'static str,
    /// The parent.
    pub parent: &'static str,
    /// The tag.
    pub vlan: &'static str,
    /// The interface.
    pub interface: &'static str,
    /// The MTU.
    pub mtu: &'static str,
    /// The address.
    pub address: &'static str,
}

impl TransportText {
    /// The transport that is meant; `None` if nothing was written. An error names the key, and what to write.
    pub fn parse(&self, keys: TransportKeys) -> Result<Option<Transport>, Unusable> {
        let parts = [
            (keys.parent, &self.parent),
            (keys.vlan, &self.vlan),
            (keys.interface, &self.interface),
            (keys.mtu, &self.mtu),
            (keys.address, &self.address),
        ];
        let needless = |of: &str, but: &[&str]| {
            let found = parts.iter().find(|(key, text)| text.is_some() && !but.contains(key));
            found.map_or(Ok(()), |(key, _)| Err(Unusable(format!("`{key}` says nothing {of}; leave it out"))))
        };
        let mode = keys.mode;
        match self.mode.as_deref() {
            None => needless(&format!("without `{mode}`, which is not set"), &[]).map(|()| None),
            Some("management") => {
                needless(&format!("where `{mode}` is `management`"), &[]).map(|()| Some(Transport::Management))
            }
            Some("subinterface") => {
                needless(
                    &format!("where `{mode}` is `subinterface`"),
                    &[keys.parent, keys.vlan, keys.mtu, keys.address],
                )?;
                let vlan = Vlan {
                    parent: needed(mode, "subinterface", keys.parent, self.parent.as_ref(), "eth1")?,
                    id: needed(mode, "subinterface", keys.vlan, self.vlan.as_ref(), "100")?,
                };
                let uplink = Uplink::subinterface(vlan, None)?;
                Ok(Some(Transport::Subinterface(self.finish(uplink, keys, "subinterface")?)))
            }
            Some("dedicated") => {
                let but = [keys.interface, keys.mtu, keys.address];
                needless(&format!("where `{mode}` is `dedicated`"), &but)?;
                let name = needed(mode, "dedicated", keys.interface, self.interface.as_ref(), "eth1")?;
                Ok(Some(Transport::Dedicated(self.finish(Uplink::of(name), keys, "dedicated")?)))
            }
            Some(other) => {
                let known = "`management`, `subinterface` or `dedicated`";
                Err(Unusable(format!("`{mode}` is `{other}`; write {known}")))
            }
        }
    }

    /// Gives an uplink its MTU and its address.
    fn finish(&self, uplink: Uplink, keys: TransportKeys, mode: &str) -> Result<Uplink, Unusable> {
        let mtu = match &self.mtu {
            None => transport_mtu(),
            Some(text) => contract_mtu(text.parse().ok()).ok_or_else(|| {
                Unusable(format!("`{}` is `{text}`; write a number from 68 to 9216: `9000`", keys.mtu))
            })?,
        };
        let address = needed(keys.mode, mode, keys.address, self.address.as_ref(), "10.100.0.5/24")?;
        Ok(Uplink { mtu: Some(mtu), address: Some(address), ..uplink })
    }
}

/// An MTU that interfaces of hosts may be given: 68 to 9216.
pub fn contract_mtu(bytes: Option<u32>) -> Option<Mtu> {
    bytes.filter(|bytes| *bytes <= 9216)?.try_into().ok()
}

fn needed<T: FromStr<Err: fmt::Display>>(
    mode_key: &str,
    mode: &str,
    key: &str,
    text: Option<&String>,
    example: &str,
) -> Result<T, Unusable> {
    let Some(text) = text else {
        let why = format!("`{mode_key}` is `{mode}` and `{key}` is not set; set it, for example to `{example}`");
        return Err(Unusable(why));
    };
    text.parse().map_err(|why| Unusable(format!("`{key}`: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: TransportKeys = TransportKeys {
        mode: "transport",
        parent: "transport-parent",
        vlan: "transport-vlan",
        interface: "transport-interface",
        mtu: "transport-mtu",
        address: "transport-address",
    };

    fn text(parts: &[(&str, &str)]) -> TransportText {
        let of = |key| parts.iter().find(|(of, _)| *of == key).map(|(_, text)| (*text).to_owned());
        TransportText {
            mode: of("mode"),
            parent: of("parent"),
            vlan: of("vlan"),
            interface: of("interface"),
            mtu: of("mtu"),
            address: of("address"),
        }
    }

    #[test]
    fn a_transport_is_read_with_what_it_does_not_say() {
        assert_eq!(text(&[]).parse(KEYS), Ok(None));
        assert_eq!(text(&[("mode", "management")]).parse(KEYS), Ok(Some(Transport::Management)));
        let sub = [("mode", "subinterface"), ("parent", "eth1"), ("vlan", "100"), ("address", "10.100.0.5/24")];
        let Ok(Some(Transport::Subinterface(uplink))) = text(&sub).parse(KEYS) else { panic!("{sub:?}") };
        assert_eq!((uplink.name.as_str(), uplink.mtu.unwrap().bytes()), ("eth1.100", 9000));
        assert_eq!(uplink.vlan.unwrap().id.number(), 100);
        let own = [("mode", "dedicated"), ("interface", "eth2"), ("mtu", "1500"), ("address", "2001:db8::5/64")];
        let Ok(Some(Transport::Dedicated(uplink))) = text(&own).parse(KEYS) else { panic!("{own:?}") };
        assert_eq!((uplink.name.as_str(), uplink.mtu.unwrap().bytes()), ("eth2", 1500));
        assert_eq!((uplink.vlan, uplink.address.unwrap().to_string()), (None, "2001:db8::5/64".to_owned()));
    }

    #[test]
    fn mistakes_name_the_key_and_what_to_write() {
        let sub = |parts: &[(&'static str, &'static str)]| {
            let mut all = vec![("mode", "subinterface")];
            all.extend(parts);
            text(&all).parse(KEYS).unwrap_err().to_string()
        };
        let full = [("parent", "eth1"), ("vlan", "100"), ("address", "10.100.0.5/24")];
        let but = |key: &str, value: &'static str| {
            let mut parts = full.to_vec();
            parts.iter_mut().filter(|(of, _)| *of == key).for_each(|(_, text)| *text = value);
            sub(&parts)
        };
        for (said, says) in [
            (text(&[("mode", "vlan")]).parse(KEYS).unwrap_err().to_string(), "`management`, `subinterface`"),
            (text(&[("mtu", "9000")]).parse(KEYS).unwrap_err().to_string(), "`transport-mtu` says nothing without"),
            (sub(&full[1..]), "`transport-parent` is not set; set it, for example to `eth1`"),
            (sub(&full[..2]), "`transport-address` is not set"),
            (but("vlan", "4095"), "`transport-vlan`: VLAN 4095 is none; write a number from 1 to 4094"),
            (but("vlan", "x"), "1 to 4094"),
            (but("parent", "a/b"), "`transport-parent`: "),
            (but("parent", "a-long-interface"), "16 bytes"),
            (but("address", "10.0.0.5"), "prefix length; write for example `10.100.0.5/24`"),
            (but("address", "10.0.0.0/24"), "that of a network"),
            (but("address", "10.0.0.255/24"), "broadcast"),
            (but("address", "127.0.0.5/8"), "none that an interface"),
            (
                sub(&[full[0], full[1], full[2], ("mtu", "9217")]),
                "`transport-mtu` is `9217`; write a number from 68 to 9216",
            ),
            (sub(&[full[0], full[1], full[2], ("interface", "eth2")]), "`transport-interface` says nothing where"),
        ] {
            assert!(said.contains(says), "{said}\n{says}");
        }
    }

    #[test]
    fn a_name_that_would_be_too_long_is_said_with_a_way_out() {
        let vlan = Vlan { parent: "enp130s0f1np1".parse().unwrap(), id: VlanId(4000) };
        let error = Uplink::subinterface(vlan.clone(), None).unwrap_err().to_string();
        assert!(error.contains("shorter name"), "{error}");
        let own: InterfaceName = "data".parse().unwrap();
        assert_eq!(Uplink::subinterface(vlan, Some(own.clone())).unwrap().name, own);
    }

    #[test]
    fn what_shares_a_network_is_told() {
        let cidr = |text: &str| Cidr::seen(text).unwrap();
        assert!(cidr("10.0.0.5/24").shares_network_with(cidr("10.0.0.6/24")));
        assert!(!cidr("10.0.0.5/24").shares_network_with(cidr("10.0.1.6/24")));
        assert!(!cidr("10.0.0.5/24").shares_network_with(cidr("10.0.0.6/25")));
        assert!(!cidr("10.0.0.5/32").shares_network_with(cidr("10.0.0.6/32")));
    }
}

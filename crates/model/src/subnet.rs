//! Networks as sets of addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::{Ipv4Net, Ipv6Net};

macro_rules! subnet {
    ($net:ty, $address:ty, $bits:ty) => {
        impl $net {
            fn mask(self) -> $bits {
                <$bits>::MAX.checked_shl(<$bits>::BITS - u32::from(self.prefix)).unwrap_or(0)
            }

            /// The network itself: the address without the part behind the prefix.
            #[must_use]
            pub fn network(self) -> Self {
                Self { address: (<$bits>::from(self.address) & self.mask()).into(), prefix: self.prefix }
            }

            /// Whether an address is in the network.
            pub fn contains(self, address: $address) -> bool {
                <$bits>::from(address) & self.mask() == <$bits>::from(self.address) & self.mask()
            }

            /// Whether all of another network is in this one.
            pub fn covers(self, other: Self) -> bool {
                other.prefix >= self.prefix && self.contains(other.address)
            }
        }
    };
}

subnet!(Ipv4Net, Ipv4Addr, u32);
subnet!(Ipv6Net, Ipv6Addr, u128);

#[cfg(test)]
mod tests {
    use crate::name::{Ipv4Net, Ipv6Net};

    #[test]
    fn networks_hold_their_addresses() {
        let net: Ipv4Net = "10.77.1.9/23".parse().unwrap();
        assert_eq!(net.network().to_string(), "10.77.0.0/23");
        assert!(net.contains("10.77.1.255".parse().unwrap()) && !net.contains("10.77.2.0".parse().unwrap()));
        assert!(net.covers("10.77.0.128/25".parse().unwrap()) && !net.covers("10.77.0.0/22".parse().unwrap()));
        let all: Ipv6Net = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        let one: Ipv6Net = "2001:db8::1/128".parse().unwrap();
        assert_eq!(one.network(), one);
        assert!(!one.contains("2001:db8::2".parse().unwrap()));
    }
}

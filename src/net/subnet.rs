//! Subnets, and the addresses that stand for one host.
//!
//! In: the text of `priority-subnets`, addresses of peers. Out: whether a peer belongs to one of the subnets, and the
//! [`HostKey`] by which what it does is counted. IPv4 addresses mapped into IPv6 are IPv4 addresses everywhere.

use std::net::{IpAddr, Ipv6Addr};

/// Leading bits of an IPv6 address that one host is taken to have all addresses of: a host is given a /64, and picks
/// another address of it whenever it likes.
const HOST_BITS_V6: u32 = 64;

/// Addresses with the same leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: IpAddr,
    bits: u8,
}

impl Subnet {
    /// A subnet from its text: `10.0.0.0/8`, or an address alone. Bits behind the prefix are of no account.
    pub fn parse(text: &str) -> Option<Subnet> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            // Digits alone: a sign would be read as well.
            Some(bits) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most)?
            }
            Some(_) => return None,
            None => most,
        };
        let mapped = match base {
            IpAddr::V6(base) => base.to_ipv4_mapped().filter(|_| bits >= 96),
            IpAddr::V4(_) => None,
        };
        Some(match mapped {
            Some(base) => Subnet {
                base: base.into(),
                bits: bits - 96,
            },
            None => Subnet { base, bits },
        })
    }

    /// The subnets of a list, between blanks or commas; `None` if one of them is none.
    pub fn parse_list(text: &str) -> Option<Vec<Subnet>> {
        text.split([' ', ',', '\t'])
            .filter(|word| !word.is_empty())
            .map(Subnet::parse)
            .collect()
    }

    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= u32::from(self.bits)
    }
}

/// What stands for one host where things are counted by address: its IPv4 address, or the /64 of its IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostKey(IpAddr);

impl HostKey {
    /// The host of an address.
    pub fn of(address: IpAddr) -> HostKey {
        HostKey(match address.to_canonical() {
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - HOST_BITS_V6);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(subnet: &str, address: &str) -> bool {
        let subnet = Subnet::parse(subnet).unwrap_or_else(|| panic!("{subnet} is a subnet"));
        subnet.contains(address.parse().expect("an address"))
    }

    #[test]
    fn what_belongs_to_a_subnet() {
        for (subnet, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1/32", "::ffff:127.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.2.3.4", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/33", "2001:db8:ffff::1", false),
            ("::1", "::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            assert_eq!(contains(subnet, address), expected, "{subnet} {address}");
        }
    }

    #[test]
    fn what_is_no_subnet() {
        for text in [
            "127.0.0.1/33",
            "127.0.0.1/99",
            "::1/129",
            "invalid/24",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "1.2.3.4/-1",
            "/8",
            "1.2.3",
        ] {
            assert_eq!(Subnet::parse(text), None, "{text}");
        }
        assert_eq!(
            Subnet::parse_list("10.0.0.0/8, ::1").map(|list| list.len()),
            Some(2)
        );
        assert_eq!(Subnet::parse_list("").map(|list| list.len()), Some(0));
        assert_eq!(Subnet::parse_list("10.0.0.0/8 x"), None);
    }

    #[test]
    fn a_host_has_all_addresses_of_its_64() {
        let of = |text: &str| HostKey::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
    }
}

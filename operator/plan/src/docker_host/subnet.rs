//! IPv4 ranges: reading, overlap, and the part of one that a bridge gets. Pure arithmetic.

use std::fmt;
use std::net::Ipv4Addr;

/// The prefix of a bridge's subnet.
const BRIDGE_PREFIX: u32 = 22;

/// A network and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subnet {
    network: u32,
    prefix: u32,
}

impl Subnet {
    /// Reads `10.210.0.0/16`; bits of the host are ignored. `None` for anything else, IPv6 too.
    pub(super) fn parse(text: &str) -> Option<Subnet> {
        let (address, prefix) = text.split_once('/')?;
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Subnet {
            network: address & mask(prefix),
            prefix,
        })
    }

    /// Whether any address is in both.
    pub(super) fn overlaps(self, other: Subnet) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.network & shorter == other.network & shorter
    }

    /// The ranges for bridges inside, rising.
    pub(super) fn bridges(self) -> impl Iterator<Item = Subnet> {
        let count = 1_u64 << BRIDGE_PREFIX.saturating_sub(self.prefix);
        let whole = self.prefix <= BRIDGE_PREFIX;
        (0..if whole { count } else { 0 }).filter_map(move |index| {
            let offset = u32::try_from(index << (32 - BRIDGE_PREFIX)).ok()?;
            Some(Subnet {
                network: self.network.checked_add(offset)?,
                prefix: BRIDGE_PREFIX,
            })
        })
    }

    /// Its first address, which the host gets.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network | 1)
    }

    /// Its last /24, which Docker gives out by itself.
    pub(super) fn last_24(self) -> Subnet {
        Subnet {
            network: (self.network | !mask(self.prefix)) & mask(24),
            prefix: 24,
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

fn mask(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_into_bridges() {
        let range = Subnet::parse("10.210.0.0/16").expect("a range");
        let bridges: Vec<Subnet> = range.bridges().collect();
        assert_eq!(bridges.len(), 64);
        assert_eq!(bridges[1].to_string(), "10.210.4.0/22");
        assert_eq!(bridges[63].to_string(), "10.210.252.0/22");
        assert_eq!(bridges[1].gateway().to_string(), "10.210.4.1");
        assert_eq!(bridges[1].last_24().to_string(), "10.210.7.0/24");
        let one = Subnet::parse("10.0.0.0/22").expect("a range");
        assert_eq!(one.bridges().count(), 1);
        assert_eq!(
            Subnet::parse("10.0.0.0/23")
                .expect("a range")
                .bridges()
                .count(),
            0
        );
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        let cases = [
            ("10.210.0.0/22", "10.210.3.0/24", true),
            ("10.210.0.0/22", "10.210.4.0/22", false),
            ("10.210.0.0/22", "0.0.0.0/0", true),
            ("10.210.0.5/32", "10.210.0.0/22", true),
        ];
        for (left, right, expected) in cases {
            let parse = |text| Subnet::parse(text).expect("a range");
            assert_eq!(
                parse(left).overlaps(parse(right)),
                expected,
                "{left} {right}"
            );
            assert_eq!(
                parse(right).overlaps(parse(left)),
                expected,
                "{right} {left}"
            );
        }
        assert_eq!(Subnet::parse("fe80::/64"), None);
        assert_eq!(Subnet::parse("10.0.0.0"), None);
        assert_eq!(Subnet::parse("10.0.0.0/33"), None);
    }
}

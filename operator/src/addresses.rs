//! The allocator of fixed addresses: one pool per host and bridge.
//!
//! Owns which addresses are being handed out right now. Which are in use is told by the caller at every call, from
//! facts: nothing here outlives the process or is believed over them. Invariant: an address is in at most one
//! [`Reservation`] at a time, and never one in use, the gateway's or one of the last /24, which Docker gives out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

/// Hands out addresses. Cloning shares the pools.
#[derive(Clone, Default)]
pub struct Addresses {
    pools: Arc<Mutex<BTreeMap<Place, Pool>>>,
}

/// A host and a subnet.
type Place = (String, String);

/// What is known of one bridge between two calls.
#[derive(Default)]
struct Pool {
    /// The last address that went into use: the next ones handed out lie behind it.
    last: Option<Ipv4Addr>,
    /// In use at the last call.
    in_use: BTreeSet<Ipv4Addr>,
    /// In a reservation that lives.
    reserved: BTreeSet<Ipv4Addr>,
}

/// Addresses that nobody else gets while this lives.
pub struct Reservation {
    /// The addresses, in the order in which they should be used: rising, with one wrap-around.
    pub addresses: Vec<Ipv4Addr>,
    place: Place,
    pools: Arc<Mutex<BTreeMap<Place, Pool>>>,
}

impl Addresses {
    /// Reserves up to `count` addresses of the bridge `subnet` on `host` that are not in `in_use`; fewer when fewer are
    /// free, none for a subnet that cannot be read.
    pub fn reserve(
        &self,
        host: &str,
        subnet: &str,
        in_use: &BTreeSet<Ipv4Addr>,
        count: usize,
    ) -> Reservation {
        let place = (host.to_owned(), subnet.to_owned());
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(place.clone()).or_default();
        pool.learn(in_use);
        let addresses: Vec<Ipv4Addr> = usable(subnet)
            .map(|(first, last)| {
                let start = pool
                    .last
                    .map_or(first, |last| u32::from(last).saturating_add(1));
                let start = start.clamp(first, last + 1);
                (start..=last)
                    .chain(first..start)
                    .map(Ipv4Addr::from)
                    .filter(|address| !in_use.contains(address) && !pool.reserved.contains(address))
                    .take(count)
                    .collect()
            })
            .unwrap_or_default();
        pool.reserved.extend(&addresses);
        Reservation {
            addresses,
            place,
            pools: Arc::clone(&self.pools),
        }
    }
}

impl Pool {
    /// Moves on behind what has come into use, so that an address rests as long as possible before it is used again.
    fn learn(&mut self, in_use: &BTreeSet<Ipv4Addr>) {
        let fresh: Vec<Ipv4Addr> = in_use.difference(&self.in_use).copied().collect();
        let ahead = |address: &&Ipv4Addr| self.last.is_none_or(|last| **address > last);
        // After a wrap-around what is new lies below the last one.
        if let Some(newest) = fresh.iter().rfind(ahead).or(fresh.last()) {
            self.last = Some(*newest);
        }
        self.in_use.clone_from(in_use);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get_mut(&self.place) {
            for address in &self.addresses {
                pool.reserved.remove(address);
            }
        }
    }
}

/// The first and the last address for instances: behind network address and gateway, before the last /24.
fn usable(subnet: &str) -> Option<(u32, u32)> {
    let (network, prefix) = subnet.split_once('/')?;
    let network = u32::from(network.parse::<Ipv4Addr>().ok()?);
    let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix < 24)?;
    let size = 1_u32.checked_shl(32 - prefix)?;
    Some((network.checked_add(2)?, network.checked_add(size - 257)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBNET: &str = "10.210.4.0/22";

    /// What would be handed out next, given back at once.
    fn next(addresses: &Addresses, in_use: &BTreeSet<Ipv4Addr>, count: usize) -> Vec<Ipv4Addr> {
        addresses
            .reserve("a", SUBNET, in_use, count)
            .addresses
            .clone()
    }

    fn address(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_whole_range_is_handed_out_once() {
        let addresses = Addresses::default();
        let all = addresses.reserve("a", SUBNET, &BTreeSet::new(), 10_000);
        assert_eq!(all.addresses.len(), 766);
        assert_eq!(all.addresses.first(), Some(&address("10.210.4.2")));
        assert_eq!(all.addresses.last(), Some(&address("10.210.6.255")));
        assert!(all.addresses.is_sorted());
        let none = addresses.reserve("a", SUBNET, &BTreeSet::new(), 1);
        assert!(none.addresses.is_empty(), "all are reserved");
        let other = addresses.reserve("b", SUBNET, &BTreeSet::new(), 1);
        assert_eq!(other.addresses, [address("10.210.4.2")], "another host");
        drop(all);
        let again = addresses.reserve("a", SUBNET, &BTreeSet::new(), 1);
        assert_eq!(again.addresses, [address("10.210.4.2")]);
    }

    #[test]
    fn addresses_rise_past_what_came_into_use_and_wrap_around() {
        let addresses = Addresses::default();
        let first = next(&addresses, &BTreeSet::new(), 2);
        assert_eq!(first, [address("10.210.4.2"), address("10.210.4.3")]);
        let one = BTreeSet::from([address("10.210.4.2")]);
        let after = next(&addresses, &one, 1);
        assert_eq!(after, [address("10.210.4.3")], "what lapsed is free");
        // The first is gone: it is not handed out while there are others.
        let after = next(&addresses, &BTreeSet::new(), 1);
        assert_eq!(after, [address("10.210.4.3")]);
        let high = BTreeSet::from([address("10.210.6.254")]);
        let wrapped = next(&addresses, &high, 2);
        assert_eq!(wrapped, [address("10.210.6.255"), address("10.210.4.2")]);
        let low = BTreeSet::from([address("10.210.6.254"), address("10.210.4.2")]);
        let on = next(&addresses, &low, 1);
        assert_eq!(
            on,
            [address("10.210.4.3")],
            "it goes on from where it wrapped"
        );
    }

    #[test]
    fn foreign_addresses_and_odd_subnets_do_no_harm() {
        let addresses = Addresses::default();
        let outside = BTreeSet::from([address("10.210.7.9"), address("192.168.0.1")]);
        let some = next(&addresses, &outside, 1);
        assert_eq!(some, [address("10.210.4.2")]);
        for subnet in ["", "10.0.0.0", "10.0.0.0/24", "x/22", "10.0.0.0/0"] {
            assert!(
                addresses
                    .reserve("a", subnet, &BTreeSet::new(), 1)
                    .addresses
                    .len()
                    <= 1,
                "{subnet}"
            );
        }
    }
}

//! The allocator of fixed addresses: one pool per host and bridge.
//!
//! Owns which addresses are being handed out right now. Which are in use is told by the caller at every call, from
//! facts: nothing here outlives the process or is believed over them. Invariants: an address is in at most one
//! [`Reservation`] at a time, and never one in use, the gateway's or one of the last /24, which Docker gives out; and
//! facts that were read while another pass still held an address say nothing of what that pass did with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out addresses. Cloning shares the pools.
#[derive(Clone, Default)]
pub struct Addresses {
    state: Arc<Mutex<State>>,
}

/// What all passes share.
#[derive(Default)]
struct State {
    pools: BTreeMap<Place, Pool>,
    /// Counts readings and lapses, to tell which was first.
    moment: u64,
    /// When each reading that goes on began. Bounded by the passes at once.
    readings: BTreeSet<u64>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

/// The time in which one pass reads its facts: what lapses meanwhile is not free for it.
pub struct Reading {
    began: u64,
    state: Arc<Mutex<State>>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.readings.remove(&self.began);
        let oldest = state.readings.first().copied().unwrap_or(u64::MAX);
        for pool in state.pools.values_mut() {
            pool.lapsed.retain(|_, at| *at > oldest);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// When addresses left their reservation, as long as a reading goes on that began before: it cannot tell whether
    /// they have come into use.
    lapsed: BTreeMap<Ipv4Addr, u64>,
}

/// Addresses that nobody else gets while this lives.
pub struct Reservation {
    /// The addresses, in the order in which they should be used: rising, with one wrap-around.
    pub addresses: Vec<Ipv4Addr>,
    place: Place,
    state: Arc<Mutex<State>>,
}

impl Addresses {
    /// Begins before the first fact is read of which `in_use` is made, and is kept until addresses are reserved.
    pub fn reading(&self) -> Reading {
        let mut state = lock(&self.state);
        let began = state.next();
        state.readings.insert(began);
        Reading {
            began,
            state: Arc::clone(&self.state),
        }
    }

    /// Reserves up to `count` addresses of the bridge `subnet` on `host` that are not in `in_use`, as it was read in
    /// `reading`; fewer when fewer are free, none for a subnet that cannot be read.
    pub fn reserve(
        &self,
        reading: &Reading,
        host: &str,
        subnet: &str,
        in_use: &BTreeSet<Ipv4Addr>,
        count: usize,
    ) -> Reservation {
        let place = (host.to_owned(), subnet.to_owned());
        let mut state = lock(&self.state);
        let pool = state.pools.entry(place.clone()).or_default();
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
                    .filter(|address| !in_use.contains(address) && pool.is_free(*address, reading))
                    .take(count)
                    .collect()
            })
            .unwrap_or_default();
        pool.reserved.extend(&addresses);
        Reservation {
            addresses,
            place,
            state: Arc::clone(&self.state),
        }
    }
}

impl Pool {
    /// Whether nobody holds an address, or held it when the reading began.
    fn is_free(&self, address: Ipv4Addr, reading: &Reading) -> bool {
        let lapsed = self.lapsed.get(&address);
        !self.reserved.contains(&address) && lapsed.is_none_or(|at| *at < reading.began)
    }

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
        let mut state = lock(&self.state);
        let (now, read_meanwhile) = (state.next(), !state.readings.is_empty());
        if let Some(pool) = state.pools.get_mut(&self.place) {
            for address in &self.addresses {
                pool.reserved.remove(address);
                if read_meanwhile {
                    pool.lapsed.insert(*address, now);
                }
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
        let reading = addresses.reading();
        let reserved = addresses.reserve(&reading, "a", SUBNET, in_use, count);
        reserved.addresses.clone()
    }

    fn address(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_whole_range_is_handed_out_once() {
        let addresses = Addresses::default();
        let reading = addresses.reading();
        let all = addresses.reserve(&reading, "a", SUBNET, &BTreeSet::new(), 10_000);
        assert_eq!(all.addresses.len(), 766);
        assert_eq!(all.addresses.first(), Some(&address("10.210.4.2")));
        assert_eq!(all.addresses.last(), Some(&address("10.210.6.255")));
        assert!(all.addresses.is_sorted());
        let none = addresses.reserve(&reading, "a", SUBNET, &BTreeSet::new(), 1);
        assert!(none.addresses.is_empty(), "all are reserved");
        let other = addresses.reserve(&reading, "b", SUBNET, &BTreeSet::new(), 1);
        assert_eq!(other.addresses, [address("10.210.4.2")], "another host");
        drop(all);
        assert_eq!(
            next(&addresses, &BTreeSet::new(), 1),
            [address("10.210.4.2")]
        );
    }

    #[test]
    fn what_lapses_during_a_reading_is_not_free_for_it() {
        let addresses = Addresses::default();
        let first = addresses.reading();
        let held = addresses.reserve(&first, "a", SUBNET, &BTreeSet::new(), 2);
        // Another pass reads its facts; then the first one uses an address and is over.
        let second = addresses.reading();
        drop((held, first));
        let stale = addresses.reserve(&second, "a", SUBNET, &BTreeSet::new(), 1);
        assert_eq!(stale.addresses, [address("10.210.4.4")]);
        drop((stale, second));
        let used = BTreeSet::from([address("10.210.4.2")]);
        assert_eq!(next(&addresses, &used, 1), [address("10.210.4.3")]);
        let state = lock(&addresses.state);
        assert!(state.pools.values().all(|pool| pool.lapsed.is_empty()));
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
            let reading = addresses.reading();
            let some = addresses.reserve(&reading, "a", subnet, &BTreeSet::new(), 1);
            assert!(some.addresses.len() <= 1, "{subnet}");
        }
    }
}

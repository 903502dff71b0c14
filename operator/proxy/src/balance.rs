//! Which instance gets a request.
//!
//! Owns the draw between revisions and the choice within one. Must not know requests. Invariant: an instance that is
//! unready or was unreachable gets requests only when no better one is left, so the last one is never ejected.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::time::Instant;

use crate::instance::Instance;
use crate::route::{Share, Target};

/// Instances compared for the least load; beyond it a random window does as well and costs the same.
const WINDOW: usize = 16;

/// Instances that one request already failed on.
#[derive(Default)]
pub struct Tried(Vec<Arc<Instance>>);

impl Tried {
    /// Leaves an instance out of further picks.
    pub fn push(&mut self, instance: Arc<Instance>) {
        self.0.push(instance);
    }

    /// Allows all again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many were tried.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn has(&self, instance: &Arc<Instance>) -> bool {
        self.0.iter().any(|tried| Arc::ptr_eq(tried, instance))
    }
}

/// How good an instance has to be; each is tried when the one before found nobody.
#[derive(Clone, Copy)]
enum Rank {
    Preferred,
    Ready,
    Any,
}

impl Rank {
    fn takes(self, instance: &Instance, now: Instant) -> bool {
        match self {
            Rank::Preferred => instance.is_eligible() && !instance.is_avoided(now),
            Rank::Ready => instance.is_eligible(),
            Rank::Any => true,
        }
    }
}

/// The next instance for a request and its share; `None` when all were tried.
pub fn pick<'t>(
    target: &'t Target,
    tried: &Tried,
    now: Instant,
) -> Option<(&'t Arc<Instance>, &'t Share)> {
    [Rank::Preferred, Rank::Ready, Rank::Any]
        .into_iter()
        .find_map(|rank| {
            let takes =
                |instance: &Arc<Instance>| rank.takes(instance, now) && !tried.has(instance);
            let share = draw(&target.shares, &takes)?;
            Some((least_loaded(&share.instances, &takes)?, share))
        })
}

/// Draws a share by weight among those with anybody to take the request.
fn draw<'t>(shares: &'t [Share], takes: &impl Fn(&Arc<Instance>) -> bool) -> Option<&'t Share> {
    let able = |share: &&Share| share.instances.iter().any(takes);
    if let [only] = shares {
        return Some(only).filter(able);
    }
    let total: u64 = shares
        .iter()
        .filter(able)
        .map(|share| u64::from(share.weight))
        .sum();
    let mut drawn = random().checked_rem(total)?;
    shares.iter().filter(able).find(|share| {
        let weight = u64::from(share.weight);
        let hit = drawn < weight;
        drawn = drawn.saturating_sub(weight);
        hit
    })
}

fn least_loaded<'t>(
    instances: &'t [Arc<Instance>],
    takes: &impl Fn(&Arc<Instance>) -> bool,
) -> Option<&'t Arc<Instance>> {
    if let [only] = instances {
        return Some(only).filter(|instance| takes(instance));
    }
    let count = u64::try_from(instances.len())
        .ok()
        .filter(|count| *count > 0)?;
    let start = usize::try_from(random() % count).ok()?;
    let (before, after) = instances.split_at(start);
    after
        .iter()
        .chain(before)
        .filter(|i| takes(i))
        .take(WINDOW)
        .min_by_key(|instance| instance.load())
}

/// A xorshift generator per thread: balancing needs speed and spread, not secrecy.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8) | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    })
}

#[cfg(test)]
mod tests;

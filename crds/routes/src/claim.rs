//! Who holds a contested host and path.
//!
//! Owns the rule: whoever holds a route keeps it for as long as it claims it; with no holder the older pipeline gets
//! it, then the lower uid. Must not know how requests are matched. Invariant: pure and total, and settling twice
//! gives the same holders, so that plan and proxy agree.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::route::{PathRule, Route};
use crate::table::{Section, SectionKey};

/// Who holds which route.
pub type Holders = BTreeMap<RouteKey, SectionKey>;

/// One host pattern and path prefix, as people write it: `shop.example.com/api`; the default host is `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouteKey(String);

impl RouteKey {
    /// The key of a host pattern (`*` for the default) and a rule.
    pub fn new(host: &str, rule: &PathRule) -> Self {
        match rule.normal() {
            "" => RouteKey(format!("{host}/")),
            prefix => RouteKey(format!("{host}{prefix}")),
        }
    }

    /// The text, for messages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A route that a section claims and another section holds. The claimant is accepted, this route of it is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The contested host and path.
    pub route: RouteKey,
    /// Who has it.
    pub holder: SectionKey,
    /// Who does not get it.
    pub claimant: SectionKey,
}

impl Route {
    /// Host patterns of this route, the default as `*`.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.hosts
            .iter()
            .map(String::as_str)
            .chain(self.default.then_some("*"))
    }

    /// Path rules of this route, `/` when none is given.
    pub fn rules(&self) -> Vec<PathRule> {
        if self.paths.is_empty() {
            vec![PathRule::root()]
        } else {
            self.paths.clone()
        }
    }

    /// Everything this route claims.
    pub fn keys(&self) -> Vec<RouteKey> {
        let rules = self.rules();
        self.patterns()
            .flat_map(|host| rules.iter().map(move |rule| RouteKey::new(host, rule)))
            .collect()
    }
}

/// Who holds every claimed route after the sections changed, given who held it before, and who goes without.
pub fn settle(
    sections: &BTreeMap<SectionKey, Section>,
    before: &Holders,
) -> (Holders, Vec<Conflict>) {
    let mut claims: BTreeMap<RouteKey, Vec<(&SectionKey, &Section)>> = BTreeMap::new();
    for (key, section) in sections {
        for route in section.route.iter().flat_map(Route::keys) {
            let claimants = claims.entry(route).or_default();
            if !claimants.iter().any(|(claimant, _)| *claimant == key) {
                claimants.push((key, section));
            }
        }
    }
    let mut holders = Holders::new();
    let mut conflicts = Vec::new();
    for (route, claimants) in claims {
        let held = before
            .get(&route)
            .filter(|holder| claimants.iter().any(|(claimant, _)| claimant == holder));
        let oldest = || {
            claimants
                .iter()
                .min_by_key(|(key, s)| (s.owner_created.as_str(), s.owner_uid.as_str(), *key))
                .map(|(key, _)| *key)
        };
        let Some(holder) = held.or_else(oldest).cloned() else {
            continue;
        };
        for (claimant, _) in claimants
            .iter()
            .filter(|(claimant, _)| **claimant != holder)
        {
            conflicts.push(Conflict {
                route: route.clone(),
                holder: holder.clone(),
                claimant: (*claimant).clone(),
            });
        }
        holders.insert(route, holder);
    }
    (holders, conflicts)
}

#[cfg(test)]
mod tests;

//! The compiled routes: from host and path to a section's instances.
//!
//! Owns lookup. Must not know HTTP or how the table changes. Invariant: immutable; a request sees one whole snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use routes::{Holders, PathRule, RouteKey, Section, SectionKey};

use crate::instance::Instance;
use crate::traffic::Counters;

/// Where the requests of one section go.
pub struct Target {
    /// The section.
    pub key: SectionKey,
    /// Revisions that may get requests.
    pub shares: Vec<Share>,
    /// To the first byte of an answer.
    pub response_timeout: Duration,
}

/// One revision's part of a target.
pub struct Share {
    /// Its weight, above zero.
    pub weight: u32,
    /// Its routed instances, at least one.
    pub instances: Vec<Arc<Instance>>,
    /// What it counts.
    pub counters: Arc<Counters>,
}

/// A path rule with its target.
pub struct Served {
    /// The rule that matched.
    pub rule: PathRule,
    /// Its section.
    pub target: Arc<Target>,
}

/// All routes at one version.
#[derive(Default)]
pub struct Router {
    hosts: HashMap<Box<str>, Vec<Served>>,
    wildcards: HashMap<Box<str>, Vec<Served>>,
    default: Vec<Served>,
    targets: HashMap<SectionKey, Arc<Target>>,
}

/// What a lookup found.
pub enum Found<'r> {
    /// A section answers.
    Served(&'r Served),
    /// The host is declared, the path is not.
    NoPath,
    /// Nobody declared the host.
    NoHost,
}

impl Router {
    /// Adds a section's routes, those that it holds.
    pub fn add(&mut self, section: &Section, target: Target, holders: &Holders) {
        let target = Arc::new(target);
        self.targets.insert(target.key.clone(), Arc::clone(&target));
        let Some(route) = &section.route else { return };
        for pattern in route.patterns() {
            let held =
                |rule: &PathRule| holders.get(&RouteKey::new(pattern, rule)) == Some(&target.key);
            let rules: Vec<_> = route.rules().into_iter().filter(held).collect();
            if rules.is_empty() {
                continue;
            }
            let entries = if pattern == "*" {
                &mut self.default
            } else if let Some(parent) = pattern.strip_prefix("*.") {
                self.wildcards.entry(parent.into()).or_default()
            } else {
                self.hosts.entry(pattern.into()).or_default()
            };
            entries.extend(rules.into_iter().map(|rule| Served {
                rule,
                target: Arc::clone(&target),
            }));
            entries.sort_by_key(|served| std::cmp::Reverse(served.rule.normal().len()));
        }
    }

    /// Who answers a request: the exact host before the wildcard before the default, each with its longest prefix.
    pub fn find(&self, host: &str, path: &str) -> Found<'_> {
        let exact = self.hosts.get(host);
        let wildcard = host.split_once('.').filter(|(label, _)| !label.is_empty());
        let wildcard = wildcard.and_then(|(_, parent)| self.wildcards.get(parent));
        let default = (!self.default.is_empty()).then_some(&self.default);
        let mut declared = false;
        for entries in [exact, wildcard, default].into_iter().flatten() {
            declared = true;
            if let Some(served) = entries.iter().find(|served| served.rule.matches(path)) {
                return Found::Served(served);
            }
        }
        if declared {
            Found::NoPath
        } else {
            Found::NoHost
        }
    }

    /// The target of a section, to pick again after an instance closed its gate.
    pub fn target(&self, key: &SectionKey) -> Option<&Arc<Target>> {
        self.targets.get(key)
    }
}

#[cfg(test)]
mod tests;

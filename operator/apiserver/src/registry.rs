//! Owns the live set of resources: the built-in ones, and those that CustomResourceDefinitions define at this moment.
//!
//! It must not know requests or how objects are judged. Invariants: readers see one consistent catalog; a definition
//! that did not change keeps its compiled schema and its watches; one that changed ends the watches of its old schema.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::builtin;
use crate::definition;
use crate::object;
use crate::resource::Resource;
use crate::served::{Layout, Served};
use crate::store::{Key, Store};

/// Where CustomResourceDefinitions are stored.
pub const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Where Events of both groups are stored.
pub const EVENTS: &str = "/events";

/// What is served at one moment.
#[derive(Default)]
pub struct Catalog {
    by_path: BTreeMap<(String, String, String), Arc<Served>>,
    resources: Vec<Arc<Resource>>,
}

impl Catalog {
    /// The resource at group, version and plural name.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.by_path.get(&key).cloned()
    }

    /// The resource of a kind, by `apiVersion` and `kind`.
    pub fn find_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Served>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.by_path
            .values()
            .find(|served| {
                let resource = &served.resource;
                resource.group == group && resource.version == version && resource.kind == kind
            })
            .cloned()
    }

    /// One served version of each storage.
    pub fn storages(&self) -> BTreeMap<Arc<str>, Arc<Served>> {
        let mut storages = BTreeMap::new();
        for served in self.by_path.values() {
            let entry = storages
                .entry(Arc::clone(&served.storage))
                .or_insert_with(|| Arc::clone(served));
            // The version that objects are stored in needs no conversion, so it is the one to work with.
            if served.layout == Layout::Same && served.resource.version == served.stored_as.version
            {
                *entry = Arc::clone(served);
            }
        }
        storages
    }

    /// Everything, for discovery and OpenAPI: built-in resources first.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    fn add(&mut self, served: Served) {
        let served = Arc::new(served);
        self.insert(&served);
    }

    fn insert(&mut self, served: &Arc<Served>) {
        let resource = &served.resource;
        self.by_path.insert(
            (
                resource.group.clone(),
                resource.version.clone(),
                resource.plural.clone(),
            ),
            Arc::clone(served),
        );
        self.resources.push(Arc::clone(resource));
    }
}

/// The live set. Clones share it.
#[derive(Clone)]
pub struct Registry {
    current: Arc<ArcSwap<Catalog>>,
    compiled: Arc<Mutex<HashMap<String, Compiled>>>,
    builtins: Arc<Vec<Arc<Served>>>,
}

/// A definition as it was compiled.
struct Compiled {
    spec: Value,
    accepting: bool,
    served: Vec<Arc<Served>>,
    closed: CancellationToken,
}

impl Registry {
    /// The built-in resources, and the definitions that the store has.
    pub fn open(store: &Store) -> Self {
        let registry = Self {
            current: Arc::new(ArcSwap::from_pointee(Catalog::default())),
            compiled: Arc::default(),
            builtins: Arc::new(builtins()),
        };
        registry.rebuild(store);
        registry
    }

    /// What is served now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Looks at the definitions again. Called after each write to one, before that is answered.
    pub fn rebuild(&self, store: &Store) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let definitions = store
            .list(&Arc::from(DEFINITIONS), None, None)
            .map(|listing| listing.items)
            .unwrap_or_default();
        let mut catalog = Catalog::default();
        for served in self.builtins.iter() {
            catalog.insert(served);
        }
        let mut kept = HashMap::new();
        for (key, stored) in definitions {
            let found = stored.value();
            if !definition::is_established(&found) {
                continue;
            }
            let uid = object::uid(&found).to_owned();
            let entry = match compiled.remove(&uid) {
                Some(entry) if entry.is_still(&found) => entry,
                Some(entry) => {
                    entry.closed.cancel();
                    Compiled::new(&key, &found, stored.version)
                }
                None => Compiled::new(&key, &found, stored.version),
            };
            for served in &entry.served {
                catalog.insert(served);
            }
            kept.insert(uid, entry);
        }
        for (_, gone) in compiled.drain() {
            gone.closed.cancel();
        }
        *compiled = kept;
        self.current.store(Arc::new(catalog));
    }

    /// Ends every watch, for shutdown.
    pub fn close(&self) {
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in compiled.values() {
            entry.closed.cancel();
        }
        for served in self.builtins.iter() {
            served.closed.cancel();
        }
    }
}

impl Compiled {
    fn new(key: &Key, definition: &Value, version: u64) -> Self {
        let closed = CancellationToken::new();
        let accepting = !object::is_terminating(definition);
        let resources = Resource::from_crd(definition).unwrap_or_else(|errors| {
            // It was accepted once; a build that has become stricter must say why it is not served.
            let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
            tracing::error!(
                name = object::name(definition),
                reasons = reasons.join("; "),
                "a stored CustomResourceDefinition is not served"
            );
            Vec::new()
        });
        let resources: Vec<Arc<Resource>> = resources.into_iter().map(Arc::new).collect();
        let stored_as = resources.iter().find(|resource| resource.storage).cloned();
        let served = resources
            .iter()
            .filter(|resource| resource.served)
            .filter_map(|resource| {
                let stored_as = stored_as.clone()?;
                Some(Arc::new(Served {
                    storage: storage_name(resource),
                    resource: Arc::clone(resource),
                    stored_as,
                    layout: Layout::Same,
                    fresh_after: version,
                    definition: Some(key.clone()),
                    builtin: None,
                    accepting,
                    closed: closed.clone(),
                }))
            })
            .collect();
        Self {
            spec: definition.get("spec").cloned().unwrap_or_default(),
            accepting,
            served,
            closed,
        }
    }

    fn is_still(&self, definition: &Value) -> bool {
        definition.get("spec") == Some(&self.spec)
            && self.accepting != object::is_terminating(definition)
    }
}

fn storage_name(resource: &Resource) -> Arc<str> {
    Arc::from(format!("{}/{}", resource.group, resource.plural))
}

fn builtins() -> Vec<Arc<Served>> {
    let mut catalog = Catalog::default();
    let core_event = builtin::all()
        .iter()
        .find(|kind| kind.group.is_empty() && kind.plural == "events")
        .map(|kind| Arc::new(Resource::from_builtin(kind)));
    for kind in builtin::all() {
        let resource = Arc::new(Resource::from_builtin(kind));
        let renamed = resource.group == "events.k8s.io" && resource.plural == "events";
        let (storage, stored_as, layout) = match (&core_event, renamed) {
            (Some(core), true) => (Arc::from(EVENTS), Arc::clone(core), Layout::RenamedEvent),
            (Some(_) | None, _) => (storage_name(&resource), Arc::clone(&resource), Layout::Same),
        };
        catalog.add(Served {
            resource,
            stored_as,
            storage,
            layout,
            fresh_after: 0,
            definition: None,
            builtin: Some(kind),
            accepting: true,
            closed: CancellationToken::new(),
        });
    }
    catalog.by_path.into_values().collect()
}

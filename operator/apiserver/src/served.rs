//! Owns one served version of one resource, and the way between what is stored and what that version shows.
//!
//! It must not know requests. Invariants: all versions of a resource share one storage; an object that was stored under
//! an earlier schema is shown with today's defaults and without the fields that today's schema does not know.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::builtin::BuiltIn;
use crate::error::Named;
use crate::events;
use crate::resource::Resource;
use crate::store::{Key, Stored};

/// How the stored form differs from the served one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In `apiVersion` at most.
    Same,
    /// Events of `events.k8s.io` are stored as Events of the core group, which names the same fields differently.
    RenamedEvent,
}

/// A resource in one version, as it is served at present.
pub struct Served {
    /// What it is.
    pub resource: Arc<Resource>,
    /// The version that objects are stored in.
    pub stored_as: Arc<Resource>,
    /// Name of the storage that all its versions share.
    pub storage: Arc<str>,
    /// How the stored form differs.
    pub layout: Layout,
    /// Objects at a later resourceVersion were stored under the present schema.
    pub fresh_after: u64,
    /// The definition that it comes from; `None` for a built-in resource.
    pub definition: Option<Key>,
    /// The built-in kind that it is; `None` for a custom one.
    pub builtin: Option<&'static BuiltIn>,
    /// Whether objects may be created: not while the CustomResourceDefinition is going away.
    pub accepting: bool,
    /// Cancelled when this version of this schema is served no more; watches end then.
    pub closed: CancellationToken,
}

impl Served {
    /// The resource as errors name it.
    pub fn named(&self) -> Named<'_> {
        Named {
            group: &self.resource.group,
            resource: &self.resource.plural,
        }
    }

    /// The kind as errors name it.
    pub fn kind(&self) -> Named<'_> {
        Named {
            group: &self.resource.group,
            resource: &self.resource.kind,
        }
    }

    /// `v1` or `group/version`.
    pub fn api_version(&self) -> String {
        api_version(&self.resource)
    }

    /// Whether stored bytes can be handed out as they are.
    fn is_verbatim(&self, stored: &Stored) -> bool {
        self.layout == Layout::Same
            && self.resource.version == self.stored_as.version
            && stored.version > self.fresh_after
    }

    /// The object in this version, as JSON.
    pub fn bytes(&self, stored: &Stored) -> Bytes {
        if self.is_verbatim(stored) {
            return stored.bytes.clone();
        }
        let value = self.value(stored);
        serde_json::to_vec(&value)
            .map(Bytes::from)
            .unwrap_or_else(|_| stored.bytes.clone())
    }

    /// The object in this version.
    pub fn value(&self, stored: &Stored) -> Value {
        let mut value = stored.value();
        if self.is_verbatim(stored) {
            return value;
        }
        if let Some(structural) = &self.stored_as.structural {
            structural.prune(&mut value);
            structural.default(&mut value);
        }
        match self.layout {
            Layout::Same => {}
            Layout::RenamedEvent => events::to_events_v1(&mut value),
        }
        value["apiVersion"] = Value::String(self.api_version());
        value["kind"] = Value::String(self.resource.kind.clone());
        value
    }

    /// The stored form of an object of this version.
    pub fn to_stored(&self, mut value: Value) -> Value {
        match self.layout {
            Layout::Same => {}
            Layout::RenamedEvent => events::to_core(&mut value),
        }
        value["apiVersion"] = Value::String(api_version(&self.stored_as));
        value
    }
}

/// `v1` or `group/version`.
pub fn api_version(resource: &Resource) -> String {
    if resource.group.is_empty() {
        resource.version.clone()
    } else {
        format!("{}/{}", resource.group, resource.version)
    }
}

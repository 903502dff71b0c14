//! Who asked for something, as the API keeps it: the field manager that last wrote a field.
//!
//! Must not know what the field means.

use kube::core::ObjectMeta;

/// Whom messages name when the object does not say.
const NOBODY: &str = "somebody";

/// The field manager that last wrote anything of the spec; empty when the object does not say.
pub(crate) fn last(metadata: &ObjectMeta) -> String {
    newest(metadata, |_| true).unwrap_or_default()
}

/// The field manager that last wrote a field of the spec, by its name in the manifest, for people.
/// Mooring itself, which makes Releases with every field at its default, is nobody.
pub(crate) fn who(metadata: &ObjectMeta, field: &str) -> String {
    let key = format!("f:{field}");
    newest(metadata, |spec| spec.get(&key).is_some()).unwrap_or_else(|| NOBODY.to_owned())
}

/// The manager of the newest entry, status aside, whose part of the spec is meant.
fn newest(metadata: &ObjectMeta, is_meant: impl Fn(&serde_json::Value) -> bool) -> Option<String> {
    let entries = metadata.managed_fields.iter().flatten();
    let meant = entries.filter(|entry| {
        let spec = entry.fields_v1.as_ref().and_then(|f| f.0.get("f:spec"));
        entry.subresource.is_none()
            && entry.manager.as_deref() != Some(crds::FIELD_MANAGER)
            && spec.is_some_and(&is_meant)
    });
    meant
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
}

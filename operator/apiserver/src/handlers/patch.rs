//! Owns the four kinds of patch, by their media types.
//!
//! It must not know how a patched object is judged. Invariant: a patch is made again on what another writer left, so it
//! never undoes another's change. What is committed reaches every `watcher`.

use serde_json::Value;

use super::admit::{Admission, Made};
use super::create::insert;
use super::update::modify;
use super::{Asked, Done, read};
use crate::apply::{self, Apply, ApplyError};
use crate::codec::{self, Encoding};
use crate::error::{ApiError, Named};
use crate::hub::Hub;
use crate::object;
use crate::patch::{self, PatchError};
use crate::schema::FieldError;

/// Media types of patches to built-in kinds.
const BUILTIN_MEDIA: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Media types of patches to custom resources: a strategic merge needs Go's struct tags.
const CUSTOM_MEDIA: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// Whether a request is a server-side apply.
pub(super) fn is_apply(asked: &Asked) -> bool {
    codec::media_type(asked.content_type.as_ref()) == "application/apply-patch+yaml"
}

/// A patch that was read.
enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

/// Patches the named object, or a part of it.
pub(super) async fn patch(hub: &Hub, asked: &Asked, subresource: &str) -> Result<Done, ApiError> {
    let mut admission = Admission::read(hub, asked, subresource)?;
    let (patch, duplicates) = read_patch(asked)?;
    if let Patch::Apply(config) = &patch {
        check_apply(&admission)?;
        let is_new = subresource.is_empty() && read::stored(hub, asked).is_err();
        if is_new {
            let created = apply_new(&mut admission, config, &duplicates).await;
            // Another writer may have created it in the meantime; then this is a change to that.
            match created {
                Err(error) if error.is_already_exists() => {}
                other => return other,
            }
        }
        let (manager, force, now) = (
            admission.manager.clone(),
            admission.options.force,
            admission.now,
        );
        return modify(&mut admission, &duplicates, Made::Applied, |live| {
            let applied = apply::apply(Apply {
                schema: &asked.served.resource.merge,
                live: Some(live),
                config,
                manager: &manager,
                force,
                api_version: &asked.served.api_version(),
                subresource,
                now,
            });
            applied.map_err(apply_error)
        })
        .await;
    }
    if admission.options.force {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(patch_options(vec![error]));
    }
    modify(&mut admission, &duplicates, Made::Written, |live| {
        patched(asked, &patch, live)
    })
    .await
}

fn patched(asked: &Asked, patch: &Patch, live: &Value) -> Result<Value, ApiError> {
    let refuse = |error: PatchError| match error {
        PatchError::Malformed(message) => ApiError::bad_request(message),
        PatchError::TooLarge(message) => ApiError::too_large(message),
        PatchError::DoesNotApply(message) => ApiError::unprocessable(message),
    };
    match patch {
        Patch::Json(patch) => patch::json(live, patch).map_err(refuse),
        Patch::Merge(patch) => Ok(patch::merge(live, patch)),
        Patch::Strategic(patch) => {
            patch::strategic(&asked.served.resource.openapi, live, patch).map_err(refuse)
        }
        // Apply is made where the field managers are known.
        Patch::Apply(config) => Ok(config.clone()),
    }
}

fn read_patch(asked: &Asked) -> Result<(Patch, Vec<String>), ApiError> {
    let accepted = if asked.served.builtin.is_some() {
        BUILTIN_MEDIA
    } else {
        CUSTOM_MEDIA
    };
    let media = codec::media_type(asked.content_type.as_ref());
    if !accepted.contains(&media) {
        return Err(ApiError::unsupported_media(accepted));
    }
    let encoding = match media {
        "application/apply-patch+yaml" => Encoding::Yaml,
        _json => Encoding::Json,
    };
    let decoded = codec::decode_as(encoding, &asked.body)?;
    let patch = match media {
        "application/json-patch+json" => Patch::Json(decoded.value),
        "application/merge-patch+json" => Patch::Merge(decoded.value),
        "application/strategic-merge-patch+json" => Patch::Strategic(decoded.value),
        _apply => Patch::Apply(decoded.value),
    };
    if !matches!(patch, Patch::Json(_)) && !patch.body().is_object() {
        return Err(ApiError::bad_request("the patch must be an object"));
    }
    Ok((patch, decoded.duplicates))
}

impl Patch {
    fn body(&self) -> &Value {
        match self {
            Self::Json(body) | Self::Merge(body) | Self::Strategic(body) | Self::Apply(body) => {
                body
            }
        }
    }
}

fn check_apply(admission: &Admission<'_>) -> Result<(), ApiError> {
    if admission.options.field_manager.is_none() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(patch_options(vec![error]));
    }
    Ok(())
}

fn patch_options(errors: Vec<FieldError>) -> ApiError {
    let kind = Named {
        group: "meta.k8s.io",
        resource: "PatchOptions",
    };
    ApiError::invalid(kind, "", errors)
}

async fn apply_new(
    admission: &mut Admission<'_>,
    config: &Value,
    duplicates: &[String],
) -> Result<Done, ApiError> {
    let asked = admission.asked;
    let name = asked.target.name.as_deref().unwrap_or_default();
    let mut config = config.clone();
    let given = object::name(&config);
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    object::set_meta(&mut config, "name", Value::String(name.to_owned()));
    let applied = apply::apply(Apply {
        schema: &asked.served.resource.merge,
        live: None,
        config: &config,
        manager: &admission.manager,
        force: admission.options.force,
        api_version: &asked.served.api_version(),
        subresource: "",
        now: admission.now,
    })
    .map_err(apply_error)?;
    insert(admission, applied, duplicates, Made::Applied).await
}

fn apply_error(error: ApplyError) -> ApiError {
    match error {
        ApplyError::Conflicts(conflicts) => ApiError::apply_conflict(&conflicts),
        ApplyError::Invalid(message) => ApiError::bad_request(message),
    }
}

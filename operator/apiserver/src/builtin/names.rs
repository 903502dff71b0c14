//! What Kubernetes allows as names of objects and of keys.
//!
//! Owns the checks and their messages, word for word. It must not know which field is being checked.

/// The most bytes of a DNS-1123 subdomain, the name of most objects.
const MAX_SUBDOMAIN: usize = 253;
/// The most bytes of a DNS-1123 label, the name of a namespace.
const MAX_LABEL: usize = 63;

/// What is wrong with the name of an object; empty if nothing is.
#[must_use]
pub fn dns_subdomain(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, MAX_SUBDOMAIN);
    if !name.split('.').all(is_label) {
        wrong.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
             and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    wrong
}

/// What is wrong with the name of a namespace; empty if nothing is.
#[must_use]
pub fn dns_label(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, MAX_LABEL);
    if !is_label(name) {
        wrong.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
             with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    wrong
}

/// What is wrong with the key of a Secret or ConfigMap; empty if nothing is.
#[must_use]
pub(super) fn config_key(key: &str) -> Vec<String> {
    let mut wrong = too_long(key, MAX_SUBDOMAIN);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if key.is_empty() || !key.chars().all(allowed) {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
             or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match key {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// What is wrong with a qualified name, `[prefix/]name`: a label's or annotation's key, a controller; empty if nothing is.
#[must_use]
pub fn qualified_name(name: &str) -> Vec<String> {
    const FORM: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
                        character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let mut wrong = Vec::new();
    let local = match name.split_once('/') {
        None => name,
        Some((prefix, local)) if !local.contains('/') => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    dns_subdomain(prefix)
                        .into_iter()
                        .map(|message| format!("prefix part {message}")),
                );
            }
            local
        }
        Some(_) => {
            return vec![format!(
                "a valid label key {FORM} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if local.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else {
        wrong.extend(
            too_long(local, MAX_LABEL)
                .into_iter()
                .map(|message| format!("name part {message}")),
        );
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let edges = local.starts_with(|c: char| c.is_ascii_alphanumeric())
        && local.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !(edges && local.chars().all(inner)) {
        wrong.push(format!("name part {FORM}"));
    }
    wrong
}

fn too_long(name: &str, limit: usize) -> Vec<String> {
    if name.len() > limit {
        vec![format!("must be no more than {limit} bytes")]
    } else {
        Vec::new()
    }
}

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(inner) && name.ends_with(inner) && name.chars().all(|c| inner(c) || c == '-')
}

//! What the operator knows of registries: whose credentials to show, and what a refusal means.
//!
//! There is no registry client in here: an Engine is asked, since it is the Engine that has to reach the registry.

pub mod credentials;
pub mod failure;

/// The part of a reference before its tag and its digest, as it was written.
pub fn repository(reference: &str) -> &str {
    let bare = reference.split('@').next().unwrap_or(reference);
    match bare.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        Some(_) | None => bare,
    }
}

/// The reference with the tag `latest` if it has neither tag nor digest.
pub fn tagged(reference: &str) -> String {
    if repository(reference) == reference {
        format!("{reference}:latest")
    } else {
        reference.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_repository_and_a_tag() {
        for (reference, bare, full) in [
            ("shop", "shop", "shop:latest"),
            ("shop:1.0", "shop", "shop:1.0"),
            (
                "localhost:5000/shop",
                "localhost:5000/shop",
                "localhost:5000/shop:latest",
            ),
            (
                "localhost:5000/shop:1@sha256:ab",
                "localhost:5000/shop",
                "localhost:5000/shop:1@sha256:ab",
            ),
        ] {
            assert_eq!(
                (repository(reference), tagged(reference).as_str()),
                (bare, full)
            );
        }
    }
}

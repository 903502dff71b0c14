//! Secrets in text that people will see: log lines of failed instances.
//!
//! Lines whose Release's secrets cannot be read are not shown at all.

use crds::Release;
use crds::release::ConfigKind;

use super::observe::Look;
use crate::snapshot::Snapshots;

/// Values shorter than this are too common in any text to be blacked out usefully, in bytes.
const SHORTEST: usize = 4;
/// The longest line that is kept, in bytes.
const LONGEST_LINE: usize = 512;

/// Every secret value that an instance of a Release was given. No Debug.
pub(super) struct Secrets(Vec<String>);

/// The secret values of a Release.
///
/// # Errors
/// A snapshot could not be read.
pub(super) async fn secrets(look: &Look<'_>, release: Option<&Release>) -> kube::Result<Secrets> {
    let snapshots = Snapshots::new(look.context.client.clone(), &look.namespace);
    let mut values = Vec::new();
    let config = release.into_iter().flat_map(|release| &release.spec.config);
    for entry in config.filter(|entry| entry.kind == ConfigKind::Secret) {
        for value in snapshots.kept(&entry.secret).await?.into_values() {
            let text = String::from_utf8_lossy(&value).into_owned();
            // A value of several lines is written line by line.
            values.extend(
                text.lines()
                    .map(|line| line.trim().to_owned())
                    .filter(|line| line.len() >= SHORTEST),
            );
        }
    }
    // Longer ones first, so that a value that contains another goes whole.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    Ok(Secrets(values))
}

/// A line without secrets and control characters, cut at its limit.
pub(super) fn line(text: &str, secrets: &Secrets) -> String {
    let mut line = text.to_owned();
    for secret in &secrets.0 {
        line = line.replace(secret.as_str(), "***");
    }
    let mut line: String = line
        .chars()
        .filter(|c| !c.is_control() || *c == '\t')
        .collect();
    line.truncate(line.floor_char_boundary(LONGEST_LINE));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_survives_in_a_line() {
        let secrets = Secrets(vec!["hunter2-long".to_owned(), "hunter2".to_owned()]);
        assert_eq!(
            line("login hunter2-long with hunter2\u{1b}[0m", &secrets),
            "login *** with ***[0m"
        );
    }
}

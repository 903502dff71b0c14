//! docs/failures.md has every failure that a person can meet, and each row a test that makes it happen.

use std::collections::BTreeSet;

use super::{assert_none, files, is_test, read, shipped};

/// Reasons that are no failure: what is going on, or all is well.
const NO_FAILURES: [&str; 10] = [
    "AsDeclared",
    "Succeeded",
    "Failed",
    "Superseded",
    "Progressing",
    "Healing",
    "Scaling",
    "Deleting",
    "LiveRestoreOn",
    "Other",
];

/// The words of the closed list of reasons.
fn reasons() -> Vec<String> {
    let text = read("crds/src/condition.rs");
    let (_, list) = text
        .split_once("pub enum Reason {")
        .expect("the list of reasons is there");
    let list = list.split("\n}").next().unwrap_or_default();
    list.lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|word| word.chars().all(char::is_alphanumeric))
        .map(str::to_owned)
        .collect()
}

/// Reason and test of each row.
fn rows() -> Vec<(String, String)> {
    let quoted = |cell: &str| cell.trim().trim_matches('`').to_owned();
    read("docs/failures.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            let last = cells.last().expect("a row has cells");
            (quoted(cells[0]), quoted(last))
        })
        .collect()
}

#[test]
fn every_failure_that_a_person_can_meet_is_in_the_table() {
    let told: BTreeSet<String> = rows().into_iter().map(|(reason, _)| reason).collect();
    let missing: Vec<String> = reasons()
        .into_iter()
        .filter(|reason| !NO_FAILURES.contains(&reason.as_str()) && !told.contains(reason))
        .collect();
    assert_none(&missing, "is a reason without a row in docs/failures.md");
}

#[test]
fn every_row_names_a_test_that_makes_it_happen() {
    let tests: String = files(&[".rs"])
        .into_iter()
        .map(|name| {
            let text = read(&name);
            if is_test(&name) {
                text
            } else {
                text[shipped(&text).len()..].to_owned()
            }
        })
        .collect();
    let missing: Vec<String> = rows()
        .into_iter()
        .filter(|(_, test)| !tests.contains(&format!("fn {test}()")))
        .map(|(reason, test)| format!("{reason}: {test}"))
        .collect();
    assert_none(&missing, "names no test");
}

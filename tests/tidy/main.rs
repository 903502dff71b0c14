//! The shape rules of this repository as a test.
//!
//! Reads source files as text and knows nothing of what they mean. Every rule names the file that
//! breaks it and what to do.

use std::path::{Path, PathBuf};
use std::process::Command;

mod failures;
mod trace;

/// Longer than this, a file probably has two reasons to exist. Tests and data tables may be longer.
const MAX_LINES: usize = 500;

/// Words that say nothing about what a file owns.
const EMPTY_WORDS: [&str; 8] = [
    "utils", "util", "helpers", "common", "misc", "types", "manager", "mod",
];

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every committed or new file with one of these endings, relative to the root.
fn files(endings: &[&str]) -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "git ls-files failed");
    let listed = String::from_utf8(listed.stdout).expect("file names are text");
    let wanted = |name: &&str| endings.iter().any(|ending| name.ends_with(ending));
    let there = |name: &&str| root().join(name).is_file();
    listed
        .lines()
        .filter(wanted)
        .filter(there)
        .map(str::to_owned)
        .collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("a listed file can be read")
}

/// The part of a source file before its tests.
fn shipped(text: &str) -> &str {
    text.split_once("#[cfg(test)]")
        .map_or(text, |(before, _)| before)
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/")
        || name.contains("/tests/")
        || name.ends_with("tests.rs")
        || name.contains("/examples/")
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_file_says_what_it_owns() {
    let broken: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|name| !read(name).starts_with("//!"))
        .collect();
    assert_none(
        &broken,
        "begins without //! (say what the file owns and what it must not know)",
    );
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let broken: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|name| {
            let stem = Path::new(name)
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            // CEL has types, and that file is about them.
            EMPTY_WORDS.contains(&stem) && !name.ends_with("src/cel/types.rs")
        })
        .collect();
    assert_none(
        &broken,
        "is not named after what it owns (name.rs beside name/, never mod.rs)",
    );
}

#[test]
fn no_file_has_two_reasons_to_exist() {
    let broken: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|name| !is_test(name))
        .map(|name| {
            let lines = shipped(&read(&name)).lines().count();
            (name, lines)
        })
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    // The template is one shape of Kubernetes with a description on every field.
    let broken: Vec<String> = broken
        .into_iter()
        .filter(|line| !line.starts_with("crds/src/template.rs"))
        .collect();
    assert_none(&broken, "is longer than 500 lines without its tests");
}

#[test]
fn nothing_is_left_open() {
    // Put together here, so that this file does not break its own rule.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ign", "ore"],
    ]
    .map(|parts| parts.concat());
    let broken: Vec<String> = files(&[".rs", ".md", ".yaml", "Makefile"])
        .into_iter()
        .filter(|name| words.iter().any(|word| read(name).contains(word.as_str())))
        .collect();
    assert_none(
        &broken,
        "leaves something open; do it, or say in an issue what is left",
    );
}

#[test]
fn nothing_that_ships_unwraps_or_calls_a_shell() {
    let words = [".unwrap()", "\"sh\"", "\"bash\"", "\"/bin/sh\""];
    let broken: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|name| !is_test(name))
        .filter(|name| {
            let text = read(name);
            let code = shipped(&text)
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            code.into_iter()
                .any(|line| words.iter().any(|word| line.contains(word)))
        })
        .collect();
    assert_none(&broken, "unwraps or names a shell outside tests");
}

#[test]
fn tests_wait_on_conditions() {
    let word = ["thread::", "sleep("].concat();
    let broken: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|name| read(name).contains(word.as_str()))
        .collect();
    assert_none(&broken, "sleeps; wait on a condition instead");
}

/// A filter that matches nothing passes.
#[test]
fn the_matrix_picks_stories_that_exist() {
    let modules = read("tests/e2e/main.rs");
    let matrix = read(".ci/matrix");
    let picked: Vec<&str> = matrix
        .split_whitespace()
        .filter_map(|word| word.strip_suffix("::"))
        .collect();
    assert!(!picked.is_empty(), "the matrix picks stories by module::");
    let broken: Vec<String> = picked
        .into_iter()
        .filter(|name| !modules.contains(&format!("mod {name};")))
        .map(str::to_owned)
        .collect();
    assert_none(
        &broken,
        "is picked by .ci/matrix and is no module of tests/e2e",
    );
}

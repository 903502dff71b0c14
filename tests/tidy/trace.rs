//! ARCHITECTURE.md's way from `kubectl apply` to `docker create` leads somewhere.
//!
//! Each hop is a line ``1. `file` `symbol` ...``. The file must exist and contain the symbol, and
//! must mention the symbol of the next hop.

use super::read;

/// The hops that the page prints: file, symbol.
fn hops() -> Vec<(String, String)> {
    let page = read("ARCHITECTURE.md");
    let (_, section) = page
        .split_once("## From `kubectl apply` to `docker create`")
        .expect("the page has the trace");
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| {
            let mut quoted = line.split('`').skip(1).step_by(2);
            let file = quoted.next().expect("a hop names a file").to_owned();
            (
                file,
                quoted.next().expect("a hop names a symbol").to_owned(),
            )
        })
        .collect()
}

#[test]
fn five_hops_lead_from_apply_to_create() {
    let hops = hops();
    assert_eq!(hops.len(), 5, "the trace has five hops");
    for (file, symbol) in &hops {
        assert!(
            read(file).contains(symbol.as_str()),
            "{file} does not contain {symbol}"
        );
    }
    for pair in hops.windows(2) {
        let [(file, _), (_, next)] = pair else {
            continue;
        };
        assert!(
            read(file).contains(next.as_str()),
            "{file} does not mention the next hop, {next}"
        );
    }
}

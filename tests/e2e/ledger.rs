//! No request is lost: an open loop of requests over twenty updates and five bad releases.

use std::time::Instant;

use tests::deployed::BAD;
use tests::installation::{self, Installation};
use tests::load::Load;
use tests::report;

use crate::shop::{self, HOST, OBJECT, PATIENCE};

/// Updates from one good version to the other.
const UPDATES: u32 = 20;
/// After so many updates comes a release that never becomes ready: five in all.
const BAD_AFTER: u32 = 4;
/// Requests a second. What matters is that one is always due; more would only measure this machine.
const RATE: u32 = 200;

#[test]
fn twenty_updates_and_five_rollbacks_lose_no_request() {
    let installation = Installation::fresh("ledger");
    let kubectl = installation.kubectl();
    let port = installation.http_port();
    kubectl.apply(&shop::manifest("1.0", 3));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let begun = Instant::now();
    let mut load = Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]);
    let mut stable = "1.0";
    let mut rollbacks = 0;
    for update in 1..=UPDATES {
        let next = if stable == "1.0" { "2.0" } else { "1.0" };
        load.allow(&[stable, next]);
        kubectl.apply(&shop::manifest(next, 3));
        kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
        load.allow(&[next]);
        stable = next;
        if update % BAD_AFTER == 0 {
            kubectl.apply(&shop::manifest(BAD, 3));
            kubectl.wait(OBJECT, "condition=Stalled", PATIENCE);
            assert_eq!(kubectl.condition(OBJECT, "Stalled", "reason"), "RolledBack");
            rollbacks += 1;
        }
    }
    let booked = load.end();
    report::show(format_args!(
        "ledger: {UPDATES} updates and {rollbacks} rollbacks in {:.0} s: {}",
        begun.elapsed().as_secs_f32(),
        booked.line()
    ));
    booked.assert_clean();
    let versions: Vec<&str> = booked.by_version.keys().map(String::as_str).collect();
    assert_eq!(
        versions,
        ["1.0", "2.0"],
        "both good versions answered, the bad one never"
    );
}

//! One table row per decision that must not change by accident.

use crate::text::check;

#[test]
fn a_new_pipeline_gets_its_finalizer_then_its_release_and_nothing_else() {
    check("want a new \n host h1", "add finalizer");
    check("want a \n host h1", "create release shop-1: shop:a as a");
    check(
        "want a \n release 1 a \n host h1 untagged",
        "push section: nothing on h1
         tag image aaa as mooring/default/shop:a on h1",
    );
}

#[test]
fn what_is_recorded_is_created_and_what_is_created_is_started() {
    check(
        "want a replicas=2 \n release 1 a Preparing \n host h1 \n host h2",
        "push section: nothing on h1
         create a.0-1 at 10.210.0.50 on h1
         push section: nothing on h2
         create a.1-1 at 10.210.0.50 on h2",
    );
    check(
        "want a \n release 1 a Starting \n host h1 \n h1 a.0-1 created checked =Starting",
        "push section: nothing on h1
         start a.0-1 on h1",
    );
}

const OLD: &str = "want b minReady=5
    release 1 a Finalizing Succeeded verified
    release 2 b Warming
    host h1";

#[test]
fn a_new_instance_is_checked_until_it_was_ready_for_long_enough() {
    check(
        &format!(
            "{OLD} \n h1 a.0-1 running always ready@50 routed =Serving \n h1 b.0-1 running =Starting"
        ),
        "push section: checked b.0-1, routed a.0-1 on h1",
    );
    // Ready for four of five seconds: the old one is disarmed meanwhile.
    check(
        &format!(
            "{OLD} \n h1 a.0-1 running always ready@50 routed =Serving \n h1 b.0-1 running ready@96 checked =Warming"
        ),
        "set restart policy of a.0-1 to no on h1",
    );
    check(
        &format!(
            "{OLD} \n h1 a.0-1 running ready@50 routed =Serving \n h1 b.0-1 running ready@95 checked =Warming"
        ),
        "push section: routed b.0-1, draining a.0-1 on h1
         set restart policy of b.0-1 to always on h1",
    );
}

#[test]
fn traffic_is_given_before_it_is_taken_where_the_old_one_is_not_disarmed() {
    check(
        &format!(
            "{OLD} \n h1 a.0-1 running always ready@50 routed =Serving \n h1 b.0-1 running ready@90 checked =Warming"
        ),
        "set restart policy of a.0-1 to no on h1
         push section: routed a.0-1 b.0-1 on h1
         set restart policy of b.0-1 to always on h1",
    );
}

#[test]
fn nothing_is_stopped_before_it_is_drained() {
    let world = |old: &str| {
        format!(
            "{OLD} \n h1 a.0-1 {old} =Draining \n h1 b.0-1 running always ready@50 routed =Serving"
        )
        .replace("Warming", "Draining")
    };
    check(&world("running ready@50 draining flight=2"), "");
    check(
        &world("running ready@50 draining"),
        "stop a.0-1 within 30s on h1",
    );
    check(&world("running ready@50 draining stopping"), "");
    check(
        &world("running always ready@50 draining"),
        "set restart policy of a.0-1 to no on h1",
    );
}

#[test]
fn across_hosts_traffic_is_taken_only_after_it_was_acknowledged_elsewhere() {
    check(
        "want b minReady=5
         release 1 a Finalizing Succeeded verified
         release 2 b Warming
         host h1 \n host h2
         h1 a.0-1 running ready@50 routed =Serving
         h2 b.0-1 running ready@50 checked =Warming",
        "push section: routed b.0-1 on h2
         set restart policy of b.0-1 to always on h2",
    );
}

#[test]
fn the_first_failure_undoes_a_release_and_starts_the_old_ones_first() {
    check(
        "want b
         release 1 a Finalizing Succeeded verified
         release 2 b Baking
         host h1
         h1 a.0-1 exited old =Stopped
         h1 b.0-1 exited routed =Serving",
        "push section: nothing on h1
         start a.0-1 on h1",
    );
    check(
        "want b
         release 1 a Finalizing Succeeded verified
         release 2 b RollingBack
         host h1
         h1 a.0-1 running old ready@99 checked =Warming
         h1 b.0-1 running unready@98 routed =Failed",
        "push section: routed a.0-1, draining b.0-1 on h1",
    );
}

#[test]
fn what_a_hand_did_is_undone_in_one_pass() {
    let steady = "want a replicas=1 \n release 1 a Finalizing Succeeded verified \n host h1";
    check(
        &format!("{steady} \n h1 a.0-1 exited always old =Serving"),
        "push section: nothing on h1
         start a.0-1 on h1",
    );
    check(
        &format!("{steady} \n h1 a.0-1 paused always old routed =Serving"),
        "unpause a.0-1 on h1",
    );
    check(
        &format!("{steady} \n h1 a.0-1 restarting old =Serving"),
        "push section: nothing on h1
         stop a.0-1 within 30s on h1",
    );
}

#[test]
fn of_two_attempts_the_higher_one_stays() {
    check(
        "want a \n release 1 a Finalizing Succeeded verified \n host h1
         h1 a.0-1 running ready@50 old routed =Serving
         h1 a.0-2 running always ready@50 old routed =Serving",
        "push section: routed a.0-2, draining a.0-1 on h1",
    );
}

#[test]
fn no_step_comes_from_an_unknown() {
    for how in ["unreachable", "mute"] {
        check(
            &format!(
                "want b \n release 1 a Finalizing Succeeded verified \n release 2 b Warming \n host h1 {how}
                 h1 a.0-1 running always ready@50 =Serving
                 h1 b.0-1 exited =Warming"
            ),
            "",
        );
    }
}

#[test]
fn a_foreign_name_is_left_alone() {
    check(
        "want a \n release 1 a Starting \n host h1 \n foreign h1 a.0-1 \n h1 a.0-1 missing =Starting",
        "push section: nothing on h1",
    );
}

#[test]
fn scaling_down_takes_the_highest_slots_and_never_the_minimum() {
    check(
        "want a replicas=1 \n release 1 a Finalizing Succeeded verified \n host h1
         h1 a.0-1 running always ready@50 old routed =Serving
         h1 a.1-1 running ready@50 old routed =Serving",
        "push section: routed a.0-1, draining a.1-1 on h1",
    );
    check(
        "want a replicas=1 \n release 1 a Finalizing Succeeded verified \n host h1
         h1 a.0-1 running always unready@99 old routed =Serving
         h1 a.1-1 running ready@50 old routed =Serving",
        "push section: checked a.0-1, routed a.1-1 on h1",
    );
}

#[test]
fn a_deletion_takes_policy_then_traffic_then_containers_then_the_record() {
    let gone = "want a deleted \n release 1 a Finalizing Succeeded verified \n host h1";
    check(
        &format!("{gone} \n h1 a.0-1 running always ready@50 routed =Serving"),
        "set restart policy of a.0-1 to no on h1",
    );
    check(
        &format!("{gone} \n h1 a.0-1 running ready@50 routed =Serving"),
        "drop section on h1",
    );
    check(
        &format!("{gone} \n h1 a.0-1 running ready@50 flight=1 =Serving"),
        "",
    );
    check(
        &format!("{gone} \n h1 a.0-1 running ready@50 =Serving"),
        "stop a.0-1 within 30s on h1",
    );
    check(
        &format!("{gone} \n h1 a.0-1 exited =Draining"),
        "remove a.0-1 on h1",
    );
    check(gone, "untag image mooring/default/shop:a on h1");
    check(
        &gone.replace("h1", "h1 untagged"),
        "drop finalizer of release shop-1
         drop finalizer",
    );
}

#[test]
fn a_worker_is_stopped_without_a_section() {
    check(
        "want b worker \n release 1 a Finalizing Succeeded verified \n release 2 b Shifting \n host h1
         h1 a.0-1 running ready@50 old =Serving
         h1 b.0-1 running ready@50 =Warming",
        "set restart policy of b.0-1 to always on h1
         stop a.0-1 within 30s on h1",
    );
}

#[test]
fn one_whose_resources_were_changed_by_hand_goes_when_another_is_there() {
    let world = |more: &str| {
        format!(
            "want a replicas=2 \n release 1 a Finalizing Succeeded verified \n host h1
             h1 a.0-1 running always squeezed ready@50 routed =Serving
             h1 a.1-1 running always ready@50 routed =Serving{more}"
        )
    };
    check(
        &world(""),
        "set restart policy of a.0-1 to no on h1
         create a.0-2 at 10.210.0.50 on h1",
    );
    check(
        &world("\n h1 a.0-2 running ready@50 checked =Warming"),
        "set restart policy of a.0-1 to no on h1
         push section: routed a.0-1 a.0-2 a.1-1 on h1
         set restart policy of a.0-2 to always on h1",
    );
}

#[test]
fn one_that_was_disconnected_loses_its_traffic_at_once() {
    check(
        "want a replicas=2 \n release 1 a Finalizing Succeeded verified \n host h1
         h1 a.0-1 running unplugged ready@50 routed =Serving
         h1 a.1-1 running always ready@50 routed =Serving",
        "push section: routed a.1-1, draining a.0-1 on h1
         create a.0-2 at 10.210.0.50 on h1",
    );
}

#[test]
fn an_image_from_a_registry_is_pulled_by_digest_and_again_when_the_pause_is_over() {
    let world = |host: &str| {
        format!(
            "want b registry \n release 1 a Finalizing Succeeded verified \n release 2 b Preparing \n host h1 {host}
             h1 a.0-1 running always ready@50 old routed =Serving"
        )
    };
    let pull = "pull r.test/shop@sha256:bbbbbbbbbb as mooring/default/shop:b on h1";
    check(&world(""), pull);
    check(&world("pulling"), "");
    // Five seconds after the first failure, a minute after a 429; it is the hundredth second now.
    check(&world("RegistryFailing@96"), "");
    check(&world("RegistryFailing@95"), pull);
    check(&world("RegistryRateLimited@95"), "");
    check(&world("RegistryRateLimited@40"), pull);
}

#[test]
fn a_pull_that_no_release_waits_for_is_cancelled() {
    check(
        "want b registry \n release 1 a Finalizing Succeeded verified \n host h1 pulling
         h1 a.0-1 running always ready@50 old routed =Serving",
        "create release shop-2: shop:b as b",
    );
    check(
        "want b registry deleted \n release 1 a Finalizing Succeeded verified \n host h1 pulling untagged
         h1 a.0-1 exited =Draining",
        "remove a.0-1 on h1
         cancel the pull of r.test/shop@sha256:bbbbbbbbbb on h1",
    );
}

#[test]
fn one_that_cannot_be_started_any_more_goes_for_the_next_attempt() {
    let world = |more: &str| {
        format!(
            "want a replicas=2 \n release 1 a Finalizing Succeeded verified \n host h1
             h1 a.0-1 exited always {more} routed =Serving
             h1 a.1-1 running always ready@50 routed =Serving"
        )
    };
    check(
        &world(""),
        "push section: routed a.1-1 on h1
         start a.0-1 on h1",
    );
    check(
        &world("unusable"),
        "set restart policy of a.0-1 to no on h1
         push section: routed a.1-1 on h1
         create a.0-2 at 10.210.0.50 on h1",
    );
    // A rollout goes on with the next attempt as well: it is no fault of the release.
    check(
        "want b
         release 1 a Finalizing Succeeded verified
         release 2 b Starting
         host h1
         h1 a.0-1 running always ready@50 routed =Serving
         h1 b.0-1 created unusable =Starting",
        "create b.0-2 at 10.210.0.50 on h1
         remove b.0-1 on h1",
    );
}

#[test]
fn what_is_kept_without_running_stays_down_whatever_the_host_went_through() {
    check(
        "want b
         release 1 a Finalizing Succeeded verified
         release 2 b Finalizing RolledBack
         host h1
         h1 a.0-1 running always ready@50 routed =Serving
         h1 b.0-1 exited =Failed",
        "",
    );
    check(
        "want b minReady=5
         release 1 a Finalizing Succeeded verified
         release 2 b Baking
         host h1
         h1 a.0-1 exited old =Stopped
         h1 b.0-1 running always ready@50 routed =Serving",
        "",
    );
    check(
        "want b minReady=5
         release 1 a Finalizing Succeeded verified
         release 2 b Draining
         host h1
         h1 a.0-1 exited old =Draining
         h1 b.0-1 running always ready@50 routed =Serving",
        "",
    );
}

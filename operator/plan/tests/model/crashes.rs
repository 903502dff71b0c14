//! The operator dies after every single effect of a flow; the next one reaches the same world.

use crate::app::App;
use crate::stories::installed;
use crate::world::World;

/// Runs a flow to its end once, then again with a death after every effect, and compares the
/// worlds without IDs, addresses and attempts.
fn survives(flow: &str, begin: &dyn Fn() -> World) {
    let mut whole = begin();
    assert!(whole.rest(600), "{flow}: {}", whole.trace());
    let expected = shape(&whole);
    let mut effects = 0;
    loop {
        let mut world = begin();
        world.dies_after = Some(effects);
        let reached = world.dies(600);
        world.dies_after = None;
        assert!(world.rest(600), "{flow} after {effects}: {}", world.trace());
        world.assert_sound();
        assert_eq!(
            shape(&world),
            expected,
            "{flow} after {effects}: {}",
            world.trace()
        );
        if !reached {
            break;
        }
        effects += 1;
    }
    assert!(effects > 5, "{flow} has only {effects} effects");
}

/// What is to be the same.
fn shape(world: &World) -> Vec<String> {
    let mut lines: Vec<String> = world
        .hosts
        .iter()
        .flat_map(|(name, host)| {
            host.containers.values().map(move |c| {
                let served = host.served(c).map(|(state, _)| state);
                format!(
                    "{name} {} {} {:?} {:?} {served:?}",
                    c.instance.revision, c.instance.slot, c.state, c.policy
                )
            })
        })
        .collect();
    lines.sort();
    lines.push(world.summary());
    lines.extend(world.releases.iter().map(|(name, release)| {
        let state = release.status.as_ref().map(|s| s.state.clone());
        format!("{name} {state:?}")
    }));
    lines
}

#[test]
fn an_install_survives() {
    survives("install", &|| World::new(&["a"], 2));
}

#[test]
fn an_update_survives() {
    survives("update", &|| {
        let mut world = installed(&["a"], 2);
        world.release("shop:2", App::good());
        world
    });
}

#[test]
fn a_rollback_survives() {
    survives("rollback", &|| {
        let mut world = installed(&["a"], 2);
        world.release(
            "shop:2",
            App {
                unready_after: Some(8_000),
                ..App::good()
            },
        );
        world
    });
}

#[test]
fn a_scale_survives() {
    survives("scale", &|| {
        let mut world = installed(&["a"], 2);
        world.edit(|spec| spec.replicas = 4);
        world
    });
}

#[test]
fn a_deletion_survives() {
    survives("delete", &|| {
        let mut world = installed(&["a"], 2);
        let now = world.now;
        if let Some(pipeline) = &mut world.pipeline {
            pipeline.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        }
        world
    });
}

//! Properties over random histories: whatever people, applications, hosts and a dying operator do,
//! the promises hold at every step, and when it is over the world comes to rest as declared.

use crds::condition::{ConditionStatus, ConditionType};
use plan::fact::ContainerState;
use proptest::prelude::*;

use crate::app::{App, later};
use crate::stories::condition;
use crate::world::World;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// Nobody does anything for so many milliseconds.
    Wait(i64),
    /// Another image, with this application.
    Release(u8, Kind),
    Scale(u32),
    Batch(i32, i32),
    /// The operator dies after so many effects, and another begins.
    Die(usize),
    /// The answer to a step is lost; true: it was done all the same.
    Hiccup(usize, bool),
    /// A container, by its place in the list, is removed, stopped, renamed or frozen by hand.
    Remove(usize),
    Stop(usize),
    Rename(usize),
    Freeze(usize),
    /// A host is away for so many milliseconds.
    Away(usize, i64),
    Mute(usize, i64),
    Cordon(usize),
    /// Every record is lost.
    Erase,
    /// A host's section is lost.
    LoseSection(usize),
    /// The container network of a host is gone and made again.
    LoseNetwork(usize),
    /// A person holds rollouts, or lets them go on.
    Pause(bool),
    /// A person goes back to the release at this place, or takes that away.
    Return(Option<usize>),
    Restart,
    /// A person rejects the revision of the release at this place.
    Reject(usize),
    /// A person ends the release at this place, or takes that away.
    Abort(usize, bool),
    /// A person tries the release at this place again.
    Retry(usize),
}

/// What kind of application a release brings.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Good,
    Deaf,
    ExitsAtOnce,
    ExitsLater,
    TurnsUnready,
    Flaps,
    Slow,
}

fn app(kind: Kind) -> App {
    match kind {
        Kind::Good => App::good(),
        Kind::Deaf => App::deaf(),
        Kind::ExitsAtOnce => App::exits(50),
        Kind::ExitsLater => App::exits(4_000),
        Kind::TurnsUnready => App {
            unready_after: Some(4_000),
            ..App::good()
        },
        Kind::Flaps => App {
            flaps_every: 2_500,
            ..App::good()
        },
        Kind::Slow => App {
            ready_after: Some(5_000),
            busy_for: 3_000,
            ..App::good()
        },
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Good),
        1 => Just(Kind::Deaf),
        1 => Just(Kind::ExitsAtOnce),
        1 => Just(Kind::ExitsLater),
        1 => Just(Kind::TurnsUnready),
        1 => Just(Kind::Flaps),
        1 => Just(Kind::Slow),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..8_000_i64).prop_map(Happening::Wait),
        4 => (2..6_u8, kind()).prop_map(|(image, kind)| Happening::Release(image, kind)),
        2 => (0..6_u32).prop_map(Happening::Scale),
        1 => (0..4_i32, 0..3_i32).prop_map(|(surge, unavailable)| Happening::Batch(surge, unavailable)),
        3 => (0..12_usize).prop_map(Happening::Die),
        2 => (0..12_usize, any::<bool>()).prop_map(|(steps, done)| Happening::Hiccup(steps, done)),
        2 => (0..8_usize).prop_map(Happening::Remove),
        2 => (0..8_usize).prop_map(Happening::Stop),
        1 => (0..8_usize).prop_map(Happening::Rename),
        1 => (0..8_usize).prop_map(Happening::Freeze),
        1 => (0..2_usize, 100..90_000_i64).prop_map(|(host, time)| Happening::Away(host, time)),
        1 => (0..2_usize, 100..90_000_i64).prop_map(|(host, time)| Happening::Mute(host, time)),
        1 => (0..2_usize).prop_map(Happening::Cordon),
        1 => Just(Happening::Erase),
        1 => (0..2_usize).prop_map(Happening::LoseSection),
        1 => (0..2_usize).prop_map(Happening::LoseNetwork),
        2 => any::<bool>().prop_map(Happening::Pause),
        1 => prop::option::of(0..4_usize).prop_map(Happening::Return),
        1 => Just(Happening::Restart),
        1 => (0..4_usize).prop_map(Happening::Reject),
        2 => (0..4_usize, any::<bool>()).prop_map(|(place, on)| Happening::Abort(place, on)),
        2 => (0..4_usize).prop_map(Happening::Retry),
    ]
}

/// A host and container by their places.
fn pick(world: &World, place: usize) -> Option<(String, String)> {
    let all: Vec<(String, String)> = world
        .hosts
        .iter()
        .flat_map(|(host, facts)| facts.containers.keys().map(|id| (host.clone(), id.clone())))
        .collect();
    (!all.is_empty()).then(|| all[place % all.len()].clone())
}

fn host_name(world: &World, place: usize) -> String {
    let names: Vec<&String> = world.hosts.keys().collect();
    names[place % names.len()].clone()
}

fn happen(world: &mut World, happening: &Happening) {
    let now = world.now;
    match happening {
        Happening::Wait(millis) => world.wait(*millis),
        Happening::Release(image, kind) => {
            // An image never changes what it does.
            let name = format!("shop:{image}");
            let known = world.apps.get(&name).cloned();
            world.release(&name, known.unwrap_or_else(|| app(*kind)));
        }
        Happening::Scale(replicas) => world.edit(|spec| spec.replicas = *replicas),
        Happening::Batch(surge, unavailable) => world.edit(|spec| {
            use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int;
            let rolling = &mut spec.strategy.rolling_update;
            rolling.max_surge = Int((*surge).max(i32::from(*unavailable == 0)));
            rolling.max_unavailable = Int(*unavailable);
        }),
        Happening::Die(effects) => {
            world.dies_after = Some(*effects);
            world.dies(30);
            world.dies_after = None;
            world.failures.clear();
        }
        Happening::Hiccup(steps, done) => world.hiccup = Some((*steps, *done)),
        Happening::Remove(place) => {
            if let Some((host, id)) = pick(world, *place) {
                world.host(&host).containers.remove(&id);
            }
        }
        Happening::Stop(place) => {
            if let Some((host, id)) = pick(world, *place) {
                world.host(&host).containers.get_mut(&id).unwrap().halt(now);
            }
        }
        Happening::Rename(place) => {
            if let Some((host, id)) = pick(world, *place) {
                world.host(&host).containers.get_mut(&id).unwrap().name = "mine".to_owned();
            }
        }
        Happening::Freeze(place) => {
            if let Some((host, id)) = pick(world, *place) {
                let container = world.host(&host).containers.get_mut(&id).unwrap();
                if container.state == ContainerState::Running && container.stops_at.is_none() {
                    container.state = ContainerState::Paused;
                }
            }
        }
        Happening::Pause(_)
        | Happening::Return(_)
        | Happening::Restart
        | Happening::Reject(_)
        | Happening::Abort(..)
        | Happening::Retry(_) => ask(world, happening),
        Happening::Away(..)
        | Happening::Mute(..)
        | Happening::Cordon(_)
        | Happening::Erase
        | Happening::LoseSection(_)
        | Happening::LoseNetwork(_) => suffer(world, happening),
    }
}

/// What happens to hosts and records.
fn suffer(world: &mut World, happening: &Happening) {
    let now = world.now;
    match happening {
        Happening::Away(place, millis) => {
            let name = host_name(world, *place);
            world.host(&name).reachable = false;
            world.wait(*millis);
            world.host(&name).reachable = true;
        }
        Happening::Mute(place, millis) => {
            let name = host_name(world, *place);
            world.host(&name).proxy_reachable = false;
            world.wait(*millis);
            world.host(&name).proxy_reachable = true;
        }
        Happening::Cordon(place) => {
            let name = host_name(world, *place);
            let host = world.host(&name);
            host.schedulable = !host.schedulable;
        }
        Happening::Erase => {
            for release in world.releases.values_mut() {
                release.status = None;
            }
        }
        Happening::LoseSection(place) => {
            let name = host_name(world, *place);
            world.host(&name).section = None;
            world.host(&name).entered.clear();
        }
        Happening::LoseNetwork(place) => {
            let name = host_name(world, *place);
            let host = world.host(&name);
            for container in host.containers.values_mut() {
                container.halt(now);
            }
            let next = host.containers.len() + 2;
            host.network = Some(format!("net-{next}-{now}"));
        }
        Happening::Wait(_)
        | Happening::Release(..)
        | Happening::Scale(_)
        | Happening::Batch(..)
        | Happening::Die(_)
        | Happening::Hiccup(..)
        | Happening::Remove(_)
        | Happening::Stop(_)
        | Happening::Rename(_)
        | Happening::Freeze(_)
        | Happening::Pause(_)
        | Happening::Return(_)
        | Happening::Restart
        | Happening::Reject(_)
        | Happening::Abort(..)
        | Happening::Retry(_) => happen(world, happening),
    }
}

/// What a person asks for, by a patch.
fn ask(world: &mut World, happening: &Happening) {
    let release = |world: &World, place: usize| -> Option<crds::Release> {
        let all: Vec<&crds::Release> = world.releases.values().rev().collect();
        (!all.is_empty()).then(|| all[place % all.len()].clone())
    };
    let name = |release: crds::Release| release.metadata.name.unwrap();
    match happening {
        Happening::Pause(paused) => world.edit(|spec| spec.paused = *paused),
        Happening::Return(None) => world.go_back_to(None),
        Happening::Return(Some(place)) => {
            if let Some(release) = release(world, *place) {
                world.go_back_to(Some(&name(release)));
            }
        }
        Happening::Restart => world.restart(),
        Happening::Reject(place) => {
            if let Some(release) = release(world, *place) {
                world.edit(|spec| spec.rejected_revisions = vec![release.spec.revision]);
            }
        }
        Happening::Abort(place, on) => {
            if let Some(release) = release(world, *place) {
                world.abort(&name(release), *on);
            }
        }
        Happening::Retry(place) => {
            if let Some(release) = release(world, *place) {
                world.retry(&name(release));
            }
        }
        _ => happen(world, happening),
    }
}

/// Whatever happened, a release that works leads to rest.
fn ends_well(mut world: World) -> Result<(), TestCaseError> {
    for host in world.hosts.values_mut() {
        host.schedulable = true;
        host.foreign.clear();
    }
    world.edit(|spec| {
        spec.paused = false;
        spec.rollback_to = None;
        spec.rejected_revisions.clear();
    });
    // What flaps or crashes for ever never rests: the last release is a good one.
    world.release("shop:9", App::good());
    let rested = world.rest(3_600);
    prop_assert!(rested, "it does not come to rest\n{}", world.trace());
    prop_assert!(world.broken.is_empty(), "{}", world.trace());
    world.assert_at_rest();
    let replicas = world
        .pipeline
        .as_ref()
        .map_or(0, |p| p.spec.replicas as usize);
    prop_assert_eq!(world.answering(), replicas, "{}", world.trace());
    let ready = condition(&world, ConditionType::Ready);
    prop_assert_eq!(ready, ConditionStatus::True, "{}", world.trace());
    let left: usize = world.hosts.values().map(|h| h.containers.len()).sum();
    prop_assert_eq!(left, replicas, "{}", world.trace());
    for release in world.releases.values() {
        let moving = release
            .status
            .iter()
            .flat_map(|s| &s.stages)
            .any(|s| s.outcome.is_none());
        prop_assert!(!moving, "{}", world.trace());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_as_declared(
        replicas in 0..5_u32,
        happenings in prop::collection::vec(happening(), 1..12),
    ) {
        let mut world = World::new(&["a", "b"], replicas);
        for happening in &happenings {
            happen(&mut world, happening);
        }
        ends_well(world)?;
    }

    #[test]
    fn the_order_of_what_is_read_changes_nothing(
        replicas in 1..4_u32,
        happenings in prop::collection::vec(happening(), 1..6),
    ) {
        let mut world = World::new(&["a", "b"], replicas);
        for happening in &happenings {
            happen(&mut world, happening);
        }
        let pipeline = world.pipeline.clone().unwrap();
        let observed = world.observe(&pipeline);
        let mut shuffled = observed.clone();
        shuffled.releases.reverse();
        shuffled.failures.reverse();
        for host in shuffled.hosts.values_mut() {
            if let plan::Fact::Known(containers) = &mut host.containers {
                containers.reverse();
            }
        }
        let now = later(world.now, 500);
        let one = plan::deployment_pipeline::decide(&pipeline, &observed, now);
        let other = plan::deployment_pipeline::decide(&pipeline, &shuffled, now);
        prop_assert_eq!(one, other);
    }
}

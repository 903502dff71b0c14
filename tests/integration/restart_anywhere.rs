//! The operator is stopped at every effect of every flow, in four ways, and another one started; and it misses every
//! event that it is sent: the same final world, nothing left over and nothing done twice.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operator::gate::{Effect, EffectKind};
use tests::picture::{difference, picture};
use tests::report;
use tests::stop_gate::Mode;
use tests::world::World;
use tokio::time::Instant;

use crate::flows::{self, Act, Flow};

/// Worlds that run at once: each is a runtime of one thread.
const WORKERS: usize = 2;
/// The driven time until a world in which an event was lost is as it should be: every object is looked at every five
/// minutes, up to a fifth later, and then a rollout may be left to do.
const NOTICED: Duration = Duration::from_secs(480);

/// The settled world in which a flow begins, and the counts of its Engine and its API at that time.
struct Begun {
    world: World,
    engine: usize,
    api: usize,
}

/// A flow in a world that nobody disturbs.
struct Reference {
    /// The settled world at the end.
    picture: Vec<String>,
    /// What passed the gate.
    effects: Vec<Effect>,
    /// What was heard.
    events: Vec<String>,
    /// How long it took, in driven time.
    took: Duration,
}

impl Begun {
    async fn of(flow: &Flow) -> Begun {
        let mut world = World::new().await;
        world.start().await;
        perform(&world, &flow.before, &Cell::new(0)).await;
        world.settle().await;
        let (engine, api) = (world.engine.ledger().len(), world.writes().len());
        Begun { world, engine, api }
    }

    /// The gate's count is that of the fake Engine and of the server's audit log: no effect went round.
    fn assert_counts(&self) {
        let effects = self.world.gate.effects();
        let of = |kind| effects.iter().filter(|effect| effect.kind == kind).count();
        let engine = self.world.engine.ledger().len() - self.engine;
        let api = self.world.writes().len() - self.api;
        assert_eq!(
            of(EffectKind::Engine),
            engine,
            "Engine calls round the gate"
        );
        assert_eq!(of(EffectKind::Api), api, "API writes round the gate");
    }
}

/// Does what is left of `acts`; `done` says how many are.
async fn perform(world: &World, acts: &[Act], done: &Cell<usize>) {
    while let Some(act) = acts.get(done.get()) {
        act.perform(world).await;
        done.set(done.get() + 1);
    }
}

async fn undisturbed(flow: &Flow) -> Reference {
    let begun = Begun::of(flow).await;
    let world = &begun.world;
    world.gate.arm(None);
    world.hearing.arm(None);
    let began = Instant::now();
    perform(world, &flow.acts, &Cell::new(0)).await;
    world.settle().await;
    begun.assert_counts();
    Reference {
        picture: picture(world).await,
        effects: world.gate.effects(),
        events: world.hearing.events(),
        took: began.elapsed(),
    }
}

/// The settled world after a flow in which the operator was stopped at one effect.
async fn stopped(flow: &Flow, at: (usize, Mode)) -> Vec<String> {
    let mut world = Begun::of(flow).await.world;
    let gate = Arc::clone(&world.gate);
    gate.arm(Some(at));
    let done = Cell::new(0);
    tokio::select! {
        () = gate.stopped() => {}
        () = async {
            perform(&world, &flow.acts, &done).await;
            world.settle().await;
        } => panic!("the effect did not come"),
    }
    world.kill();
    world.start().await;
    if let Some(late) = gate.take_late() {
        // The next operator has begun as soon as it has looked at the world once.
        let requests = world.engine.requests();
        world
            .until("the next operator's first look", async |world| {
                world.engine.requests() > requests
            })
            .await;
        late.await;
    }
    perform(&world, &flow.acts, &done).await;
    world.settle().await;
    picture(&world).await
}

/// The driven time that a flow took when one event was lost, until the world was that of the reference.
async fn unheard(flow: &Flow, lost: usize, reference: &Reference) -> Result<Duration, String> {
    let begun = Begun::of(flow).await;
    let world = &begun.world;
    world.gate.arm(None);
    world.hearing.arm(Some(lost));
    let began = Instant::now();
    perform(world, &flow.acts, &Cell::new(0)).await;
    loop {
        world.settle().await;
        let (found, took) = (picture(world).await, began.elapsed());
        if found == reference.picture {
            begun.assert_counts();
            return Ok(took);
        }
        if took > NOTICED + reference.took {
            return Err(difference(&reference.picture, &found));
        }
    }
}

/// Runs a world for each case, [`WORKERS`] at once, and gives what came of it; a panic is none.
fn each<C, R>(cases: Vec<C>, run: impl AsyncFn(C) -> R + Sync) -> BTreeMap<C, Option<R>>
where
    C: Copy + Ord + Send,
    R: Send,
{
    let (cases, results) = (Mutex::new(cases.into_iter()), Mutex::new(BTreeMap::new()));
    let next = || cases.lock().expect("no worker panics with it").next();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let world = std::panic::AssertUnwindSafe(|| block_on(run(case)));
                    let result = std::panic::catch_unwind(world).ok();
                    let mut results = results.lock().expect("no worker panics with it");
                    results.insert(case, result);
                }
            });
        }
    });
    results.into_inner().expect("all workers are done")
}

#[test]
fn an_operator_stopped_anywhere_leaves_the_same_world() {
    let mut table = String::from("flow        effects  engine  api  push  modes  runs  failures\n");
    let mut failed = Vec::new();
    for flow in flows::all() {
        let reference = block_on(undisturbed(&flow));
        let effects = reference.effects.len();
        let stops = (0..effects).flat_map(|index| Mode::ALL.map(|mode| (index, mode)));
        let ended = each(stops.collect(), async |at| stopped(&flow, at).await);
        let runs = ended.len();
        let before = failed.len();
        for ((index, mode), picture) in ended {
            let differs = match picture {
                Some(picture) if picture == reference.picture => continue,
                Some(picture) => difference(&reference.picture, &picture),
                None => "  it never settled".to_owned(),
            };
            let effect = &reference.effects[index];
            failed.push(format!(
                "{flow} at {effect} ({index}, {mode:?}):\n{differs}"
            ));
        }
        let failures = failed.len() - before;
        let of = |kind| {
            let effects = reference.effects.iter();
            effects.filter(|effect| effect.kind == kind).count()
        };
        let row = format!(
            "{flow:<10}  {effects:>7}  {:>6}  {:>3}  {:>4}  {:>5}  {runs:>4}  {failures:>8}",
            of(EffectKind::Engine),
            of(EffectKind::Api),
            of(EffectKind::Push),
            Mode::ALL.len(),
        );
        writeln!(table, "{row}").expect("a string takes it");
        if effects < flow.effects {
            let least = flow.effects;
            failed.push(format!(
                "{flow} has {effects} effects, fewer than the {least} it had"
            ));
        }
    }
    report::show(&table);
    assert!(failed.is_empty(), "{table}\n{}", failed.join("\n"));
}

#[test]
fn an_operator_that_misses_an_event_comes_to_the_same_world() {
    let mut table =
        String::from("flow        events  engine  api  runs  failures  longest s  undisturbed s\n");
    let mut failed = Vec::new();
    for flow in flows::all() {
        let reference = block_on(undisturbed(&flow));
        let events = reference.events.len();
        let ended = each((0..events).collect(), async |lost| {
            unheard(&flow, lost, &reference).await
        });
        let (mut longest, before) = (Duration::ZERO, failed.len());
        for (lost, result) in ended {
            let differs = match result {
                Some(Ok(took)) => {
                    longest = longest.max(took);
                    continue;
                }
                Some(Err(differs)) => differs,
                None => "  it never settled".to_owned(),
            };
            let event = &reference.events[lost];
            failed.push(format!("{flow} without {event} ({lost}):\n{differs}"));
        }
        let failures = failed.len() - before;
        let engine = reference
            .events
            .iter()
            .filter(|event| event.starts_with("engine"));
        let engine = engine.count();
        let row = format!(
            "{flow:<10}  {events:>6}  {engine:>6}  {:>3}  {events:>4}  {failures:>8}  {:>9}  {:>13}",
            events - engine,
            longest.as_secs(),
            reference.took.as_secs(),
        );
        writeln!(table, "{row}").expect("a string takes it");
        if events < flow.events {
            let least = flow.events;
            failed.push(format!(
                "{flow} has {events} events, fewer than the {least} it had"
            ));
        }
    }
    report::show(&table);
    assert!(failed.is_empty(), "{table}\n{}", failed.join("\n"));
}

/// Runs a world to its end in a runtime of its own with driven time.
fn block_on<T>(world: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(world)
}

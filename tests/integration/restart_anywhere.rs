//! The operator is stopped at every effect of every flow, in four ways, and another one started:
//! the same final world, nothing left over and nothing done twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use kube::api::{DeleteParams, Patch, PatchParams};
use operator::gate::EffectKind;
use serde_json::json;
use tests::picture::picture;
use tests::report;
use tests::stop_gate::Mode;
use tests::world::{World, shop};

/// What is done to a settled world, and how many effects it must have at least. The numbers only
/// rise: a flow that gets shorter has lost something, unless a change says why.
const FLOWS: [(Flow, usize); 5] = [
    (Flow::Install, 34),
    (Flow::Update, 76),
    (Flow::Rollback, 25),
    (Flow::Scale, 13),
    (Flow::Delete, 23),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    Install,
    Update,
    Rollback,
    Scale,
    Delete,
}

impl Flow {
    /// The world in which the flow begins.
    async fn prepare(self, world: &mut World) {
        world.start().await;
        match self {
            Flow::Install => {}
            Flow::Update | Flow::Scale | Flow::Delete => world.apply(shop("shop:1.0", 3)).await,
            Flow::Rollback => world.apply(shop("shop:2.0", 3)).await,
        }
        world.settle().await;
    }

    /// What a person does.
    async fn begin(self, world: &World) {
        match self {
            Flow::Install => world.apply(shop("shop:1.0", 3)).await,
            Flow::Update => world.apply(shop("shop:2.0", 3)).await,
            Flow::Rollback => world.apply(shop("shop:3.0", 3)).await,
            Flow::Scale => {
                let patch = json!({"spec": {"replicas": 2}});
                let patched = world
                    .pipelines()
                    .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
                    .await;
                patched.expect("the scale is taken");
            }
            Flow::Delete => {
                let deleted = world
                    .pipelines()
                    .delete("shop", &DeleteParams::default())
                    .await;
                deleted.expect("the deletion is taken");
            }
        }
    }
}

/// One flow in one world, stopped at `at` if that effect comes.
struct Run {
    /// The settled world at the end.
    picture: Vec<String>,
    /// What passed the gate of the operator that was stopped, or of the only one.
    effects: Vec<operator::gate::Effect>,
}

async fn run(flow: Flow, at: Option<(usize, Mode)>) -> Run {
    let mut world = World::new().await;
    flow.prepare(&mut world).await;
    let (engine_before, api_before) = (world.engine.ledger().len(), world.writes().len());
    world.gate.arm(at);
    flow.begin(&world).await;
    let gate = std::sync::Arc::clone(&world.gate);
    let stopped = tokio::select! {
        () = gate.stopped() => true,
        () = world.settle() => false,
    };
    if stopped {
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
        world.settle().await;
    } else {
        assert_counts(&world, &gate.effects(), engine_before, api_before);
    }
    Run {
        picture: picture(&world).await,
        effects: gate.effects(),
    }
}

/// The gate's count is that of the fake Engine and of the server's audit log: no effect went round.
fn assert_counts(world: &World, effects: &[operator::gate::Effect], engine: usize, api: usize) {
    let of = |kind: EffectKind| effects.iter().filter(|effect| effect.kind == kind).count();
    let (ledger, writes) = (
        world.engine.ledger().len() - engine,
        world.writes().len() - api,
    );
    assert_eq!(
        of(EffectKind::Engine),
        ledger,
        "Engine calls round the gate"
    );
    assert_eq!(of(EffectKind::Api), writes, "API writes round the gate");
}

/// Worlds that run at once: each is a runtime of one thread.
const WORKERS: usize = 2;

/// Every stop of a flow that ended in another world, with what differs.
fn failures(flow: Flow, reference: &Run) -> BTreeMap<(usize, Mode), String> {
    let stops = (0..reference.effects.len()).flat_map(|index| Mode::ALL.map(|mode| (index, mode)));
    let stops = Mutex::new(stops);
    let failures = Mutex::new(BTreeMap::new());
    let next = || stops.lock().expect("no worker panics with it").next();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(stop) = next() {
                    let other =
                        std::panic::catch_unwind(|| block_on(run(flow, Some(stop))).picture);
                    let differs = match other {
                        Ok(picture) if picture == reference.picture => continue,
                        Ok(picture) => difference(&reference.picture, &picture),
                        Err(_) => "  it never settled".to_owned(),
                    };
                    failures
                        .lock()
                        .expect("no worker panics with it")
                        .insert(stop, differs);
                }
            });
        }
    });
    failures.into_inner().expect("all workers are done")
}

#[test]
fn an_operator_stopped_anywhere_leaves_the_same_world() {
    let mut table = String::from("flow       effects  modes  runs  failures\n");
    let mut failed = Vec::new();
    for (flow, least) in FLOWS {
        let reference = block_on(run(flow, None));
        let effects = reference.effects.len();
        let failures = failures(flow, &reference);
        let (modes, runs) = (Mode::ALL.len(), effects * Mode::ALL.len());
        let row = format!(
            "{:<10} {effects:>7}  {modes:>5}  {runs:>4}  {:>8}",
            format!("{flow:?}"),
            failures.len()
        );
        writeln!(table, "{row}").expect("a string takes it");
        for ((index, mode), difference) in failures {
            let effect = &reference.effects[index];
            failed.push(format!(
                "{flow:?} at {effect} ({index}, {mode:?}):\n{difference}"
            ));
        }
        if effects < least {
            failed.push(format!(
                "{flow:?} has {effects} effects, fewer than the {least} it had"
            ));
        }
    }
    report::show(&table);
    assert!(failed.is_empty(), "{table}\n{}", failed.join("\n"));
}

/// The lines that only one of the two worlds has.
fn difference(wanted: &[String], found: &[String]) -> String {
    let missing = wanted
        .iter()
        .filter(|line| !found.contains(line))
        .map(|line| format!("  - {line}"));
    let extra = found
        .iter()
        .filter(|line| !wanted.contains(line))
        .map(|line| format!("  + {line}"));
    missing.chain(extra).collect::<Vec<_>>().join("\n")
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

//! A Docker Engine in process: the subset of its API that the operator calls, over HTTP/1.1, with the measured facts
//! of a real Engine built in (F1 to F40, marked where they are). The contract suite compares it with a real one.
//!
//! It runs wholly in the runtime of the test and waits on tokio's clock alone, so that a test can drive time (F28).
//! Processes are [`Behaviour`]s, or [`Program`]s for a test that puts a real proxy into a container. Requests that
//! change something are booked in a ledger; a test can let any request meet a [`Fault`].

mod app;
mod archive;
mod behaviour;
mod clock;
mod containers;
mod daemon;
mod endings;
mod events;
mod execs;
mod faults;
mod images;
mod lifecycle;
mod logs;
mod networks;
mod options;
mod registry;
mod reply;
mod server;
mod views;
mod volumes;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use operator::docker::{ByteStream, Dialer};
use tokio::io::DuplexStream;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

pub use behaviour::Behaviour;
pub use daemon::Down;
pub use execs::ExecIo;
pub use faults::{Applied, Fault, Seen};
pub use options::{EngineOptions, Generation};
pub use registry::RegistryFault;
pub use views::ContainerView;
pub use world::{File, Phase};

use clock::{Clock, Ids};
use server::Client;
use world::{Container, Files, World};

/// What a connection to the fake Engine holds.
const BUFFER: usize = 64 << 10;

/// A real program in a fake container: how a test puts an in-process proxy there. The calls come from the Engine's own
/// tasks and must not block.
pub trait Program: Send + Sync {
    /// The container has been started.
    fn started(&self, container: ContainerView);
    /// Its process is gone, however that came.
    fn ended(&self, id: &str);
    /// A command runs in it; its result is the exit code. It is dropped when the process is gone.
    fn exec(
        &self,
        container: ContainerView,
        command: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, i64>;
}

/// Decides what becomes of each request of the operator.
pub type FaultHook = Box<dyn FnMut(&Seen) -> Fault + Send>;

/// Decides of each event, in words, whether the one who listens hears it.
pub type EventHook = Box<dyn FnMut(&str) -> bool + Send>;

/// What handle and tasks share.
struct Shared {
    options: EngineOptions,
    world: Mutex<World>,
    programs: Mutex<BTreeMap<String, Arc<dyn Program>>>,
    hook: Mutex<Option<FaultHook>>,
    event_hook: Mutex<Option<EventHook>>,
    /// Cancelled when the daemon goes down; replaced when it comes up.
    down: Mutex<CancellationToken>,
    /// Whether no new connection is taken: the daemon is going down, or is.
    closed: AtomicBool,
    requests: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The world, for as long as nothing is awaited.
    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn down_token(&self) -> CancellationToken {
        lock(&self.down).clone()
    }

    fn program_of(&self, container: &Container) -> Option<Arc<dyn Program>> {
        lock(&self.programs).get(container.repository()).cloned()
    }

    fn fault(&self, seen: &Seen) -> Fault {
        lock(&self.hook)
            .as_mut()
            .map_or(Fault::None, |hook| hook(seen))
    }

    /// Whether an event reaches the one who listens.
    fn delivers(&self, event: &str) -> bool {
        lock(&self.event_hook)
            .as_mut()
            .is_none_or(|hook| hook(event))
    }
}

/// The fake Engine. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct FakeEngine {
    shared: Arc<Shared>,
}

impl fmt::Debug for FakeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEngine")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Default for FakeEngine {
    fn default() -> FakeEngine {
        FakeEngine::new(EngineOptions::default())
    }
}

impl FakeEngine {
    /// An Engine that has only its three networks. Made inside the runtime whose clock it follows.
    pub fn new(options: EngineOptions) -> FakeEngine {
        let mut world = World {
            generation: options.generation,
            clock: Clock::starting_at(options.epoch),
            ids: Ids::new(options.seed),
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            tags: BTreeMap::new(),
            digests: BTreeMap::new(),
            registry: registry::Registry::default(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            execs: BTreeMap::new(),
            events: events::Events::default(),
            behaviours: BTreeMap::new(),
            ledger: Vec::new(),
            unlisted: Vec::new(),
            posts: BTreeMap::new(),
        };
        world.add_predefined_networks();
        let shared = Shared {
            options,
            world: Mutex::new(world),
            programs: Mutex::default(),
            hook: Mutex::default(),
            event_hook: Mutex::default(),
            down: Mutex::default(),
            closed: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        };
        FakeEngine {
            shared: Arc::new(shared),
        }
    }

    // ---- reaching it ----

    /// The operator's way to it: booked, and subject to faults.
    pub fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::new(InProcess {
            shared: Arc::clone(&self.shared),
            client: Client::Operator,
        })
    }

    /// A person's way to it: neither booked nor faulted.
    pub fn person(&self) -> Arc<dyn Dialer> {
        Arc::new(InProcess {
            shared: Arc::clone(&self.shared),
            client: Client::Person,
        })
    }

    /// Serves on a unix socket as well, until the runtime ends. Not for driven time: nothing may wait outside it (F28).
    ///
    /// Errors: the socket cannot be bound.
    pub fn serve_unix(&self, path: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if !shared.closed.load(Ordering::Relaxed) {
                    tokio::spawn(server::serve(Arc::clone(&shared), Client::Operator, stream));
                }
            }
        });
        Ok(())
    }

    /// Connects to a port of a container by its address, as the host would: refused when nothing listens there, no
    /// route after 3 s when nobody has the address.
    pub async fn dial(&self, address: Ipv4Addr, port: u16) -> io::Result<DuplexStream> {
        app::dial(&self.shared, address, port).await
    }

    // ---- scripting it ----

    /// Puts an image there whose processes behave so; `changes` are Dockerfile words, as for an import.
    ///
    /// Panics on a change that an import would refuse.
    pub fn add_image(&self, reference: &str, behaviour: Behaviour, changes: &[&str]) {
        self.add_image_with(reference, behaviour, changes, Files::new());
    }

    /// As [`FakeEngine::add_image`], with files in it.
    pub fn add_image_with(
        &self,
        reference: &str,
        behaviour: Behaviour,
        changes: &[&str],
        files: BTreeMap<String, File>,
    ) {
        let mut world = self.shared.world();
        let image = world.make_image(changes, files);
        world.add_image(image, Some(reference));
        world
            .behaviours
            .insert(world::with_tag(reference), behaviour);
    }

    /// How processes of images under `repository`, whatever their tag, behave unless their own image was scripted.
    pub fn script(&self, repository: &str, behaviour: Behaviour) {
        self.shared
            .world()
            .behaviours
            .insert(images::repository(repository).to_owned(), behaviour);
    }

    /// Puts a real program into every container of images under `repository`.
    pub fn install(&self, repository: &str, program: Arc<dyn Program>) {
        lock(&self.shared.programs).insert(repository.to_owned(), program);
    }

    /// From now on every request of the operator meets what `hook` says.
    pub fn set_faults(&self, hook: impl FnMut(&Seen) -> Fault + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// From now on `hook` says of each event that is sent whether it arrives.
    pub fn set_event_losses(&self, hook: impl FnMut(&str) -> bool + Send + 'static) {
        *lock(&self.shared.event_hook) = Some(Box::new(hook));
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        *lock(&self.shared.hook) = None;
    }

    // ---- things that happen ----

    /// The process of a running container ends by itself.
    pub fn crash(&self, container: &str, code: i64) {
        let found = self
            .shared
            .world()
            .find(container)
            .ok()
            .map(|found| (found.id.clone(), found.run));
        if let Some((id, run)) = found {
            lifecycle::finish(&self.shared, &id, run, code);
        }
    }

    /// The process of a running container becomes ready or stops being it, whatever its behaviour says, until its end.
    pub fn set_ready(&self, container: &str, ready: bool) {
        if let Ok(container) = self.shared.world().find_mut(container) {
            container.ready = Some(ready);
        }
    }

    /// The process writes a line.
    pub fn write_log(&self, container: &str, line: &str) {
        let mut world = self.shared.world();
        let now = world.clock.now();
        if let Ok(container) = world.find_mut(container) {
            container.write(now, false, line);
        }
    }

    /// A person freezes a running container: it keeps its connections and answers nothing.
    pub fn pause(&self, container: &str) {
        endings::pause(&self.shared, container);
    }

    /// A person limits the memory of a container, in bytes.
    pub fn limit(&self, container: &str, memory: i64) {
        let mut world = self.shared.world();
        if let Ok(container) = world.find_mut(container) {
            container.host.insert("Memory".to_owned(), memory.into());
            let id = container.id.clone();
            world.tell_of(&id, "update", &[]);
        }
    }

    /// The daemon was told to end: it takes no new connection, answers those that it has, and ends its containers, as
    /// one does without live-restore until it goes down.
    pub fn begin_to_end(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        daemon::end_all(&self.shared, Down::Terminated);
    }

    /// The daemon goes down: connections end, nobody answers, and without live-restore its containers end.
    pub fn go_down(&self, down: Down) {
        self.shared.closed.store(true, Ordering::Relaxed);
        lock(&self.shared.down).cancel();
        if self.shared.options.live_restore {
            // F20: what runs in containers goes on, and is not known any more.
            self.shared
                .world()
                .execs
                .values_mut()
                .for_each(|exec| exec.listed = false);
        } else {
            daemon::end_all(&self.shared, down);
        }
    }

    /// The daemon, which had gone down so, comes up and starts what the restart policies say.
    pub fn come_up(&self, down: Down) {
        *lock(&self.shared.down) = CancellationToken::new();
        self.shared.closed.store(false, Ordering::Relaxed);
        self.shared.world().forget_events();
        if !self.shared.options.live_restore {
            daemon::start_policies(&self.shared, down);
        }
    }

    // ---- looking at it ----

    /// Every container, by name.
    pub fn containers(&self) -> BTreeMap<String, ContainerView> {
        let world = self.shared.world();
        world
            .containers
            .values()
            .map(|container| (container.name.clone(), ContainerView::of(container)))
            .collect()
    }

    /// The container with this name or id.
    pub fn container(&self, reference: &str) -> Option<ContainerView> {
        self.shared
            .world()
            .find(reference)
            .ok()
            .map(ContainerView::of)
    }

    /// The files written into a container's own layer, by path.
    pub fn files(&self, container: &str) -> BTreeMap<String, File> {
        self.shared
            .world()
            .find(container)
            .map(|container| container.files.clone())
            .unwrap_or_default()
    }

    /// The files in a volume, by path.
    pub fn volume_files(&self, volume: &str) -> BTreeMap<String, File> {
        self.shared
            .world()
            .volumes
            .get(volume)
            .map(|volume| volume.files.clone())
            .unwrap_or_default()
    }

    /// Names and labels of all networks but the three that are always there. A name can be there twice (F4).
    pub fn networks(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let predefined = ["bridge", "host", "none"];
        let world = self.shared.world();
        let others = world
            .networks
            .values()
            .filter(|network| !predefined.contains(&network.name.as_str()));
        let mut named: Vec<_> = others
            .map(|network| (network.name.clone(), network.labels.clone()))
            .collect();
        named.sort();
        named
    }

    /// Names and labels of all volumes.
    pub fn volumes(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let world = self.shared.world();
        world
            .volumes
            .values()
            .map(|volume| {
                (
                    volume.name.clone(),
                    volume.labels.clone().unwrap_or_default(),
                )
            })
            .collect()
    }

    /// All tags, with the id of their image.
    pub fn tags(&self) -> BTreeMap<String, String> {
        self.shared.world().tags.clone()
    }

    /// Every mutating request of the operator that reached the Engine, in the order in which they were done.
    pub fn ledger(&self) -> Vec<Applied> {
        self.shared.world().ledger.clone()
    }

    /// Requests outside the client's list of calls. Empty, or the client has a call that its list does not show.
    pub fn unlisted(&self) -> Vec<String> {
        self.shared.world().unlisted.clone()
    }

    /// How many requests the operator has made.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How often each POST with an `X-Request-Id` was executed by any fake application.
    pub fn posts(&self) -> BTreeMap<String, u32> {
        self.shared.world().posts.clone()
    }

    /// Its time.
    pub fn now(&self) -> Timestamp {
        self.shared.world().clock.now()
    }
}

/// Connections within the process.
struct InProcess {
    shared: Arc<Shared>,
    client: Client,
}

impl Dialer for InProcess {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let (shared, client) = (Arc::clone(&self.shared), self.client);
        async move {
            if shared.closed.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            tokio::spawn(server::serve(shared, client, theirs));
            Ok(Box::new(ours) as Box<dyn ByteStream>)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;

//! The daemon of the fake Engine going down and coming up, and what that does to its containers (F14, F15).

use std::sync::Arc;

use super::Shared;
use super::lifecycle::{KILLED, finish, launch};
use super::world::Phase;

/// How the daemon went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// SIGKILL: its containers die with it (F14).
    Killed,
    /// SIGTERM: it stops its containers first.
    Terminated,
}

/// Ends all processes with the daemon.
pub(super) fn end_all(shared: &Arc<Shared>, down: Down) {
    let running: Vec<(String, u64, i64)> = {
        let mut world = shared.world();
        world
            .containers
            .values_mut()
            .filter_map(|container| {
                container.ends_for_good = true;
                if container.phase == Phase::Restarting {
                    container.phase = Phase::Exited;
                }
                let stops = down == Down::Terminated && container.behaviour.stop_takes.is_some();
                let code = if stops { 0 } else { KILLED };
                container
                    .is_running()
                    .then(|| (container.id.clone(), container.run, code))
            })
            .collect()
    };
    for (id, run, code) in running {
        finish(shared, &id, run, code);
    }
}

/// Starts what the restart policies want after the daemon has come up, in the order of ids, which is no order (F15).
pub(super) fn start_policies(shared: &Arc<Shared>, down: Down) {
    let wanted: Vec<String> = shared
        .world()
        .containers
        .values()
        .filter(|container| container.started.is_some() && !container.is_running())
        .filter(|container| match container.restart_policy() {
            "always" => true,
            "on-failure" => container.exit_code != 0 && !container.stopped_by_hand,
            // F14: after a crash of the daemon it stays down.
            "unless-stopped" => down == Down::Terminated && !container.stopped_by_hand,
            _ => false,
        })
        .map(|container| container.id.clone())
        .collect();
    for id in wanted {
        // It fails for the reasons that are then in the container's state.
        let _ = launch(shared, &id);
    }
}

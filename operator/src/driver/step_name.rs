//! The name of each step, for metrics: a label must not hold what a step is done to.

use plan::{ApiStep, Step};

/// The variant of a step on a host.
pub(super) fn on_host(step: &Step) -> &'static str {
    match step {
        Step::TagImage { .. } => "TagImage",
        Step::PullImage { .. } => "PullImage",
        Step::CancelPull { .. } => "CancelPull",
        Step::UntagImage { .. } => "UntagImage",
        Step::CreateContainer(_) => "CreateContainer",
        Step::StartContainer { .. } => "StartContainer",
        Step::SetRestartPolicy { .. } => "SetRestartPolicy",
        Step::StopContainer { .. } => "StopContainer",
        Step::UnpauseContainer { .. } => "UnpauseContainer",
        Step::RenameContainer { .. } => "RenameContainer",
        Step::RemoveContainer { .. } => "RemoveContainer",
        Step::RemoveLeftovers { .. } => "RemoveLeftovers",
        Step::PushSection { .. } => "PushSection",
        Step::DropSection { .. } => "DropSection",
        Step::CreateBridge { .. } => "CreateBridge",
        Step::RemoveBridge { .. } => "RemoveBridge",
        Step::CreateProxyVolume => "CreateProxyVolume",
        Step::LoadProxyImage { .. } => "LoadProxyImage",
        Step::CreateProxy { .. } => "CreateProxy",
        Step::WriteClaim { .. } => "WriteClaim",
        Step::StartProxy { .. } => "StartProxy",
        Step::ClaimProxy => "ClaimProxy",
        Step::RemoveProxyVolume => "RemoveProxyVolume",
    }
}

/// The variant of a step on the API.
pub(super) fn on_api(step: &ApiStep) -> &'static str {
    match step {
        ApiStep::AddFinalizer => "AddFinalizer",
        ApiStep::DropFinalizer => "DropFinalizer",
        ApiStep::CreateRelease { .. } => "CreateRelease",
        ApiStep::CreateSnapshot { .. } => "CreateSnapshot",
        ApiStep::OwnSnapshot { .. } => "OwnSnapshot",
        ApiStep::DeleteRelease { .. } => "DeleteRelease",
        ApiStep::ReleaseFinalizer { .. } => "ReleaseFinalizer",
    }
}

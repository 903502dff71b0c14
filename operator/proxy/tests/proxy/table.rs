//! Who may change the table, and what of it survives.

use std::path::PathBuf;

use proxy::Storage;
use routes::InstanceState::{Checked, Routed};
use routes::limit::TABLE_FILE;
use routes::{Refusal, Reply, Request, Section};

use crate::world::{World, echo, key, section};

fn push(install: &str, epoch: u64, expect_version: Option<u64>, section: Section) -> Request {
    Request::Push {
        install: install.to_owned(),
        epoch,
        expect_version,
        section: Box::new(section),
    }
}

fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused { reason } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn version(reply: &Reply) -> u64 {
    match reply {
        Reply::Acked { version, .. } => *version,
        other => panic!("not acknowledged: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_section_changes_only_from_the_version_that_was_reported() {
    let proxy = World::new().proxy;
    let one = section(&[(1, "a", Routed)]);
    let two = section(&[(1, "a", Checked)]);
    let mismatch = |current| Refusal::VersionMismatch { current };
    assert_eq!(
        refusal(proxy.request(push("i", 1, Some(1), one.clone())).await),
        mismatch(None)
    );
    let first = version(&proxy.request(push("i", 1, None, one.clone())).await);
    assert_eq!(
        refusal(proxy.request(push("i", 1, None, two.clone())).await),
        mismatch(Some(first))
    );
    let again = version(&proxy.request(push("i", 1, Some(first), one.clone())).await);
    assert_eq!(again, first, "the same content keeps its version");
    let second = version(&proxy.request(push("i", 1, Some(first), two)).await);
    assert!(second > first);
    assert_eq!(
        refusal(proxy.request(push("i", 1, Some(first), one)).await),
        mismatch(Some(second))
    );
    let drop = |expect_version| Request::Drop {
        install: "i".to_owned(),
        epoch: 1,
        key: key(),
        expect_version,
    };
    assert_eq!(
        refusal(proxy.request(drop(first)).await),
        mismatch(Some(second))
    );
    version(&proxy.request(drop(second)).await);
    assert_eq!(refusal(proxy.request(drop(second)).await), mismatch(None));
}

#[tokio::test(start_paused = true)]
async fn lower_epochs_and_other_installs_are_refused_also_after_a_bare_claim() {
    let proxy = World::new().proxy;
    let one = || section(&[(1, "a", Routed)]);
    let claim = |install: &str, epoch| Request::Claim {
        install: install.to_owned(),
        epoch,
    };
    version(&proxy.request(claim("i", 5)).await);
    assert_eq!(
        refusal(proxy.request(push("i", 4, None, one())).await),
        Refusal::StaleEpoch { highest: 5 }
    );
    assert_eq!(
        refusal(proxy.request(claim("i", 4)).await),
        Refusal::StaleEpoch { highest: 5 }
    );
    let other = Refusal::OtherInstall {
        install: "i".to_owned(),
    };
    assert_eq!(
        refusal(proxy.request(push("j", 9, None, one())).await),
        other
    );
    assert_eq!(refusal(proxy.request(claim("j", 9)).await), other);
    version(&proxy.request(push("i", 7, None, one())).await);
    assert_eq!(
        refusal(proxy.request(claim("i", 6)).await),
        Refusal::StaleEpoch { highest: 7 }
    );
    let status = proxy.status();
    assert_eq!((status.install.as_deref(), status.epoch), (Some("i"), 7));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_section_changes_nothing() {
    let proxy = World::new().proxy;
    let mut bad = section(&[(1, "a", Routed)]);
    bad.response_timeout_seconds = 0;
    bad.instances[0].port = None;
    let Refusal::Invalid { faults } = refusal(proxy.request(push("i", 1, None, bad)).await) else {
        panic!("invalid");
    };
    assert_eq!(
        faults.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(),
        ["instances[0].port", "responseTimeoutSeconds"]
    );
    assert_eq!(proxy.status().install, None);
}

#[tokio::test(start_paused = true)]
async fn a_contested_route_stays_with_its_holder_and_is_reported() {
    let world = World::new();
    world.net.listen(1, echo("one"));
    world.net.listen(2, echo("two"));
    let holder = section(&[(1, "a", Routed)]);
    let mut newcomer = section(&[(2, "a", Routed)]);
    newcomer.pipeline = "older".to_owned();
    newcomer.owner_created = "2020-01-01T00:00:00Z".to_owned();
    newcomer
        .route
        .iter_mut()
        .for_each(|route| route.hosts.push("own.io".to_owned()));
    let first = version(&world.proxy.request(push("i1", 1, None, holder)).await);
    let Reply::Acked { conflicts, .. } = world
        .proxy
        .request(push("i1", 1, None, newcomer.clone()))
        .await
    else {
        panic!("accepted all the same");
    };
    assert_eq!(
        (
            conflicts.len(),
            conflicts[0].route.as_str(),
            &conflicts[0].holder
        ),
        (1, "shop.io/", &key())
    );
    assert!(world.get("shop.io", "/").await.1.starts_with("one"));
    assert!(world.get("own.io", "/").await.1.starts_with("two"));
    assert_eq!(world.proxy.status().conflicts, conflicts);
    let drop = Request::Drop {
        install: "i1".to_owned(),
        epoch: 1,
        key: key(),
        expect_version: first,
    };
    version(&world.proxy.request(drop).await);
    assert!(
        world.get("shop.io", "/").await.1.starts_with("two"),
        "a freed route goes to who is left"
    );
    assert!(world.proxy.status().conflicts.is_empty());
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("mooring-proxy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_restart_serves_the_last_table_at_once_and_versions_go_on_rising() {
    let directory = Directory::new("restart");
    let storage = || Storage::Directory(directory.0.clone());
    let one = section(&[(1, "a", Routed)]);
    let before = World::with(storage());
    let first = version(&before.proxy.request(push("i", 3, None, one.clone())).await);
    assert!(before.proxy.status().persisted);
    drop(before);
    let after = World::with(storage());
    after.net.listen(1, echo("one"));
    assert_eq!(after.get("shop.io", "/").await.0, 200);
    let status = after.proxy.status();
    assert_eq!((status.install.as_deref(), status.epoch), (Some("i"), 3));
    assert_eq!(
        status.sections[&key()].section.version,
        first,
        "the content is the same"
    );
    let next = version(
        &after
            .proxy
            .request(push("i", 3, Some(first), section(&[(1, "a", Checked)])))
            .await,
    );
    assert!(
        next > first + 1_000_000,
        "no version of a life that was not persisted is given again"
    );
    drop(after);
    std::fs::write(directory.0.join(TABLE_FILE), "{\"format\":1,\"ver").expect("torn");
    let torn = World::with(storage());
    let status = torn.proxy.status();
    assert_eq!(
        status.sections[&key()].section.version,
        first,
        "the table before"
    );
    assert!(status.storage_error.expect("said").contains("damaged"));
}

#[tokio::test]
async fn a_disk_that_refuses_does_not_stop_serving_and_is_tried_again() {
    let directory = Directory::new("full");
    let state = directory.0.join("state");
    let world = World::with(Storage::Directory(state.clone()));
    world.net.listen(1, echo("one"));
    let reply = world
        .proxy
        .request(push("i", 1, None, section(&[(1, "a", Routed)])))
        .await;
    assert!(
        matches!(
            reply,
            Reply::Acked {
                persisted: false,
                ..
            }
        ),
        "{reply:?}"
    );
    assert_eq!(world.get("shop.io", "/").await.0, 200);
    assert!(world.proxy.status().storage_error.is_some());
    std::fs::create_dir(&state).expect("a directory");
    let reply = world
        .proxy
        .request(Request::Claim {
            install: "i".to_owned(),
            epoch: 1,
        })
        .await;
    assert!(
        matches!(
            reply,
            Reply::Acked {
                persisted: true,
                ..
            }
        ),
        "{reply:?}"
    );
    assert!(world.proxy.status().persisted);
}

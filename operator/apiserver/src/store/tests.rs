//! The promises of the store: what was acknowledged is there, whatever happened, and nothing is told twice or not at all.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::history::HISTORY_EVENTS_MAX;
use super::*;

fn resource() -> Arc<str> {
    Arc::from("example.com/widgets")
}

fn key(name: &str) -> Key {
    Key::new(&resource(), "", name)
}

fn put(name: &str, expect: Expect, value: Value) -> Write {
    Write {
        key: key(name),
        expect,
        effect: Effect::Put(value),
        under: None,
    }
}

fn object(name: &str, n: usize) -> Value {
    json!({"metadata": {"name": name, "uid": name}, "n": n})
}

/// A store with its writer running in this runtime.
fn start(disk: &MemoryDisk) -> Store {
    let (store, writer) = Store::open(Place::Memory(disk.clone()), None).expect("opens");
    tokio::spawn(writer.run());
    store
}

async fn close(store: Store, disk: &MemoryDisk) {
    store.stop();
    // The disk is free once the writer has let go of it.
    while disk.open().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn preconditions_hold_and_versions_rise() {
    let store = start(&MemoryDisk::new());
    let first = store
        .commit(put("a", Expect::Absent, object("a", 1)))
        .await
        .expect("created");
    assert_eq!(first.version, 1);
    assert_eq!(first.value()["metadata"]["resourceVersion"], "1");
    let again = store.commit(put("a", Expect::Absent, object("a", 2))).await;
    assert_eq!(again.expect_err("there"), StoreError::Exists);
    let stale = store
        .commit(put("a", Expect::Version(9), object("a", 2)))
        .await;
    assert_eq!(
        stale.expect_err("stale"),
        StoreError::Changed { version: 1 }
    );
    let second = store
        .commit(put("a", Expect::Version(1), object("a", 2)))
        .await
        .expect("updated");
    assert_eq!(second.version, 2);
    let absent = store
        .commit(put("b", Expect::Version(1), object("b", 1)))
        .await;
    assert_eq!(absent.expect_err("absent"), StoreError::Absent);
    assert_eq!(store.version(), 2);
}

#[tokio::test]
async fn concurrent_writers_lose_nothing_and_share_commits() {
    let disk = MemoryDisk::new();
    let store = start(&disk);
    disk.record_cuts(1);
    let writes: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = format!("w{n}");
                store
                    .commit(put(&name, Expect::Absent, object(&name, n)))
                    .await
            })
        })
        .collect();
    let mut versions = Vec::new();
    for write in writes {
        versions.push(write.await.expect("ran").expect("committed").version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=100).collect::<Vec<u64>>());
    let syncs = disk.take_cuts().len();
    assert!(syncs < 20, "{syncs} syncs for 100 concurrent writes");
}

#[tokio::test]
async fn a_restart_finds_everything() {
    let disk = MemoryDisk::new();
    let store = start(&disk);
    for n in 0..10 {
        let name = format!("o{n}");
        store
            .commit(put(&name, Expect::Absent, object(&name, n)))
            .await
            .expect("created");
    }
    let removal = Write {
        key: key("o3"),
        expect: Expect::Version(4),
        effect: Effect::Remove(object("o3", 3)),
        under: None,
    };
    store.commit(removal).await.expect("removed");
    close(store, &disk).await;
    let store = start(&disk);
    let listing = store.list(&resource(), None, None).expect("present");
    assert_eq!(listing.items.len(), 9);
    assert_eq!(listing.version, 11);
    let next = store
        .commit(put("p", Expect::Absent, object("p", 1)))
        .await
        .expect("created");
    assert_eq!(next.version, 12, "no version is given twice");
}

/// Cuts the power before every sync of a run, tears what was not synced, and opens what is left.
#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    for seed in 0..4u64 {
        let disk = MemoryDisk::new();
        let store = start(&disk);
        disk.record_cuts(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // (syncs seen when it was acknowledged, name, n)
        let mut acknowledged: Vec<(usize, String, usize)> = Vec::new();
        let mut cuts = Vec::new();
        let mut versions = std::collections::HashMap::new();
        for n in 0..40 {
            let name = format!("o{}", n % 7);
            let expect = match versions.get(&name) {
                Some(version) => Expect::Version(*version),
                None => Expect::Absent,
            };
            let stored = store
                .commit(put(&name, expect, object(&name, n)))
                .await
                .expect("committed");
            versions.insert(name.clone(), stored.version);
            cuts.extend(disk.take_cuts());
            acknowledged.push((cuts.len(), name, n));
        }
        assert!(cuts.len() >= 40);
        for (index, left) in cuts.into_iter().enumerate() {
            let (store, _writer) = Store::open(Place::Memory(left), None)
                .unwrap_or_else(|error| panic!("cut {index} of seed {seed}: {error}"));
            let mut expected: std::collections::HashMap<&str, usize> = Default::default();
            let before = acknowledged
                .iter()
                .take_while(|(syncs, _, _)| *syncs <= index);
            let mut last = 0;
            for (_, name, n) in before {
                expected.insert(name, *n);
                last += 1;
            }
            assert!(store.version() >= last, "the version fell at cut {index}");
            for (name, n) in expected {
                let found = store
                    .get(&key(name))
                    .unwrap_or_else(|| panic!("{name} lost at cut {index} of seed {seed}"));
                let found = found.value()["n"].as_u64().expect("a number") as usize;
                assert!(
                    found >= n,
                    "{name} is {found}, acknowledged {n}, cut {index}"
                );
            }
        }
    }
}

#[tokio::test]
async fn history_answers_from_any_kept_version_and_refuses_older_ones() {
    let store = start(&MemoryDisk::new());
    let mut version = store
        .commit(put("a", Expect::Absent, object("a", 0)))
        .await
        .expect("created")
        .version;
    for n in 1..=HISTORY_EVENTS_MAX + 10 {
        version = store
            .commit(put("a", Expect::Version(version), object("a", n)))
            .await
            .expect("updated")
            .version;
    }
    let expired = store.changes_after(&resource(), 1, 10);
    assert_eq!(expired.expect_err("too old").asked, 1);
    let (events, through) = store
        .changes_after(&resource(), version - 5, 100)
        .expect("kept");
    let seen: Vec<u64> = events.iter().map(|event| event.object.version).collect();
    assert_eq!(seen, (version - 4..=version).collect::<Vec<u64>>());
    assert_eq!(through, version);
    let past = store
        .list(&resource(), None, Some(version - 3))
        .expect("kept");
    assert_eq!(past.items[0].1.version, version - 3);
    assert!(store.list(&resource(), None, Some(1)).is_err());
}

#[tokio::test]
async fn a_history_of_another_run_is_refused() {
    let disk = MemoryDisk::new();
    let store = start(&disk);
    for n in 0..3 {
        let name = format!("o{n}");
        store
            .commit(put(&name, Expect::Absent, object(&name, n)))
            .await
            .expect("created");
    }
    close(store, &disk).await;
    let store = start(&disk);
    assert!(store.changes_after(&resource(), 2, 10).is_err());
    let (events, through) = store.changes_after(&resource(), 3, 10).expect("current");
    assert!(events.is_empty());
    assert_eq!(through, 3);
    assert!(
        store
            .changes_after(&Arc::from("never/seen"), 2, 10)
            .is_err()
    );
}

#[tokio::test]
async fn a_list_of_the_past_has_what_is_gone_and_lacks_what_is_new() {
    let store = start(&MemoryDisk::new());
    for name in ["a", "b"] {
        store
            .commit(put(name, Expect::Absent, object(name, 1)))
            .await
            .expect("created");
    }
    let removal = Write {
        key: key("a"),
        expect: Expect::Version(1),
        effect: Effect::Remove(object("a", 1)),
        under: None,
    };
    store.commit(removal).await.expect("removed");
    store
        .commit(put("c", Expect::Absent, object("c", 1)))
        .await
        .expect("created");
    let names = |at| -> Vec<String> {
        let listing = store.list(&resource(), None, at).expect("kept");
        listing.items.into_iter().map(|(key, _)| key.name).collect()
    };
    assert_eq!(names(Some(2)), ["a", "b"]);
    assert_eq!(names(Some(3)), ["b"]);
    assert_eq!(names(None), ["b", "c"]);
}

#[tokio::test]
async fn objects_have_a_largest_size() {
    let store = start(&MemoryDisk::new());
    let mut big = object("a", 1);
    big["data"] = Value::String("x".repeat(OBJECT_BYTES_MAX));
    let refused = store.commit(put("a", Expect::Absent, big)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.version(), 0, "a refusal takes no version");
}

#[tokio::test]
async fn a_namespace_that_goes_takes_nothing_new() {
    let store = start(&MemoryDisk::new());
    let inside = |name: &str| Write {
        key: Key::new(&resource(), "n", name),
        expect: Expect::Absent,
        effect: Effect::Put(object(name, 1)),
        under: None,
    };
    assert_eq!(
        store.commit(inside("a")).await.expect_err("none"),
        StoreError::NoNamespace
    );
    let namespace = Key::new(&Arc::from(NAMESPACES), "", "n");
    let create = Write {
        key: namespace.clone(),
        expect: Expect::Absent,
        effect: Effect::Put(object("n", 1)),
        under: None,
    };
    let version = store.commit(create).await.expect("created").version;
    store.commit(inside("a")).await.expect("created");
    let mut going = object("n", 1);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mark = Write {
        key: namespace,
        expect: Expect::Version(version),
        effect: Effect::Put(going),
        under: None,
    };
    store.commit(mark).await.expect("marked");
    assert_eq!(
        store.commit(inside("b")).await.expect_err("going"),
        StoreError::NamespaceTerminating
    );
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_heals() {
    let disk = MemoryDisk::new();
    let store = start(&disk);
    let first = store
        .commit(put("a", Expect::Absent, object("a", 1)))
        .await
        .expect("created");
    disk.set_full(true);
    for _ in 0..2 {
        let failed = store
            .commit(put("a", Expect::Version(first.version), object("a", 2)))
            .await;
        assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
        assert!(store.failure().is_some());
        let found = store.get(&key("a")).expect("there");
        assert_eq!(found.value()["n"], 1, "what is not on disk is not shown");
    }
    disk.set_full(false);
    let second = store
        .commit(put("a", Expect::Version(first.version), object("a", 3)))
        .await
        .expect("healed");
    assert!(second.version > first.version);
    assert!(store.failure().is_none());
    close(store, &disk).await;
    let store = start(&disk);
    assert_eq!(store.get(&key("a")).expect("there").value()["n"], 3);
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mooring-store-{name}-{}", std::process::id()));
    let _absent = fs::remove_dir_all(&path);
    path
}

#[tokio::test]
async fn a_directory_has_one_process_and_a_private_key() {
    let path = directory("lock");
    let place = Place::Directory(path.clone());
    let (store, writer) = Store::open(place.clone(), None).expect("opens");
    let second = Store::open(place.clone(), None).map(|_opened| ());
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    let running = tokio::spawn(writer.run());
    let secret = Key::new(&Arc::from(backend::SEALED_RESOURCE), "", "s");
    let write = Write {
        key: secret.clone(),
        expect: Expect::Absent,
        effect: Effect::Put(json!({"metadata": {"name": "s"}, "data": {"p": "aHVudGVyMg=="}})),
        under: None,
    };
    store.commit(write).await.expect("committed");
    store.stop();
    running.await.expect("ended");
    let bytes = fs::read(path.join("objects.redb")).expect("there");
    assert!(
        !contains(&bytes, b"aHVudGVyMg=="),
        "a Secret is in the file"
    );
    let (store, writer) = Store::open(place.clone(), None).expect("opens again");
    assert_eq!(
        store.get(&secret).expect("there").value()["data"]["p"],
        "aHVudGVyMg=="
    );
    drop((store, writer));
    fs::remove_file(path.join("keys/at-rest")).expect("there");
    let keyless = Store::open(place.clone(), None).map(|_opened| ());
    assert!(matches!(
        keyless,
        Err(OpenError::Key(KeyError::Missing { .. }))
    ));
    let other = path.join("other-key");
    crypt::write_private(&other, format!("{}\n", "ab".repeat(32)).as_bytes()).expect("written");
    let wrong = Store::open(place, Some(&other)).map(|_opened| ());
    assert!(matches!(wrong, Err(OpenError::Key(KeyError::Wrong))));
    fs::remove_dir_all(&path).expect("clean");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_newer_format_is_refused_in_words() {
    let disk = MemoryDisk::new();
    let store = start(&disk);
    close(store, &disk).await;
    backend::set_format(&disk, FORMAT + 1);
    let refused = Store::open(Place::Memory(disk), None).map(|_opened| ());
    let text = refused.expect_err("newer").to_string();
    assert!(
        text.contains("format 2") && text.contains("newer version"),
        "{text}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_store_are_an_error() {
    let path = directory("damaged");
    make_private_directory(&path).expect("made");
    fs::write(path.join("objects.redb"), vec![7; 8192]).expect("written");
    assert!(Store::open(Place::Directory(path.clone()), None).is_err());
    fs::remove_dir_all(&path).expect("clean");
}

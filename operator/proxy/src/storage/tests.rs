//! Torn, rotten, newer and missing files.

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("mooring-storage-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    fn storage(&self) -> Storage {
        Storage::Directory(self.0.clone())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn table(version: u64) -> Table {
    Table {
        install: Some("i".to_owned()),
        epoch: 3,
        version,
        ..Table::default()
    }
}

#[test]
fn a_table_comes_back_and_every_torn_one_falls_back_to_the_one_before() {
    let directory = Directory::new("torn");
    let storage = directory.storage();
    assert_eq!(storage.load().0, Table::default());
    for version in 1..=3 {
        storage.save(&table(version)).expect("saved");
        let (loaded, error) = storage.load();
        assert_eq!((loaded, error.is_none()), (table(version), true));
    }
    let path = directory.0.join(TABLE_FILE);
    let whole = fs::read(&path).expect("a file");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("torn");
        let (loaded, error) = storage.load();
        assert_eq!(loaded, table(2), "torn at {length}");
        assert!(
            matches!(error, Some(StorageError::Damaged(_))),
            "torn at {length}: {error:?}"
        );
    }
    for position in 0..whole.len() {
        let mut rotten = whole.clone();
        rotten[position] ^= 4;
        fs::write(&path, &rotten).expect("rotten");
        let (loaded, error) = storage.load();
        assert!(
            error.is_some() && loaded.version != 3,
            "rotten at {position}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_in_words_and_both_damaged_is_empty() {
    let directory = Directory::new("newer");
    let storage = directory.storage();
    fs::write(
        directory.0.join(TABLE_FILE),
        "{\"format\":99,\"wheel\":[]}\nfnv1a64:0\n",
    )
    .expect("written");
    let (loaded, error) = storage.load();
    assert_eq!(loaded, Table::default());
    assert!(error.expect("an error").to_string().contains("format 99"));
    fs::write(directory.0.join(TABLE_FILE), "x").expect("written");
    fs::write(directory.0.join(PREVIOUS_FILE), "x").expect("written");
    let (loaded, error) = storage.load();
    assert_eq!(loaded, Table::default());
    assert!(matches!(error, Some(StorageError::Damaged(_))));
}

#[test]
fn the_claim_file_says_whose_an_empty_proxy_is() {
    let directory = Directory::new("claim");
    fs::write(
        directory.0.join(CLAIM_FILE),
        r#"{"install":"i7","hostId":"ab","later":1}"#,
    )
    .expect("written");
    assert_eq!(directory.storage().load().0.install.as_deref(), Some("i7"));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let storage = Storage::Directory(PathBuf::from("/nonexistent/mooring"));
    assert!(matches!(
        storage.save(&table(1)),
        Err(StorageError::Io { .. })
    ));
}

#[test]
fn the_table_of_the_first_build_is_served() {
    let directory = Directory::new("first");
    let written = include_bytes!("../../../../tests/golden/first/table.json");
    fs::write(directory.0.join(TABLE_FILE), written).expect("written");
    let (table, error) = directory.storage().load();
    assert!(error.is_none(), "{error:?}");
    let section = table.sections.values().next().expect("a section");
    assert_eq!((table.epoch, section.instances.len()), (1, 4));
}

//! Configuration as files: the archive that is unpacked into a container before it starts.
//!
//! Owns paths, modes and owners of these files. Owners are set in the archive, never by the
//! Engine's `copyUIDGID` (F33). Must not know where the bytes come from.

use std::collections::BTreeSet;

use bytes::Bytes as Archive;
use plan::step::ConfigFiles;
use tar::{Builder, EntryType, Header};

use crate::snapshot::Bytes;

/// Mode of the directories that are made for the files.
const DIRECTORY_MODE: u32 = 0o755;

/// Who owns the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOwner {
    /// Numeric user.
    pub user: u32,
    /// Numeric group.
    pub group: u32,
}

/// An archive with the files of one mount, with paths below `root` (the mount's own path for an
/// archive that is unpacked at `/`, empty for one that is unpacked in the mount).
///
/// # Errors
/// A path that does not fit into an archive.
pub fn archive(
    files: &ConfigFiles,
    bytes: &Bytes,
    root: &str,
    owner: FileOwner,
) -> std::io::Result<Archive> {
    let root = root.trim_matches('/');
    let mut builder = Builder::new(Vec::new());
    let mut directories = BTreeSet::new();
    if !root.is_empty() {
        directory(&mut builder, root)?;
    }
    for (key, value) in bytes {
        let (path, mode) = match files.items.get(key) {
            Some((path, mode)) => (path.as_str(), *mode),
            None if files.items.is_empty() => (key.as_str(), files.mode),
            None => continue,
        };
        for (index, _) in path.match_indices('/') {
            let parent = join(root, &path[..index]);
            if directories.insert(parent.clone()) {
                directory(&mut builder, &parent)?;
            }
        }
        let mut header = Header::new_gnu();
        header.set_size(value.len() as u64);
        header.set_mode(mode);
        header.set_uid(u64::from(owner.user));
        header.set_gid(u64::from(owner.group));
        builder.append_data(&mut header, join(root, path), value.as_slice())?;
    }
    builder.into_inner().map(Archive::from)
}

fn join(root: &str, path: &str) -> String {
    if root.is_empty() {
        path.to_owned()
    } else {
        format!("{root}/{path}")
    }
}

fn directory(builder: &mut Builder<Vec<u8>>, path: &str) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    header.set_mode(DIRECTORY_MODE);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, format!("{path}/"), std::io::empty())
}

/// The numeric user and group behind a container's `User`: numbers as they are, a name by the
/// container's own `/etc/passwd` (whose lines `passwd` gives). `None` when the name is not there.
pub fn owner(user: &str, passwd: Option<&str>) -> Option<FileOwner> {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    let group = group.parse::<u32>().ok();
    if name.is_empty() {
        return Some(FileOwner {
            user: 0,
            group: group.unwrap_or(0),
        });
    }
    if let Ok(user) = name.parse::<u32>() {
        return Some(FileOwner {
            user,
            group: group.unwrap_or(0),
        });
    }
    passwd?.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let user = fields.nth(1)?.parse().ok()?;
        let own_group = fields.next()?.parse().ok()?;
        Some(FileOwner {
            user,
            group: group.unwrap_or(own_group),
        })
    })
}

/// The first file of an archive as text; `None` for an archive without one.
pub fn first_file(archive: &[u8]) -> Option<String> {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let mut text = String::new();
    entry.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crds::release::ConfigKind;

    use super::*;

    #[test]
    fn files_have_the_paths_modes_and_owners_that_were_asked_for() {
        let files = ConfigFiles {
            volume: "config".to_owned(),
            mount_path: "/etc/app".to_owned(),
            kind: ConfigKind::Secret,
            secret: "mooring.x".to_owned(),
            items: BTreeMap::from([("a".to_owned(), ("deep/a.txt".to_owned(), 0o400))]),
            mode: 0o444,
        };
        let bytes = Bytes::from([
            ("a".to_owned(), b"1".to_vec()),
            ("b".to_owned(), b"2".to_vec()),
        ]);
        let owner = FileOwner { user: 7, group: 8 };
        let packed = archive(&files, &bytes, "/etc/app", owner).expect("fits");
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&packed[..])
            .entries()
            .expect("an archive")
        {
            let entry = entry.expect("an entry");
            let header = entry.header();
            let path = entry.path().expect("a path").display().to_string();
            seen.push((
                path,
                header.mode().expect("a mode"),
                header.uid().expect("a user"),
            ));
        }
        let wanted = [
            ("etc/app/", 0o755, 0),
            ("etc/app/deep/", 0o755, 0),
            ("etc/app/deep/a.txt", 0o400, 7),
        ];
        assert_eq!(
            seen,
            wanted.map(|(path, mode, user)| (path.to_owned(), mode, user))
        );
    }

    #[test]
    fn a_user_is_a_number_or_a_name_in_the_image() {
        let passwd = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/false\n";
        let found = |user, group| Some(FileOwner { user, group });
        assert_eq!(owner("", None), found(0, 0));
        assert_eq!(owner("65532", None), found(65532, 0));
        assert_eq!(owner("5:6", None), found(5, 6));
        assert_eq!(owner("app", Some(passwd)), found(1000, 1001));
        assert_eq!(owner("app:3", Some(passwd)), found(1000, 3));
        assert_eq!(owner("nobody", Some(passwd)), None);
        assert_eq!(owner("app", None), None);
    }
}

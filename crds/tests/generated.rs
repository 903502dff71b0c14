//! The committed YAML of every kind equals what the types say.
//!
//! `MOORING_REWRITE=1 cargo test -p crds --test generated` rewrites the files.

use std::path::PathBuf;

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for crd in crds::all() {
        let name = crd
            .metadata
            .name
            .clone()
            .expect("a derived definition is named");
        let yaml = serde_saphyr::to_string(&crd).expect("a definition is plain data");
        let path = folder.join(format!("{name}.yaml"));
        if std::env::var_os("MOORING_REWRITE").is_some() {
            std::fs::write(&path, &yaml).expect("the folder can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == yaml,
            "{} differs from the types: run MOORING_REWRITE=1 cargo test -p crds --test generated",
            path.display()
        );
    }
}

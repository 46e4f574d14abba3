//! The files in `crds/` are what the code generates.

use std::path::Path;

use gatehouse_operator::crd::definition;

#[test]
fn the_generated_files_are_not_stale() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    for (name, expected) in definition::files().unwrap() {
        let found = std::fs::read_to_string(directory.join(&name)).unwrap_or_default();
        assert!(
            found == expected,
            "crds/{name} is stale: run `cargo run -p gatehouse-operator -- crds --out crds`"
        );
    }
}

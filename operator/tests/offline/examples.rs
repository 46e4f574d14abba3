//! Every example passes the API server's checks and `validate`, and every file of bad manifests says what is wrong.

use std::path::{Path, PathBuf};

use gatehouse_operator::{
    admission::{self, Source},
    config::OperatorConfig,
    server::{build::build, validate::validate},
};

pub(super) fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn every_example_is_accepted_and_builds() {
    assert!(!examples().is_empty());
    for file in examples() {
        let text = std::fs::read_to_string(&file).unwrap();
        let source = Source { name: file.display().to_string(), text };
        let manifests = match admission::read(&[source]) {
            Ok(manifests) => manifests,
            Err(findings) => {
                let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
                panic!("{}", lines.join("\n"));
            }
        };
        for server in &manifests.servers {
            let mut fetched = manifests.fetched(&server.object);
            fetched.assume_refs = true;
            let valid = validate(&server.object, &fetched, &OperatorConfig::offline())
                .unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
            build(&valid);
        }
    }
}

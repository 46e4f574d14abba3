//! The programs of `gateway/fuzz` need a nightly compiler to find anything. What they do with an input is done here with
//! the corpus, so that they build, reach their parsers, and hold.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/targets/feed.rs"]
mod feed;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The parsers, as the corpus names them.
fn parsers() -> BTreeSet<String> {
    let folders = std::fs::read_dir(in_crate("corpus")).unwrap();
    folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_parser_stands_its_corpus() {
    for parser in parsers() {
        for text in std::fs::read_dir(in_crate("corpus").join(&parser)).unwrap() {
            let path = text.unwrap().path();
            eprintln!("{}", path.display());
            assert!(feed::feed(&parser, &std::fs::read(&path).unwrap()), "{} is too long", path.display());
        }
    }
}

#[test]
fn every_parser_has_a_program() {
    let manifest = std::fs::read_to_string(in_crate("fuzz/Cargo.toml")).unwrap();
    let (_, programs) = manifest.split_once("[[bin]]").unwrap();
    let programs = programs.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    assert_eq!(programs.map(str::to_owned).collect::<BTreeSet<_>>(), parsers());
}

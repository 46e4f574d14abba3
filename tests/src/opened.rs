//! A program in the place of `xdg-open`, which opens nothing and writes down what it was to open.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::net::eventually;

/// What was to be opened.
#[derive(Debug)]
pub struct Opened(PathBuf);

impl Opened {
    /// Makes the program at `program`, which writes to `file`.
    pub(crate) fn by(program: &Path, file: PathBuf) -> Self {
        let script = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" >>'{}'\n", file.display());
        fs::write(program, script).expect("the directory is ours");
        fs::set_permissions(program, Permissions::from_mode(0o755)).expect("the file is ours");
        Self(file)
    }

    /// The addresses, oldest first.
    pub fn all(&self) -> Vec<String> {
        let written = fs::read_to_string(&self.0).unwrap_or_default();
        // A line that has no end yet is still being written.
        let lines = written.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines.map(str::to_owned).collect()
    }

    /// The first address, when there is one.
    pub async fn first(&self) -> String {
        eventually("an address to be opened", async || self.all().into_iter().next()).await
    }
}

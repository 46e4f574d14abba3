//! References to one key of a Secret or `ConfigMap` in the server's namespace.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The kind of the object that holds the value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefKind {
    /// A Secret.
    #[default]
    Secret,
    /// A `ConfigMap`; only for what is public, such as CA certificates.
    ConfigMap,
}

/// One key of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The object's kind.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub kind: RefKind,
    /// The object's name.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

impl KeyRef {
    /// A key of a Secret.
    pub fn secret(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { kind: RefKind::Secret, name: name.into(), key: key.into() }
    }

    /// The directory below `root` where the object is mounted: one volume each.
    pub fn dir_under(&self, root: &Path) -> PathBuf {
        let kind = match self.kind {
            RefKind::Secret => "secret",
            RefKind::ConfigMap => "configmap",
        };
        root.join(kind).join(&self.name)
    }

    /// The file below `root` that holds the value.
    pub fn path_under(&self, root: &Path) -> PathBuf {
        self.dir_under(root).join(&self.key)
    }
}

impl std::fmt::Display for KeyRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} \"{}\", key \"{}\"", self.kind, self.name, self.key)
    }
}

//! What the API server would say of manifests, offline, for `gatehouse dev` and `gatehouse render`: YAML and `List`,
//! unknown fields, names, the JSON Schema of our CRDs, keys of list-maps, defaults, and the CEL rules.
//!
//! Everything that is wrong is said at once, with file, line and field path, and as far as possible in the words of
//! the API server.

mod document;
mod metadata;
mod objects;
mod schema;
mod world;

use std::{fmt, path::PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::Value;

use crate::crd::{McpServer, OAuthClientPolicy};

/// A text with manifests.
#[derive(Debug, Clone)]
pub struct Source {
    /// How messages call it: the path of a file.
    pub name: String,
    /// YAML or JSON, of one or several documents.
    pub text: String,
}

/// Where a manifest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name of the source.
    pub file: String,
    /// The number of the document in it, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (document {})", self.file, self.line, self.document)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub origin: Origin,
    /// Which object: `McpServer "github"`; empty where it is not known.
    pub object: String,
    /// What: the path of the field and the message.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.message),
            object => write!(f, "{}: {object}: {}", self.origin, self.message),
        }
    }
}

/// An object and where it stands.
#[derive(Clone)]
pub struct Located<T> {
    /// Where.
    pub origin: Origin,
    /// The object, with the defaults of its schema, in a namespace.
    pub object: T,
}

/// The manifests that concern Gatehouse. Objects of other kinds are left out.
#[derive(Clone, Default)]
pub struct Manifests {
    /// The servers, in the order of the files.
    pub servers: Vec<Located<McpServer>>,
    /// The policies.
    pub policies: Vec<Located<OAuthClientPolicy>>,
    /// The Secrets, `stringData` merged into `data`.
    pub secrets: Vec<Located<Secret>>,
    /// The ConfigMaps.
    pub config_maps: Vec<Located<ConfigMap>>,
    /// The Services.
    pub services: Vec<Located<Service>>,
}

impl fmt::Debug for Manifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifests")
            .field("servers", &self.servers.len())
            .field("policies", &self.policies.len())
            .finish_non_exhaustive()
    }
}

/// Reads files, and of directories the files `*.yaml`, `*.yml` and `*.json`, in order; `-` is the standard input.
///
/// # Errors
/// When a file or directory cannot be read, or a directory holds no manifest.
pub fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_of(path)?);
        } else {
            files.push(path.clone());
        }
    }
    files
        .into_iter()
        .map(|path| {
            let path_name = path.display().to_string();
            let name = if path_name == "-" { "standard input".to_owned() } else { path_name.clone() };
            let text = if path_name == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(&path)
            };
            text.map(|text| Source { name: name.clone(), text })
                .map_err(|e| format!("cannot read {name}: {e}"))
        })
        .collect()
}

fn files_of(directory: &std::path::Path) -> Result<Vec<PathBuf>, String> {
    let fail = |e: std::io::Error| format!("cannot read {}: {e}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let manifest = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if manifest && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: no *.yaml, *.yml or *.json file in this directory", directory.display()));
    }
    Ok(files)
}

/// Checks manifests as the API server would.
///
/// # Errors
/// Everything that is wrong, in the order of the files.
pub fn read(sources: &[Source]) -> Result<Manifests, Vec<Finding>> {
    let mut manifests = Manifests::default();
    let mut findings = Vec::new();
    for source in sources {
        for document in document::split(source) {
            match document {
                Ok(document) => objects::admit(&document, &mut manifests, &mut findings),
                Err(finding) => findings.push(finding),
            }
        }
    }
    if findings.is_empty() { Ok(manifests) } else { Err(findings) }
}

/// Checks a part of the spec of an OAuthClientPolicy as the API server would; `path` is the field of the spec, with dots,
/// that has the value.
///
/// # Errors
/// Everything that is wrong, each with the path of its field below the value.
pub fn policy_part(path: &str, value: Value) -> Result<(), Vec<(String, String)>> {
    let below = |schema: &Value, name: &str| schema.get("properties")?.get(name).cloned();
    let fields = ["spec"].into_iter().chain(path.split('.').filter(|name| !name.is_empty()));
    let mut schema = objects::schema("OAuthClientPolicy").cloned().unwrap_or_default();
    for name in fields {
        schema = below(&schema, name).unwrap_or_default();
    }
    // Whom the policy is for is not a part of its terms.
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "targetRefs");
    }
    schema::check(&schema, value).map(|_| ())
}

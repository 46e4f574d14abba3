//! Scopes: what a token may be good for, who may be granted what, and which tools need it.

use serde::{Deserialize, Serialize};

use crate::AccessRule;

/// The one implicit scope of a server that declares none.
pub const IMPLICIT: &str = "mcp";

/// One scope of a server (RFC 6749 section 3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopeConfig {
    /// Its name, a scope-token.
    pub name: String,
    /// What the consent page says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether a client gets it that names no scope.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub default: bool,
    /// Narrower scopes that it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub includes: Vec<String>,
    /// Who may be granted it; absent: everyone who may use the server. Never empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<AccessRule>>,
}

/// Which tools of a backend are offered, and what calling them takes. A pattern is a tool's name, where one `*` stands
/// for any text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolsConfig {
    /// The tools that are offered. Never empty.
    #[serde(default = "every", skip_serializing_if = "is_every")]
    pub allow: Vec<String>,
    /// The tools that are not; wins over `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The scopes that a call needs; of several entries for a tool it needs all of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<ToolScopesConfig>,
}

/// What calls of some tools need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolScopesConfig {
    /// Patterns of tools.
    pub tools: Vec<String>,
    /// Names of scopes, all of which a call needs.
    pub scopes: Vec<String>,
}

impl Default for ToolsConfig {
    fn default() -> Self {
        Self { allow: every(), deny: Vec::new(), scopes: Vec::new() }
    }
}

fn every() -> Vec<String> {
    vec!["*".to_owned()]
}

fn is_every(allow: &[String]) -> bool {
    allow == ["*"]
}

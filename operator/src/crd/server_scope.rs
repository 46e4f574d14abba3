//! `McpServer.spec.scopes` and `spec.backends[].tools`: what tokens are good for.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::server_access::AccessEntry;

/// Something that a client can be granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Its name, a scope-token of RFC 6749.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[!#-\[\]-~]+$"))]
    #[x_kube(validation = ("self != 'offline_access'", "offline_access is asked for by clients that want refresh tokens, which everyone gets; no scope can be called so"))]
    pub name: String,
    /// What the consent page says of it. Absent: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub description: Option<String>,
    /// Whether a client is granted it that names no scope, and begins with it.
    #[serde(default)]
    pub default: bool,
    /// Names of narrower scopes that it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 31), inner(length(min = 1, max = 64)))]
    pub includes: Option<Vec<String>>,
    /// Who may be granted it: whoever matches one of the entries. Absent: everyone who may use the server. Evaluated on
    /// every call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub allow: Option<Vec<AccessEntry>>,
}

/// Which tools are offered, and what calling them takes. A pattern is a tool's name, where one * stands for any text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tools {
    /// Patterns of the tools that are offered; others cannot be called and are not listed. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_./-]*[*]?[A-Za-z0-9_./-]*$"))
    )]
    pub allow: Option<Vec<String>>,
    /// Patterns of tools that are not offered, in any case; wins over allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_./-]*[*]?[A-Za-z0-9_./-]*$"))
    )]
    pub deny: Option<Vec<String>>,
    /// The scopes that calls need. A tool that several entries name, in any case, needs what each of them says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub scopes: Option<Vec<ToolScopes>>,
}

/// The scopes that calls of some tools need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolScopes {
    /// Patterns of tools.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_./-]*[*]?[A-Za-z0-9_./-]*$"))
    )]
    pub tools: Vec<String>,
    /// Names of spec.scopes, all of which a call needs.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 64)))]
    pub scopes: Vec<String>,
}

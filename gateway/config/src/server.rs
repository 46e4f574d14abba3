//! One MCP server: what it is called, who may use it, and what its calls carry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BackendConfig, IdentityConfig, KeyRef, PolicyConfig, ScopeConfig};

/// One `McpServer` as the gateway needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerConfig {
    /// The namespace, which is the tenant.
    pub namespace: String,
    /// The name of the `McpServer`.
    pub name: String,
    /// The MCP endpoint and OAuth resource, canonical, without a trailing slash.
    pub url: String,
    /// The OAuth issuer: the origin of `url` (without a slash) or a prefix of it.
    pub issuer: String,
    /// What pages show.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub display: DisplayConfig,
    /// How users sign in.
    pub identity: IdentityConfig,
    /// Who may use the server.
    pub access: AccessConfig,
    /// The scopes that a client can be granted, at most 64; none: the implicit scope `mcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<ScopeConfig>,
    /// What a call can carry upstream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialConfig>,
    /// The tool backends: one, for now.
    pub backends: Vec<BackendConfig>,
    /// The OAuth client policy in force.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub policy: PolicyConfig,
    /// How long open requests and streams may go on after SIGTERM.
    #[serde(
        default = "default_drain",
        with = "crate::duration::serde",
        skip_serializing_if = "is_default_drain"
    )]
    pub drain_period: Duration,
}

/// What pages show of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisplayConfig {
    /// The name; absent: the `McpServer`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An https URL of a logo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    /// An https URL of a page that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
}

/// Who may use the server; evaluated on every call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessConfig {
    /// Who may.
    pub allow: Allow,
    /// Who may not; wins over `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<AccessRule>,
    /// How often the identity provider is asked again at refresh.
    #[serde(
        default = "default_every",
        with = "crate::duration::serde",
        skip_serializing_if = "is_default_every"
    )]
    pub recheck_every: Duration,
    /// How long the identity provider's outage is tolerated.
    #[serde(
        default = "default_tolerate",
        with = "crate::duration::serde",
        skip_serializing_if = "is_default_tolerate"
    )]
    pub recheck_tolerate: Duration,
}

/// The allowing half of [`AccessConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Allow {
    /// Everyone who can sign in.
    Everyone,
    /// Whoever matches one of the rules. Never empty.
    Rules(Vec<AccessRule>),
}

/// One entry: every field that is given must match; inside a field, one value must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessRule {
    /// Immutable subjects at the identity provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Verified e-mail addresses, compared without case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// Domains of verified e-mail addresses, compared without case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email_domains: Vec<String>,
    /// Groups as the identity provider names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// One thing that a call can carry upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialConfig {
    /// The name by which `inject` refers to it.
    pub name: String,
    /// Where it comes from.
    pub kind: CredentialKind,
}

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialKind {
    /// The upstream token of the user's own sign-in.
    FromIdentity,
    /// One value shared by all users.
    Static(KeyRef),
}

fn default_drain() -> Duration {
    Duration::from_secs(60)
}
fn is_default_drain(value: &Duration) -> bool {
    *value == default_drain()
}
fn default_every() -> Duration {
    Duration::from_secs(6 * 3600)
}
fn is_default_every(value: &Duration) -> bool {
    *value == default_every()
}
fn default_tolerate() -> Duration {
    Duration::from_secs(24 * 3600)
}
fn is_default_tolerate(value: &Duration) -> bool {
    *value == default_tolerate()
}

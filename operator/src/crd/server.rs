//! `McpServer`: an MCP endpoint that real clients can sign in to.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    primitive::url_rule,
    server_access::Access,
    server_backend::{Backend, Credential},
    server_gateway::{Gateway, Keys},
    server_identity::Identity,
    server_scope::Scope,
    server_status::McpServerStatus,
};

/// An MCP endpoint that MCP clients can sign in to, and that calls its tools with each user's own credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "gatehouse.dev",
    version = "v1alpha1",
    kind = "McpServer",
    plural = "mcpservers",
    shortname = "mcps",
    category = "gatehouse",
    namespaced,
    derive = "PartialEq",
    status = "McpServerStatus",
    cel,
    doc = "An MCP endpoint that MCP clients can sign in to, and that calls its tools with each user's own credential.",
    validation = ("self.metadata.name.size() <= 48 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", "metadata.name must be at most 48 characters and a DNS-1035 label (lower-case letters, digits and -, beginning with a letter), because the children are called <name>-gateway"),
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"Replicas","type":"integer","jsonPath":".status.readyReplicas"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Policy","type":"string","jsonPath":".status.policy.name","priority":1}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version","priority":1}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.issuer) || self.url.startsWith(self.issuer + '/')", "issuer must be the origin of url, or a prefix of url that ends before a slash: https://h/t/github for https://h/t/github/mcp"),
    validation = ("self.backends.all(b, !has(b.inject) || b.inject.all(i, has(self.credentials) && self.credentials.exists(c, c.name == i.credential)))", "each credential of backends[].inject must be the name of one of credentials"),
    validation = ("!has(self.access.everyone) || !has(self.credentials) || !self.credentials.exists(c, has(c.static))", "access.everyone cannot be combined with a static credential: everyone who can sign in would act with it; say in access.allow who may")
)]
pub struct McpServerSpec {
    /// The MCP endpoint, byte for byte as clients will use it; it is the OAuth resource. https, or http on localhost,
    /// 127.0.0.1 or [::1]; lower-case host; at least one path segment; no trailing slash, query, fragment or default
    /// port. Recommended: a host for each server and the path /mcp.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = url_rule("url"),
        validation = ("self.matches('^[a-z]+://[^/]+/.')", "url must have a path, for example https://github.mcp.example.com/mcp"),
        validation = ("!self.matches('[^/]/([.]|[.][.]|oauth|account|[.]well-known)(/|$)')", "url must not have a path segment \".\", \"..\", \"oauth\", \"account\" or \".well-known\": the gateway's own pages are there"),
        validation = ("!self.matches('[^/]/[:*]')", "url must not have a path segment that begins with \":\" or \"*\""),
        validation = ("!self.matches('^(https://[^/]*:443|http://[^/]*:80)(/|$)')", "url must not name the default port of its scheme")
    )]
    pub url: String,
    /// The OAuth issuer: the origin of url, which is the default, or a prefix of url. An issuer belongs to one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = url_rule("issuer"))]
    pub issuer: Option<String>,
    /// What pages and clients show of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
    /// How a user signs in: exactly one of oauth2, oidc and local.
    pub identity: Identity,
    /// Who may use the server: exactly one of allow and everyone. Evaluated on every call.
    pub access: Access,
    /// What clients can be granted. None: the one implicit scope mcp, which is good for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]),
        validation = ("self.exists(s, s.default)", "scopes: at least one must have default: true; clients that name no scope are granted those")
    )]
    pub scopes: Option<Vec<Scope>>,
    /// What a call can carry upstream; backends[].inject says which backend gets which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub credentials: Vec<Credential>,
    /// The MCP server behind the gateway: one, for now.
    #[schemars(length(min = 1, max = 1))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub backends: Vec<Backend>,
    /// The keys that seal what the server stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// The gateway's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// What pages and clients show of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// The name. Absent: metadata.name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// A logo, shown on the consent page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https://[!-~]+$"))]
    pub logo_url: Option<String>,
    /// A page that helps, linked from every page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https://[!-~]+$"))]
    pub support_url: Option<String>,
}

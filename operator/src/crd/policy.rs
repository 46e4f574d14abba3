//! `OAuthClientPolicy`: which OAuth clients may come, and on what terms.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    policy_client::{StaticClient, dangerous_rule, fragment_rule, reserved_rule},
    policy_status::OAuthClientPolicyStatus,
    primitive::{GepDuration, Mode},
};

/// Which OAuth clients may come to the McpServers of a namespace, and on what terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "gatehouse.dev",
    version = "v1alpha1",
    kind = "OAuthClientPolicy",
    plural = "oauthclientpolicies",
    shortname = "ocpol",
    category = "gatehouse",
    namespaced,
    derive = "PartialEq",
    status = "OAuthClientPolicyStatus",
    cel,
    doc = "Which OAuth clients may come to the McpServers of a namespace, and on what terms. Of several policies for a server the most specific wins: by name, then by a non-empty selector, then by an empty one; of equals the oldest.",
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name":"Matched","type":"integer","jsonPath":".status.targets.matched"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].message","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct OAuthClientPolicySpec {
    /// The servers that the policy is for.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// How clients become known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// Where codes may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<RedirectUris>,
    /// Clients that are known in advance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["clientId".into()]))]
    pub clients: Vec<StaticClient>,
    /// Which scopes clients may be granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<PolicyScopes>,
    /// How long things live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<Lifetimes>,
}

/// Servers of the same namespace, by name or by labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.name) != has(self.selector)", "a targetRef needs exactly one of name and selector"))]
pub struct TargetRef {
    /// The group of the target.
    #[serde(default)]
    pub group: TargetGroup,
    /// The kind of the target.
    #[serde(default)]
    pub kind: TargetKind,
    /// The name of one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 48))]
    pub name: Option<String>,
    /// Servers by their labels; {} is every server of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// The group of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetGroup {
    /// The group of McpServer.
    #[default]
    #[serde(rename = "gatehouse.dev")]
    Gatehouse,
}

/// The kind of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// A server.
    #[default]
    McpServer,
}

/// How clients become known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Dynamic client registration (RFC 7591).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<DynamicRegistration>,
    /// Client ID Metadata Documents: clients whose id is the https URL of a document that describes them. Absent:
    /// accepted from every host, except by a server whose issuer is http on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_documents: Option<MetadataDocuments>,
}

/// Client ID Metadata Documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataDocuments {
    /// Whether they are accepted. What is Refused here ends for clients that came before, too.
    #[serde(default)]
    pub mode: Mode,
    /// The hosts that documents may be on, in lower case: names, *. before a name for the names below it, or * for all.
    /// A host that only the operator's egress.allow makes reachable must be named here exactly.
    #[serde(default = "MetadataDocuments::every_host")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = ("self.all(h, h == '*' || h.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+$'))", "registration.metadataDocuments.allowedHosts takes host names in lower case, *. before one, or * alone"))]
    pub allowed_hosts: Vec<String>,
}

impl MetadataDocuments {
    fn every_host() -> Vec<String> {
        vec!["*".to_owned()]
    }
}

/// Dynamic client registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("duration(self.lifetime) >= duration('1s')", "registration.dynamic.lifetime must be at least 1s"))]
pub struct DynamicRegistration {
    /// Whether clients may register themselves.
    #[serde(default)]
    pub mode: Mode,
    /// How long a registration is good for.
    #[serde(default = "DynamicRegistration::default_lifetime")]
    pub lifetime: GepDuration,
    /// Registrations before this time are refused: what was registered before is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
}

impl DynamicRegistration {
    const fn default_lifetime() -> GepDuration {
        GepDuration::from_secs(8760 * 3600)
    }
}

/// Where codes may be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectUris {
    /// Any port on 127.0.0.1, [::1] and localhost: clients on the user's own machine.
    #[serde(default)]
    pub loopback: Mode,
    /// The callbacks of Claude, ChatGPT, Cursor and Visual Studio Code.
    #[serde(default)]
    pub known_clients: Mode,
    /// More redirect URIs, in addition: exact, or with * as the whole last path segment, below a host and a path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512), regex(pattern = r"^[a-z][a-z0-9+.-]*:[!-)+-~]+(/\*)?$"))
    )]
    #[x_kube(
        validation = dangerous_rule("redirectUris.allow"),
        validation = fragment_rule("redirectUris.allow"),
        validation = reserved_rule("redirectUris.allow"),
        validation = ("self.all(u, !u.endsWith('/*') || u.matches('^[a-z][a-z0-9+.-]*://[^/?]+/[^?]*[^/?]/[*]$'))", "redirectUris.allow: before /* there must be a host and a path, and no query")
    )]
    pub allow: Vec<String>,
}

/// Which scopes clients may be granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyScopes {
    /// Names of scopes; mcp is the implicit one of servers that declare none. Absent: all of the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 64), regex(pattern = r"^[!#-\[\]-~]+$"))
    )]
    pub allow: Option<Vec<String>>,
}

/// How long things live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[self.authorizationCode, self.accessToken, self.refreshToken, self.signIn].all(d, duration(d) >= duration('1s'))", "lifetimes must be at least 1s; only refreshGrace may be 0s"),
    validation = ("duration(self.authorizationCode) <= duration('10m')", "lifetimes.authorizationCode must be at most 10m (RFC 6749 section 4.1.2)"),
    validation = ("duration(self.accessToken) >= duration(self.refreshGrace) + duration(self.refreshGrace)", "lifetimes.accessToken must be at least twice refreshGrace"),
    validation = ("duration(self.refreshToken) >= duration(self.accessToken)", "lifetimes.refreshToken must not be shorter than accessToken"),
    validation = ("duration(self.signIn) >= duration(self.refreshToken)", "lifetimes.signIn must not be shorter than refreshToken")
)]
pub struct Lifetimes {
    /// An authorization code.
    #[serde(default = "Lifetimes::default_authorization_code")]
    pub authorization_code: GepDuration,
    /// An access token.
    #[serde(default = "Lifetimes::default_access_token")]
    pub access_token: GepDuration,
    /// A refresh token, renewed at each use.
    #[serde(default = "Lifetimes::default_refresh_token")]
    pub refresh_token: GepDuration,
    /// How long a replaced refresh token still answers with its successor, for clients that lost the answer. 0s: not
    /// at all.
    #[serde(default = "Lifetimes::default_refresh_grace")]
    pub refresh_grace: GepDuration,
    /// The absolute end of a sign-in.
    #[serde(default = "Lifetimes::default_sign_in")]
    pub sign_in: GepDuration,
}

impl Lifetimes {
    const fn default_authorization_code() -> GepDuration {
        GepDuration::from_secs(600)
    }

    const fn default_access_token() -> GepDuration {
        GepDuration::from_secs(3600)
    }

    const fn default_refresh_token() -> GepDuration {
        GepDuration::from_secs(720 * 3600)
    }

    const fn default_refresh_grace() -> GepDuration {
        GepDuration::from_secs(120)
    }

    const fn default_sign_in() -> GepDuration {
        GepDuration::from_secs(8760 * 3600)
    }
}

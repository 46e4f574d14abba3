//! The OAuth client policy in force for a server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::KeyRef;

/// Which OAuth clients may come, and on what terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Dynamic client registration (RFC 7591).
    #[serde(skip_serializing_if = "crate::is_default")]
    pub registration: RegistrationConfig,
    /// Clients whose id is the URL of a document that describes them. Absent: see
    /// [`MetadataDocumentsConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_documents: Option<MetadataDocumentsConfig>,
    /// Where codes may be sent.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub redirect_uris: RedirectUrisConfig,
    /// Clients that are known in advance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<StaticClientConfig>,
    /// The scopes that clients may be granted; absent: all of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// How long things live.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub lifetimes: LifetimesConfig,
}

/// A client that is known in advance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticClientConfig {
    /// Its id.
    pub client_id: String,
    /// The name to show; absent: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its secrets, each of which proves it: two while one replaces the other. None: a public client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<KeyRef>,
    /// Where its codes may go, exactly; on loopback any port (RFC 8252 section 7.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// How it gets tokens.
    #[serde(default = "default_grants", skip_serializing_if = "is_default_grants")]
    pub grants: Vec<ClientGrant>,
    /// The scopes that it may be granted; absent: all that clients may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// A grant type that a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientGrant {
    /// A user signs in and approves (RFC 6749 section 4.1); refresh tokens go with it.
    AuthorizationCode,
    /// The client acts for itself: a robot (RFC 6749 section 4.4).
    ClientCredentials,
}

fn default_grants() -> Vec<ClientGrant> {
    vec![ClientGrant::AuthorizationCode]
}

fn is_default_grants(value: &Vec<ClientGrant>) -> bool {
    *value == default_grants()
}

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistrationMode {
    /// It is.
    #[default]
    Allowed,
    /// It is not.
    Refused,
}

/// Dynamic client registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegistrationConfig {
    /// Whether clients may register themselves.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub mode: RegistrationMode,
    /// How long a registration is good for.
    #[serde(with = "crate::duration::serde")]
    pub lifetime: Duration,
    /// Registrations issued before this instant (seconds since 1970) are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self { mode: RegistrationMode::Allowed, lifetime: Duration::from_secs(8760 * 3600), not_before: None }
    }
}

/// Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document). Where no policy speaks of them they are
/// allowed from every host, except on a loopback issuer: such a server is often without a network, and clients that read
/// an offer of documents do not register any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetadataDocumentsConfig {
    /// Whether they are accepted.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub mode: RegistrationMode,
    /// The hosts that documents may be on: exact names, `*.` before a name for the names below it, or `*` for all. Of
    /// what `egress.allow` opens, documents and their keys are fetched from hosts alone that are named exactly.
    pub allowed_hosts: Vec<String>,
}

impl Default for MetadataDocumentsConfig {
    fn default() -> Self {
        Self { mode: RegistrationMode::Allowed, allowed_hosts: vec!["*".to_owned()] }
    }
}

impl MetadataDocumentsConfig {
    /// Whether documents of this host, in lower case, are accepted.
    pub fn admits(&self, host: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_prefix('*') {
            Some("") => true,
            Some(below) => host.strip_suffix(below).is_some_and(|label| !label.is_empty()),
            None => host == pattern,
        };
        self.mode == RegistrationMode::Allowed && self.allowed_hosts.iter().any(matches)
    }
}

/// Where codes may be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedirectUrisConfig {
    /// Any port on 127.0.0.1, `[::1]` and localhost (RFC 8252 section 7.3).
    #[serde(skip_serializing_if = "crate::is_default")]
    pub loopback: RegistrationMode,
    /// The callbacks of well-known clients, see [`KNOWN_CLIENTS`].
    #[serde(skip_serializing_if = "crate::is_default")]
    pub known_clients: RegistrationMode,
    /// More redirect URIs: exact, or with `*` as the whole last segment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// How long things live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LifetimesConfig {
    /// An authorization code.
    #[serde(with = "crate::duration::serde")]
    pub authorization_code: Duration,
    /// An access token.
    #[serde(with = "crate::duration::serde")]
    pub access_token: Duration,
    /// A refresh token.
    #[serde(with = "crate::duration::serde")]
    pub refresh_token: Duration,
    /// How long a replaced refresh token still answers with its successor; zero: not at all.
    #[serde(with = "crate::duration::serde")]
    pub refresh_grace: Duration,
    /// The absolute end of a sign-in.
    #[serde(with = "crate::duration::serde")]
    pub sign_in: Duration,
}

impl Default for LifetimesConfig {
    fn default() -> Self {
        Self {
            authorization_code: Duration::from_secs(600),
            access_token: Duration::from_secs(3600),
            refresh_token: Duration::from_secs(720 * 3600),
            refresh_grace: Duration::from_secs(120),
            sign_in: Duration::from_secs(8760 * 3600),
        }
    }
}

/// Whether a redirect URI of this scheme must never be followed, whatever a policy allows.
pub(crate) fn is_dangerous_scheme(scheme: &str) -> bool {
    DANGEROUS_SCHEMES.contains(&scheme.to_ascii_lowercase().as_str())
}

/// Schemes that run code or read local data in the browser that follows them. One of these in a registration makes
/// the whole registration suspect.
const DANGEROUS_SCHEMES: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "javascript",
    "jar",
    "mailto",
    "resource",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// A well-known client and where it receives codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownClient {
    /// Its name.
    pub name: &'static str,
    /// Its redirect URIs: exact, or with `*` as the whole last segment.
    pub redirect_uris: &'static [&'static str],
    /// The addresses where that is published.
    pub sources: &'static [&'static str],
}

/// The clients whose callbacks `knownClients: Allowed` admits, besides loopback.
pub const KNOWN_CLIENTS: &[KnownClient] = &[
    KnownClient {
        name: "Claude",
        redirect_uris: &[
            "https://claude.ai/api/mcp/auth_callback",
            "https://claude.com/api/mcp/auth_callback",
        ],
        sources: &[
            "https://support.claude.com/en/articles/11503834-building-custom-connectors-via-remote-mcp-servers",
            "https://claude.com/docs/connectors/building/authentication",
        ],
    },
    KnownClient {
        name: "ChatGPT",
        redirect_uris: &[
            "https://chatgpt.com/connector/oauth/*",
            "https://chatgpt.com/connector_platform_oauth_redirect",
        ],
        sources: &["https://developers.openai.com/apps-sdk/build/auth"],
    },
    KnownClient {
        name: "Cursor",
        redirect_uris: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ],
        // The second one is seen in what it registers.
        sources: &["https://cursor.com/docs/mcp", "https://github.com/erp-mafia/accounted/pull/2225"],
    },
    KnownClient {
        name: "Visual Studio Code",
        redirect_uris: &["https://vscode.dev/redirect", "https://insiders.vscode.dev/redirect"],
        sources: &["https://github.com/microsoft/vscode/blob/main/src/vs/base/common/oauth.ts"],
    },
];

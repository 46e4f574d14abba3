//! `McpServer.spec.identity`: how a user signs in.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::primitive::{CaRef, SecretKeyRef, URL_PATTERN};

/// How a user signs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.oauth2), has(self.oidc), has(self.local)].filter(x, x).size() == 1", "identity needs exactly one of oauth2, oidc and local"))]
pub struct Identity {
    /// An OAuth 2.0 provider without OpenID Connect, such as GitHub, Atlassian or Bitbucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Identity>,
    /// An OpenID Connect provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcIdentity>,
    /// Users in a Secret, for a demo or one team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalIdentity>,
}

/// A provider whose endpoints Gatehouse knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProviderPreset {
    /// github.com, or with baseUrl a GitHub Enterprise Server.
    GitHub,
    /// Atlassian's cloud, by an OAuth 2.0 (3LO) app: read:me is needed among scopes, offline_access for a refresh token. It
    /// tells neither verified e-mail addresses nor groups.
    Atlassian,
    /// Bitbucket Cloud, by an OAuth consumer, whose own permissions decide instead of scopes: account is needed, email for
    /// addresses. Groups are workspaces (acme).
    Bitbucket,
}

/// An OAuth 2.0 provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.provider) ? !has(self.authorizationUrl) && !has(self.tokenUrl) && !has(self.userInfo) : has(self.authorizationUrl) && has(self.tokenUrl) && has(self.userInfo)", "oauth2 needs either provider, or all of authorizationUrl, tokenUrl and userInfo"),
    validation = ("!has(self.baseUrl) || has(self.provider) && self.provider == 'GitHub'", "oauth2.baseUrl is the address of a self-hosted provider and needs provider: GitHub")
)]
pub struct OAuth2Identity {
    /// A provider whose endpoints are known. Absent: authorizationUrl, tokenUrl and userInfo say them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderPreset>,
    /// The address of a self-hosted provider (GitHub Enterprise Server), for example https://github.example.com.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = URL_PATTERN))]
    pub base_url: Option<String>,
    /// The authorization endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = URL_PATTERN))]
    pub authorization_url: Option<String>,
    /// The token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = URL_PATTERN))]
    pub token_url: Option<String>,
    /// Where the user's profile is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfo>,
    /// The client id at the provider. With GitHub an OAuth App's; a GitHub App (Iv…) ignores scopes. With
    /// Bitbucket a consumer's key.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[!-~]+$"))]
    pub client_id: String,
    /// The client secret at the provider.
    pub client_secret_ref: SecretKeyRef,
    /// The scopes that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^[!#-\[\]-~]+$")))]
    pub scopes: Vec<String>,
    /// More parameters of the authorization request. One that a preset brings itself (Atlassian: audience and prompt) is
    /// replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]),
        validation = ("!self.exists(p, p.name in ['client_id', 'client_secret', 'redirect_uri', 'response_type', 'response_mode', 'scope', 'state', 'nonce', 'code_challenge', 'code_challenge_method', 'resource', 'request', 'request_uri'])", "extraParameters must not name a parameter that the sign-in itself sets")
    )]
    pub extra_parameters: Vec<NameValue>,
    /// TLS to the provider's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IdentityTls>,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameValue {
    /// The name.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[-._~A-Za-z0-9]+$"))]
    pub name: String,
    /// The value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// TLS to an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityTls {
    /// The CA that signed the provider's certificates. Absent: the CAs of the web.
    pub ca_ref: CaRef,
}

/// Where a user's profile is read: an endpoint, and JSON pointers (RFC 6901) into its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserInfo {
    /// The endpoint, asked with the user's token.
    #[schemars(length(min = 1, max = 512), regex(pattern = URL_PATTERN))]
    pub url: String,
    /// The immutable subject, text or whole number. A name that its owner can change does not do.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    pub subject: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    pub name: Option<String>,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    pub email: Option<String>,
    /// Whether the address is verified. Absent: it is not, and matches no entry of access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    pub email_verified: Option<String>,
    /// The list of the names of the user's groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    pub groups: Option<String>,
}

/// An OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdentity {
    /// The issuer, as its discovery document and its tokens spell it.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^https?://[!-~]+$"))]
    pub issuer: String,
    /// Where the gateway itself reaches the provider, when that differs from the public issuer (a Keycloak in the
    /// cluster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^https?://[!-~]+$"))]
    pub backchannel_url: Option<String>,
    /// The client id at the provider.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[!-~]+$"))]
    pub client_id: String,
    /// The client secret at the provider. Absent: a public client, protected by PKCE alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,
    /// The scopes that are asked for, besides openid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^[!#-\[\]-~]+$")))]
    pub scopes: Vec<String>,
    /// The claims of a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<OidcClaims>,
    /// TLS to the provider's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IdentityTls>,
}

/// The names of the claims of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcClaims {
    /// The immutable subject. Absent: sub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub subject: Option<String>,
    /// The display name. Absent: name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// The e-mail address, which counts only while it is verified. Absent: email.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub email: Option<String>,
    /// Whether the address is verified. Absent: email_verified, which speaks of the claim email alone; an address of
    /// another claim counts only where this is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub email_verified: Option<String>,
    /// The list of groups. Absent: groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub groups: Option<String>,
}

/// Users in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalIdentity {
    /// A YAML list of users, each with name, uid and passwordHash, as `gatehouse users add` prints them.
    pub users_secret_ref: SecretKeyRef,
}

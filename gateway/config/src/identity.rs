//! How users sign in.

use serde::{Deserialize, Serialize};

use crate::{
    KeyRef,
    preset::{DeadToken, Provider},
};

/// Exactly one way to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentityConfig {
    /// An OAuth 2.0 provider without OpenID Connect, such as GitHub.
    Oauth2(Box<OAuth2Config>),
    /// An OpenID Connect provider.
    Oidc(Box<OidcConfig>),
    /// A file of users in a Secret.
    Local(LocalConfig),
}

impl IdentityConfig {
    /// The stable id that grants carry: kind and issuer. A grant of another identity is not honoured.
    pub fn id(&self) -> String {
        match self {
            Self::Oauth2(c) => format!("oauth2:{}", c.issuer()),
            Self::Oidc(c) => format!("oidc:{}", c.issuer),
            Self::Local(_) => "local".to_owned(),
        }
    }

    /// What a user calls it: "GitHub", the host of an issuer, or "password".
    pub fn display_name(&self) -> String {
        match self {
            Self::Oauth2(c) => c.provider.map_or_else(|| host(&c.authorization_url), |p| p.name().to_owned()),
            Self::Oidc(c) => host(&c.issuer),
            Self::Local(_) => "password".to_owned(),
        }
    }

    /// What betrays a dead token of a user's. Tokens of a file live as long as their user does.
    pub fn dead_token(&self) -> DeadToken {
        match self {
            Self::Oauth2(c) => c.provider.map_or(DeadToken::OF_ANY, Provider::dead_token),
            Self::Oidc(_) => DeadToken::OF_ANY,
            Self::Local(_) => DeadToken::OF_NONE,
        }
    }
}

fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_else(|| url.to_owned())
}

/// An OAuth 2.0 provider. The operator fills the endpoints of a preset in, so the gateway needs no case for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2Config {
    /// The preset, whose data says how profiles, groups and refreshes behave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// The authorization endpoint.
    pub authorization_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// Where the profile is read.
    pub user_info: UserInfoConfig,
    /// The client id at the provider.
    pub client_id: String,
    /// The client secret at the provider.
    pub client_secret: KeyRef,
    /// The scopes that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// More parameters of the authorization request, as name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_parameters: Vec<(String, String)>,
    /// The CA of the provider's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<KeyRef>,
}

impl OAuth2Config {
    /// The issuer under which users are named: the origin of the authorization endpoint.
    pub fn issuer(&self) -> String {
        url::Url::parse(&self.authorization_url)
            .map_or_else(|_| self.authorization_url.clone(), |u| u.origin().ascii_serialization())
    }
}

/// Where a profile is read, and the JSON pointers (RFC 6901) of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserInfoConfig {
    /// The endpoint, asked with the user's token.
    pub url: String,
    /// The immutable subject: text or whole number.
    pub subject: String,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the address is verified; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<String>,
    /// A list of group names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// The preset's list of addresses, from which the verified primary one is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emails_url: Option<String>,
    /// The preset's list of teams, which become groups (`org/team` and `org` of GitHub's), or of workspaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams_url: Option<String>,
}

/// An OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcConfig {
    /// The issuer, as its discovery document and tokens spell it.
    pub issuer: String,
    /// Where the gateway itself reaches the provider when that differs from the public issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backchannel_url: Option<String>,
    /// The client id at the provider.
    pub client_id: String,
    /// The client secret; absent: a public client with PKCE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<KeyRef>,
    /// The scopes besides `openid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The claim of the immutable subject.
    #[serde(default = "claim_sub", skip_serializing_if = "is_claim_sub")]
    pub subject_claim: String,
    /// The claim of the display name.
    #[serde(default = "claim_name", skip_serializing_if = "is_claim_name")]
    pub name_claim: String,
    /// The claim of the e-mail address.
    #[serde(default = "claim_email", skip_serializing_if = "is_claim_email")]
    pub email_claim: String,
    /// The claim that says whether the address is verified; absent: `email_verified` for the claim `email`, of which
    /// alone it speaks (OIDC Core section 5.1), and none for another: its address is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified_claim: Option<String>,
    /// The claim of the groups.
    #[serde(default = "claim_groups", skip_serializing_if = "is_claim_groups")]
    pub groups_claim: String,
    /// The CA of the provider's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<KeyRef>,
}

impl OidcConfig {
    /// The claim that says whether the address is verified; `None`: nothing says so.
    pub fn verified_by(&self) -> Option<&str> {
        let standard = (self.email_claim == claim_email()).then_some("email_verified");
        self.email_verified_claim.as_deref().or(standard)
    }
}

/// A file of users in a Secret, see the README's "Local users".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalConfig {
    /// The users, as YAML or JSON: a list of [`LocalUser`].
    pub users: KeyRef,
}

/// One user of [`LocalConfig`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalUser {
    /// The name to sign in with.
    pub name: String,
    /// The immutable subject: random, so that a new "alice" is not the old one.
    pub uid: String,
    /// An argon2id hash in PHC format.
    pub password_hash: String,
    /// A verified e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The user's upstream token, for `fromIdentity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl std::fmt::Debug for LocalUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalUser").field("name", &self.name).field("uid", &self.uid).finish_non_exhaustive()
    }
}

fn claim_sub() -> String {
    "sub".to_owned()
}
fn is_claim_sub(value: &String) -> bool {
    value == "sub"
}
fn claim_name() -> String {
    "name".to_owned()
}
fn is_claim_name(value: &String) -> bool {
    value == "name"
}
fn claim_email() -> String {
    "email".to_owned()
}
fn is_claim_email(value: &String) -> bool {
    value == "email"
}
fn claim_groups() -> String {
    "groups".to_owned()
}
fn is_claim_groups(value: &String) -> bool {
    value == "groups"
}

//! Users, their state, and what they hold upstream.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{AttemptId, Hash32, UserId};
use crate::keys::Sealed;

/// What an identity provider says of a user. Stored sealed; `access` is evaluated from it on every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The immutable subject: OIDC `sub`, GitHub's numeric id, a local user's `uid`.
    pub subject: String,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address, only when the provider says that it is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_email: Option<String>,
    /// Further addresses that the provider has verified: a user picks which of theirs comes first, so that each of them
    /// counts where it denies, and none where it allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_emails: Vec<String>,
    /// Groups as the provider names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Of a local user: the hash of the entry of their password, so that a new one is noticed. Profiles are sealed, and
    /// the entry is itself a salted argon2id hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hash32>,
    /// What of this the provider did not tell.
    #[serde(default, skip_serializing_if = "Unknown::is_nothing")]
    pub unknown: Unknown,
    /// Who told what may be taken away.
    #[serde(default, skip_serializing_if = "ClaimSources::is_nothing")]
    pub told: ClaimSources,
}

/// By what an OpenID Connect provider told something: when that is silent later, it is so no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimSource {
    /// An ID token.
    IdToken,
    /// The user-info endpoint.
    UserInfo,
}

/// By what each part of a profile was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimSources {
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<ClaimSource>,
    /// The groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<ClaimSource>,
}

impl ClaimSources {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What an identity provider withheld: the user may hide it (by removing a scope from the sign-in's URL), so that its
/// absence proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// Whether the user has a verified e-mail address, and which.
    #[serde(default)]
    pub email: bool,
    /// Which groups there are besides those in the profile.
    #[serde(default)]
    pub groups: bool,
}

impl Unknown {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The tokens that a sign-in gave us at the identity provider.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct UpstreamTokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
    /// When the access token ends, in milliseconds since 1970; absent: not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// When the access token was asked for, in milliseconds since 1970: how early a refresh begins depends on its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<i64>,
    /// The upstream client id that the tokens belong to; another one cannot refresh them.
    pub client_id: String,
}

impl std::fmt::Debug for UpstreamTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTokens").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Whether a user's identity at the provider is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum IdentityState {
    /// It is.
    Live,
    /// It is not: calls and refreshes say so until the user signs in again.
    Dead {
        /// Why, for the audit log: `refresh_refused`, `token_revoked`, `user_removed`, `access_denied`.
        reason: String,
        /// Whether a tool call has told the user; later calls get the 401 that starts a new sign-in.
        told: bool,
    },
}

/// A user as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The user.
    pub id: UserId,
    /// The identity by which they signed in.
    pub identity: String,
    /// The [`Profile`], sealed in the credential ring with label `profile` and place (instance, user).
    pub profile: Sealed,
    /// The state.
    pub state: IdentityState,
    /// How long ago the provider was last asked, or the state changed, by the store's clock.
    pub checked_ago: std::time::Duration,
}

/// A user's credential as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRecord {
    /// Counts up with each stored value: the compare-and-set of a refresh.
    pub version: u64,
    /// The [`UpstreamTokens`], sealed in the credential ring with label `credential` and place (instance, identity,
    /// user, credential name).
    pub sealed: Sealed,
    /// The refresh that is under way, if its lease has not ended.
    pub attempt: Option<AttemptId>,
}

/// A browser session of a user (`identity.local` sign-in, the account page).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub user: UserId,
    /// The identity by which they signed in.
    pub identity: String,
    /// When, in seconds since 1970.
    pub auth_time: i64,
    /// Which browser, in words, so that its user recognises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
}

/// The reserved credential that holds the identity's own tokens.
pub const IDENTITY_CREDENTIAL: &str = "@identity";
/// The identity of a client that acts for itself: its subject is its client id, and the policy vouches for it.
pub const CLIENT_IDENTITY: &str = "client";

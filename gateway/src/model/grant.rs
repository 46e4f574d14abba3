//! A grant: what one sign-in gave one client. Tokens come and go; the grant is the family.

use serde::{Deserialize, Serialize};

use super::{AccessToken, GrantId, RefreshToken, UserId};

/// The immutable part of a grant; its record's MAC covers it. What changes (generation, live hashes, last used) is
/// the store's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The OAuth client, as it named itself: `gc_…`, at most 512 characters.
    pub client_id: String,
    /// The client's name when it was approved.
    pub client_name: String,
    /// Whose grant it is.
    pub user: UserId,
    /// The identity by which the user signed in; another configured identity ends the grant.
    pub identity: String,
    /// The granted scope, space-separated.
    pub scope: String,
    /// The resource: the server's URL as configured.
    pub resource: String,
    /// Where its code went.
    pub redirect_uri: String,
    /// The authorization request left the redirect URI out, so the token request may, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect_uri_implied: bool,
    /// The client proves itself by assertions that it signs, as its document said at the authorization request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_assertion: bool,
    /// When it was made, in seconds since 1970 by the gateway's clock; for display.
    pub created: i64,
}

/// What one grant step gives a client.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// The access token.
    pub access: AccessToken,
    /// The refresh token.
    pub refresh: RefreshToken,
}

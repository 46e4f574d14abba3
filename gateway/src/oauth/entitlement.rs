//! Whether a user may still have what a grant gives: decided by what this process knows, without a question to anybody.

use super::{OAuthError, token};
use crate::{
    audit::Event,
    credentials::open_profile,
    keys::OpenError,
    model::{Client, Grant, UserRecord},
    server::{Identity, Server},
};

/// Why a user may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The profile does not open here.
    Unreadable(OpenError),
    /// With `identity.local`: not in the file any more, or under another password.
    Left,
    /// As [`Refused::Left`], where another replica may know the user by a newer file.
    Unsure,
    /// `access` does not let them in.
    NotAllowed,
    /// They, or their client, may be granted nothing of the scope.
    NoScope,
}

/// The scope that an access token of this grant is good for: never more than was granted, and less where the client
/// asked for less, or user or client may not be granted all of it any more.
pub(super) fn held(
    server: &Server,
    client: &Client,
    grant: &Grant,
    user: &UserRecord,
    narrowed: Option<&str>,
) -> Result<String, Refused> {
    let profile = open_profile(&server.keys, &user.id, &user.profile).map_err(Refused::Unreadable)?;
    if let Identity::Local(users) = &server.identity
        && users.has_left(&profile)
    {
        return Err(if users.is_newer(user.checked_ago) { Refused::Left } else { Refused::Unsure });
    }
    if !server.allows(&profile) {
        return Err(Refused::NotAllowed);
    }
    let scopes = &server.scopes;
    let held = scopes.of_token(&grant.scope, narrowed, &profile, scopes.of_client(client.scopes()));
    if held.is_empty() { Err(Refused::NoScope) } else { Ok(scopes.text(held)) }
}

impl Refused {
    /// The answer to a refresh or a redemption, and what it says in the audit trail. Nothing is ended: while replicas are
    /// replaced, or a file of users reaches them one after the other, another may know better.
    pub(super) fn answer(self, server: &Server, user: &UserRecord, event: &mut Event) -> OAuthError {
        event.user(&user.id);
        let must_sign_in = || OAuthError::InvalidGrant(server.credentials.expired_sentence().into());
        match self {
            Self::Unreadable(OpenError::UnknownKey) => OAuthError::KEY_NOT_READ,
            Self::Unsure => OAuthError::Unavailable { retry_after: token::RETRY },
            Self::Unreadable(OpenError::Invalid) | Self::Left => must_sign_in(),
            Self::NotAllowed => {
                event.because("access_denied");
                OAuthError::InvalidGrant("the user may not use this server".into())
            }
            Self::NoScope => {
                let why = "this scope may not be granted any more, please sign in again";
                OAuthError::InvalidGrant(why.into())
            }
        }
    }
}

//! The browser session of a local user: who is signed in, if they still may.

use axum::http::HeaderMap;

use super::cookies::Jar;
use crate::{
    credentials::open_profile,
    identity::local::{self, LocalUsers, Presence},
    model::{Hash32, IdentityState, Profile, UserId},
    server::Server,
    store::StoreError,
};

/// Who is signed in in this browser.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Nobody.
    Nobody,
    /// Somebody whose identity died: they must sign in again, and read why.
    Dead,
    /// This user.
    User(Box<CurrentUser>),
}

/// A user who is signed in.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// The hash of the session's cookie.
    pub session: Hash32,
    /// The user.
    pub id: UserId,
    /// The profile as the file of users says it now.
    pub profile: Profile,
}

/// Reads the session of a request.
pub async fn current(
    server: &Server,
    users: &LocalUsers,
    headers: &HeaderMap,
) -> Result<Standing, StoreError> {
    let Some(cookie) = Jar::new(&server.urls, headers).session() else { return Ok(Standing::Nobody) };
    let hash = cookie.hash();
    let session = server.store.session(&hash).await?;
    let Some(session) = session.filter(|s| s.identity == server.config.identity.id()) else {
        return Ok(Standing::Nobody);
    };
    let Some(user) = server.store.user(&session.user).await? else { return Ok(Standing::Nobody) };
    if user.state != IdentityState::Live {
        return Ok(Standing::Dead);
    }
    let Ok(stored) = open_profile(&server.keys, &user.id, &user.profile) else {
        return Ok(Standing::Nobody);
    };
    Ok(match users.presence(&stored.subject) {
        Presence::Here(user) => Standing::User(Box::new(CurrentUser {
            session: hash,
            id: session.user,
            profile: local::profile(&user),
        })),
        Presence::Gone => Standing::Dead,
        Presence::NoFile => Standing::Nobody,
    })
}

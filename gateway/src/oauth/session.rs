//! The browser session of a user: who is signed in, if they still may.

use axum::{
    http::{HeaderMap, header},
    response::Response,
};

use super::{
    Failure,
    cookies::{CookieSecret, Jar},
    known::KnownBrowser,
    redirect, token,
};
use crate::{
    credentials::open_profile,
    identity::local::{self, Presence},
    model::{Hash32, IdentityState, Profile, Session, UserId, browser},
    server::{Identity, Server},
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
    /// The profile: as the file of users says it now, else as the identity provider last told it.
    pub profile: Profile,
}

/// Reads the session of a request.
///
/// # Errors
/// When the store is away, or the file of users is one of before: the user may be somebody by a newer one, which is on
/// its way.
pub async fn current(server: &Server, headers: &HeaderMap) -> Result<Standing, Failure> {
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
    let profile = match &server.identity {
        Identity::Provider(_) => stored,
        Identity::Local(users) => match users.presence(&stored.subject) {
            Presence::Here(found) if !local::password_changed(&stored, &local::profile(&found)) => {
                local::profile(&found)
            }
            Presence::NoFile => return Ok(Standing::Nobody),
            // The sweep ends the session in a moment.
            Presence::Here(_) | Presence::Gone if users.is_newer(user.checked_ago) => {
                return Ok(Standing::Dead);
            }
            Presence::Here(_) | Presence::Gone => return Err(Failure::Unavailable(token::RETRY)),
        },
    };
    Ok(Standing::User(Box::new(CurrentUser { session: hash, id: session.user, profile })))
}

/// A session that a sign-in may open: its secret for the browser, and its record.
pub(super) fn new(server: &Server, headers: &HeaderMap, user: &UserId) -> (CookieSecret, Session) {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let session = Session {
        user: *user,
        identity: server.config.identity.id(),
        auth_time: server.clock.unix(),
        browser: agent.and_then(browser::describe),
    };
    (CookieSecret::mint(server.entropy.as_ref()), session)
}

/// Gives the browser a session that was opened for `user`, ends the one before, and knows the browser from now on.
pub(super) async fn give(
    server: &Server,
    headers: &HeaderMap,
    (secret, user): (&CookieSecret, &UserId),
    response: &mut Response,
) {
    let jar = Jar::new(&server.urls, headers);
    // That the one before may live on until its end when this fails is no reason to refuse the new one: the browser has
    // its cookie no more.
    if let Some(before) = jar.session() {
        let ended = server.store.end_session(&before.hash()).await;
        let _ = ended.inspect_err(|error| tracing::warn!(%error, "the session before could not be ended"));
    }
    redirect::set_cookies(response, jar.set_session(secret));
    redirect::set_cookies(response, KnownBrowser::cookie(server, &jar, user));
}

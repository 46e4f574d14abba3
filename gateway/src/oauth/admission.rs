//! Who may begin a sign-in. Each begun one takes some 6 KB of a Redis that the server shares with others, so there is
//! an end to them. Strangers are held back by source, by network and all together, where a part is kept for networks
//! that began few; browsers in which a user signed in before have room of their own, which no stranger can take.

use axum::http::HeaderMap;

use super::{
    OAuthError,
    known::KnownBrowser,
    limits::{self, Limit},
    source::Source,
};
use crate::{app::App, server::Server, store::Quota};

/// Counts an authorization request, or a sign-in to the user's own page, before anything is done for it.
///
/// # Errors
/// When there were too many.
pub(super) fn begins(app: &App, source: &Source, headers: &HeaderMap) -> Result<(), OAuthError> {
    count(app, headers, &[(limits::AUTHORIZE, *source)])
}

/// Counts a page that looks something up.
///
/// # Errors
/// When there were too many.
pub(super) fn looks(app: &App, source: &Source, headers: &HeaderMap) -> Result<(), OAuthError> {
    count(app, headers, &[(limits::PAGES, *source)])
}

/// Counts an answer on the consent page or a return from the identity provider.
///
/// # Errors
/// When there were too many.
pub(super) fn answers(app: &App, source: &Source, headers: &HeaderMap) -> Result<(), OAuthError> {
    count(app, headers, &[(limits::ANSWERS, *source), (limits::ANSWERS_NETWORK, source.network())])
}

/// Counts in this process, so that what is refused costs the store nothing, not even a look at a cookie. Known browsers
/// count for their user, by the first limit; where that is used up they are where strangers are.
fn count(app: &App, headers: &HeaderMap, limits: &[(Limit, Source)]) -> Result<(), OAuthError> {
    let now = app.server.clock.monotonic();
    if let (Some(known), Some((limit, _))) = (KnownBrowser::of(&app.server, headers), limits.first())
        && app.limiter.count(*limit, &format!("user {}", known.user), now).is_ok()
    {
        return Ok(());
    }
    limits.iter().try_for_each(|(limit, of)| app.limiter.count(*limit, &of.to_string(), now))
}

/// Counts a sign-in that begins, for all replicas.
///
/// # Errors
/// When too many did, or the store is away.
pub(super) async fn admit(server: &Server, source: &Source, headers: &HeaderMap) -> Result<(), OAuthError> {
    if let Some(known) = KnownBrowser::of(server, headers) {
        // Counted for the user: signing in many times makes many known browsers, and no more room.
        let own = [quota(limits::FLOWS_USER, &known.user), quota(limits::FLOWS_KNOWN, &"all")];
        // Whoever finds it full is where strangers are.
        if server.store.admit(&own).await?.is_none() {
            return Ok(());
        }
    }
    let strangers = |of_network, of_all| {
        [
            quota(limits::AUTHORIZE, source),
            quota(limits::FLOWS_SOURCE, source),
            quota(of_network, &source.network()),
            quota(of_all, &"all"),
        ]
    };
    let shared = strangers(limits::FLOWS_NETWORK, limits::FLOWS_STRANGERS);
    let Some(retry_after) = server.store.admit(&shared).await? else { return Ok(()) };
    // What is full may be full of others.
    let reserved = strangers(limits::FLOWS_FEW, limits::FLOWS_RESERVE);
    match server.store.admit(&reserved).await? {
        None => Ok(()),
        Some(_) => Err(OAuthError::TooManyRequests { retry_after }),
    }
}

fn quota(limit: Limit, of: &dyn std::fmt::Display) -> Quota {
    Quota { key: format!("{}:{of}", limit.name), count: limit.count, window: limit.window }
}

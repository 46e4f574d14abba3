//! The refresh grant (RFC 6749 section 6): one rotation, and inside the grace the same successor for every caller.

use std::time::Duration;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{OAuthError, authorize::check_resource, client_auth::Proven, params::Params, token};
use crate::{
    audit::{Decision, Event},
    credentials::{Check, open_profile},
    keys::{OpenError, Sealed, open_for, seal_for},
    model::{AccessToken, Client, Grant, Profile, RefreshToken, TokenPair, UserRecord},
    server::{Identity, Server},
    store::{Rotated, Rotation},
};

/// The pair that replaced a refresh token, sealed under that token: only its holder can open it.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Successor {
    access: String,
    refresh: String,
}

/// Replaces a refresh token.
pub(super) async fn refresh(
    server: &Server,
    Proven { client, assertion }: &Proven,
    params: &Params,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    event.decide(Decision::RefreshRefused);
    let text = params
        .some("refresh_token")?
        .ok_or_else(|| OAuthError::InvalidRequest("refresh_token is missing".into()))?;
    // Before anything is replaced: a request that is refused must not cost the client its token.
    let asked = params.one("scope")?;
    let asked = server.scopes.narrowing(asked.unwrap_or_default()).ok_or(OAuthError::InvalidScope)?;
    let presented = RefreshToken::parse(&server.keys, text).map_err(|error| match error {
        OpenError::UnknownKey => OAuthError::KEY_NOT_READ,
        OpenError::Invalid => refused(),
    })?;
    let generation = presented.generation.checked_add(1).ok_or_else(refused)?;
    let next = token::mint(
        server,
        presented.grant,
        generation,
        (!asked.is_empty()).then(|| server.scopes.text(asked)),
    );
    let mut rotation = Rotation {
        presented: presented.hash(),
        grant: presented.grant,
        generation: presented.generation,
        client_id: client.id.clone(),
        identity: server.config.identity.id(),
        resource: check_resource(server, params)?.then(|| server.urls.resource.clone()),
        assertion: *assertion,
        next: token::new_tokens(server, &next),
        successor: seal(server, &presented, &next)?,
        grace: server.config.policy.lifetimes.refresh_grace,
        recheck_every: Some(recheck_every(server)),
    };
    let mut outcome = server.store.rotate_refresh(&rotation).await?;
    if let Rotated::CheckDue { user, .. } = &outcome {
        check(server, user, event).await?;
        rotation.recheck_every = None;
        outcome = server.store.rotate_refresh(&rotation).await?;
    }
    match outcome {
        Rotated::Rotated { grant, access_life } => {
            event.decide(Decision::RefreshRotated).grant(&grant);
            let scope = scope_of(server, client, &grant, next.access.expose()).await?;
            Ok(token::answer(&next, access_life, &scope))
        }
        Rotated::Successor { grant, sealed, access_life } => {
            event.grant(&grant);
            check_local(server, &grant, event).await?;
            let pair = open(&presented, &sealed).ok_or_else(refused)?;
            event.decide(Decision::RefreshSuccessor);
            let scope = scope_of(server, client, &grant, &pair.access).await?;
            let tokens = token::Tokens { access: &pair.access, refresh: Some(&pair.refresh) };
            Ok(token::answer_texts(tokens, access_life, &scope))
        }
        Rotated::Dead(user) => {
            event.decide(Decision::RefreshDead).user(&user.id).grant_id(&presented.grant);
            Err(OAuthError::InvalidGrant(server.credentials.expired_sentence().into()))
        }
        // A check is never due right after one.
        Rotated::CheckDue { .. } => Err(OAuthError::Unavailable { retry_after: RETRY }),
        Rotated::Reused => {
            event.decide(Decision::RefreshReused).grant_id(&presented.grant).because("grant_revoked");
            Err(refused())
        }
        Rotated::Refused => Err(refused()),
        Rotated::AssertionSpent => Err(OAuthError::ASSERTION_SPENT),
        Rotated::Forged => {
            let mut ended = Event::new(Decision::GrantRevoked);
            server.audit.write(ended.client(client).grant_id(&presented.grant).because("forged"));
            Err(refused())
        }
    }
}

const RETRY: Duration = Duration::from_secs(5);

fn refused() -> OAuthError {
    let why = "the refresh token is unknown, expired, replaced, or was issued to another client";
    OAuthError::InvalidGrant(why.into())
}

/// How old the last check of the user may be. A file of users is in memory: it is asked each time.
fn recheck_every(server: &Server) -> Duration {
    match &server.identity {
        Identity::Local(_) => Duration::ZERO,
        Identity::Provider(_) => server.config.access.recheck_every,
    }
}

/// A successor is given without a check, which was made a moment ago; the file of users may have changed since.
async fn check_local(server: &Server, grant: &Grant, event: &mut Event) -> Result<(), OAuthError> {
    let Identity::Local(_) = &server.identity else { return Ok(()) };
    let user = server.store.user(&grant.user).await?.ok_or_else(refused)?;
    check(server, &user, event).await
}

/// Asks the identity provider whether the user still is who they were.
async fn check(server: &Server, user: &UserRecord, event: &mut Event) -> Result<(), OAuthError> {
    event.user(&user.id);
    match server.credentials.recheck(user).await {
        Check::Live | Check::Tolerated => Ok(()),
        Check::Dead(sentence) => {
            event.decide(Decision::RefreshDead);
            Err(OAuthError::InvalidGrant(sentence.into()))
        }
        Check::Unavailable => Err(OAuthError::Unavailable { retry_after: RETRY }),
    }
}

/// What the new access token is good for: never more than was granted, and less where the client asked for less, or user
/// or client may not be granted all of it any more.
async fn scope_of(
    server: &Server,
    client: &Client,
    grant: &Grant,
    access: &str,
) -> Result<String, OAuthError> {
    let profile = if server.scopes.depend_on_the_user() {
        let user = server.store.user(&grant.user).await?.ok_or_else(refused)?;
        open_profile(&server.keys, &user.id, &user.profile).map_err(|_| OAuthError::KEY_NOT_READ)?
    } else {
        Profile::default()
    };
    let (scopes, narrowed) = (&server.scopes, AccessToken::narrowed(access));
    let held =
        scopes.of_token(&grant.scope, narrowed.as_deref(), &profile, scopes.of_client(client.scopes()));
    if held.is_empty() {
        let why = "this scope may not be granted any more, please sign in again";
        return Err(OAuthError::InvalidGrant(why.into()));
    }
    Ok(server.scopes.text(held))
}

fn seal(server: &Server, presented: &RefreshToken, next: &TokenPair) -> Result<Sealed, OAuthError> {
    let pair =
        Successor { access: next.access.expose().to_owned(), refresh: next.refresh.expose().to_owned() };
    let plain = serde_json::to_vec(&pair).map(zeroize::Zeroizing::new);
    let plain = plain.map_err(|_| OAuthError::ServerError("the tokens could not be sealed"))?;
    let place = presented.hash();
    Ok(seal_for(presented.expose().as_bytes(), server.entropy.as_ref(), place.as_bytes(), &plain))
}

fn open(presented: &RefreshToken, sealed: &Sealed) -> Option<Successor> {
    let place = presented.hash();
    let plain = open_for(presented.expose().as_bytes(), place.as_bytes(), sealed)?;
    serde_json::from_slice(&plain).ok()
}

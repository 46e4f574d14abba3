//! The refresh grant (RFC 6749 section 6): one rotation, and inside the grace the same successor for every caller.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    OAuthError,
    authorize::check_resource,
    client_auth::Proven,
    entitlement::{self, Refused},
    params::Params,
    token,
};
use crate::{
    audit::{Decision, Event},
    credentials::Check,
    keys::{OpenError, Sealed, open_for, seal_for},
    model::{AccessToken, Client, Grant, Hash32, RefreshToken, TokenPair, UserRecord},
    server::Server,
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
    let scope = (!asked.is_empty()).then(|| server.scopes.text(asked));
    let next = token::mint(server, presented.grant, generation, scope);
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
        recheck_every: Some(server.config.access.recheck_every),
        heard: String::new(),
        rules: Hash32::of(b""),
        judged: None,
    };
    let outcome = rotate(server, client, &mut rotation, &next, event).await?;
    answer((server, client), &presented, &next, outcome, event).await
}

/// Rotates in one trip, as a rule. Whoever must be checked or judged first is, and nothing is replaced before: who is
/// refused here goes on with the same token once they are not any more.
async fn rotate(
    server: &Server,
    client: &Client,
    rotation: &mut Rotation,
    next: &TokenPair,
    event: &mut Event,
) -> Result<Rotated, OAuthError> {
    let narrowed = AccessToken::narrowed(next.access.expose());
    let mut due: Option<(Box<Grant>, Box<UserRecord>)> = None;
    for _ in 0..TRIPS {
        let rules = server.rules(narrowed.as_deref());
        (rotation.heard, rotation.rules) = (rules.heard, rules.hash);
        if let Some((grant, user)) = due.take() {
            let held = entitlement::held(server, client, &grant, &user, narrowed.as_deref());
            if let Err(refused) = held {
                return Err(refuse(server, refused, &user, event).await);
            }
            rotation.judged = Some(user.profile);
        }
        let rotated = server.store.rotate_refresh(rotation).await;
        let ended = (&rotation.grant, Decision::RefreshReused);
        match rotated.map_err(|failed| token::unfinished((server, client), ended, failed, event))? {
            Rotated::CheckDue { grant, user } => {
                event.grant(&grant);
                if rotation.recheck_every.is_some_and(|every| user.checked_ago >= every) {
                    check(server, &user, event).await?;
                    // The provider may have told another profile: it comes with the next answer.
                    rotation.recheck_every = None;
                } else {
                    due = Some((grant, user));
                }
            }
            outcome => return Ok(outcome),
        }
    }
    Err(OAuthError::Unavailable { retry_after: token::RETRY })
}

/// What a rotation says to the client. From here on nothing is asked of the store: what was replaced is replaced, and a
/// client that reads of an outage would come again with a token that is gone.
async fn answer(
    (server, client): (&Server, &Client),
    presented: &RefreshToken,
    next: &TokenPair,
    outcome: Rotated,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    match outcome {
        Rotated::Rotated { grant, user, access_life } => {
            event.grant(&grant);
            let narrowed = AccessToken::narrowed(next.access.expose());
            let scope = match entitlement::held(server, client, &grant, &user, narrowed.as_deref()) {
                Ok(scope) => scope,
                // Admitted before, by another replica that could read this profile.
                Err(Refused::Unreadable(_)) => unread(server, client, narrowed.unwrap_or(grant.scope)),
                Err(refused) => return Err(refuse(server, refused, &user, event).await),
            };
            event.decide(Decision::RefreshRotated);
            Ok(token::answer(next, access_life, &scope))
        }
        Rotated::Successor { grant, user, sealed, access_life } => {
            event.grant(&grant);
            server.learn_heard();
            let pair = open(presented, &sealed).ok_or_else(refused)?;
            let narrowed = AccessToken::narrowed(&pair.access);
            let scope = match entitlement::held(server, client, &grant, &user, narrowed.as_deref()) {
                Ok(scope) => scope,
                Err(refused) => return Err(refuse(server, refused, &user, event).await),
            };
            // There is one successor for all who ask. Whoever asks for less than it may do must not get more.
            let asked = AccessToken::narrowed(next.access.expose());
            match entitlement::held(server, client, &grant, &user, asked.as_deref()) {
                Ok(asked) if covers(server, &asked, &scope) => {}
                Ok(_) => return Err(OAuthError::ScopeReplaced),
                Err(refused) => return Err(refuse(server, refused, &user, event).await),
            }
            event.decide(Decision::RefreshSuccessor);
            let tokens = token::Tokens { access: &pair.access, refresh: Some(&pair.refresh) };
            Ok(token::answer_texts(tokens, access_life, &scope))
        }
        Rotated::Dead(user) => {
            event.decide(Decision::RefreshDead).user(&user.id).grant_id(&presented.grant);
            Err(OAuthError::InvalidGrant(server.credentials.expired_sentence().into()))
        }
        Rotated::Reused => {
            token::tell_reuse(event.decide(Decision::RefreshReused), &presented.grant);
            Err(refused())
        }
        Rotated::Refused | Rotated::CheckDue { .. } => Err(refused()),
        Rotated::AssertionSpent => Err(OAuthError::ASSERTION_SPENT),
        Rotated::Forged => {
            token::tell_forged(server, client, &presented.grant);
            Err(refused())
        }
    }
}

/// Whether all of a scope is in another.
fn covers(server: &Server, wide: &str, scope: &str) -> bool {
    let set = |text: &str| server.scopes.narrowing(text).unwrap_or_default();
    set(wide).contains(set(scope))
}

/// What a scope is to this client, as far as can be told without its user.
fn unread(server: &Server, client: &Client, scope: String) -> String {
    let may = server.scopes.of_client(client.scopes());
    server.scopes.asked(Some(&scope), may).map_or(scope, |held| server.scopes.text(held))
}

/// More than a check and a judgement, and each once more for what changed meanwhile.
const TRIPS: usize = 5;

fn refused() -> OAuthError {
    let why = "the refresh token is unknown, expired, replaced, or was issued to another client";
    OAuthError::InvalidGrant(why.into())
}

/// The answer to who may not have the grant any more.
async fn refuse(server: &Server, refused: Refused, user: &UserRecord, event: &mut Event) -> OAuthError {
    if refused == Refused::Left {
        event.decide(Decision::RefreshDead);
        // Ends the sign-ins in the store, too. Where that fails, the sweep will.
        server.credentials.recheck(user).await;
    }
    refused.answer(server, user, event)
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
        Check::Unavailable => Err(OAuthError::Unavailable { retry_after: token::RETRY }),
    }
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

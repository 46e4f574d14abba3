//! `POST /oauth/token` (RFC 6749 section 3.2): authenticates the client, then one function per grant type.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use gatehouse_gateway_config::policy::ClientGrant;
use serde::Serialize;

use super::{
    OAuthError,
    authorize::check_resource,
    client_auth, client_credentials, limits,
    params::{self, Params},
    redeem, refresh,
    source::Source,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    credentials::standing::to_its_end,
    model::{AccessToken, Client, GrantId, RefreshToken, TokenPair},
    server::Server,
    store::{GrantEnd, NewTokens, Unfinished},
};

/// RFC 6749 section 5.1. `scope` always: its absence is read as "none" by some clients.
#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: &'a str,
}

/// Gives tokens for a code or a refresh token.
pub async fn post(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let mut event = Event::new(Decision::TokenRefused);
    event.source(source);
    let now = app.server.clock.monotonic();
    let params = match app.limiter.count(limits::TOKEN, &source.to_string(), now) {
        Ok(()) => params::form_only(query.as_deref(), &headers, body).await,
        Err(error) => Err(error),
    };
    let params = params.inspect_err(|error| app.server.audit.write(event.because(error.code())))?;
    let tasks = app.server.tasks.clone();
    // A client that hangs up does not keep what its request did out of the audit trail.
    let work = async move {
        let answer = grant(&app.server, &params, (&headers, &source), &mut event).await;
        if let Err(error) = &answer {
            event.because(error.code());
        }
        app.server.audit.write(&event);
        answer
    };
    to_its_end(&tasks, work).await
}

async fn grant(
    server: &Server,
    params: &Params,
    (headers, source): (&HeaderMap, &Source),
    event: &mut Event,
) -> Result<Response, OAuthError> {
    check_resource(server, params)?;
    params.check_repeated()?;
    let grant_type = params
        .one("grant_type")?
        .ok_or_else(|| OAuthError::InvalidRequest("grant_type is missing".into()))?
        .to_owned();
    if !matches!(grant_type.as_str(), "authorization_code" | "refresh_token" | "client_credentials") {
        return Err(OAuthError::UnsupportedGrantType);
    }
    let proven = client_auth::authenticate(server, (headers, source), params, "/oauth/token").await?;
    let client = &proven.client;
    event.client(client);
    if grant_type != "client_credentials" && !client.may_use(ClientGrant::AuthorizationCode) {
        return Err(OAuthError::UnauthorizedClient("the client may use client_credentials alone"));
    }
    match grant_type.as_str() {
        "authorization_code" => redeem::redeem(server, &proven, params, event).await,
        "refresh_token" => refresh::refresh(server, &proven, params, event).await,
        _ => client_credentials::issue(server, client, params, event).await,
    }
}

/// When to try again after a step that was never done with judging: rules and users do not change that often. Or for a file
/// that is on its way.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// Tells of a grant that ended because a record of it is not ours.
pub(super) fn tell_forged(server: &Server, client: &Client, grant: &GrantId) {
    let mut ended = Event::new(Decision::GrantRevoked);
    server.audit.write(ended.client(client).grant_id(grant).because("forged"));
}

/// What to answer where a step is not known to have happened. What it ended is told now: the client is asked to come
/// again, and nothing is found to end then.
pub(super) fn unfinished(
    (server, client): (&Server, &Client),
    (grant, reused): (&GrantId, Decision),
    Unfinished { done, error }: Unfinished<Option<GrantEnd>>,
    event: &mut Event,
) -> OAuthError {
    match done {
        Some(GrantEnd::Reuse) => tell_reuse(event.decide(reused), grant),
        Some(GrantEnd::Forged) => tell_forged(server, client, grant),
        None => {}
    }
    error.into()
}

/// The reason that is told of a grant that ended because a code or a token of it was presented once more.
pub(super) const GRANT_REVOKED: &str = "grant_revoked";

/// Tells of such a grant.
pub(super) fn tell_reuse(event: &mut Event, grant: &GrantId) {
    event.grant_id(grant).because(GRANT_REVOKED);
}

/// A new pair of tokens; the access token may be narrowed to a scope.
pub(super) fn mint(server: &Server, grant: GrantId, generation: u32, scope: Option<String>) -> TokenPair {
    let entropy = server.entropy.as_ref();
    TokenPair {
        access: match scope {
            Some(scope) => AccessToken::mint_narrowed(&server.keys, entropy, &scope),
            None => AccessToken::mint(&server.keys, entropy),
        },
        refresh: RefreshToken::mint(&server.keys, entropy, grant, generation),
    }
}

/// What the store writes of a pair.
pub(super) fn new_tokens(server: &Server, pair: &TokenPair) -> NewTokens {
    let lifetimes = &server.config.policy.lifetimes;
    NewTokens {
        access: pair.access.hash(),
        access_life: lifetimes.access_token,
        refresh: pair.refresh.hash(),
        refresh_life: lifetimes.refresh_token,
        sign_in_life: lifetimes.sign_in,
    }
}

/// The answer that carries a pair.
pub(super) fn answer(pair: &TokenPair, access_life: Duration, scope: &str) -> Response {
    let tokens = Tokens { access: pair.access.expose(), refresh: Some(pair.refresh.expose()) };
    answer_texts(tokens, access_life, scope)
}

/// The texts of an answer's tokens.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub(super) access: &'a str,
    pub(super) refresh: Option<&'a str>,
}

/// As [`answer`], for a pair that was sealed for its holder, or an access token alone.
pub(super) fn answer_texts(tokens: Tokens<'_>, access_life: Duration, scope: &str) -> Response {
    let body = Json(Answer {
        access_token: tokens.access,
        token_type: "Bearer",
        expires_in: access_life.as_secs(),
        refresh_token: tokens.refresh,
        scope,
    });
    let fixed = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ];
    (fixed, body).into_response()
}

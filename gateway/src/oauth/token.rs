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
    client_auth::{self, Proven},
    client_credentials, limits,
    params::{self, Params},
    refresh,
    source::Source,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    keys::OpenError,
    model::{AccessToken, AuthorizationCode, GrantId, RefreshToken, TokenPair, pkce},
    server::Server,
    store::{CodeProof, NewTokens, Redemption},
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
    let answer = match app.limiter.count(limits::TOKEN, &source.to_string(), now) {
        Ok(()) => grant(&app.server, query.as_deref(), (&headers, &source), body, &mut event).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &answer {
        event.because(error.code());
    }
    app.server.audit.write(&event);
    answer
}

async fn grant(
    server: &Server,
    query: Option<&str>,
    (headers, source): (&HeaderMap, &Source),
    body: Body,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    let params = params::form_only(query, headers, body).await?;
    check_resource(server, &params)?;
    params.check_repeated()?;
    let grant_type = params
        .one("grant_type")?
        .ok_or_else(|| OAuthError::InvalidRequest("grant_type is missing".into()))?
        .to_owned();
    if !matches!(grant_type.as_str(), "authorization_code" | "refresh_token" | "client_credentials") {
        return Err(OAuthError::UnsupportedGrantType);
    }
    let proven = client_auth::authenticate(server, (headers, source), &params, "/oauth/token").await?;
    let client = &proven.client;
    event.client(client);
    if grant_type != "client_credentials" && !client.may_use(ClientGrant::AuthorizationCode) {
        return Err(OAuthError::UnauthorizedClient("the client may use client_credentials alone"));
    }
    match grant_type.as_str() {
        "authorization_code" => redeem(server, &proven, &params, event).await,
        "refresh_token" => refresh::refresh(server, &proven, &params, event).await,
        _ => client_credentials::issue(server, client, &params, event).await,
    }
}

async fn redeem(
    server: &Server,
    Proven { client, assertion }: &Proven,
    params: &Params,
    event: &mut Event,
) -> Result<Response, OAuthError> {
    const REFUSED: OAuthError = OAuthError::InvalidGrant(std::borrow::Cow::Borrowed(
        "the code is unknown, expired, used, or was issued for another client, redirect_uri or code_verifier",
    ));
    event.decide(Decision::CodeRefused);
    let presented =
        params.some("code")?.ok_or_else(|| OAuthError::InvalidRequest("code is missing".into()))?;
    let challenge = params.some("code_verifier")?.and_then(pkce::challenge_of).ok_or(REFUSED)?;
    let code = AuthorizationCode::parse(&server.keys, presented).map_err(|error| match error {
        OpenError::UnknownKey => OAuthError::KEY_NOT_READ,
        OpenError::Invalid => REFUSED,
    })?;
    let proof = CodeProof {
        code: code.hash(),
        grant: code.grant,
        client_id: client.id.clone(),
        redirect_uri: params.some("redirect_uri")?.map(str::to_owned),
        challenge,
        resource: check_resource(server, params)?.then(|| server.urls.resource.clone()),
        assertion: *assertion,
    };
    let pair = mint(server, code.grant, 1, None);
    match server.store.redeem_code(&proof, &new_tokens(server, &pair)).await? {
        Redemption::Redeemed { grant, access_life } => {
            event.decide(Decision::CodeRedeemed).grant(&grant);
            Ok(answer(&pair, access_life, &grant.scope))
        }
        Redemption::Refused => Err(REFUSED),
        Redemption::AssertionSpent => Err(OAuthError::ASSERTION_SPENT),
        Redemption::Forged => {
            let mut ended = Event::new(Decision::GrantRevoked);
            server.audit.write(ended.client(client).grant_id(&code.grant).because("forged"));
            Err(REFUSED)
        }
        Redemption::Replayed { revoked } => {
            let reason = if revoked { "grant_revoked" } else { "parallel" };
            event.decide(Decision::CodeReplayed).grant_id(&code.grant).because(reason);
            Err(REFUSED)
        }
    }
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

//! `POST /oauth/revoke` (RFC 7009): a client gives back what it got. Either token ends the whole grant.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    OAuthError,
    client_auth::{self, Proven},
    limits, params,
    source::Source,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    keys::OpenError,
    model::{AccessToken, GrantId, RefreshToken},
    server::Server,
    store::Revocation,
};

/// Ends the grant of a token. A token that is unknown, or was ended before, is as good as revoked (section 2.2).
pub async fn post(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let mut event = Event::new(Decision::RevocationRefused);
    event.source(source);
    app.limiter.count(limits::TOKEN, &source.to_string(), app.server.clock.monotonic())?;
    match revoke(&app.server, query.as_deref(), (&headers, &source), body, &mut event).await {
        Ok(Ended::Now) => app.server.audit.write(&event),
        Ok(Ended::Before) => {}
        Err(error) => {
            app.server.audit.write(event.because(error.code()));
            return Err(error);
        }
    }
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response())
}

/// Whether there was anything to end.
enum Ended {
    Now,
    Before,
}

async fn revoke(
    server: &Server,
    query: Option<&str>,
    (headers, source): (&HeaderMap, &Source),
    body: Body,
    event: &mut Event,
) -> Result<Ended, OAuthError> {
    let params = params::form_only(query, headers, body).await?;
    params.check_repeated()?;
    let proven = client_auth::authenticate(server, (headers, source), &params, "/oauth/revoke").await?;
    event.client(&proven.client);
    let token = params.some("token")?.ok_or_else(|| OAuthError::InvalidRequest("token is missing".into()))?;
    let Some(grant) = grant_of(server, token).await? else { return Ok(Ended::Before) };
    end(server, &proven, &grant, event).await
}

/// The grant that a token of either kind belongs to. `token_type_hint` is not needed: the kinds differ in form.
async fn grant_of(server: &Server, token: &str) -> Result<Option<GrantId>, OAuthError> {
    match RefreshToken::parse(&server.keys, token) {
        // One that was replaced names the same grant.
        Ok(refresh) => Ok(Some(refresh.grant)),
        Err(OpenError::UnknownKey) => Err(OAuthError::KEY_NOT_READ),
        Err(OpenError::Invalid) => match AccessToken::check(&server.keys, token) {
            Ok(()) => {
                let record = server.store.call(&AccessToken::hash_presented(token)).await?;
                Ok(record.map(|record| record.grant.id))
            }
            Err(OpenError::UnknownKey) => Err(OAuthError::KEY_NOT_READ),
            Err(OpenError::Invalid) => Ok(None),
        },
    }
}

async fn end(
    server: &Server,
    Proven { client, assertion }: &Proven,
    grant: &GrantId,
    event: &mut Event,
) -> Result<Ended, OAuthError> {
    match server.store.revoke_for_client(grant, &client.id, assertion.as_ref()).await? {
        Revocation::Revoked(grant) => {
            event.decide(Decision::GrantRevoked).grant(&grant).because("by_client");
            Ok(Ended::Now)
        }
        Revocation::Unknown => Ok(Ended::Before),
        Revocation::AssertionSpent => Err(OAuthError::ASSERTION_SPENT),
        // Section 2.1 asks for an error; nothing was changed.
        Revocation::OtherClient => {
            Err(OAuthError::InvalidGrant("the token was issued to another client".into()))
        }
    }
}

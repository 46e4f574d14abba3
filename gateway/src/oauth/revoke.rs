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
    limits,
    params::{self, Params},
    source::Source,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    credentials::standing::to_its_end,
    keys::OpenError,
    model::{AccessToken, Grant, GrantId, RefreshToken},
    server::Server,
    store::{Revocation, Unfinished},
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
    let admitted = app.limiter.count(limits::TOKEN, &source.to_string(), app.server.clock.monotonic());
    admitted.inspect_err(|error| app.server.audit.write(event.because(error.code())))?;
    let params = params::form_only(query.as_deref(), &headers, body).await;
    let params = params.inspect_err(|error| app.server.audit.write(event.because(error.code())))?;
    let tasks = app.server.tasks.clone();
    // As for tokens: whoever hangs up keeps nothing out of the audit trail.
    let work = async move {
        match revoke(&app.server, &params, (&headers, &source), &mut event).await {
            Ok(Ended::Now) => app.server.audit.write(&event),
            Ok(Ended::Before) => {}
            Err(error) => {
                app.server.audit.write(event.because(error.code()));
                return Err(error);
            }
        }
        Ok(())
    };
    to_its_end(&tasks, work).await?;
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response())
}

/// Whether there was anything to end.
enum Ended {
    Now,
    Before,
}

async fn revoke(
    server: &Server,
    params: &Params,
    (headers, source): (&HeaderMap, &Source),
    event: &mut Event,
) -> Result<Ended, OAuthError> {
    params.check_repeated()?;
    let proven = client_auth::authenticate(server, (headers, source), params, "/oauth/revoke").await?;
    event.client(&proven.client);
    let token = params.some("token")?.ok_or_else(|| OAuthError::InvalidRequest("token is missing".into()))?;
    let Some(grant) = grant_of(server, token).await? else {
        if AccessToken::check(&server.keys, token).is_ok() {
            // As after a revocation that was not acknowledged and is repeated.
            server.store.settled().await?;
        }
        return Ok(Ended::Before);
    };
    end(server, &proven, (&grant, *source), event).await
}

/// The grant that a token of either kind belongs to. `token_type_hint` is not needed: the kinds differ in form.
pub(super) async fn grant_of(server: &Server, token: &str) -> Result<Option<GrantId>, OAuthError> {
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
    (grant, source): (&GrantId, Source),
    event: &mut Event,
) -> Result<Ended, OAuthError> {
    match server.store.revoke_for_client(grant, &client.id, assertion.as_ref()).await {
        Ok(Revocation::Revoked(grant)) => {
            tell_ended(event.decide(Decision::GrantRevoked), &grant);
            Ok(Ended::Now)
        }
        Ok(Revocation::Unknown) => Ok(Ended::Before),
        Ok(Revocation::AssertionSpent) => Err(OAuthError::ASSERTION_SPENT),
        // Section 2.1 asks for an error; nothing was changed.
        Ok(Revocation::OtherClient) => {
            Err(OAuthError::InvalidGrant("the token was issued to another client".into()))
        }
        Err(Unfinished { done, error }) => {
            if let Some(grant) = done {
                // The client is asked to come again, and nothing is found to end then.
                let mut ended = Event::new(Decision::GrantRevoked);
                server.audit.write(tell_ended(ended.source(source), &grant));
            }
            Err(error.into())
        }
    }
}

fn tell_ended<'a>(event: &'a mut Event, grant: &Grant) -> &'a mut Event {
    event.grant(grant).because("by_client")
}

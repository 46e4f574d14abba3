//! `GET /account/signin`: signs a user in to their own page, by the same ways as to a client, without a client.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};

use super::link;
use crate::{
    app::App,
    audit::{Decision, Event},
    identity::{Provider, UpstreamRequest},
    keys::Sealed,
    model::{Flow, FlowId, FlowRequest, FlowState, Hash32, Prompt},
    oauth::{
        Failure, admission,
        approve::provider_failed,
        authorize::read_query,
        consent,
        cookies::{CookieSecret, FLOW_LIFE, Jar, SESSION_LIFE},
        guard, redirect, session,
        source::Source,
        upstream::Attempt,
    },
    server::{Identity, Server},
    store::{Approval, UserUpdate},
};

/// Begins a sign-in, bound to this browser by the cookie of a flow as each sign-in is.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let server = &app.server;
    let mut event = Event::new(Decision::SignInFailed);
    event.source(source);
    let answer = async {
        guard::navigation(&headers)?;
        admission::begins(&app, &source, &headers)?;
        let other = read_query(query.as_deref())?.one("account")? == Some("other");
        let cookie = CookieSecret::mint(server.entropy.as_ref());
        let id = FlowId::new(server.clock.as_ref(), server.entropy.as_ref());
        let nonce = Hash32::of(cookie.nonce(&id).as_bytes());
        let request = FlowRequest::account(id, &server.urls.resource, cookie.hash(), nonce);
        admission::admit(server, &source, &headers).await?;
        server.store.create_flow(&request, FLOW_LIFE).await?;
        let mut response = match &server.identity {
            Identity::Local(_) => redirect::see_other(&consent::sign_in_link(server, &id)),
            Identity::Provider(provider) => {
                to_provider(server, provider.as_ref(), request, &cookie, other, &mut event).await?
            }
        };
        redirect::set_cookies(&mut response, Jar::new(&server.urls, &headers).set_flow(&id, &cookie));
        Ok(response)
    };
    let answer: Result<_, Failure> = answer.await;
    answer.unwrap_or_else(|failure| failure.answer(server, &mut event))
}

/// There is nothing to consent to: the user asked for their own page.
async fn to_provider(
    server: &Server,
    provider: &dyn Provider,
    request: FlowRequest,
    cookie: &CookieSecret,
    other: bool,
    event: &mut Event,
) -> Result<Response, Failure> {
    let approved = server.store.approve_flow(&request.id, &request.nonce, &cookie.hash(), FLOW_LIFE).await?;
    let Approval::Approved { attempt, .. } = approved else { return Err(Failure::Expired) };
    let attempt =
        Attempt::derive(&server.keys, request.id, attempt).ok_or(Failure::Unavailable(FLOW_LIFE / 60))?;
    let upstream = UpstreamRequest {
        state: &attempt.state,
        challenge: &attempt.challenge(),
        nonce: &attempt.nonce,
        prompt: other.then_some(Prompt::SelectAccount),
    };
    match provider.authorization_url(upstream).await {
        Ok(url) => Ok(redirect::see_other(url.as_str())),
        Err(error) => {
            let flow = Flow { request, state: FlowState::BEGUN };
            Err(provider_failed(server, &flow, cookie, attempt.number, &error, event))
        }
    }
}

/// Ends a sign-in at the identity provider: the browser gets a session, and the flow is over.
pub(in crate::oauth) async fn finish(
    (server, headers): (&Server, &HeaderMap),
    flow: (&FlowId, u32),
    user: &UserUpdate,
    credential: Option<&Sealed>,
    event: &mut Event,
) -> Result<Response, Failure> {
    let (secret, record) = session::new(server, headers, &user.id);
    let pair = (&secret.hash(), &record, SESSION_LIFE);
    if !server.store.sign_in_at_provider(flow, user, credential, pair).await? {
        return Err(Failure::Expired);
    }
    server.audit.write(event.decide(Decision::SignedIn));
    let mut response = redirect::see_other(&link(server));
    session::give(server, headers, (&secret, &user.id), &mut response).await;
    Ok(response)
}

//! `GET /oauth/callback`: the browser returns from the identity provider.
//!
//! In this order, each with its own answer: our `state`, this browser's cookie, an approved flow at this attempt, the
//! provider's word. The claim comes before the provider's code is sent, so the code is never sent twice; what can be seen
//! to be late is told without one.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};

use super::{
    Failure, OAuthError, account, admission,
    approve::{provider_failed, try_again},
    authorize::read_query,
    consent::again_link,
    cookies::{CookieSecret, Jar},
    failure::NotAllowed,
    finish, guard,
    params::Params,
    source::Source,
    upstream::Attempt,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    credentials::{seal_profile, seal_sign_in},
    identity::{IdentityError, Provider, SignedIn, UpstreamAnswer},
    model::{Flow, FlowKind, flow_state::Claim},
    server::{Identity, Server},
    store::{CallbackClaim, UserUpdate},
};

/// How long the provider may take, over all that it is asked for a sign-in.
const EXCHANGE: Duration = Duration::from_secs(15);

/// Ends a sign-in at the provider.
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
        let Identity::Provider(provider) = &server.identity else { return Err(Failure::BadLink) };
        guard::page(&headers)?;
        admission::answers(&app, &source, &headers)?;
        let params = read_query(query.as_deref())?;
        params.check_repeated()?;
        let state = params.some("state")?.ok_or(Failure::BadLink)?;
        let attempt = Attempt::open(&server.keys, state).ok_or(Failure::BadLink)?;
        let cookie = Jar::new(&server.urls, &headers).flow(&attempt.flow).ok_or(Failure::OtherBrowser)?;
        receive((&app, &source, &headers), provider.as_ref(), &params, (&attempt, &cookie), &mut event).await
    };
    let answer: Result<_, Failure> = answer.await;
    answer.unwrap_or_else(|failure| failure.answer(server, &mut event))
}

async fn receive(
    (app, source, headers): (&App, &Source, &HeaderMap),
    provider: &dyn Provider,
    params: &Params,
    (attempt, cookie): (&Attempt, &CookieSecret),
    event: &mut Event,
) -> Result<Response, Failure> {
    let server = &*app.server;
    let code = params.some("code")?.filter(|_| params.all("error").next().is_none());
    let (claim, _turn) = match standing(server, attempt, cookie).await? {
        CallbackClaim::Claimed(_) => {
            // Before the claim: whoever finds no turn comes again with the same code.
            let turn = match code {
                Some(_) => Some(app.exchanges.turn(server, source, headers).await?),
                None => None,
            };
            let claim = server.store.claim_callback(&attempt.flow, &cookie.hash(), attempt.number).await?;
            (claim, turn)
        }
        late => (late, None),
    };
    let flow = match claim {
        CallbackClaim::Claimed(flow) => flow,
        CallbackClaim::Spent(flow) => return Err(spent(server, &flow, cookie, attempt.number, event)),
        CallbackClaim::Over(flow) => return finish::over(server, &flow, cookie).await,
        CallbackClaim::Unknown => return Err(Failure::Expired),
    };
    event.request(&flow.request);
    let Some(code) = code else {
        return Err(refused(server, &flow, cookie, (attempt.number, params.some("error")?), event));
    };
    let answer =
        UpstreamAnswer { code, iss: params.some("iss")?, verifier: &attempt.verifier, nonce: &attempt.nonce };
    // Less than the request has: the answer is spent, and whoever waits must read so.
    let exchanged = tokio::time::timeout(EXCHANGE, provider.exchange(answer)).await;
    let exchanged =
        exchanged.unwrap_or_else(|_| Err(IdentityError::Unavailable("it took too long".to_owned())));
    match exchanged {
        Ok(signed_in) => complete((server, headers), (&flow, attempt.number), cookie, signed_in, event).await,
        Err(error) => Err(provider_failed(server, &flow, cookie, attempt.number, &error, event)),
    }
}

async fn complete(
    (server, headers): (&Server, &HeaderMap),
    (flow, attempt): (&Flow, u32),
    cookie: &CookieSecret,
    signed_in: SignedIn,
    event: &mut Event,
) -> Result<Response, Failure> {
    let SignedIn { profile, tokens } = signed_in;
    let identity = server.config.identity.id();
    let id = server.keys.user_id(&identity, &profile);
    event.user(&id);
    // Taken first: what is heard meanwhile is not among them.
    let rules = server.rules(None).hash;
    let allowed = server.allows_now(&profile).await?;
    let scope = finish::scope_for(server, &flow.request, &profile);
    let Some(scope) = scope.filter(|_| allowed) else {
        server.audit.write(event.decide(Decision::AccessDenied));
        return Err(Failure::NotAllowed(Box::new(NotAllowed {
            who: finish::who(&profile),
            subject: profile.subject.clone(),
            withheld: finish::withheld(server, &profile),
            other_account: again_link(server, &flow.request, cookie, attempt, &[("account", "other")]),
            give_up: finish::give_up(server, &flow.request, &finish::NOT_ALLOWED),
        })));
    };
    let credential = match tokens {
        Some(tokens) => Some(seal_sign_in(server, &id, tokens).await?),
        None => None,
    };
    let profile = seal_profile(&server.keys, server.entropy.as_ref(), &id, &profile);
    let user = UserUpdate { id, identity, profile };
    if flow.request.kind == FlowKind::Account {
        let flow = (&flow.request.id, attempt);
        return account::signin::finish((server, headers), flow, &user, credential.as_ref(), event).await;
    }
    server.audit.write(event.decide(Decision::SignedIn));
    event.decide(Decision::CodeRefused);
    let user = (user, scope, rules);
    finish::finish(server, (flow, attempt), cookie, user, credential, Some(headers), event).await
}

/// What a claim would meet now.
async fn standing(
    server: &Server,
    attempt: &Attempt,
    cookie: &CookieSecret,
) -> Result<CallbackClaim, Failure> {
    let flow = server.store.flow(&attempt.flow).await?.ok_or(Failure::Expired)?;
    if flow.request.cookie != cookie.hash() {
        return Err(Failure::OtherBrowser);
    }
    let claim = flow.state.claim(attempt.number);
    let flow = Box::new(flow);
    Ok(match claim {
        Claim::First(_) => CallbackClaim::Claimed(flow),
        Claim::Spent => CallbackClaim::Spent(flow),
        Claim::Over => CallbackClaim::Over(flow),
        Claim::Early => CallbackClaim::Unknown,
    })
}

fn spent(server: &Server, flow: &Flow, cookie: &CookieSecret, presented: u32, event: &mut Event) -> Failure {
    let current = match flow.state {
        crate::model::FlowState::Approved { attempt, .. } => attempt,
        _ => presented,
    };
    let why = "This page was used before, or you began a newer sign-in.".to_owned();
    server.audit.write(event.decide(Decision::SignInFailed).request(&flow.request).because("answer_used"));
    let told = OAuthError::ServerError("the sign-in was not finished");
    try_again(server, flow, cookie, current, (why, false), &told)
}

/// The provider said no, or so the link says: anybody can write that, so it is neither repeated nor an outage.
fn refused(
    server: &Server,
    flow: &Flow,
    cookie: &CookieSecret,
    (attempt, error): (u32, Option<&str>),
    event: &mut Event,
) -> Failure {
    let name = server.config.identity.display_name();
    let (reason, why, told) = match error {
        Some("access_denied") => (
            "cancelled",
            format!("{name} reports that the sign-in was cancelled."),
            OAuthError::AccessDenied("the sign-in was cancelled at the identity provider"),
        ),
        Some(
            "login_required" | "interaction_required" | "consent_required" | "account_selection_required",
        ) => (
            "interaction_required",
            format!("{name} wants you to sign in there first."),
            OAuthError::AccessDenied("the sign-in was not finished at the identity provider"),
        ),
        _ => (
            "provider_error",
            format!("{name} could not sign you in."),
            OAuthError::ServerError("the identity provider failed"),
        ),
    };
    server.audit.write(event.decide(Decision::SignInFailed).because(reason));
    try_again(server, flow, cookie, attempt, (why, false), &told)
}

//! `GET /oauth/authorize/approve`: the user's answer on the consent page.
//!
//! A GET link, because some clients' callback servers and Chromium's `form-action` break form posts. It needs the
//! flow's nonce, which only our page shows, and the flow's cookie. Repeating it gives the same redirect.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};

use super::{
    Failure, OAuthError, admission,
    authorize::{client_flow, read_query},
    consent::{again_link, sign_in_link},
    cookies::{CookieSecret, FLOW_LIFE, Jar},
    failure::{Over, TryAgain},
    finish, guard,
    params::Params,
    redirect,
    session::{self, CurrentUser, Standing},
    signin,
    source::Source,
    upstream::Attempt,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    credentials::seal_profile,
    identity::{IdentityError, Provider, UpstreamRequest},
    model::{Flow, FlowState, Hash32, Prompt},
    server::{Identity, Server},
    store::{Approval, CodeStanding, TakenBack, UserUpdate},
};

/// Takes the decision.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let server = &app.server;
    let mut event = Event::new(Decision::ConsentRefused);
    event.source(source);
    let answer = async {
        guard::navigation(&headers)?;
        admission::answers(&app, &source, &headers)?;
        let params = read_query(query.as_deref())?;
        let nonce = Hash32::of(params.some("nonce")?.ok_or(Failure::BadLink)?.as_bytes());
        let (flow, cookie) =
            client_flow(server, params.one("flow")?.ok_or(Failure::BadLink)?, &headers).await?;
        event.request(&flow.request);
        if nonce != flow.request.nonce {
            return Err(Failure::BadLink);
        }
        match params.one("decision")? {
            None | Some("approve") => approve(server, &headers, &params, (flow, &cookie), &mut event).await,
            Some("deny") => deny(server, &flow, &cookie, &mut event).await,
            Some(_) => Err(Failure::BadLink),
        }
    };
    let answer: Result<_, Failure> = answer.await;
    answer.unwrap_or_else(|failure| failure.answer(server, &mut event))
}

async fn deny(
    server: &Server,
    flow: &Flow,
    cookie: &CookieSecret,
    event: &mut Event,
) -> Result<Response, Failure> {
    let request = &flow.request;
    let denied = match &flow.state {
        // There is nothing to take back, for which replicas would have to be waited for.
        FlowState::Denied => None,
        FlowState::Done { code, .. } if server.store.code_standing(code).await? != CodeStanding::Waits => {
            None
        }
        _ => server.store.deny_flow(&request.id, &request.nonce, &cookie.hash()).await?,
    };
    let Some(taken_back) = denied else {
        let flow = server.store.flow(&request.id).await?.ok_or(Failure::Expired)?;
        // Never the redirect with the code: a cancelled sign-in connects nothing.
        return Err(match finish::over(server, &flow, cookie).await {
            Ok(_) => Failure::Over(Over::Lapsed),
            Err(Failure::Over(Over::Finished)) => Failure::Over(Over::TooLate),
            Err(other) => other,
        });
    };
    match taken_back {
        TakenBack::Nothing => {}
        TakenBack::Approval => {
            event.because("after_approval");
        }
        TakenBack::Code(grant) => {
            event.because("code_withdrawn").grant_id(&grant);
        }
    }
    server.audit.write(event.decide(Decision::ConsentDenied));
    let error = OAuthError::AccessDenied("the user declined");
    let to = redirect::with_error(server, &request.redirect_uri, request.state.as_deref(), &error);
    Ok(redirect::see_other(&to))
}

async fn approve(
    server: &Server,
    headers: &HeaderMap,
    params: &Params,
    (flow, cookie): (Flow, &CookieSecret),
    event: &mut Event,
) -> Result<Response, Failure> {
    match &server.identity {
        Identity::Local(_) => approve_local(server, headers, (flow, cookie), event).await,
        Identity::Provider(provider) => {
            let response =
                approve_at_provider(server, provider.as_ref(), params, (&flow, cookie), event).await;
            let mut response = response?;
            // The browser's cookie lives as long as the flow that was renewed.
            redirect::set_cookies(
                &mut response,
                Jar::new(&server.urls, headers).set_flow(&flow.request.id, cookie),
            );
            Ok(response)
        }
    }
}

/// The user is known: the approval ends the sign-in.
async fn approve_local(
    server: &Server,
    headers: &HeaderMap,
    (flow, cookie): (Flow, &CookieSecret),
    event: &mut Event,
) -> Result<Response, Failure> {
    let pinned = match &flow.state {
        FlowState::Pending { pinned } | FlowState::Approved { pinned, .. } => *pinned,
        FlowState::Done { .. } | FlowState::Denied => return finish::over(server, &flow, cookie).await,
    };
    let user = match session::current(server, headers).await? {
        Standing::User(user) if pinned == Some((user.id, user.session)) => user,
        _ if matches!(flow.state, FlowState::Approved { .. }) => return Err(Failure::Expired),
        _ => return Ok(redirect::see_other(&sign_in_link(server, &flow.request.id))),
    };
    // Taken first: what is heard meanwhile is not among them.
    let rules = server.rules(None).hash;
    if !server.allows_now(&user.profile).await? {
        server.audit.write(event.decide(Decision::AccessDenied).user(&user.id));
        return Ok(redirect::see_other(&sign_in_link(server, &flow.request.id)));
    }
    let request = &flow.request;
    let Some(scope) = finish::scope_for(server, request, &user.profile) else {
        return Err(signin::not_allowed(server, request, &user.profile, event));
    };
    match approved(server, &flow, cookie).await? {
        Approval::Approved { flow: approved, attempt } => {
            tell_approval(server, &flow, event.user(&user.id));
            event.decide(Decision::CodeRefused);
            let user = (local_update(server, &user), scope, rules);
            finish::finish(server, (&approved, attempt), cookie, user, None, None, event).await
        }
        Approval::Over(flow) => finish::over(server, &flow, cookie).await,
        Approval::Unknown => Err(Failure::Expired),
    }
}

/// Approves a flow. One that is approved or over stays as it is, and whoever follows the link again and again makes no
/// replica wait.
async fn approved(server: &Server, flow: &Flow, cookie: &CookieSecret) -> Result<Approval, Failure> {
    let request = &flow.request;
    Ok(match flow.state {
        FlowState::Pending { .. } => {
            server.store.approve_flow(&request.id, &request.nonce, &cookie.hash(), FLOW_LIFE).await?
        }
        FlowState::Approved { attempt, .. } => Approval::Approved { flow: Box::new(flow.clone()), attempt },
        FlowState::Done { .. } | FlowState::Denied => Approval::Over(Box::new(flow.clone())),
    })
}

fn local_update(server: &Server, user: &CurrentUser) -> UserUpdate {
    UserUpdate {
        id: user.id,
        identity: server.config.identity.id(),
        profile: seal_profile(&server.keys, server.entropy.as_ref(), &user.id, &user.profile),
    }
}

/// Tells of an approval; not again when its link is followed again.
fn tell_approval(server: &Server, before: &Flow, event: &mut Event) {
    if matches!(before.state, FlowState::Pending { .. }) {
        server.audit.write(event.decide(Decision::ConsentApproved));
    }
}

/// Sends the browser to the identity provider.
async fn approve_at_provider(
    server: &Server,
    provider: &dyn Provider,
    params: &Params,
    (flow, cookie): (&Flow, &CookieSecret),
    event: &mut Event,
) -> Result<Response, Failure> {
    let request = &flow.request;
    let mut attempt = match approved(server, flow, cookie).await? {
        Approval::Approved { attempt, .. } => attempt,
        Approval::Over(flow) => return finish::over(server, &flow, cookie).await,
        Approval::Unknown => return Err(Failure::Expired),
    };
    tell_approval(server, flow, event);
    event.decide(Decision::SignInFailed);
    // The link names the attempt that it starts, so that following it twice starts one.
    let again = params.some("attempt")?.and_then(|text| text.parse::<u32>().ok());
    if again.and_then(|again| again.checked_sub(1)) == Some(attempt) {
        // One that cannot leave is no attempt: there are few.
        if let Err(error) = provider.ready().await {
            return Err(provider_failed(server, flow, cookie, attempt, &error, event));
        }
        let next = server.store.next_attempt(&request.id, &cookie.hash(), attempt, FLOW_LIFE).await?;
        attempt = next.ok_or(Failure::Expired)?;
    }
    let attempt =
        Attempt::derive(&server.keys, request.id, attempt).ok_or(Failure::Unavailable(FLOW_LIFE / 60))?;
    let another = params.some("account")? == Some("other");
    let upstream = UpstreamRequest {
        state: &attempt.state,
        challenge: &attempt.challenge(),
        nonce: &attempt.nonce,
        prompt: request.prompt.or((another || attempt.number > 1).then_some(Prompt::SelectAccount)),
    };
    match provider.authorization_url(upstream).await {
        Ok(url) => Ok(redirect::see_other(url.as_str())),
        Err(error) => Err(provider_failed(server, flow, cookie, attempt.number, &error, event)),
    }
}

/// What the user reads when the provider did not do its part.
pub(super) fn provider_failed(
    server: &Server,
    flow: &Flow,
    cookie: &CookieSecret,
    attempt: u32,
    error: &IdentityError,
    event: &mut Event,
) -> Failure {
    tracing::warn!(%error, attempt, "a sign-in at the identity provider failed");
    let name = server.config.identity.display_name();
    let (reason, why, outage) = match error {
        IdentityError::Refused(_) => {
            ("provider_refused", format!("{name} did not accept the sign-in."), false)
        }
        IdentityError::Invalid(_) => (
            "provider_untrusted",
            format!(
                "What {name} sent back could not be verified. Tell the administrator if it happens again."
            ),
            true,
        ),
        IdentityError::Foreign(_) => {
            ("foreign_answer", format!("What {name} sent back belongs to another sign-in."), false)
        }
        IdentityError::Unavailable(_) => (
            "provider_unavailable",
            format!("{name} cannot be reached at this moment. Try again in a minute."),
            true,
        ),
        IdentityError::Misconfigured(_) | IdentityError::NoUserInfo => (
            "misconfigured",
            format!("Sign-in with {name} is not set up correctly. Tell the administrator."),
            true,
        ),
    };
    server.audit.write(event.decide(Decision::SignInFailed).request(&flow.request).because(reason));
    let told = OAuthError::ServerError("the identity provider failed");
    try_again(server, flow, cookie, attempt, (why, outage), &told)
}

/// A page that offers the next attempt, if there is one.
pub(super) fn try_again(
    server: &Server,
    flow: &Flow,
    cookie: &CookieSecret,
    attempt: u32,
    (why, outage): (String, bool),
    told: &OAuthError,
) -> Failure {
    Failure::TryAgain(Box::new(TryAgain {
        why,
        outage,
        again: again_link(server, &flow.request, cookie, attempt, &[]),
        give_up: finish::give_up(server, &flow.request, told),
    }))
}

//! `GET` and `POST /oauth/signin`: the sign-in of `identity.local`, before consent and to the user's own page.
//!
//! The form is bound to its flow by a token that only this browser can have; its redirect stays on this origin,
//! because browsers apply `form-action` to whole redirect chains.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use zeroize::Zeroizing;

use super::{
    Failure, account, admission,
    authorize::{own_flow, read_query},
    consent::{approve_link, consent_link, sign_in_link},
    cookies::{CookieSecret, SESSION_LIFE},
    failure::NotAllowed,
    finish, guard,
    guesses::Guess,
    params, redirect,
    session::{self, Standing},
    source::Source,
    token,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    credentials::{open_profile, seal_profile, standing},
    identity::local::{self, LocalError, LocalUsers, sweep},
    model::{Flow, FlowKind, FlowRequest, FlowState, Profile, UserId},
    server::{Identity, Server},
    store::UserUpdate,
    web::{self, SignInPage, Site},
};

/// Longer names are not looked up.
const MAX_NAME: usize = 256;

/// Shows the form.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let server = &app.server;
    let answer = async {
        local_users(server)?;
        guard::page(&headers)?;
        admission::looks(&app, &source, &headers)?;
        let params = read_query(query.as_deref())?;
        let (flow, cookie) = own_flow(server, params.one("flow")?.ok_or(Failure::BadLink)?, &headers).await?;
        if !matches!(flow.state, FlowState::Pending { .. }) {
            return finish::over(server, &flow, &cookie).await;
        }
        let dead = matches!(session::current(server, &headers).await?, Standing::Dead);
        let problem = dead.then(|| server.credentials.expired_sentence());
        Ok(form(server, &flow, &cookie, "", problem.as_deref(), StatusCode::OK))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.page(server))
}

/// Takes the form: signs the user in, opens a session, pins the user in the flow.
pub async fn post(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let server = &app.server;
    let mut event = Event::new(Decision::SignInFailed);
    event.source(source);
    let answer = async {
        guard::form(&headers)?;
        let users = local_users(server)?;
        admission::looks(&app, &source, &headers)?;
        let params = params::form(&headers, body).await?;
        sign_in(&app, users, (&source, &headers), &params, &mut event).await
    };
    let answer: Result<_, Failure> = answer.await;
    answer.unwrap_or_else(|failure| failure.answer(server, &mut event))
}

async fn sign_in(
    app: &App,
    users: &LocalUsers,
    (source, headers): (&Source, &HeaderMap),
    params: &params::Params,
    event: &mut Event,
) -> Result<Response, Failure> {
    let server = &app.server;
    let (flow, cookie) = own_flow(server, params.one("flow")?.ok_or(Failure::BadLink)?, headers).await?;
    event.request(&flow.request);
    if !cookie.is_form_token(&flow.request.id, params.one("token")?.unwrap_or_default()) {
        return Err(Failure::NotByUser);
    }
    if !matches!(flow.state, FlowState::Pending { .. }) {
        return finish::over(server, &flow, &cookie).await;
    }
    let name = params.one("username")?.unwrap_or_default();
    let password = Zeroizing::new(params.one("password")?.unwrap_or_default().to_owned());
    let again = |event: &mut Event, reason, problem: &str, status| {
        server.audit.write(event.because(reason));
        Ok(form(server, &flow, &cookie, name, Some(problem), status))
    };
    if name.is_empty() || name.len() > MAX_NAME {
        return again(event, "no_name", "Enter your user name and password.", StatusCode::BAD_REQUEST);
    }
    let guess = Guess::count(app, users, source, headers, name)?;
    let signed_in = match users.authenticate(name, password, guess.asking()).await {
        Ok(signed_in) => {
            guess.refund();
            signed_in
        }
        Err(LocalError::Wrong) => {
            let wrong = "The user name or password is wrong.";
            return again(event, "wrong_password", wrong, StatusCode::FORBIDDEN);
        }
        Err(LocalError::Busy) => {
            guess.refund();
            let busy = "Too many people are signing in at this moment. Try again.";
            return again(event, "busy", busy, StatusCode::SERVICE_UNAVAILABLE);
        }
        Err(error @ LocalError::NoFile(_)) => {
            tracing::error!(%error, "nobody can sign in");
            let problem = "Nobody can sign in now: the list of users is missing. Tell the administrator.";
            return again(event, "no_users", problem, StatusCode::SERVICE_UNAVAILABLE);
        }
    };
    if !server.allows_now(&signed_in.profile).await? {
        return Err(not_allowed(server, &flow.request, &signed_in.profile, event));
    }
    open_session((server, users), headers, &flow, &signed_in.profile, event).await
}

async fn open_session(
    (server, users): (&Server, &LocalUsers),
    headers: &HeaderMap,
    flow: &Flow,
    profile: &Profile,
    event: &mut Event,
) -> Result<Response, Failure> {
    let identity = server.config.identity.id();
    let id = server.keys.user_id(&identity, profile);
    end_old_sign_ins((server, users), &id, profile).await?;
    let profile = seal_profile(&server.keys, server.entropy.as_ref(), &id, profile);
    let user = UserUpdate { id, identity, profile };
    let (secret, session) = session::new(server, headers, &id);
    let pair = (&secret.hash(), &session, SESSION_LIFE);
    if !server.store.sign_in(&flow.request.id, &user, None, pair).await? {
        return Err(Failure::Expired);
    }
    server.audit.write(event.decide(Decision::SignedIn).user(&id));
    let mut response = redirect::see_other(&match flow.request.kind {
        FlowKind::Authorize => consent_link(server, &flow.request.id),
        FlowKind::Account => account::link(server),
    });
    session::give(server, headers, (&secret, &id), &mut response).await;
    Ok(response)
}

/// Whoever signed in with an old password is out before the new one is written down, and nobody can tell any more. Where
/// the password may be the old one, by a file that another replica has not any more, nobody signs in with it.
async fn end_old_sign_ins(
    (server, users): (&Server, &LocalUsers),
    id: &UserId,
    now: &Profile,
) -> Result<(), Failure> {
    let Some(record) = server.store.user(id).await? else { return Ok(()) };
    let known = open_profile(&server.keys, id, &record.profile);
    let changed = known.is_ok_and(|known| local::password_changed(&known, now));
    if (changed || sweep::is_removed(&record.state)) && !users.is_newer(record.checked_ago) {
        return Err(Failure::Unavailable(token::RETRY));
    }
    if changed {
        standing::end_sign_ins(server.standing(), id).await?;
    }
    Ok(())
}

/// What a user reads who may not use the server, or not for what the client asks.
pub(super) fn not_allowed(
    server: &Server,
    request: &FlowRequest,
    profile: &Profile,
    event: &mut Event,
) -> Failure {
    let user = server.keys.user_id(&server.config.identity.id(), profile);
    server.audit.write(event.decide(Decision::AccessDenied).user(&user));
    Failure::NotAllowed(Box::new(NotAllowed {
        who: finish::who(profile),
        subject: profile.subject.clone(),
        withheld: finish::withheld(server, profile),
        other_account: Some(sign_in_link(server, &request.id)),
        give_up: finish::give_up(server, request, &finish::NOT_ALLOWED),
    }))
}

fn form(
    server: &Server,
    flow: &Flow,
    cookie: &CookieSecret,
    username: &str,
    problem: Option<&str>,
    status: StatusCode,
) -> Response {
    let site = Site::of(server);
    let id = &flow.request.id;
    let by_client = flow.request.kind == FlowKind::Authorize;
    let page = SignInPage {
        site: &site,
        client_name: by_client.then_some(&flow.request.client_name),
        action: format!("{}/oauth/signin", server.urls.issuer_path),
        flow: id.to_string(),
        token: cookie.form_token(id),
        username,
        problem,
        cancel_link: match flow.request.kind {
            FlowKind::Authorize => approve_link(server, id, cookie, &[("decision", "deny")]),
            FlowKind::Account => account::link(server),
        },
    };
    web::respond(status, &site, &page)
}

fn local_users(server: &Server) -> Result<&LocalUsers, Failure> {
    match &server.identity {
        Identity::Local(users) => Ok(users),
        Identity::Provider(_) => Err(Failure::BadLink),
    }
}

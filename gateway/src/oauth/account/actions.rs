//! `POST /account`: a user disconnects clients and ends sessions.
//!
//! Each form carries a token that belongs to the session, and browsers say that our own page sent it. What is named is
//! ended only when it is this user's.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, http::HeaderMap, response::Response};

use super::{Done, link};
use crate::{
    app::App,
    audit::{Decision, Event},
    credentials::standing::{to_its_end, told},
    model::{GrantId, Hash32},
    oauth::{
        Failure, admission,
        cookies::Jar,
        guard,
        params::{self, Params},
        redirect,
        session::{self, CurrentUser, Standing},
        source::Source,
    },
    server::Server,
    store::EndedSessions,
};

/// Does what a form of the page asks for, and leads back to the page.
pub async fn post(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let server = &app.server;
    let mut event = Event::new(Decision::AccountRefused);
    event.source(source);
    let answer = async {
        guard::form(&headers)?;
        admission::looks(&app, &source, &headers)?;
        let params = params::form(&headers, body).await?;
        let jar = Jar::new(&server.urls, &headers);
        // Whose session has ended is led to the page, which says so.
        let Some(cookie) = jar.session() else { return Ok(redirect::see_other(&link(server))) };
        if !cookie.is_account_token(params.one("token")?.unwrap_or_default()) {
            return Err(Failure::NotByUser);
        }
        let Standing::User(user) = session::current(server, &headers).await? else {
            return Ok(redirect::see_other(&link(server)));
        };
        event.user(&user.id);
        let done = act(server, &user, &params, source).await?;
        let mut response = redirect::see_other(&format!("{}?done={}", link(server), done.name()));
        if done == Done::SignedOut {
            redirect::set_cookies(&mut response, jar.drop_session());
        }
        Ok(response)
    };
    let answer: Result<_, Failure> = answer.await;
    let answer = answer.map_err(|failure| match failure {
        Failure::BadLink => Failure::AccountForm { foreign: false },
        Failure::NotByUser => Failure::AccountForm { foreign: true },
        other => other,
    });
    answer.unwrap_or_else(|failure| failure.answer(server, &mut event))
}

async fn act(server: &Server, user: &CurrentUser, params: &Params, source: Source) -> Result<Done, Failure> {
    match params.one("action")? {
        Some("disconnect") => {
            let grant = params.one("grant")?.and_then(GrantId::parse).ok_or(Failure::BadLink)?;
            disconnect(server, user, Some(&grant), source).await
        }
        Some("disconnect-all") => disconnect(server, user, None, source).await,
        Some("end-session") => {
            let session = params.one("session")?.and_then(Hash32::parse).ok_or(Failure::BadLink)?;
            end(server, user, EndedSessions::One(session), source).await?;
            Ok(if session == user.session { Done::SignedOut } else { Done::SignedOutThere })
        }
        Some("end-others") => {
            end(server, user, EndedSessions::AllBut(user.session), source).await?;
            Ok(Done::SignedOutThere)
        }
        _ => Err(Failure::BadLink),
    }
}

async fn disconnect(
    server: &Server,
    user: &CurrentUser,
    grant: Option<&GrantId>,
    source: Source,
) -> Result<Done, Failure> {
    let (store, audit) = (server.store.clone(), server.audit.clone());
    let (user, grant) = (user.id, grant.copied());
    let work = async move {
        let (ended, all) = told(store.revoke_for_user(&user, grant.as_ref()).await);
        for ended in &ended {
            let mut event = Event::new(Decision::GrantRevoked);
            audit.write(event.grant(ended).source(source).because("by_user"));
        }
        all
    };
    to_its_end(&server.tasks, work).await?;
    Ok(Done::Disconnected)
}

async fn end(
    server: &Server,
    user: &CurrentUser,
    which: EndedSessions,
    source: Source,
) -> Result<(), Failure> {
    let (store, audit, user) = (server.store.clone(), server.audit.clone(), user.id);
    let work = async move {
        let (ended, all) = told(store.end_sessions(&user, which).await);
        if ended > 0 {
            audit.write(Event::new(Decision::SignedOut).user(&user).source(source));
        }
        all
    };
    Ok(to_its_end(&server.tasks, work).await?)
}

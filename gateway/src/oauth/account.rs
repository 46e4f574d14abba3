//! `GET /account`: a user's own page. Who they are here, which clients act for them, and where they are signed in.

pub mod actions;
pub mod signin;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    Failure, admission,
    authorize::read_query,
    cookies::{CookieSecret, Jar},
    guard,
    session::{self, CurrentUser, Standing},
    source::Source,
};
use crate::{
    app::App,
    model::RedirectUri,
    server::{Identity, Server},
    store::{AccountRecord, ListedGrant, ListedSession},
    web::{
        self, AccountPage, ConnectedClient, Destination, Link, MessagePage, OpenSession, SignedInUser, Site,
        Tone,
    },
};

/// Shows the page, or what leads to it.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let server = &app.server;
    let answer = async {
        guard::page(&headers)?;
        admission::looks(&app, &source, &headers)?;
        let done = read_query(query.as_deref())?.one("done")?.and_then(Done::parse);
        let cookie = Jar::new(&server.urls, &headers).session();
        match (session::current(server, &headers).await?, cookie) {
            (Standing::User(user), Some(cookie)) => {
                let account = server.store.account(&user.id).await?;
                // Whoever is denied must still see what acts for them, and be able to end it.
                let allowed = server.allows_now(&user.profile).await?;
                Ok(show(server, (&user, allowed), &cookie, account, done))
            }
            (Standing::Dead, _) => Ok(signed_out(server, Some(&server.credentials.expired_sentence()), None)),
            _ => Ok(signed_out(server, None, done)),
        }
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.page(server))
}

/// The page's address.
pub(super) fn link(server: &Server) -> String {
    Site::of(server).account_link
}

/// Begins a sign-in to it.
pub(super) fn sign_in_link(server: &Server) -> String {
    format!("{}/account/signin", server.urls.issuer_path)
}

/// What was just done; said once, on the page that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Disconnected,
    SignedOutThere,
    SignedOut,
}

impl Done {
    fn parse(text: &str) -> Option<Self> {
        [Self::Disconnected, Self::SignedOutThere, Self::SignedOut]
            .into_iter()
            .find(|done| done.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::SignedOutThere => "signed-out-there",
            Self::SignedOut => "signed-out",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Disconnected => "Disconnected. What was disconnected can no longer act for you.",
            Self::SignedOutThere => "Signed out there.",
            Self::SignedOut => "You are signed out.",
        }
    }
}

/// The way in, for whoever is not signed in; `dead` says why somebody is not any more.
fn signed_out(server: &Server, dead: Option<&str>, done: Option<Done>) -> Response {
    let site = Site::of(server);
    let (tone, label) = match (&server.identity, dead) {
        (_, Some(_)) => (Tone::Warn, "Sign in again".to_owned()),
        (Identity::Local(_), None) => (Tone::Plain, "Sign in".to_owned()),
        (Identity::Provider(_), None) => {
            (Tone::Plain, format!("Continue with {}", server.config.identity.display_name()))
        }
    };
    let what = format!("See which applications act for you at {}, and disconnect them.", site.name);
    let first = dead.or(done.map(Done::says)).map(str::to_owned);
    let page = MessagePage {
        site: &site,
        tone,
        title: "Your account".to_owned(),
        texts: first.into_iter().chain([what]).collect(),
        facts: Vec::new(),
        links: vec![Link { label, href: sign_in_link(server) }],
    };
    web::respond(StatusCode::OK, &site, &page)
}

fn show(
    server: &Server,
    (user, allowed): (&CurrentUser, bool),
    cookie: &CookieSecret,
    account: AccountRecord,
    done: Option<Done>,
) -> Response {
    let site = Site::of(server);
    let now = server.clock.unix();
    let here = user.session;
    let provider = match &server.identity {
        Identity::Provider(_) => Some(server.config.identity.display_name()),
        Identity::Local(_) => None,
    };
    let page = AccountPage {
        site: &site,
        done: done.map(Done::says),
        denied: !allowed,
        user: SignedInUser::of(&user.profile),
        provider,
        mcp_url: &server.urls.resource,
        action: link(server),
        token: cookie.account_token(),
        clients: account.grants.into_iter().map(|listed| connected(listed, now)).collect(),
        sessions: account.sessions.into_iter().map(|listed| open(listed, &here, now)).collect(),
        other_account_link: format!("{}?account=other", sign_in_link(server)),
    };
    web::respond(StatusCode::OK, &site, &page)
}

fn connected(listed: ListedGrant, now: i64) -> ConnectedClient {
    let ListedGrant { grant, used_ago } = listed;
    let place = RedirectUri::parse(&grant.redirect_uri)
        .map_or(grant.redirect_uri, |uri| Destination::of(&uri, &grant.client_name).place);
    let ago = i64::try_from(used_ago.as_secs()).unwrap_or(i64::MAX);
    ConnectedClient {
        id: grant.id.to_string(),
        name: grant.client_name,
        place,
        scopes: grant.scope.split_whitespace().map(str::to_owned).collect(),
        since: web::day(grant.created),
        used: web::ago(now, now.saturating_sub(ago)),
    }
}

fn open(listed: ListedSession, here: &crate::model::Hash32, now: i64) -> OpenSession {
    OpenSession {
        is_this: listed.id == *here,
        id: listed.id.to_string(),
        browser: listed.session.browser.unwrap_or_else(|| "A browser".to_owned()),
        since: web::ago(now, listed.session.auth_time),
    }
}

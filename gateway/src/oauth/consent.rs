//! The consent page of a flow, and the links that a sign-in consists of.

use axum::{http::StatusCode, response::Response};

use super::{
    Failure, account, clients,
    cookies::CookieSecret,
    finish, params,
    session::{CurrentUser, Standing},
    signin,
};
use crate::{
    audit::Event,
    model::{FlowId, FlowKind, FlowRequest, RedirectUri, flow_state::ATTEMPTS},
    server::Server,
    web::{self, ConsentPage, Destination, SignedInUser, Site, Who},
};

/// Whom the page is shown to.
pub(super) enum Reader {
    /// The user who signed in here and is pinned in the flow.
    User(Box<CurrentUser>),
    /// Where an identity provider will say who it is: whoever signed in last in this browser. It is told them, and
    /// decides nothing.
    Last(Standing),
}

/// Shows the consent page.
pub(super) async fn show(
    server: &Server,
    request: &FlowRequest,
    cookie: &CookieSecret,
    reader: Reader,
    event: &mut Event,
) -> Result<Response, Failure> {
    let site = Site::of(server);
    let uri = RedirectUri::parse(&request.redirect_uri).map_err(|_| Failure::BadLink)?;
    let known = match &reader {
        Reader::User(user) | Reader::Last(Standing::User(user)) => Some(user),
        Reader::Last(Standing::Nobody | Standing::Dead) => None,
    };
    let approved_before = match known {
        Some(user) => server.store.consented(&user.id, &finish::consent_hash(server, request)).await?,
        None => None,
    };
    let told = known.map(|user| SignedInUser::of(&user.profile));
    let provider = server.config.identity.display_name();
    let other = approve_link(server, &request.id, cookie, &[("account", "other")]);
    let (who, abilities, approve_label, other_account_link) = match &reader {
        Reader::User(user) => {
            let Some(scope) = finish::scope_for(server, request, &user.profile) else {
                return Err(signin::not_allowed(server, request, &user.profile, event.request(request)));
            };
            let abilities = web::abilities(server, &scope, true);
            (told.map(Who::SignedIn), abilities, "Allow".to_owned(), sign_in_link(server, &request.id))
        }
        Reader::Last(_) => {
            let abilities = web::abilities(server, &request.scope, false);
            (told.map(Who::Last), abilities, format!("Continue with {provider}"), other)
        }
    };
    let identified = clients::identified(server, request);
    let page = ConsentPage {
        site: &site,
        client_name: &request.client_name,
        client_initial: web::initial(&request.client_name),
        redirect_uri: uri.as_str(),
        destination: Destination::of(&uri, &request.client_name),
        claim: identified.claim(&uri, &request.client_name),
        identified,
        abilities,
        who: who.unwrap_or(Who::Nobody),
        expired: matches!(reader, Reader::Last(Standing::Dead))
            .then(|| server.credentials.expired_sentence()),
        approved_before: approved_before.map(web::day),
        approve_label,
        provider,
        approve_link: approve_link(server, &request.id, cookie, &[]),
        deny_link: approve_link(server, &request.id, cookie, &[("decision", "deny")]),
        other_account_link,
    };
    Ok(web::respond(StatusCode::OK, &site, &page))
}

/// A link of the consent page.
pub(super) fn approve_link(
    server: &Server,
    flow: &FlowId,
    cookie: &CookieSecret,
    more: &[(&str, &str)],
) -> String {
    let (id, nonce) = (flow.to_string(), cookie.nonce(flow));
    let mut params = vec![("flow", id.as_str()), ("nonce", nonce.as_str())];
    params.extend_from_slice(more);
    params::append(&format!("{}/oauth/authorize/approve", server.urls.issuer_path), &params)
}

/// A link that sends the browser to the identity provider once more, after this attempt; `None`: it was the last.
pub(super) fn again_link(
    server: &Server,
    request: &FlowRequest,
    cookie: &CookieSecret,
    attempt: u32,
    more: &[(&str, &str)],
) -> Option<String> {
    match request.kind {
        FlowKind::Authorize if attempt >= ATTEMPTS => None,
        FlowKind::Authorize => {
            let next = (attempt + 1).to_string();
            let all: Vec<_> = more.iter().copied().chain([("attempt", next.as_str())]).collect();
            Some(approve_link(server, &request.id, cookie, &all))
        }
        // Nothing was asked yet, so it begins anew.
        FlowKind::Account => {
            let other = more.iter().copied().filter(|(name, _)| *name == "account").collect::<Vec<_>>();
            Some(params::append(&account::sign_in_link(server), &other))
        }
    }
}

/// The sign-in page of a flow.
pub(super) fn sign_in_link(server: &Server, flow: &FlowId) -> String {
    format!("{}/oauth/signin?flow={flow}", server.urls.issuer_path)
}

/// The consent page of a flow that is under way.
pub(super) fn consent_link(server: &Server, flow: &FlowId) -> String {
    format!("{}/oauth/authorize?flow={flow}", server.urls.issuer_path)
}

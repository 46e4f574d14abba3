//! The consent page of a flow, and the links that a sign-in consists of.

use axum::{http::StatusCode, response::Response};

use super::{Failure, account, clients, cookies::CookieSecret, finish, params, session::CurrentUser};
use crate::{
    model::{FlowId, FlowKind, FlowRequest, RedirectUri},
    server::Server,
    web::{self, ConsentPage, Destination, SignedInUser, Site},
};

/// Shows the consent page.
pub(super) async fn show(
    server: &Server,
    request: &FlowRequest,
    cookie: &CookieSecret,
    user: Option<&CurrentUser>,
) -> Result<Response, Failure> {
    let site = Site::of(server);
    let uri = RedirectUri::parse(&request.redirect_uri).map_err(|_| Failure::BadLink)?;
    let approved_before = match user {
        Some(user) => server.store.consented(&user.id, &finish::consent_hash(server, request)).await?,
        None => None,
    };
    let provider = server.config.identity.display_name();
    let page = ConsentPage {
        site: &site,
        client_name: &request.client_name,
        client_host: clients::document_host(server, &request.client_id),
        client_initial: web::initial(&request.client_name),
        redirect_uri: uri.as_str(),
        destination: Destination::of(&uri, &request.client_name),
        abilities: web::abilities(server, &request.scope),
        user: user.map(|user| SignedInUser::of(&user.profile)),
        approved_before: approved_before.map(web::day),
        approve_label: match user {
            Some(_) => "Allow".to_owned(),
            None => format!("Continue with {provider}"),
        },
        provider,
        approve_link: approve_link(server, &request.id, cookie, &[]),
        deny_link: approve_link(server, &request.id, cookie, &[("decision", "deny")]),
        other_account_link: match user {
            Some(_) => sign_in_link(server, &request.id),
            None => approve_link(server, &request.id, cookie, &[("account", "other")]),
        },
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

/// A link that sends the browser to the identity provider once more.
pub(super) fn again_link(
    server: &Server,
    request: &FlowRequest,
    cookie: &CookieSecret,
    more: &[(&str, &str)],
) -> String {
    match request.kind {
        FlowKind::Authorize => approve_link(server, &request.id, cookie, more),
        // Nothing was asked yet, so it begins anew.
        FlowKind::Account => {
            let other = more.iter().copied().filter(|(name, _)| *name == "account").collect::<Vec<_>>();
            params::append(&account::sign_in_link(server), &other)
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

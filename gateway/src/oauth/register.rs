//! `POST /oauth/register`: dynamic client registration (RFC 7591). Writes nothing: the client id carries it all.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gatehouse_gateway_config::RegistrationMode;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{OAuthError, limits, params, source::Source};
use crate::{
    app::App,
    audit::{Decision, Event},
    egress::not_global,
    model::{
        AuthMethod, RedirectUri,
        client::display_name,
        registration::{ClientMetadata, Registration, allowed_redirect_uris},
    },
    server::Server,
};

/// More redirect URIs than this are not looked at.
const MAX_REDIRECT_URIS: usize = 10;
const GRANT_TYPES: [&str; 2] = ["authorization_code", "refresh_token"];
const RESPONSE_TYPES: [&str; 1] = ["code"];

/// What is read of a request; unknown members are ignored (RFC 7591 section 2).
#[derive(Debug, Deserialize)]
struct Request {
    redirect_uris: Option<Vec<String>>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
}

/// The client as it is registered: what took effect, not what was asked (RFC 7591 section 3.2.1).
#[derive(Serialize)]
struct Answer<'a> {
    client_id: &'a str,
    client_id_issued_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    redirect_uris: Vec<&'a str>,
    grant_types: [&'static str; 2],
    response_types: [&'static str; 1],
    token_endpoint_auth_method: &'static str,
}

/// Registers a client.
pub async fn post(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let server = &app.server;
    let mut event = Event::new(Decision::RegistrationRefused);
    event.source(source);
    let registered = register(&app, &source, &headers, body).await;
    match &registered {
        Ok(client) => event.decide(Decision::ClientRegistered).client(&client.clone().into()),
        Err(error) => event.because(error.code()),
    };
    server.audit.write(&event);
    Ok(answer(server, &registered?))
}

async fn register(
    app: &App,
    source: &Source,
    headers: &HeaderMap,
    body: Body,
) -> Result<Registration, OAuthError> {
    let server = &app.server;
    app.limiter.count(limits::REGISTER, &source.to_string(), server.clock.monotonic())?;
    if server.config.policy.registration.mode == RegistrationMode::Refused {
        let refused = "clients cannot register themselves here, ask the administrator for a client_id";
        return Err(OAuthError::AccessDenied(refused));
    }
    let request = read(headers, body).await?;
    let metadata = check(server, request)?;
    Registration::register(&server.keys, server.entropy.as_ref(), metadata)
        .map_err(|error| OAuthError::InvalidClientMetadata(error.to_string().into()))
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Request, OAuthError> {
    let invalid = |what: &'static str| OAuthError::InvalidClientMetadata(what.into());
    if params::media_type(headers).as_deref() != Some("application/json") {
        return Err(invalid("the Content-Type must be application/json"));
    }
    let body = params::read(headers, body).await?;
    // serde's own message may repeat what was sent.
    serde_json::from_slice(&body).map_err(|_| {
        invalid("the body must be one JSON object, each member once: redirect_uris, grant_types and response_types are lists of strings, the others strings")
    })
}

/// The metadata that takes effect, or why it is refused.
fn check(server: &Server, request: Request) -> Result<ClientMetadata, OAuthError> {
    check_types(&request)?;
    for uri in [&request.client_uri, &request.logo_uri, &request.tos_uri, &request.policy_uri] {
        check_web_url(uri.as_deref())?;
    }
    let method = match request.token_endpoint_auth_method.as_deref() {
        // What leaving it out means (RFC 7591 section 2).
        None | Some("") => AuthMethod::SecretBasic,
        Some(name) => AuthMethod::parse(name).ok_or_else(|| {
            let allowed =
                "token_endpoint_auth_method must be none, client_secret_post or client_secret_basic";
            OAuthError::InvalidClientMetadata(allowed.into())
        })?,
    };
    Ok(ClientMetadata {
        // No client may outlive the others because the clock of its replica is ahead.
        issued_at: server.store.unix().ok_or(OAuthError::NOT_DATED)?,
        auth_method: method,
        name: request.client_name.as_deref().and_then(display_name),
        redirect_uris: check_redirect_uris(server, &request.redirect_uris.unwrap_or_default())?,
    })
}

fn check_redirect_uris(server: &Server, texts: &[String]) -> Result<Vec<RedirectUri>, OAuthError> {
    let invalid = |what: String| OAuthError::InvalidRedirectUri(what.into());
    if texts.is_empty() || texts.len() > MAX_REDIRECT_URIS {
        return Err(invalid(format!("redirect_uris must hold 1 to {MAX_REDIRECT_URIS} redirect URIs")));
    }
    let policy = &server.config.policy.redirect_uris;
    let kept = allowed_redirect_uris(texts, policy).map_err(|error| invalid(error.to_string()))?;
    if kept.is_empty() {
        let how = "no redirect URI is allowed here: use a loopback one such as http://127.0.0.1/callback, or ask \
                   the administrator to add yours to redirectUris.allow of the OAuthClientPolicy";
        return Err(invalid(how.to_owned()));
    }
    Ok(kept)
}

/// Lists that leave out what every client here uses cannot take effect.
fn check_types(request: &Request) -> Result<(), OAuthError> {
    let lacks = |list: &Option<Vec<String>>, needed: &str| {
        list.as_ref().is_some_and(|list| !list.is_empty() && !list.iter().any(|entry| entry == needed))
    };
    let invalid = |what: &'static str| Err(OAuthError::InvalidClientMetadata(what.into()));
    if lacks(&request.grant_types, "authorization_code") {
        return invalid("grant_types must include authorization_code");
    }
    if lacks(&request.response_types, "code") {
        return invalid("response_types must include code");
    }
    Ok(())
}

/// A link that a client gives of itself is neither fetched, kept nor shown; one that nobody should follow is refused.
fn check_web_url(text: Option<&str>) -> Result<(), OAuthError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(()) };
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let internal = |url: &Url| match url.host() {
        Some(url::Host::Ipv4(ip)) => not_global(ip.into()).is_some(),
        Some(url::Host::Ipv6(ip)) => not_global(ip.into()).is_some(),
        // RFC 6761 section 6.3, and the names of Services.
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let inside = [".localhost", ".svc", ".cluster.local"];
            name == "localhost" || inside.iter().any(|suffix| name.ends_with(suffix))
        }
        None => true,
    };
    if url.is_some_and(|url| !internal(&url)) {
        return Ok(());
    }
    let what = "client_uri, logo_uri, tos_uri and policy_uri must be public web URLs";
    Err(OAuthError::InvalidClientMetadata(what.into()))
}

fn answer(server: &Server, client: &Registration) -> Response {
    let secret = client.secret(&server.keys);
    let lifetime = server.config.policy.registration.lifetime.as_secs();
    let expires_at = client.metadata.issued_at.saturating_add(i64::try_from(lifetime).unwrap_or(i64::MAX));
    let body = Json(Answer {
        client_id: &client.id,
        client_id_issued_at: client.metadata.issued_at,
        client_secret: secret.as_ref().map(|s| s.as_str()),
        client_secret_expires_at: secret.as_ref().map(|_| expires_at),
        client_name: client.metadata.name.as_deref(),
        redirect_uris: client.metadata.redirect_uris.iter().map(RedirectUri::as_str).collect(),
        grant_types: GRANT_TYPES,
        response_types: RESPONSE_TYPES,
        token_endpoint_auth_method: client.metadata.auth_method.name(),
    });
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, no_store, body).into_response()
}

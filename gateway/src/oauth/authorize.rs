//! `GET /oauth/authorize` (RFC 6749 section 4.1.1 with RFC 7636, 8707 and 9207): the consent page.
//!
//! Client and redirect URI are proven first; only then may an error be a redirect. With `?flow=` it shows the consent
//! page of a flow that is under way, after a local sign-in.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use gatehouse_gateway_config::policy::ClientGrant;

use super::{
    Failure, OAuthError, admission, clients,
    consent::{self, Reader, sign_in_link},
    cookies::{CookieSecret, FLOW_LIFE, Jar},
    finish, guard,
    params::{MAX_QUERY, Params},
    redirect,
    session::{self, Standing},
    source::Source,
};
use crate::{
    app::App,
    audit::{Decision, Event},
    client_document::DocumentUrl,
    model::{
        Client, Flow, FlowId, FlowKind, FlowRequest, FlowState, Hash32, Prompt, RedirectUri, client::Origin,
        pkce, resource,
    },
    server::{Identity, Server},
};

/// The longest `state` that is carried through a sign-in, as it is stored: JSON writes some characters as up to six.
const MAX_STATE: usize = 4096;

/// Shows the consent page, or leads to the sign-in of a local user.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let server = &app.server;
    let mut event = Event::new(Decision::AuthorizeRefused);
    event.source(source);
    let answer = async {
        guard::page(&headers)?;
        let params = read_query(query.as_deref())?;
        match params.one("flow")? {
            Some(flow) if params.one("client_id")?.is_none() => {
                admission::looks(&app, &source, &headers)?;
                resume(server, flow, &headers, &mut event).await
            }
            _ => begin(&app, &params, &source, &headers, &mut event).await,
        }
    };
    let answer: Result<_, Failure> = answer.await;
    answer.unwrap_or_else(|failure| failure.answer(server, &mut event))
}

/// Reads a bounded query.
pub(super) fn read_query(query: Option<&str>) -> Result<Params, Failure> {
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY {
        return Err(Failure::LongLink);
    }
    Ok(Params::parse(query.as_bytes())?)
}

async fn begin(
    app: &App,
    params: &Params,
    source: &Source,
    headers: &HeaderMap,
    event: &mut Event,
) -> Result<Response, Failure> {
    let server = &app.server;
    let client_id = params.some("client_id")?.ok_or(Failure::BadLink)?;
    admission::begins(app, source, headers)?;
    if let Some(url) = DocumentUrl::parse(client_id) {
        event.claimed(&url);
    }
    let client = clients::find_to_authorize(server, source, client_id).await?;
    event.client(&client);
    let redirect_uri = prove_redirect_uri(server, &client, params.some("redirect_uri")?)?;
    let state = check_state(params)?;
    let asked = match check(server, &client, params) {
        Ok(asked) => asked,
        Err(error) => {
            server.audit.write(event.because(error.code()));
            let location = redirect::with_error(server, redirect_uri.as_str(), state.as_deref(), &error);
            return Ok(redirect::see_other(&location));
        }
    };
    let cookie = CookieSecret::mint(server.entropy.as_ref());
    let id = FlowId::new(server.clock.as_ref(), server.entropy.as_ref());
    let (by_assertion, document) = match client.origin {
        Origin::Document { by_assertion, digest } => (by_assertion, digest),
        Origin::Registered { .. } | Origin::Listed(_) => (false, None),
    };
    let request = FlowRequest {
        id,
        kind: FlowKind::Authorize,
        client_id: client.id.clone(),
        client_name: client.name().to_owned(),
        redirect_uri: redirect_uri.as_str().to_owned(),
        redirect_uri_implied: params.some("redirect_uri")?.is_none(),
        by_assertion,
        document,
        state,
        prompt: params.one("prompt")?.and_then(Prompt::parse),
        scope: asked.scope,
        resource: server.urls.resource.clone(),
        challenge: asked.challenge,
        cookie: cookie.hash(),
        nonce: Hash32::of(cookie.nonce(&id).as_bytes()),
    };
    admission::admit(server, source, headers).await?;
    server.store.create_flow(&request, FLOW_LIFE).await?;
    let mut response = match &server.identity {
        Identity::Provider(_) => {
            let last = session::current(server, headers).await?;
            consent::show(server, &request, &cookie, Reader::Last(last), event).await?
        }
        Identity::Local(_) => begin_local(server, &request, &cookie, headers, event).await?,
    };
    redirect::set_cookies(&mut response, Jar::new(&server.urls, headers).set_flow(&id, &cookie));
    Ok(response)
}

/// Whoever is signed in goes straight to consent, unless the client asks for another account.
async fn begin_local(
    server: &Server,
    request: &FlowRequest,
    cookie: &CookieSecret,
    headers: &HeaderMap,
    event: &mut Event,
) -> Result<Response, Failure> {
    if let Standing::User(user) = session::current(server, headers).await?
        && request.prompt.is_none()
        && server.allows_now(&user.profile).await?
        && server.store.pin(&request.id, &user.id, &user.session).await?
    {
        return consent::show(server, request, cookie, Reader::User(user), event).await;
    }
    Ok(redirect::see_other(&sign_in_link(server, &request.id)))
}

/// Shows the consent page of a flow that is under way in this browser.
async fn resume(
    server: &Server,
    flow: &str,
    headers: &HeaderMap,
    event: &mut Event,
) -> Result<Response, Failure> {
    let (flow, cookie) = client_flow(server, flow, headers).await?;
    let pinned = match &flow.state {
        FlowState::Pending { pinned } | FlowState::Approved { pinned, .. } => *pinned,
        FlowState::Done { .. } | FlowState::Denied => return finish::over(server, &flow, &cookie).await,
    };
    let standing = session::current(server, headers).await?;
    let Identity::Local(_) = &server.identity else {
        return consent::show(server, &flow.request, &cookie, Reader::Last(standing), event).await;
    };
    match (standing, pinned) {
        (Standing::User(user), Some((id, session))) if user.id == id && user.session == session => {
            consent::show(server, &flow.request, &cookie, Reader::User(user), event).await
        }
        _ => Ok(redirect::see_other(&sign_in_link(server, &flow.request.id))),
    }
}

/// As [`own_flow`], for what only a client's sign-in has.
pub(super) async fn client_flow(
    server: &Server,
    id: &str,
    headers: &HeaderMap,
) -> Result<(Flow, CookieSecret), Failure> {
    let found = own_flow(server, id, headers).await?;
    if found.0.request.kind == FlowKind::Authorize { Ok(found) } else { Err(Failure::BadLink) }
}

/// The flow that a link names, if this browser began it.
pub(super) async fn own_flow(
    server: &Server,
    id: &str,
    headers: &HeaderMap,
) -> Result<(Flow, CookieSecret), Failure> {
    let id = FlowId::parse(id).ok_or(Failure::BadLink)?;
    // First: whoever makes up links asks nothing of the store.
    let cookie = Jar::new(&server.urls, headers).flow(&id).ok_or_else(|| without_cookie(server, &id))?;
    let flow = server.store.flow(&id).await?.ok_or(Failure::Expired)?;
    // Hashes of secrets of 256 bits: comparing them tells nothing.
    if cookie.hash() != flow.request.cookie {
        return Err(Failure::OtherBrowser);
    }
    Ok((flow, cookie))
}

/// A cookie goes with its flow, so whoever has none of an old one may have begun it.
fn without_cookie(server: &Server, id: &FlowId) -> Failure {
    let age = server.clock.unix_millis().saturating_sub(id.unix_millis());
    let is_old = u64::try_from(age).is_ok_and(|age| Duration::from_millis(age) >= FLOW_LIFE);
    if is_old { Failure::Expired } else { Failure::OtherBrowser }
}

/// The redirect URI of a request, if it is one that the client registered and the policy allows now.
fn prove_redirect_uri(
    server: &Server,
    client: &Client,
    requested: Option<&str>,
) -> Result<RedirectUri, Failure> {
    let registered = &client.redirect_uris;
    let uri = match requested {
        Some(text) => RedirectUri::parse(text)
            .ok()
            .filter(|uri| registered.iter().any(|known| uri.is_registered_as(known)))
            .ok_or(Failure::BadRedirect(
                "It asks for its answer at an address that it has not registered. Remove this server in your \
                 application and add it again; if that does not help, tell whoever makes the application.",
            ))?,
        // RFC 6749 section 3.1.2.3: it may be left out when there is exactly one.
        None => match registered.as_slice() {
            [only] => only.clone(),
            _ => {
                return Err(Failure::BadRedirect(
                    "It does not say at which of its addresses to answer. Tell whoever makes the application.",
                ));
            }
        },
    };
    // A client that the policy names brings its addresses with it.
    if matches!(client.origin, Origin::Listed(_)) || uri.is_allowed(&server.config.policy.redirect_uris) {
        Ok(uri)
    } else {
        Err(Failure::BadRedirect(
            "Its address is not allowed by this server's client policy. The administrator can allow it.",
        ))
    }
}

fn check_state(params: &Params) -> Result<Option<String>, Failure> {
    match params.one("state")? {
        Some(state) if stored_len(state) > MAX_STATE => Err(Failure::LongLink),
        state => Ok(state.map(str::to_owned)),
    }
}

/// How long a text is in JSON, without its quotation marks.
fn stored_len(text: &str) -> usize {
    serde_json::Value::from(text).to_string().len() - 2
}

/// What is asked for, proven and complete.
struct Asked {
    scope: String,
    challenge: String,
}

fn check(server: &Server, client: &Client, params: &Params) -> Result<Asked, OAuthError> {
    if !client.may_use(ClientGrant::AuthorizationCode) {
        return Err(OAuthError::UnauthorizedClient("the client may not ask for authorization codes"));
    }
    check_resource(server, params)?;
    params.check_repeated()?;
    if ["request", "request_uri", "registration"].iter().any(|name| params.all(name).next().is_some()) {
        return Err(OAuthError::RequestNotSupported);
    }
    match params.some("response_type")? {
        None => return Err(OAuthError::InvalidRequest("response_type is missing, it must be code".into())),
        Some("code") => {}
        Some(_) => return Err(OAuthError::UnsupportedResponseType),
    }
    if params.some("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err(OAuthError::InvalidRequest("response_mode must be query".into()));
    }
    if params.some("code_challenge_method")? != Some("S256") {
        return Err(OAuthError::InvalidRequest("code_challenge_method must be S256".into()));
    }
    let challenge = params.some("code_challenge")?.filter(|challenge| pkce::is_challenge(challenge));
    let challenge = challenge.ok_or(OAuthError::InvalidRequest(
        "code_challenge must be the base64url SHA-256 of the code verifier, 43 characters".into(),
    ))?;
    let scopes = &server.scopes;
    let asked = scopes.asked(params.one("scope")?, scopes.of_client(client.scopes()));
    let scope = scopes.text(asked.ok_or(OAuthError::InvalidScope)?);
    Ok(Asked { scope, challenge: challenge.to_owned() })
}

/// The one resource, which may be left out. Whether it was named.
pub(super) fn check_resource(server: &Server, params: &Params) -> Result<bool, OAuthError> {
    let mut named = params.all("resource").filter(|value| !value.is_empty());
    let Some(first) = named.next() else { return Ok(false) };
    if named.next().is_none() && resource::is_same(&server.urls.resource, first) {
        Ok(true)
    } else {
        Err(OAuthError::InvalidTarget)
    }
}

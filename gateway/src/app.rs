//! Every route on one page, and the layers around them.

use std::{future::ready, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use ipnet::IpNet;

use crate::{
    capacity::Capacity,
    cors,
    mcp::{self, Mcp},
    oauth::{self, Failure, OAuthError, exchanges::Exchanges, limits::Limiter, source},
    server::Server,
    upload::Uploads,
};

/// How long an endpoint of ours may take, reading the request included. The MCP path has its own limits.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(30);

/// What every handler of one server shares.
#[derive(Debug)]
pub struct App {
    /// The server.
    pub server: Arc<Server>,
    /// Networks of the proxies in front, whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Counts requests per source, in this process.
    pub limiter: Limiter,
    /// Codes on their way to the identity provider.
    pub exchanges: Exchanges,
    /// The bodies of requests; the MCP path counts its own.
    pub uploads: Arc<Uploads>,
}

impl App {
    /// Shares `server` between handlers.
    pub fn new(server: Arc<Server>, trusted_proxies: Vec<IpNet>) -> Self {
        let uploads = Arc::new(Uploads::new(Capacity::detect().form_bytes));
        Self {
            server,
            trusted_proxies,
            limiter: Limiter::default(),
            exchanges: Exchanges::default(),
            uploads,
        }
    }
}

/// The router of one server.
///
/// Requests should carry `ConnectInfo<SocketAddr>` in their extensions: limits are per client address.
pub fn router(app: &Arc<App>, mcp: &Arc<Mcp>) -> Router {
    let urls = &app.server.urls;
    let below = |path: &str| format!("{}{path}", urls.issuer_path);
    let well_known = |name: &str, path: &str| format!("/.well-known/{name}{path}");

    // Read by programs, in browsers too: CORS, and errors are JSON.
    let mut documents = literal()
        .route(&well_known("oauth-authorization-server", &urls.issuer_path), get(oauth::metadata::get))
        .route(&well_known("oauth-protected-resource", &urls.mcp_path), get(oauth::metadata::get_resource))
        .route(
            &well_known("oauth-protected-resource", &format!("{}/", urls.mcp_path)),
            get(oauth::metadata::get_resource),
        );
    if urls.issuer_path.is_empty() {
        documents =
            documents.route(&well_known("oauth-protected-resource", ""), get(oauth::metadata::get_resource));
    }
    // No OpenID Connect is served: `openid-configuration`, inserted or appended, is the fallback's 404 as JSON.
    let programs = documents
        .route(&below("/oauth/register"), post(oauth::register::post))
        .route(&below("/oauth/token"), post(oauth::token::post))
        .route(&below("/oauth/revoke"), post(oauth::revoke::post))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), within_bounds));

    // Opened by people: no CORS, errors are pages, and a HEAD has no effect because there is none. axum would name HEAD
    // wherever GET is.
    let page = |allow: &'static str, handler: MethodRouter<Arc<App>>| {
        let refuse = move || ready(([(header::ALLOW, allow)], OAuthError::MethodNotAllowed).into_response());
        handler.head(refuse).fallback(refuse)
    };
    let pages = literal()
        .route(&below("/oauth/authorize"), page("GET", get(oauth::authorize::get)))
        .route(&below("/oauth/authorize/approve"), page("GET", get(oauth::approve::get)))
        .route(&below("/oauth/signin"), page("GET, POST", get(oauth::signin::get).post(oauth::signin::post)))
        .route(&below("/oauth/callback"), page("GET", get(oauth::callback::get)))
        .route(
            &below("/account"),
            page("GET, POST", get(oauth::account::get).post(oauth::account::actions::post)),
        )
        .route(&below("/account/signin"), page("GET", get(oauth::account::signin::get)))
        .layer(from_fn_with_state(app.clone(), page_within_bounds));

    let programs = programs.layer(from_fn(cors::for_every_page));
    let calls = literal()
        .route(&urls.mcp_path, mcp::service(mcp))
        .merge(mcp::old_transport(mcp).with_state(()))
        .layer(from_fn_with_state(app.clone(), cors::for_pages_that_may_call));

    literal()
        .merge(programs)
        .merge(calls)
        .merge(pages)
        .fallback(not_found)
        .layer(from_fn_with_state(app.clone(), source::name_client))
        .layer(from_fn_with_state(app.clone(), refuse_foreign_host))
        .layer(from_fn(nosniff))
        .with_state(app.clone())
}

/// A router for paths that people configure: axum would panic where a segment begins with `:` or `*`, its syntax of
/// long ago, for which it now has braces. Those are no characters of a URL's path.
fn literal<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().without_v07_checks()
}

async fn not_found() -> Response {
    OAuthError::NotFound.into_response()
}

async fn method_not_allowed() -> Response {
    OAuthError::MethodNotAllowed.into_response()
}

async fn within_bounds(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (request, _held) = app.uploads.count(request);
    match tokio::time::timeout(ENDPOINT_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => OAuthError::TimedOut.into_response(),
    }
}

async fn page_within_bounds(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (request, _held) = app.uploads.count(request);
    match tokio::time::timeout(ENDPOINT_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::Unavailable(Duration::from_secs(5)).page(&app.server),
    }
}

/// A server on loopback answers to loopback names only: a web page whose own name was rebound to 127.0.0.1 carries
/// that name in `Host`.
async fn refuse_foreign_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.server.urls.insecure_loopback || host(&request).is_some_and(is_loopback_host) {
        return next.run(request).await;
    }
    OAuthError::ForeignHost.into_response()
}

/// Whether a request is a call by a program, for which the layers of [`router`] have nothing to do: no CORS without an
/// `Origin`, no foreign host. Nearly all requests are such, and may go to the MCP path directly.
pub fn is_plain_call<B>(server: &Server, request: &http::Request<B>) -> bool {
    let urls = &server.urls;
    request.uri().path() == urls.mcp_path
        && !request.headers().contains_key(header::ORIGIN)
        && (!urls.insecure_loopback || host(request).is_some_and(is_loopback_host))
}

fn host<B>(request: &http::Request<B>) -> Option<&str> {
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    request.uri().authority().map(http::uri::Authority::as_str).or_else(header)
}

/// Whether `host[:port]` is loopback; any port, so that port-forwards work.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

async fn nosniff(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "evil.test", "localhost.evil.test", "127.0.0.1.evil.test:80", "0.0.0.0", "::1"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}

//! Which web pages may read our answers (the Fetch standard's CORS), and which may call at all.
//!
//! Documents, registration and tokens are for programs in every page: nothing there depends on who sits at the browser,
//! so they have CORS for all, never with credentials. Sign-in pages have none. The MCP endpoint refuses pages of other
//! origins (MCP, transports: DNS rebinding) and tells their preflight the same; a server on loopback takes every page of
//! this machine, such as the MCP Inspector on another port.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    app::{App, is_loopback_host},
    server::Urls,
};

const ALLOW_HEADERS: &str = "Authorization, Content-Type, Accept, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id, \
                             Mcp-Method, Mcp-Name";

/// Whether what sent this request may call the MCP endpoint: no page, or one of an origin that is known.
pub(crate) fn may_call(urls: &Urls, headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin == urls.origin || (urls.insecure_loopback && is_loopback_origin(origin))
    })
}

fn is_loopback_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(is_loopback_host)
}

/// The layer of what every page may read.
pub(crate) async fn for_every_page(request: Request, next: Next) -> Response {
    if is_preflight(&request) {
        return preflight(request.headers());
    }
    readable(next.run(request).await)
}

/// The layer of the MCP endpoint: a page that may not call reads no answer.
pub(crate) async fn for_pages_that_may_call(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let known = may_call(&app.server.urls, request.headers());
    let mut response = match (known, is_preflight(&request)) {
        (true, true) => preflight(request.headers()),
        (true, false) => readable(next.run(request).await),
        (false, true) => StatusCode::FORBIDDEN.into_response(),
        (false, false) => next.run(request).await,
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked_headers(asked));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn readable(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, Retry-After"),
    );
    response
}

/// The headers that a preflight is granted: ours, and any `Mcp-Param-*` that it asks for, whose names tools choose.
fn asked_headers(request: &HeaderMap) -> HeaderValue {
    let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok());
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let params = asked.unwrap_or_default().split(',').map(str::trim).take(64).filter(|name| {
        name.get(..10).is_some_and(|p| p.eq_ignore_ascii_case("mcp-param-")) && name.bytes().all(token)
    });
    let all = std::iter::once(ALLOW_HEADERS).chain(params).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&all).unwrap_or_else(|_| HeaderValue::from_static("Authorization"))
}

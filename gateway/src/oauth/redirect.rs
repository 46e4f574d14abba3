//! Redirects: to the client, whose address was proven, and within the sign-in.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{OAuthError, params};
use crate::{model::FlowRequest, server::Server};

/// 303, so that a browser never repeats a form (RFC 9700 section 4.12).
pub fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        // Every location is built of encoded parts.
        return OAuthError::ServerError("a redirect could not be built").into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The address that gives the client its code.
pub fn with_code(server: &Server, request: &FlowRequest, code: &str) -> String {
    answer(server, &request.redirect_uri, request.state.as_deref(), &[("code", code)])
}

/// The address that tells the client of an error.
pub fn with_error(server: &Server, redirect_uri: &str, state: Option<&str>, error: &OAuthError) -> String {
    let params = [("error", error.code()), ("error_description", error.description())];
    answer(server, redirect_uri, state, &params)
}

/// `state` byte for byte, and `iss` in every answer (RFC 9207).
fn answer(server: &Server, redirect_uri: &str, state: Option<&str>, params: &[(&str, &str)]) -> String {
    let mut all = params.to_vec();
    all.extend(state.map(|state| ("state", state)));
    all.push(("iss", &server.urls.issuer));
    params::append(redirect_uri, &all)
}

/// Adds `Set-Cookie` headers.
pub(super) fn set_cookies(response: &mut Response, cookies: impl IntoIterator<Item = HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

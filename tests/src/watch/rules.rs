//! The invariants, one function each.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::{
    Exchange, Seen,
    flows::{host, host_of},
};
use crate::html;

/// The codes that RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2, RFC 8707 section 2 and OpenID Connect
/// Core section 3.1.2.6 name.
const CODES: [&str; 15] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_target",
    "invalid_redirect_uri",
    "invalid_client_metadata",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "request_not_supported",
    "unsupported_token_type",
];

/// Everything that is wrong with an exchange.
pub(super) fn check(seen: &Seen, exchange: &Exchange<'_>) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(server_error(seen, exchange.peer, exchange.status));
    found.extend(redirect(seen, exchange));
    found.extend(links(seen, exchange));
    found.extend(answers(seen, exchange));
    found.extend(error_body(exchange));
    found.extend(call_error(seen, exchange));
    found.extend(stored(exchange));
    found.extend(page(exchange));
    found.extend(cookies(seen, exchange));
    found.extend(cors(exchange));
    found.extend(upstream(seen, exchange));
    found
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn server_error(seen: &Seen, peer: IpAddr, status: StatusCode) -> Option<String> {
    let expected = seen.expected.get(&peer).is_some_and(|statuses| statuses.contains(&status.as_u16()));
    (status.is_server_error() && !expected).then(|| "a server error that nobody asked for".to_owned())
}

/// Only to ourselves, to our identity provider, and to a redirect URI of the client whose sign-in it is; never a 307
/// (RFC 9700 section 4.12).
fn redirect(seen: &Seen, exchange: &Exchange<'_>) -> Option<String> {
    let location = text(exchange.headers, "location");
    if location.is_empty() && !exchange.status.is_redirection() {
        return None;
    }
    if exchange.status != StatusCode::SEE_OTHER {
        return Some(format!("redirects to {location}, and not with 303"));
    }
    (!may_lead_to(seen, exchange, location))
        .then(|| format!("redirects to {location}, which is not this client's"))
}

/// A link or form of a page leads where a redirect may.
fn links(seen: &Seen, exchange: &Exchange<'_>) -> Option<String> {
    let astray = targets(exchange).into_iter().find(|target| !may_lead_to(seen, exchange, target))?;
    Some(format!("a page with a link to {astray}, which is not this client's"))
}

/// Whatever a client is told, by a redirect or a link, names its issuer once (RFC 9207 section 2) and has the state of what
/// it asked (RFC 6749 section 4.1.2).
fn answers(seen: &Seen, exchange: &Exchange<'_>) -> Option<String> {
    let location = text(exchange.headers, "location").to_owned();
    let issuer = tenant(seen, exchange).map(|(issuer, _)| issuer.to_owned());
    let state = seen.flows.state(exchange);
    let mut told = targets(exchange).into_iter().chain([location]);
    let bad = told.find(|target| {
        seen.flows.may_end_at(exchange, target)
            && (values(target, "iss") != Vec::from_iter(issuer.clone())
                || values(target, "state") != Vec::from_iter(state.clone()))
    })?;
    Some(format!("tells a client {bad}, without its issuer {issuer:?} and its state {state:?} once each"))
}

/// Every value of a parameter of a URL.
fn values(url: &str, name: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    url.query_pairs().filter(|(found, _)| found == name).map(|(_, value)| value.into_owned()).collect()
}

/// Where a page's links and forms lead.
fn targets(exchange: &Exchange<'_>) -> Vec<String> {
    if !text(exchange.headers, "content-type").starts_with("text/html") {
        return Vec::new();
    }
    let forms = html::forms(exchange.answer).into_iter().map(|form| form.action);
    html::links(exchange.answer).into_iter().chain(forms).collect()
}

fn may_lead_to(seen: &Seen, exchange: &Exchange<'_>, target: &str) -> bool {
    let at = |origin: &str| {
        target.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    };
    let own_path = |rest: &str| rest.starts_with('/') && !rest.starts_with("//") && !rest.starts_with("/\\");
    let tenant = tenant(seen, exchange);
    let path = tenant.map_or("", |(issuer, _)| path(issuer));
    let near = tenant.is_some_and(|(own, provider)| at(own) || provider.is_some_and(at));
    target.strip_prefix(path).is_some_and(own_path) || near || seen.flows.may_end_at(exchange, target)
}

/// The issuer of the tenant that a request is for, and the origin of its identity provider.
fn tenant<'a>(seen: &'a Seen, exchange: &Exchange<'_>) -> Option<(&'a str, Option<&'a str>)> {
    let host = host(exchange);
    let (issuer, provider) = seen.tenants.iter().find(|(issuer, _)| host_of(issuer) == host)?;
    Some((issuer, provider.as_deref()))
}

/// The path of an issuer.
fn path(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// Errors of what programs read are as RFC 6749 section 5.2 says.
fn error_body(exchange: &Exchange<'_>) -> Option<String> {
    let path = exchange.uri.path();
    let program = ["/oauth/token", "/oauth/register", "/oauth/revoke"].iter().any(|end| path.ends_with(end));
    // What is asked of a HEAD has no body.
    if !program || exchange.status.as_u16() < 400 || exchange.method == http::Method::HEAD {
        return None;
    }
    let body: Value = serde_json::from_str(exchange.answer).unwrap_or_default();
    let description = body["error_description"].as_str().unwrap_or_default();
    let plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    let good = text(exchange.headers, "content-type") == "application/json"
        && body["error"].as_str().is_some_and(|code| CODES.contains(&code))
        && description.chars().all(plain);
    (!good).then(|| format!("not an error of OAuth's: {}", exchange.answer))
}

/// What the MCP endpoint refuses it refuses in JSON-RPC's shape (section 5.1), with the id of what was asked, or none.
fn call_error(seen: &Seen, exchange: &Exchange<'_>) -> Option<String> {
    // A loopback server that is asked by another name says so before it looks at the path.
    let outside = matches!(*exchange.method, http::Method::OPTIONS | http::Method::HEAD)
        || exchange.status == StatusCode::MISDIRECTED_REQUEST;
    let path = tenant(seen, exchange).map_or("", |(issuer, _)| path(issuer));
    if exchange.uri.path().strip_prefix(path) != Some("/mcp") || exchange.status.as_u16() < 400 || outside {
        return None;
    }
    let body: Value = serde_json::from_str(exchange.answer).unwrap_or_default();
    let question: Value = serde_json::from_str(exchange.question).unwrap_or_default();
    let good = text(exchange.headers, "content-type") == "application/json"
        && text(exchange.headers, "cache-control").contains("no-store")
        && body["jsonrpc"] == "2.0"
        && body.get("id").is_some_and(|id| id.is_null() || question.get("id") == Some(id))
        && body["error"]["code"].is_i64()
        && body["error"]["message"].as_str().is_some_and(|message| !message.is_empty());
    (!good).then(|| format!("not an error of JSON-RPC's: {}", exchange.answer))
}

/// Nothing of a sign-in is kept by caches (RFC 6749 section 5.1).
fn stored(exchange: &Exchange<'_>) -> Option<String> {
    let path = exchange.uri.path();
    let preflight = exchange.method == http::Method::OPTIONS;
    let sensitive = (path.contains("/oauth/") || path.contains("/account")) && !preflight
        || exchange.headers.contains_key(header::SET_COOKIE)
        || exchange.headers.contains_key(header::WWW_AUTHENTICATE)
        || exchange.answer.contains("access_token\":\"");
    let no_store = text(exchange.headers, "cache-control").contains("no-store");
    (sensitive && !no_store).then(|| "Cache-Control is not no-store".to_owned())
}

/// Pages run nothing, are framed by nobody and tell nobody where they were.
fn page(exchange: &Exchange<'_>) -> Option<String> {
    let headers = exchange.headers;
    if !text(headers, "content-type").starts_with("text/html") {
        return None;
    }
    let policy = text(headers, "content-security-policy");
    let guarded = policy.contains("default-src 'none'")
        && policy.contains("frame-ancestors 'none'")
        && !policy.contains("script-src")
        && text(headers, "x-frame-options") == "DENY"
        && text(headers, "referrer-policy") == "no-referrer"
        && text(headers, "x-content-type-options") == "nosniff"
        && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    if let Some(active) = html::tags(exchange.answer).iter().find(|tag| tag.is_active()) {
        return Some(format!("a page with {active:?}"));
    }
    (!guarded).then(|| format!("a page without its guards: {headers:?}"))
}

/// For us alone, and behind TLS by the browser's own rules (RFC 6265bis section 4.1.3).
fn cookies(seen: &Seen, exchange: &Exchange<'_>) -> Option<String> {
    let secure = tenant(seen, exchange).is_some_and(|(issuer, _)| issuer.starts_with("https://"));
    let lines = exchange.headers.get_all(header::SET_COOKIE).iter().filter_map(|v| v.to_str().ok());
    let bad = lines.map(str::to_ascii_lowercase).find(|line| {
        let has = |attribute: &str| line.split(';').any(|part| part.trim() == attribute);
        let bound = line.starts_with("__host-gh-") && has("secure");
        !has("httponly")
            || !has("samesite=lax")
            || !has("path=/")
            || line.contains("domain=")
            || (secure && !bound)
    });
    bad.map(|line| {
        format!("sets a cookie that is not guarded: {}", line.split('=').next().unwrap_or_default())
    })
}

/// Never with credentials, and never the asker's own origin given back.
fn cors(exchange: &Exchange<'_>) -> Option<String> {
    let allowed = text(exchange.headers, "access-control-allow-origin");
    let credentials = exchange.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    let reflected = !allowed.is_empty() && allowed != "*";
    (credentials || reflected).then(|| format!("CORS for {allowed}, with credentials: {credentials}"))
}

/// The user's credentials upstream never reach a client.
fn upstream(seen: &Seen, exchange: &Exchange<'_>) -> Option<String> {
    let headers = exchange.headers.values().map(|v| String::from_utf8_lossy(v.as_bytes()));
    let all: Vec<_> = headers.chain([exchange.answer.into()]).collect();
    let leaked = seen.upstream.iter().find(|secret| all.iter().any(|part| part.contains(secret.as_str())));
    leaked.map(|secret| format!("an answer holds {secret}"))
}

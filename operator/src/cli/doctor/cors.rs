//! What a client that is a web page needs: CORS.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use url::Url;

use super::{
    finding::{Check, Client},
    issuer::Issuer,
    visit::Visit,
};

/// Where the MCP Inspector's page is served from.
const ORIGIN: &str = "http://localhost:6274";

/// Asks as a page would, for every address that such a client reads.
pub(super) async fn check(visit: &mut Visit, issuer: Option<&Issuer>) {
    let mcp = visit.url.clone();
    let mut closed = Vec::new();
    let endpoints =
        issuer.map(|i| [Some(&i.place), i.registration_endpoint.as_ref(), i.token_endpoint.as_ref()]);
    for url in endpoints.into_iter().flatten().flatten().chain([&mcp]) {
        let method = if issuer.is_some_and(|i| i.place == *url) { "GET" } else { "POST" };
        if !preflight(visit, url, method).await {
            closed.push(url.path().to_owned());
        }
    }
    if !closed.is_empty() {
        visit.report.fault(
            Check::Cors,
            &[Client::Browser],
            format!("a web page may not call {}: the preflight from {ORIGIN} is not answered with leave for Authorization, Content-Type and MCP-Protocol-Version.", closed.join(", ")),
            "Answer OPTIONS there with Access-Control-Allow-Origin and the headers asked for. Only clients in browsers need it.",
        );
    }
    exposed(visit, &mcp).await;
    if let Some(page) = issuer.and_then(|i| i.authorization_endpoint.as_ref()) {
        let answer = visit.once(Method::GET, page, &[(header::ORIGIN, ORIGIN)], Bytes::new()).await;
        if answer.is_ok_and(|a| a.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)) {
            visit.report.warn(
                Check::Cors,
                "the page where users sign in may be read by other web pages (it has CORS headers).",
                "Leave CORS off the pages: people open them, programs do not.",
            );
        }
    }
    if !visit.report.blames(Check::Cors) {
        visit.report.good(Check::Cors, "web pages may call what they need, and read no page of the sign-in");
    }
}

async fn preflight(visit: &mut Visit, url: &Url, method: &str) -> bool {
    let headers = [
        (header::ORIGIN, ORIGIN),
        (header::ACCESS_CONTROL_REQUEST_METHOD, method),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type,mcp-protocol-version"),
    ];
    let Ok(answer) = visit.once(Method::OPTIONS, url, &headers, Bytes::new()).await else {
        return false;
    };
    let allowed = text(&answer.headers, &header::ACCESS_CONTROL_ALLOW_HEADERS).to_ascii_lowercase();
    answer.status.is_success()
        && allows_origin(&answer.headers)
        && ["authorization", "content-type", "mcp-protocol-version"].iter().all(|h| allowed.contains(h))
}

/// Whether the page could read the 401's challenge, without which it does not know where to sign in.
async fn exposed(visit: &mut Visit, mcp: &Url) {
    let headers = [(header::ORIGIN, ORIGIN), (header::CONTENT_TYPE, "application/json")];
    let body = Bytes::from_static(super::reach::INITIALIZE.as_bytes());
    let Ok(answer) = visit.ask(Method::POST, mcp, &headers, body).await else { return };
    if !allows_origin(&answer.headers) {
        let what = format!(
            "the MCP endpoint answers {} to a web page of {ORIGIN}, without leave to read it.",
            answer.status
        );
        visit.report.fault(
            Check::Cors,
            &[Client::Browser],
            what,
            "Send Access-Control-Allow-Origin with the answer too, not with the preflight alone.",
        );
        return;
    }
    let readable = text(&answer.headers, &header::ACCESS_CONTROL_EXPOSE_HEADERS).to_ascii_lowercase();
    if !readable.contains("www-authenticate") || !readable.contains("mcp-session-id") {
        visit.report.fault(
            Check::Cors,
            &[Client::Browser],
            "a web page cannot read WWW-Authenticate and Mcp-Session-Id of the MCP endpoint's answers.",
            "Send Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id.",
        );
    }
    let anyone = text(&answer.headers, &header::ACCESS_CONTROL_ALLOW_CREDENTIALS) == "true";
    if anyone {
        visit.report.warn(
            Check::Cors,
            "web pages may send cookies along (Access-Control-Allow-Credentials).",
            "Leave it out: tokens travel in the Authorization header.",
        );
    }
}

fn allows_origin(headers: &HeaderMap) -> bool {
    matches!(text(headers, &header::ACCESS_CONTROL_ALLOW_ORIGIN), "*" | ORIGIN)
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

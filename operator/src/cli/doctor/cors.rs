//! What a client that is a web page needs: CORS.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use super::{
    document::values,
    finding::{Check, Client},
    issuer::Issuer,
    registration,
    resource::Resource,
    visit::Visit,
};
use crate::cli::http::{Answer, Content};

/// Where the MCP Inspector's page is served from.
const ORIGIN: &str = "http://localhost:6274";
/// What such a client sends to the MCP endpoint beyond what needs no leave.
const MCP_HEADERS: &[&str] = &["authorization", "content-type", "mcp-protocol-version"];
/// What it sends when it registers.
const REGISTRATION_HEADERS: &[&str] = &["content-type"];

/// Asks as a page would, for every address that such a client reads.
pub(super) async fn check(
    visit: &mut Visit,
    issuer: Option<&Issuer>,
    resource: Option<&Resource>,
    register: bool,
) {
    let mcp = visit.url.clone();
    let refused = asked(visit, &mcp, MCP_HEADERS).await.is_ok_and(|answer| refuses_pages(&answer));
    let registration = issuer.and_then(|i| i.registration_endpoint.as_ref());
    // Forms and documents need none: the SDK asks for documents again without its header where one is refused.
    for (url, needed) in
        [(Some(&mcp).filter(|_| !refused), MCP_HEADERS), (registration, REGISTRATION_HEADERS)]
    {
        if let Some(url) = url
            && !preflight(visit, url, needed).await
        {
            visit.report.fault(
                Check::Cors,
                &[Client::Browser],
                format!("a web page may not call {}: the preflight from {ORIGIN} is not answered with leave for {}.", url.path(), needed.join(", ")),
                "Answer OPTIONS there with Access-Control-Allow-Origin and the headers asked for. Only clients in browsers need it.",
            );
        }
    }
    answers(visit, issuer, resource, register).await;
    if refused {
        visit.report.note(
            Check::Cors,
            &[Client::Browser],
            "the MCP endpoint answers 403 to web pages of other origins, as MCP has servers do that serve none.",
            "A client in a browser goes through a proxy of its own there (the MCP Inspector: connection type Via Proxy). \
             If pages are meant to call, allow their origins.",
        );
    } else {
        exposed(visit, &mcp).await;
    }
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
    if !refused && !visit.report.blames(Check::Cors) {
        visit.report.good(Check::Cors, "web pages may call what they need, and read no page of the sign-in");
    }
}

/// What a preflight from the page is answered.
async fn asked(visit: &mut Visit, url: &Url, needed: &[&str]) -> Result<Answer, String> {
    let asked = needed.join(",");
    let headers = [
        (header::ORIGIN, ORIGIN),
        (header::ACCESS_CONTROL_REQUEST_METHOD, "POST"),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, asked.as_str()),
    ];
    visit.once(Method::OPTIONS, url, &headers, Bytes::new()).await
}

async fn preflight(visit: &mut Visit, url: &Url, needed: &[&str]) -> bool {
    let Ok(answer) = asked(visit, url, needed).await else { return false };
    let allowed = values(&answer.headers, &header::ACCESS_CONTROL_ALLOW_HEADERS);
    let allows = needed.iter().all(|name| lists(&allowed, name));
    answer.status.is_success() && allows_origin(&answer.headers) && allows
}

/// Whether the page could read the answers themselves, to which leave in a preflight does not extend.
async fn answers(visit: &mut Visit, issuer: Option<&Issuer>, resource: Option<&Resource>, register: bool) {
    let mut closed = Vec::new();
    for place in resource.map(|r| &r.place).into_iter().chain(issuer.map(|i| &i.place)) {
        let answer = visit.ask(Method::GET, place, &[(header::ORIGIN, ORIGIN)], Bytes::new()).await;
        closed.extend(unreadable(answer));
    }
    if let Some(url) = issuer.and_then(|i| i.token_endpoint.as_ref()) {
        let form = [("grant_type", "authorization_code"), ("code", "gatehouse-doctor")];
        closed.extend(unreadable(visit.post(url, Content::form(&form), Some(ORIGIN)).await));
    }
    if let Some(url) = issuer.and_then(|i| i.registration_endpoint.as_ref()).filter(|_| register) {
        closed.extend(unreadable(registration::from_page(visit, url, ORIGIN).await));
    }
    if !closed.is_empty() {
        visit.report.fault(
            Check::Cors,
            &[Client::Browser],
            format!("a web page of {ORIGIN} may not read what these answer: {}.", closed.join(", ")),
            "Send Access-Control-Allow-Origin with the answer itself, errors too, not with the preflight alone.",
        );
    }
}

/// The address of an answer that a page may not read. What fails altogether is told elsewhere.
fn unreadable(answer: Result<Answer, String>) -> Option<String> {
    let answer = answer.ok().filter(|a| !a.status.is_server_error() && !a.status.is_redirection())?;
    (!allows_origin(&answer.headers)).then(|| answer.url.path().to_owned())
}

/// Whether that is what MCP has a server answer to a page that it does not serve (Streamable HTTP, security warning).
fn refuses_pages(answer: &Answer) -> bool {
    answer.status == StatusCode::FORBIDDEN && !allows_origin(&answer.headers)
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
    let readable = values(&answer.headers, &header::ACCESS_CONTROL_EXPOSE_HEADERS);
    if !lists(&readable, "www-authenticate") || !lists(&readable, "mcp-session-id") {
        visit.report.fault(
            Check::Cors,
            &[Client::Browser],
            "a web page cannot read WWW-Authenticate and Mcp-Session-Id of the MCP endpoint's answers.",
            "Send Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id.",
        );
    }
    let anyone = values(&answer.headers, &header::ACCESS_CONTROL_ALLOW_CREDENTIALS) == "true";
    if anyone {
        visit.report.warn(
            Check::Cors,
            "web pages may send cookies along (Access-Control-Allow-Credentials).",
            "Leave it out: tokens travel in the Authorization header.",
        );
    }
}

fn allows_origin(headers: &HeaderMap) -> bool {
    matches!(values(headers, &header::ACCESS_CONTROL_ALLOW_ORIGIN).as_str(), "*" | ORIGIN)
}

/// Whether a list of header names holds this one. The wildcard does not stand for Authorization (Fetch standard, "CORS
/// non-wildcard request-header name").
fn lists(list: &str, name: &str) -> bool {
    let stands_for =
        |listed: &str| listed.eq_ignore_ascii_case(name) || (listed == "*" && name != "authorization");
    list.split(',').map(str::trim).any(stands_for)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_headers_holds_whole_names_and_its_wildcard_is_not_authorization() {
        let open = |list: &str| MCP_HEADERS.iter().all(|name| lists(list, name));
        assert!(open("Authorization, Content-Type,MCP-Protocol-Version"));
        assert!(open("*, Authorization"));
        assert!(!open("*"));
        assert!(!open("x-authorization, *"));
        assert!(!open("authorization, content-type-options, mcp-protocol-version"));
        assert!(!open(""));
        assert!(lists("*", "www-authenticate") && !lists("proxy-www-authenticate", "www-authenticate"));
    }
}

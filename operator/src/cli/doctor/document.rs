//! Reading a JSON document of somebody's server, and saying what came instead.

use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use super::{
    Visit,
    finding::{Check, Client},
};
use crate::cli::http::Answer;

/// How much of a foreign text is shown.
const SHOWN: usize = 120;

/// What came in place of a document.
#[derive(Debug)]
pub(super) enum Instead {
    /// Nothing.
    Silence(String),
    /// A redirect.
    Redirect(String),
    /// A web page, with its title and what a firewall calls the incident.
    Page(StatusCode, String),
    /// An error.
    Status(StatusCode, String),
    /// A success that is no JSON object.
    NotJson,
}

impl Instead {
    /// The page that an answer is.
    pub(super) fn page(answer: &Answer) -> Self {
        Self::Page(answer.status, format!("{}{}", title(&answer.body), incident(&answer.body)))
    }

    /// Whether there is simply nothing at that address.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Status(status, _) if *status == StatusCode::NOT_FOUND)
            || matches!(self, Self::Page(status, _) if *status == StatusCode::NOT_FOUND)
    }

    /// Reports it: `what` is what was asked for at `url`.
    pub(super) fn report(
        &self,
        visit: &mut Visit,
        check: Check,
        clients: &'static [Client],
        what: &str,
        url: &Url,
    ) {
        let report = &mut visit.report;
        match self {
            Self::Silence(why) => report.fault(check, clients, format!("{what}: {why}"), "Route the whole host to the server."),
            Self::Redirect(to) => report.fault(
                Check::Redirect,
                clients,
                format!("{what} at {url} is redirected to {to}: clients follow no redirect to another origin, and a POST becomes a GET."),
                "Serve it where it is asked for. If the host that finally answers is another one (www), give clients that URL, and put it into spec.url.",
            ),
            Self::Page(status, title) if *status == StatusCode::TOO_MANY_REQUESTS => report.fault(
                Check::Unavailable,
                clients,
                format!("{what} at {url} answers {status} with a web page{title}: a firewall or a proxy in front counts requests, not the server."),
                "Take the host out of its rate limits, or raise them: a sign-in is a dozen requests at once, and cloud clients (claude.ai, ChatGPT) come with all their users from a few addresses.",
            ),
            Self::Page(status, title) => report.fault(
                Check::Html,
                clients,
                format!("{what} at {url} is a web page ({status}{title}), not JSON: something in front answers instead (a login page, a firewall, a default backend)."),
                "Take the host out of the proxy's own authentication and bot checks, and route all of it to the server. Who runs a firewall finds the reason by the id on its page.",
            ),
            Self::Status(status, why) if *status == StatusCode::SERVICE_UNAVAILABLE || *status == StatusCode::TOO_MANY_REQUESTS => report.fault(
                Check::Unavailable,
                clients,
                format!("{what} at {url} answers {status}{why}."),
                "The server is there and cannot work now. Gatehouse says 503 when its Redis is away, full, or refuses the login (see the conditions of the McpServer), and 429 when a limit is reached: behind a proxy that is not in gateway.trustedProxies everybody shares one.",
            ),
            Self::Status(status, why) if status.is_server_error() => report.fault(
                Check::Unavailable,
                clients,
                format!("{what} at {url} answers {status}{why}: clients give up at once on such an answer."),
                "Look into the log of the server and of the proxy in front.",
            ),
            Self::Status(status, why) if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => report.fault(
                check,
                clients,
                format!("{what} at {url} answers {status}{why}, but it must be public."),
                "Exempt /.well-known/ and /oauth/ from authentication: clients read them before anybody has signed in.",
            ),
            Self::Status(status, why) => report.fault(
                check,
                clients,
                format!("{what} at {url} answers {status}{why}."),
                "Route all of the host to the server, without rewriting paths: the documents lie at /.well-known/… and the sign-in at /oauth/…, beside the MCP path.",
            ),
            Self::NotJson => report.fault(
                check,
                clients,
                format!("{what} at {url} is not a JSON object."),
                "Serve it as application/json, unaltered by proxies.",
            ),
        }
    }
}

/// The JSON object of a successful answer, or what came instead.
pub(super) fn object(answer: Result<Answer, String>) -> Result<(Map<String, Value>, Answer), Instead> {
    let answer = answer.map_err(Instead::Silence)?;
    if let Some(other) = other_than_success(&answer) {
        return Err(other);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(object)) => Ok((object, answer)),
        _ if is_html(&answer.headers) => Err(Instead::page(&answer)),
        _ => Err(Instead::NotJson),
    }
}

/// What an answer is, if it is not a success.
pub(super) fn other_than_success(answer: &Answer) -> Option<Instead> {
    let status = answer.status;
    if status.is_redirection() {
        return Some(Instead::Redirect(location(answer)));
    }
    if status.is_success() {
        return None;
    }
    if is_html(&answer.headers) {
        return Some(Instead::page(answer));
    }
    Some(Instead::Status(status, oauth_error(&answer.body)))
}

/// Where a redirect leads.
pub(super) fn location(answer: &Answer) -> String {
    let to = answer.headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
    to.map_or_else(
        || "nowhere".to_owned(),
        |to| answer.url.join(to).map_or_else(|_| short(to), |u| u.to_string()),
    )
}

/// Whether an answer is a web page.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().to_ascii_lowercase().starts_with(b"text/html"))
}

/// What firewalls call the id of a request that they stopped.
const INCIDENTS: [&str; 5] = ["incident id", "support id", "ray id", "reference id", "reference #"];

/// `, "incident ID: …"` of a firewall's page, if it has one.
fn incident(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let found = INCIDENTS.iter().find_map(|name| {
        let at = lower.find(name)?;
        // The id itself may stand in an element of its own. Lower-casing ASCII moves nothing.
        let words = text[at..].split(['<', '>', '\n']).enumerate().filter(|(n, _)| n % 2 == 0);
        let words: Vec<_> = words.map(|(_, t)| t.trim()).filter(|t| !t.is_empty()).take(2).collect();
        Some(words.join(" "))
    });
    found.map(|id| format!(", {:?}", short(&id))).unwrap_or_default()
}

/// `, "title"` of a page, if it has one.
fn title(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let start = at + lower[at..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        // Lower-casing ASCII moves nothing, so the places are the same in both.
        Some(text[start..end].trim().to_owned())
    });
    title.filter(|t| !t.is_empty()).map(|t| format!(", {:?}", short(&t))).unwrap_or_default()
}

/// ` (error: description)` of an OAuth error, if it is one.
pub(super) fn oauth_error(body: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return String::new() };
    let part = |name: &str| object.get(name).and_then(Value::as_str).map(short);
    match (part("error"), part("error_description")) {
        (Some(error), Some(description)) => format!(" ({error}: {description})"),
        (Some(error), None) => format!(" ({error})"),
        _ => String::new(),
    }
}

/// The names of members that are null, and of members that are empty texts.
pub(super) fn nulls_and_blanks(object: &Map<String, Value>) -> (Vec<String>, Vec<String>) {
    let named =
        |found: fn(&Value) -> bool| object.iter().filter(|(_, v)| found(v)).map(|(n, _)| short(n)).collect();
    (named(Value::is_null), named(|v| v.as_str() == Some("")))
}

/// The first characters of a foreign text.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewalls_page_is_told_by_its_incident() {
        let page = "<p>Request unsuccessful. Incapsula incident ID: 77-123</p><p>Bye</p>";
        assert_eq!(incident(page.as_bytes()), ", \"incident ID: 77-123 Bye\"");
        let page = "<span>Cloudflare Ray ID: <strong>8f2c</strong></span>";
        assert_eq!(incident(page.as_bytes()), ", \"Ray ID: 8f2c\"");
        assert_eq!(incident(b"<h1>Welcome</h1>"), "");
    }
}

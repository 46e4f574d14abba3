//! Whether the URL leads to a server at all: its form, the name, the connection, TLS, redirects, the clock.

use bytes::Bytes;
use http::{Method, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use super::{
    finding::{Check, Client},
    html::is_html,
    instead::Instead,
    outside::{self, is_loopback},
    unreachable,
    visit::Visit,
};
use crate::cli::http::Answer;

/// What a client posts first. Without a token, a server that wants one answers 401 whatever it says.
pub(super) const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"gatehouse-doctor","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);

/// How far two clocks may be apart before tokens that carry times stop working.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// The answer to a first request without a token; `None` when there is nothing to go on with.
pub(super) async fn check(visit: &mut Visit) -> Option<Answer> {
    form(visit);
    let post = [(header::CONTENT_TYPE, "application/json")];
    let answer =
        visit.ask(Method::POST, &visit.url.clone(), &post, Bytes::from_static(INITIALIZE.as_bytes())).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            let url = visit.url.clone();
            unreachable::report(visit, Check::Reach, Client::ALL, "the MCP endpoint", &url, &why);
            return None;
        }
    };
    visit.report.good(Check::Reach, format!("{} answers", visit.url));
    outside::endpoint(visit).await;
    clock(visit, &answer);
    let instead = Instead::of(&answer);
    if let Some(instead @ (Instead::Redirect(..) | Instead::Page(..))) = instead {
        // A 401 may have a page for a body: what counts is its challenge.
        if answer.headers.contains_key(header::WWW_AUTHENTICATE) {
            return Some(answer);
        }
        instead.report(visit, Check::Reach, Client::ALL, "the MCP endpoint", &visit.url.clone());
        return None;
    }
    if answer.status.is_success() && is_html(&answer.headers) {
        let page = Instead::page(&answer);
        page.report(visit, Check::Reach, Client::ALL, "the MCP endpoint", &visit.url.clone());
        return None;
    }
    Some(answer)
}

/// What is odd about the URL itself.
fn form(visit: &mut Visit) {
    let Visit { url, report, .. } = visit;
    if !url.username().is_empty() || url.password().is_some() {
        // Both succeed: they fail only on URLs without a host, and those are refused before. So nothing prints the password.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        report.fault(
            Check::Url,
            Client::STRICT,
            format!("the URL has a name or a password before its host, with which these clients send no request. {url} is looked at without them."),
            "Give clients the URL without them: they sign in at the authorization server.",
        );
    }
    if url.scheme() == "http" && !is_loopback(url) {
        report.fault(
            Check::Url,
            Client::ALL,
            format!("{url} is plain http: clients send tokens over https only, except to this machine."),
            "Put TLS in front and give clients the https URL.",
        );
    }
    if url.path() != "/" && url.path().ends_with('/') {
        report.warn(
            Check::Url,
            format!(
                "{url} ends with a slash: clients compare the URL letter by letter with what the server says."
            ),
            "Give clients the URL without it.",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        report.warn(
            Check::Url,
            format!("{url} has a query or a fragment, which clients keep or drop as they like."),
            "Give clients the URL without it.",
        );
    }
}

fn clock(visit: &mut Visit, answer: &Answer) {
    let date = answer.headers.get(header::DATE).and_then(|v| v.to_str().ok());
    let Some(theirs) = date.and_then(|d| rfc2822::parse(d).ok()) else { return };
    let off = Timestamp::now().duration_since(theirs.timestamp());
    if off.abs() > CLOCK_TOLERANCE {
        visit.report.warn(
            Check::Clock,
            format!("the server's clock (or a cache in front of it) is {} seconds {} this machine's.", off.abs().as_secs(), if off.is_negative() { "ahead of" } else { "behind" }),
            "Set both by NTP: identity tokens and certificates are refused by their times. A cached answer of the MCP endpoint is wrong too: turn caching off.",
        );
    }
}

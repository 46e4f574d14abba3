//! What came in place of a document, and what that comes from.

use http::StatusCode;
use url::Url;

use super::{
    document::{location, oauth_error},
    finding::{Check, Client},
    html::{Kind, Page, is_html},
    redirect, unreachable,
    visit::Visit,
};
use crate::cli::http::Answer;

/// What came in place of a document.
#[derive(Debug)]
pub(super) enum Instead {
    /// Nothing.
    Silence(String),
    /// A redirect.
    Redirect(StatusCode, String),
    /// A web page.
    Page(StatusCode, Page),
    /// An error.
    Status(StatusCode, String),
    /// Something that is compressed, in this way, though nobody asked for that.
    Compressed(String),
    /// A success that is no JSON object.
    NotJson,
}

impl Instead {
    /// What an answer is, if it is not a success.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let status = answer.status;
        if status.is_redirection() {
            return Some(Self::Redirect(status, location(answer)));
        }
        if status.is_success() {
            return None;
        }
        if is_html(&answer.headers) {
            return Some(Self::page(answer));
        }
        Some(Self::Status(status, oauth_error(&answer.body)))
    }

    /// The page that an answer is.
    pub(super) fn page(answer: &Answer) -> Self {
        Self::Page(answer.status, Page::of(answer))
    }

    /// Whether there is simply nothing at that address.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Status(StatusCode::NOT_FOUND, _))
            || matches!(self, Self::Page(_, page) if page.kind == Kind::NotRouted)
    }

    /// Reports it: `what` is what was asked for at `url`.
    pub(super) fn report(&self, visit: &mut Visit, check: Check, clients: &[Client], what: &str, url: &Url) {
        let report = &mut visit.report;
        match self {
            Self::Silence(why) => unreachable::report(visit, check, clients, what, url, why),
            Self::Redirect(status, to) => redirect::report(visit, clients, what, url, (*status, to.as_str())),
            Self::Page(status, page) => in_place(visit, clients, what, url, (*status, page)),
            Self::Status(status, why) if *status == StatusCode::SERVICE_UNAVAILABLE || *status == StatusCode::TOO_MANY_REQUESTS => report.fault(
                Check::Unavailable,
                clients,
                format!("{what} at {url} answers {status}{why}."),
                "The server is there and cannot work now. Gatehouse says 503 when its Redis is away, full, or refuses the login (see the conditions of the McpServer), for seconds also when it has just started or too much is under way, and 429 when a limit is reached: behind a proxy that is not in gateway.trustedProxies everybody shares one.",
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
            Self::Compressed(how) => {
                let found = format!("{what} at {url} comes compressed ({how}) to who asks for it as it is. Who can read that does; here it is not looked into.");
                report.warn(check, found, "Compress for those alone whose Accept-Encoding names it.");
                report.unseen(check, format!("{what} was not looked into: it is compressed."), "");
            }
            Self::NotJson => report.fault(
                check,
                clients,
                format!("{what} at {url} is not a JSON object."),
                "Serve it as application/json, unaltered by proxies.",
            ),
        }
    }
}

/// A page in place of `what`.
fn in_place(
    visit: &mut Visit,
    clients: &[Client],
    what: &str,
    url: &Url,
    (status, page): (StatusCode, &Page),
) {
    let said = &page.said;
    let (check, found, mend) = match page.kind {
        _ if status == StatusCode::TOO_MANY_REQUESTS => (
            Check::Unavailable,
            format!(
                "{what} at {url} answers {status} with a web page{said}: a firewall or a proxy in front counts requests, not the server."
            ),
            "Take the host out of its rate limits, or raise them: a sign-in is a dozen requests at once, and cloud clients (claude.ai, ChatGPT) come with all their users from a few addresses.",
        ),
        Kind::Away => (
            Check::Unavailable,
            format!(
                "{what} at {url} answers {status} with a web page{said}: a proxy in front answers, and the server behind it is away or fails."
            ),
            "Is the server running, and does the proxy look for it at the right Service and port? Look into the logs of both.",
        ),
        Kind::NotRouted => (
            Check::Html,
            format!(
                "{what} at {url} answers {status} with a web page{said}, not JSON: the proxy in front has no route for that path, and a default page answers."
            ),
            "Route all of the host to the server, without rewriting paths.",
        ),
        Kind::SignIn => (
            Check::Html,
            format!(
                "{what} at {url} is a web page ({status}{said}), not JSON: something in front makes people sign in there."
            ),
            "Take the host out of the proxy's own authentication: clients sign in at the authorization server.",
        ),
        Kind::Firewall => (
            Check::Html,
            format!(
                "{what} at {url} is a web page ({status}{said}), not JSON: a firewall or a proxy in front refuses the request."
            ),
            "Take the host out of its bot checks and rules for browsers. Who runs a firewall finds the reason by the id on its page.",
        ),
        Kind::Other => (
            Check::Html,
            format!(
                "{what} at {url} is a web page ({status}{said}), not JSON: another server answers there (a default backend, a web site)."
            ),
            "Route all of the host to the server, without rewriting paths.",
        ),
    };
    visit.report.fault(check, clients, found, mend);
}

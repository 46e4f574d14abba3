//! The 401 that starts every sign-in: RFC 6750 section 3, RFC 9728 section 5.1.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use url::Url;

use super::{
    document::{oauth_error, short, values},
    finding::{Check, Client},
    instead::Instead,
    visit::Visit,
};
use crate::cli::{challenge::parameter, http::Answer};

/// Whose requests are probes with GET, before any POST.
const PROBE_BY_GET: &[Client] = &[Client::Codex, Client::RustSdk, Client::McpRemote];

/// Whose parsers look for the very name and an `=` right behind it: the SDKs in TypeScript and Python, and what is made of them.
const BY_PATTERN: &[Client] = &[
    Client::ClaudeCode,
    Client::ClaudeAi,
    Client::Cursor,
    Client::McpRemote,
    Client::TypescriptSdk,
    Client::PythonSdk,
    Client::Browser,
];

/// What the challenge leads to.
#[derive(Debug, Default)]
pub(super) struct Challenge {
    /// Where the protected-resource document is said to be.
    pub(super) resource_metadata: Option<Url>,
    /// Who does not see that, as it is written.
    pub(super) unread: &'static [Client],
    /// The scopes that it asks for.
    pub(super) scope: Option<String>,
}

/// Looks at the answer to a request without a token; `None` when no sign-in is asked for.
pub(super) async fn check(visit: &mut Visit, answer: &Answer) -> Option<Challenge> {
    if answer.status.is_success() {
        visit.report.warn(
            Check::Challenge,
            format!("the MCP endpoint answers {} without a token: it asks nobody to sign in, and anyone may call its tools.", answer.status),
            "If that is not meant, put it behind a gateway; if it is, clients have nothing to sign in to.",
        );
        return None;
    }
    if answer.status != StatusCode::UNAUTHORIZED {
        refused(visit, answer);
        return Some(Challenge::default());
    }
    let found = read(visit, answer);
    // Without a challenge of the POST the others lack it for the same reason.
    if answer.headers.contains_key(header::WWW_AUTHENTICATE) {
        for method in [Method::GET, Method::DELETE] {
            other_method(visit, method).await;
        }
    }
    Some(found)
}

/// Anything but 401 or success.
fn refused(visit: &mut Visit, answer: &Answer) {
    let (status, why) = (answer.status, oauth_error(&answer.body));
    if status == StatusCode::NOT_FOUND {
        visit.report.fault(
            Check::Challenge,
            Client::ALL,
            format!("{} answers 404: there is no MCP endpoint at this path.", visit.url),
            "Use the URL that the server publishes (`kubectl get mcps`), and route it without rewriting its path.",
        );
    } else if let Some(instead @ Instead::Status(..)) =
        Instead::of(answer).filter(|_| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS)
    {
        instead.report(visit, Check::Challenge, Client::ALL, "the MCP endpoint", &visit.url.clone());
    } else {
        visit.report.fault(
            Check::Challenge,
            Client::ALL,
            format!("the MCP endpoint answers {status}{why} to a request without a token, not 401: clients do not learn that they may sign in."),
            "Answer 401 with WWW-Authenticate before any other check. A 403 here often is a firewall, or an Origin check that comes first.",
        );
    }
}

fn read(visit: &mut Visit, answer: &Answer) -> Challenge {
    let report = &mut visit.report;
    // Several lines are one list (RFC 9110 section 5.2), and clients read them so.
    let challenge = values(&answer.headers, &header::WWW_AUTHENTICATE);
    if challenge.is_empty() {
        report.warn(
            Check::Challenge,
            "the 401 has no WWW-Authenticate header: clients have to guess where to sign in, and those before the 2025-11-25 specification do not.",
            "Send `WWW-Authenticate: Bearer resource_metadata=\"…\"`. If the server does, a proxy in front removes it.",
        );
        return Challenge::default();
    }
    let first = challenge.split([' ', ',']).next().unwrap_or_default();
    let bearer = first.eq_ignore_ascii_case("bearer");
    if !bearer {
        report.warn(
            Check::Challenge,
            format!("the first challenge of WWW-Authenticate is not Bearer but {:?}: many clients look at the first word alone, and then try the well-known addresses.", short(first)),
            "Send the Bearer challenge first, or alone. `Basic` here is a password prompt of a proxy in front: take it off.",
        );
    }
    if parameter(&challenge, "error").is_some() {
        report.warn(
            Check::Challenge,
            "the 401 to a request without any token carries an `error`, which RFC 6750 section 3.1 keeps for tokens that were sent.",
            "Leave it out there: some clients take it for a refused token and begin anew.",
        );
    }
    let scope = parameter(&challenge, "scope").map(|p| p.value);
    let Some(named) = parameter(&challenge, "resource_metadata") else {
        report.warn(
            Check::Challenge,
            "the 401 names no resource_metadata: clients try the well-known addresses instead.",
            "Name it: WWW-Authenticate: Bearer resource_metadata=\"https://…/.well-known/oauth-protected-resource/…\".",
        );
        return Challenge { scope, ..Challenge::default() };
    };
    if !named.plain {
        report.warn(
            Check::Challenge,
            "the 401 names resource_metadata in capitals or with spaces around its `=`, which the SDKs in TypeScript and Python do not see: they try the well-known addresses instead.",
            "Write resource_metadata=\"https://…\", in small letters and without spaces.",
        );
    }
    let Ok(resource_metadata) = Url::parse(&named.value) else {
        report.warn(
            Check::Challenge,
            format!("the 401 points to {:?}, which is no absolute URL: clients try the well-known addresses instead.", short(&named.value)),
            "Name it with https:// and the host.",
        );
        return Challenge { scope, ..Challenge::default() };
    };
    if resource_metadata.origin() == visit.url.origin() {
        report.good(Check::Challenge, format!("401 that points to {resource_metadata}"));
    } else {
        report.fault(
            Check::Challenge,
            Client::ALL,
            format!("the 401 points to {:?}, which is not on {}.", short(&named.value), visit.url.origin().ascii_serialization()),
            "The server does not know its public URL: behind TLS it must say https, and the host that clients use. Gatehouse takes it from spec.url.",
        );
    }
    let unread = match (named.plain, bearer) {
        (false, _) => BY_PATTERN,
        (true, false) => Client::STRICT,
        (true, true) => &[],
    };
    Challenge { resource_metadata: Some(resource_metadata), unread, scope }
}

/// Asks once more by another method, where the POST got a challenge.
async fn other_method(visit: &mut Visit, method: Method) {
    let Ok(answer) = visit.ask(method.clone(), &visit.url.clone(), &[], Bytes::new()).await else { return };
    if answer.headers.contains_key(header::WWW_AUTHENTICATE) && answer.status == StatusCode::UNAUTHORIZED {
        return;
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        let found =
            format!("{method} without a token answers 401 as POST does, but without its WWW-Authenticate.");
        return visit.report.warn(Check::Challenge, found, "Send the challenge whatever the method is.");
    }
    let found = format!("{method} without a token answers {}, not 401 with a challenge.", answer.status);
    let mend =
        "Check the token before the method: an unauthenticated GET or DELETE is answered as a POST is.";
    if method == Method::GET {
        visit.report.fault(Check::Challenge, PROBE_BY_GET, found, mend);
    } else {
        visit.report.warn(Check::Challenge, found, mend);
    }
}

//! The identity provider, at which users sign in where it is not the authorization server itself.

use bytes::Bytes;
use http::Method;
use url::Url;

use super::{
    browser::navigation,
    finding::{Check, Client},
    outside::host,
    unreachable,
    visit::Visit,
};

/// The identity provider's page, for which the server's callback must be registered.
pub(super) async fn check(visit: &mut Visit, to: &Url) {
    let callback = to.query_pairs().find(|(n, _)| n == "redirect_uri").map(|(_, v)| v.into_owned());
    let name = host(to);
    // Cookies are the server's, not the provider's.
    let answer = match visit.once(Method::GET, to, &navigation(""), Bytes::new()).await {
        Ok(answer) => answer,
        Err(why) => {
            let what = "the page at which users sign in";
            return unreachable::report(visit, Check::Callback, Client::ALL, what, to, &why);
        }
    };
    let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    let about_it = ["redirect_uri", "redirect uri", "redirect url"].iter().any(|w| text.contains(w));
    let refused = answer.status.is_client_error();
    let report = &mut visit.report;
    match callback {
        Some(callback) if refused && about_it => report.fault(
            Check::Callback,
            Client::ALL,
            format!("{name} refuses the redirect URI {callback}."),
            format!("Register {callback} there, letter by letter (`kubectl get mcps NAME -o jsonpath={{.status.callbackUrl}}`)."),
        ),
        Some(_) if refused => report.fault(
            Check::Callback,
            Client::ALL,
            format!("{name} answers {} to the sign-in.", answer.status),
            "Check the client id, and that the application is enabled there.",
        ),
        Some(callback) => report.good(Check::Callback, format!("users sign in at {name}, where {callback} must be registered, letter by letter")),
        None if refused || answer.status.is_server_error() => report.warn(
            Check::Callback,
            format!("users are sent to {name}, which answers {}.", answer.status),
            "Open the sign-in page in a browser to see what it says.",
        ),
        None => report.good(Check::Callback, format!("users sign in at {name}")),
    }
}

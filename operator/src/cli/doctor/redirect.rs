//! Redirects: which of them clients follow, and what the others come from.

use http::{Method, StatusCode};
use url::Url;

use super::{
    document::location,
    finding::{Check, Client},
    outside::host,
    visit::Visit,
};
use crate::cli::http::Answer;

/// Words of the addresses at which proxies make people sign in.
const SIGN_IN: [&str; 10] =
    ["login", "signin", "sign-in", "sign_in", "sso", "saml", "adfs", "oauth2", "openid", "/cdn-cgi/access"];

/// Where the SDKs follow this answer to: within the origin, or from http to its https, and only if the method stays.
pub(super) fn followed(method: &Method, answer: &Answer) -> Option<Url> {
    let stays = matches!(answer.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let read = method == Method::GET
        && matches!(answer.status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER);
    let to = Url::parse(&location(answer)).ok()?;
    ((stays || read) && (to.origin() == answer.url.origin() || is_upgrade(&answer.url, &to))).then_some(to)
}

/// Whether this is the same host, by https, at the ports that need no mention.
fn is_upgrade(from: &Url, to: &Url) -> bool {
    let plain = |url: &Url| url.port().is_none();
    from.scheme() == "http" && to.scheme() == "https" && host(from) == host(to) && plain(from) && plain(to)
}

/// Reports a redirect that clients follow.
pub(super) fn report_followed(visit: &mut Visit, from: &Url, to: &Url) {
    visit.report.warn(
        Check::Redirect,
        format!(
            "{from} is redirected to {to}, {}: clients follow that with a request more each time.",
            how(from, to)
        ),
        "Give clients the URL that answers in the end.",
    );
}

/// In which way a redirect is one that clients follow.
fn how(from: &Url, to: &Url) -> &'static str {
    if is_upgrade(from, to) { "from http to its https" } else { "within its origin" }
}

/// Reports a redirect that clients do not follow: `what` was asked for at `url`.
pub(super) fn report(
    visit: &mut Visit,
    clients: &[Client],
    what: &str,
    url: &Url,
    (status, to): (StatusCode, &str),
) {
    let (why, mend) = judge(url, to);
    visit.report.fault(
        Check::Redirect,
        clients,
        format!("{what} at {url} is redirected to {to} ({}): {why}.", status.as_u16()),
        mend,
    );
}

/// Why clients stop at it, and what to do.
fn judge(from: &Url, to: &str) -> (&'static str, &'static str) {
    const ELSEWHERE: &str = "clients follow no redirect to another origin";
    let Ok(to) = Url::parse(to) else {
        return (
            "that is no address",
            "Send no redirect here; the proxy in front is the first place to look.",
        );
    };
    let www = |bare: &Url, www: &Url| host(www).strip_prefix("www.") == Some(host(bare).as_str());
    let lower = to.as_str().to_ascii_lowercase();
    if to.origin() == from.origin() {
        (
            "clients follow a redirect of a POST only where it stays one (307, 308), and none in a circle",
            "Give clients the URL that answers in the end. A proxy that adds or removes a slash makes such redirects: let it pass the path on as it is.",
        )
    } else if host(from) == host(&to) && to.scheme() == "https" {
        (ELSEWHERE, "Give clients the https URL, and put it into spec.url.")
    } else if www(from, &to) || www(&to, from) {
        (
            ELSEWHERE,
            "The bare host leads to the www host, or back: give clients the URL whose host answers in the end, and put it into spec.url.",
        )
    } else if SIGN_IN.iter().any(|word| lower.contains(word)) {
        (
            "something in front sends everybody to its own sign-in, which only people with a browser get through",
            "Take the host out of the proxy's own authentication: clients sign in at the authorization server.",
        )
    } else {
        (
            ELSEWHERE,
            "Serve it where it is asked for, or give clients the URL that answers in the end, and put that into spec.url.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_redirect_is_told_by_what_makes_it() {
        let from = Url::parse("https://h.test/mcp").unwrap();
        for (to, words) in [
            ("https://www.h.test/mcp", "www host"),
            ("https://h.test/mcp/", "adds or removes a slash"),
            ("https://h.test:8443/mcp", "https URL"),
            ("https://acme.okta.test/login?from=h", "own authentication"),
            ("https://h.cloudflareaccess.test/cdn-cgi/access/x", "own authentication"),
            ("https://other.test/mcp", "where it is asked for"),
            ("nowhere", "no redirect"),
        ] {
            assert!(judge(&from, to).1.contains(words), "{to}: {}", judge(&from, to).1);
        }
    }

    #[test]
    fn a_redirect_is_followed_within_the_origin_as_long_as_the_method_stays() {
        let answer = |status: u16, from: &str, to: &str| Answer {
            url: Url::parse(from).unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: [(http::header::LOCATION, to.parse().unwrap())].into_iter().collect(),
            body: bytes::Bytes::new(),
        };
        let follows = |method, status, from, to| followed(&method, &answer(status, from, to)).is_some();
        assert!(follows(Method::POST, 307, "http://h.test/mcp", "/mcp/"));
        assert!(follows(Method::GET, 302, "http://h.test/mcp", "/mcp/"));
        assert!(!follows(Method::POST, 302, "http://h.test/mcp", "/mcp/"), "it would become a GET");
        assert!(follows(Method::POST, 308, "http://h.test/mcp", "https://h.test/mcp"));
        assert!(!follows(Method::POST, 308, "http://h.test:80/mcp", "https://h.test:8443/mcp"));
        assert!(!follows(Method::GET, 302, "https://h.test/mcp", "https://www.h.test/mcp"));
        assert!(!follows(Method::GET, 304, "https://h.test/mcp", "/mcp/"));
    }

    #[test]
    fn a_redirect_to_https_is_not_called_one_within_the_origin() {
        let [plain, slash, tls] =
            ["http://h.test/mcp", "http://h.test/mcp/", "https://h.test/mcp"].map(|u| Url::parse(u).unwrap());
        assert_eq!(how(&plain, &slash), "within its origin");
        assert_eq!(how(&plain, &tls), "from http to its https");
    }
}

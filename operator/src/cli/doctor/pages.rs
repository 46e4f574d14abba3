//! The pages that the user sees: what `/authorize` answers, and where its links lead.

use http::{HeaderMap, HeaderName, header};
use url::Url;

use super::{
    browser::Browser,
    challenge::Challenge,
    csp::blocks_forms,
    document::{compressed, location, short, values},
    finding::{Check, Client},
    html::{Kind, attributes, is_html},
    instead::Instead,
    issuer::Issuer,
    provider,
    registration::Registered,
    visit::Visit,
};
use crate::cli::http::Answer;

const WHAT: &str = "the sign-in page";
/// The S256 of no verifier: nobody redeems the code.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// How many redirects on the same site are followed.
const HOPS: usize = 5;
/// A client's address that nobody may send a code to. The name cannot exist (RFC 6761 section 6.4).
const STRANGER: &str = "https://gatehouse-doctor.invalid/callback";

/// What a client asks for.
pub(super) struct Asked<'a> {
    /// The resource.
    pub(super) resource: &'a str,
    /// The challenge, which says the scopes.
    pub(super) challenge: &'a Challenge,
}

/// Opens the sign-in page as `client` would, and follows its approval to the identity provider.
pub(super) async fn check(visit: &mut Visit, issuer: &Issuer, client: &Registered, asked: &Asked<'_>) {
    let Some(endpoint) = &issuer.authorization_endpoint else { return };
    let page = request(endpoint, &client.client_id, client.redirect_uri, asked);
    let mut browser = Browser::new(visit);
    browser.sign_in(&page, client).await;
    let stranger = request(endpoint, &client.client_id, STRANGER, asked);
    let answer = browser.open(&stranger).await;
    if answer.is_ok_and(|a| a.status.is_redirection() && location(&a).starts_with(STRANGER)) {
        visit.report.danger(
            Check::Authorize,
            "the authorization server redirects to an address that the client did not register: anybody can have codes sent to themselves.",
            "Compare redirect URIs letter by letter, the port of loopback ones excepted, and answer with a page (RFC 6749 section 4.1.2.1).",
        );
    }
}

pub(super) fn request(endpoint: &Url, client_id: &str, redirect_uri: &str, asked: &Asked<'_>) -> Url {
    let mut page = endpoint.clone();
    page.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_challenge", CHALLENGE)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", "gatehouse-doctor")
        .append_pair("resource", asked.resource);
    if let Some(scope) = &asked.challenge.scope {
        page.query_pairs_mut().append_pair("scope", scope);
    }
    page
}

impl Browser<'_> {
    async fn sign_in(&mut self, page: &Url, client: &Registered) {
        let home = page.origin();
        let mut next = page.clone();
        for _ in 0..HOPS {
            let answer = match self.open(&next).await {
                Ok(answer) => answer,
                Err(why) => return self.stop(&Instead::Silence(why), page),
            };
            if !answer.status.is_redirection() {
                return self.page(&answer, page).await;
            }
            let to = location(&answer);
            if to.starts_with(client.redirect_uri) {
                return self.refused(&to);
            }
            let Ok(to) = Url::parse(&to) else {
                return self.stop(&Instead::Redirect(answer.status, to), page);
            };
            if to.origin() != home {
                return provider::check(self.visit, &to).await;
            }
            next = to;
        }
        self.visit.report.fault(
            Check::Authorize,
            Client::ALL,
            format!("{WHAT} redirects in a circle: {HOPS} redirects, and no page."),
            "A proxy that adds or removes a slash, or sends http to https and back, makes such circles.",
        );
    }

    /// The client was told an error at once.
    fn refused(&mut self, to: &str) {
        let url = Url::parse(to).ok();
        let get = |name: &str| {
            let url = url.as_ref()?;
            url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| short(&v))
        };
        self.visit.report.fault(
            Check::Authorize,
            Client::ALL,
            format!("the client is sent back at once: {} {}", get("error").unwrap_or_default(), get("error_description").unwrap_or_default()),
            "The authorization server refuses what every client asks for: a code, with PKCE, for the resource that it names.",
        );
    }

    fn stop(&mut self, instead: &Instead, page: &Url) {
        if instead.is_absent() {
            return self.visit.report.fault(
                Check::Authorize,
                Client::ALL,
                format!("{page} answers 404: the browser opens and shows \"not found\"."),
                "The proxy routes the MCP path alone. Route / (or at least /oauth, /account and /.well-known) to the same Service.",
            );
        }
        instead.report(self.visit, Check::Authorize, Client::ALL, WHAT, page);
    }

    async fn page(&mut self, answer: &Answer, page: &Url) {
        match Instead::of(answer) {
            // The server's own page of an error says what is wrong; one of something in front does not.
            Some(Instead::Page(status, found)) if matches!(found.kind, Kind::SignIn | Kind::Other) => {
                return self.stop(&Instead::Status(status, found.said), page);
            }
            Some(instead) => return self.stop(&instead, page),
            None => {}
        }
        if let Some(how) = compressed(answer) {
            return self.stop(&Instead::Compressed(how), page);
        }
        if !is_html(&answer.headers) {
            let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok()).map(short);
            return self.visit.report.fault(
                Check::Authorize,
                Client::ALL,
                format!("{WHAT} at {} is no web page but {}: the browser shows its source, or saves it.", page.path(), kind.as_deref().unwrap_or("without a Content-Type")),
                "Send Content-Type: text/html. If the server does, a proxy in front changes it, or answers instead.",
            );
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        self.headers(answer, &text);
        let Some(link) = approval(&text, &answer.url) else {
            if !self.visit.report.blames(Check::Authorize) {
                self.visit.report.good(Check::Authorize, "the browser gets a page to sign in");
            }
            return;
        };
        self.visit.report.good(Check::Authorize, "the browser gets a page that asks for approval");
        match self.open(&link).await {
            Ok(answer) if answer.status.is_redirection() => {
                let to = Url::parse(&location(&answer)).ok().filter(|to| to.origin() != page.origin());
                if let Some(to) = to {
                    provider::check(self.visit, &to).await;
                }
            }
            Ok(answer) if answer.status.is_client_error() => self.visit.report.fault(
                Check::Browser,
                Client::ALL,
                format!("the approval link answers {} to the browser that was just given it (\"This sign-in was begun in another browser\").", answer.status),
                "Its cookie got lost: a proxy removes Set-Cookie or Cookie, or a cache answers the page of somebody else. Turn both off for /oauth/.",
            ),
            Ok(_) => {}
            Err(why) => self.stop(&Instead::Silence(why), &link),
        }
    }

    /// What a browser makes of the page's headers.
    fn headers(&mut self, answer: &Answer, text: &str) {
        let report = &mut self.visit.report;
        let policy = all(&answer.headers, &header::CONTENT_SECURITY_POLICY);
        if !policy.contains("frame-ancestors") && !answer.headers.contains_key(header::X_FRAME_OPTIONS) {
            report.warn(
                Check::Browser,
                "the page may be framed by others, who can then trick users into approving (no frame-ancestors, no X-Frame-Options).",
                "Send Content-Security-Policy: frame-ancestors 'none'.",
            );
        }
        if let Some(directive) = blocks_forms(&answer.headers, text, &answer.url) {
            report.fault(
                Check::Browser,
                Client::ALL,
                format!("the page has a form that its own policy blocks ({directive}): nothing happens when the user sends it."),
                "A proxy adds a Content-Security-Policy of its own: leave the server's headers as they are.",
            );
        } else if policy.contains("form-action") && approves_by_form(text) {
            report.fault(
                Check::Browser,
                Client::ALL,
                "approval is a form, and the page's form-action does not let its answer lead to the client: Chromium blocks the redirect, and nothing happens when the user approves.",
                "Make approval a link, or leave form-action out of that page's policy.",
            );
        }
        if !all(&answer.headers, &header::CACHE_CONTROL).contains("no-store") {
            report.warn(
                Check::Browser,
                "the page may be kept by caches: the next user can get this one's.",
                "Send Cache-Control: no-store.",
            );
        }
        let bare = answer.url.scheme() == "https"
            && answer
                .headers
                .get_all(header::SET_COOKIE)
                .iter()
                .any(|c| !c.as_bytes().to_ascii_lowercase().windows(6).any(|w| w == b"secure"));
        if bare {
            report.warn(
                Check::Browser,
                "a cookie of the sign-in is not Secure.",
                "Mark it Secure; better, name it __Host-….",
            );
        }
        if !report.blames(Check::Browser) {
            report.good(Check::Browser, "its headers keep frames, caches and form redirects right");
        }
    }
}

/// All values of a header, in lower case.
pub(super) fn all(headers: &HeaderMap, name: &HeaderName) -> String {
    values(headers, name).to_ascii_lowercase()
}

/// The link of our consent page that approves.
fn approval(page: &str, base: &Url) -> Option<Url> {
    attributes(page, "href")
        .find(|to| to.contains("/oauth/authorize/approve") && !to.contains("decision=deny"))
        .and_then(|to| {
            base.join(&to.replace("&amp;", "&").replace("&#38;", "&"))
                .ok()
                .filter(|u| u.origin() == base.origin())
        })
}

/// Whether the page has a form that approves, by the words that such forms' addresses use.
fn approves_by_form(page: &str) -> bool {
    let forms = page.to_ascii_lowercase();
    forms.contains("<form")
        && attributes(&forms, "action")
            .any(|to| ["approve", "consent", "authorize", "grant"].iter().any(|w| to.contains(w)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_link_that_approves_and_no_other() {
        let base = Url::parse("https://h.test/oauth/authorize?x=1").unwrap();
        let page = "<a href=\"/oauth/authorize/approve?flow=1&amp;decision=deny\">no</a>\
                    <a href=\"/oauth/authorize/approve?flow=1&amp;nonce=2\">yes</a>";
        assert_eq!(
            approval(page, &base).unwrap().as_str(),
            "https://h.test/oauth/authorize/approve?flow=1&nonce=2"
        );
        assert_eq!(approval("<a href=\"https://evil.test/oauth/authorize/approve\">", &base), None);
        assert_eq!(approval("<a href=\"/oauth/authorize/approve", &base), None, "cut off");
    }

    #[test]
    fn a_form_that_approves_is_told_from_one_that_signs_in() {
        assert!(approves_by_form("<FORM method=post action=\"/consent\">"));
        assert!(approves_by_form("<form method=post action='/consent'>"));
        assert!(!approves_by_form("<form method=post action=\"/oauth/signin\">"));
    }
}

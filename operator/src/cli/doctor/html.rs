//! Web pages: what one is, and what is in it, as far as a sign-in needs.

use http::{HeaderMap, StatusCode, header};

use super::document::short;
use crate::cli::http::Answer;

/// What firewalls call the id of a request that they stopped.
const INCIDENTS: [&str; 5] = ["incident id", "support id", "ray id", "reference id", "reference #"];
/// Words of the titles of pages at which people sign in.
const SIGN_IN: [&str; 6] = ["sign in", "sign-in", "signin", "log in", "login", "single sign-on"];

/// Where a page comes from that is in the place of something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page at which people sign in.
    SignIn,
    /// A firewall, or a proxy that refuses.
    Firewall,
    /// A proxy that does not get through to the server.
    Away,
    /// A proxy that has no route.
    NotRouted,
    /// Some other server.
    Other,
}

/// A page in the place of something else.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it comes from, as far as it can be told.
    pub(super) kind: Kind,
    /// Its title and what a firewall calls the incident, each after a comma.
    pub(super) said: String,
}

impl Page {
    /// The page that an answer is.
    pub(super) fn of(answer: &Answer) -> Self {
        let (title, incident) = (title(&answer.body), incident(&answer.body));
        let kind = match answer.status {
            _ if !incident.is_empty() => Kind::Firewall,
            StatusCode::NOT_FOUND => Kind::NotRouted,
            status if status.is_server_error() => Kind::Away,
            _ if signs_in(&answer.body, &title) => Kind::SignIn,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Firewall,
            _ => Kind::Other,
        };
        Self { kind, said: format!("{title}{incident}") }
    }
}

/// Whether an answer is a web page.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().to_ascii_lowercase().starts_with(b"text/html"))
}

fn signs_in(body: &[u8], title: &str) -> bool {
    let title = title.to_ascii_lowercase();
    let body = String::from_utf8_lossy(body);
    SIGN_IN.iter().any(|words| title.contains(words))
        || attributes(&body, "type").any(|kind| kind.eq_ignore_ascii_case("password"))
}

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

/// The values of an attribute, wherever it stands, in either kind of quotes or in none.
pub(super) fn attributes<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lower = page.to_ascii_lowercase();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + lower[at..].find(name)?;
            at = start + name.len();
            // Lower-casing ASCII moves nothing, so the places are the same in both.
            let alone = page[..start].ends_with(|c: char| c.is_ascii_whitespace() || c == '"' || c == '\'');
            let Some(value) = page[at..].trim_start().strip_prefix('=').filter(|_| alone) else { continue };
            let value = value.trim_start();
            let end = match value.chars().next()? {
                quote @ ('"' | '\'') => {
                    let value = &value[1..];
                    let Some(end) = value.find(quote) else { continue };
                    at = page.len() - value.len() + end + 1;
                    return Some(&value[..end]);
                }
                _ => value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len()),
            };
            at = page.len() - value.len() + end;
            return Some(&value[..end]);
        }
    })
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

    #[test]
    fn a_page_is_told_by_where_it_comes_from() {
        let kind = |status: StatusCode, body: &'static str| {
            let url = url::Url::parse("https://h.test/").unwrap();
            Page::of(&Answer { url, status, headers: HeaderMap::new(), body: body.into() }).kind
        };
        assert_eq!(kind(StatusCode::BAD_GATEWAY, "<title>502 Bad Gateway</title>"), Kind::Away);
        assert_eq!(kind(StatusCode::NOT_FOUND, "<title>404 Not Found</title>"), Kind::NotRouted);
        assert_eq!(kind(StatusCode::FORBIDDEN, "<title>403 Forbidden</title>"), Kind::Firewall);
        assert_eq!(kind(StatusCode::BAD_GATEWAY, "Ray ID: 1"), Kind::Firewall);
        assert_eq!(kind(StatusCode::OK, "<TITLE>Log in to Acme</TITLE>"), Kind::SignIn);
        assert_eq!(kind(StatusCode::OK, "<input name=p type='password'>"), Kind::SignIn);
        assert_eq!(kind(StatusCode::OK, "<title>Welcome to nginx!</title>"), Kind::Other);
    }

    #[test]
    fn attributes_are_found_however_they_are_quoted() {
        let page = "<a href=\"/a\"><a HREF = '/b\"c'><a data-href=\"/no\" href=/d><p>href</p><a href=\"/cut";
        assert_eq!(attributes(page, "href").collect::<Vec<_>>(), ["/a", "/b\"c", "/d"]);
    }
}

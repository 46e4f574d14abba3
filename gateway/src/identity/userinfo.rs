//! Reading JSON with a user's token: user-info endpoints and the lists beside them.

use gatehouse_gateway_config::preset::{Pages, Provider as Preset};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::{IdentityError, connect::USER_AGENT, token::retry_after};
use crate::{egress::HttpClient, model::UpstreamTokens};

/// Ten pages of a hundred: more teams than this fit no token of any other system either.
const PAGES: usize = 10;

/// Reads one document.
///
/// # Errors
/// `Refused` when the token is dead, `Unavailable` when asking again may help.
pub(super) async fn get(
    http: &HttpClient,
    url: &Url,
    tokens: &UpstreamTokens,
) -> Result<Value, IdentityError> {
    match page(http, url, tokens).await? {
        Page::Read(value, _) => Ok(value),
        Page::Withheld(StatusCode::FORBIDDEN) => {
            Err(IdentityError::Refused(format!("{} answered 403", endpoint(url))))
        }
        Page::Withheld(status) => Err(failed(url, status)),
    }
}

/// A list, as far as it was told.
pub(super) struct List {
    pub(super) items: Vec<Value>,
    /// Whether that is all of it.
    pub(super) complete: bool,
}

/// How a list is read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Whose it is.
    pub(super) preset: Preset,
    /// How it comes in pages.
    pub(super) pages: Pages,
    /// The scope that opens it.
    pub(super) scope: &'static str,
}

/// Reads a list over its pages, on the same origin only. Without its scope it is withheld, which is no error: GitHub
/// then answers 403 or 404, or with less than all. It leaves out what lies behind a single sign-on, too, to which the
/// user need not have authorised the token.
///
/// # Errors
/// As [`get`].
pub(super) async fn list(
    http: &HttpClient,
    url: &Url,
    tokens: &UpstreamTokens,
    reading: Reading,
) -> Result<List, IdentityError> {
    let pages = reading.pages;
    let mut told = List { items: Vec::new(), complete: true };
    let mut this = url.clone();
    if this.query().is_none() {
        this.set_query(Some(pages.query));
    }
    for _ in 0..PAGES {
        let (value, headers) = match page(http, &this, tokens).await? {
            Page::Read(value, headers) if grants(&headers, reading) => (value, headers),
            Page::Read(..) | Page::Withheld(_) => {
                tracing::warn!(url = %endpoint(url), scope = reading.scope, "the provider withholds this list: the sign-in lacks the scope");
                return Ok(List { complete: false, ..told });
            }
        };
        if pages.partial.is_some_and(|header| headers.contains_key(header)) {
            tracing::warn!(url = %endpoint(url), "the provider leaves out what needs a single sign-on");
            told.complete = false;
        }
        let Some(Value::Array(items)) = value.pointer(pages.entries) else { return Err(unreadable(url)) };
        told.items.extend(items.iter().cloned());
        let target = match pages.next {
            None => linked(&headers),
            Some(pointer) => value.pointer(pointer).and_then(Value::as_str),
        };
        match next_page(target, &this) {
            Next::Last => return Ok(told),
            Next::At(next) => this = next,
            Next::Elsewhere => break,
        }
    }
    tracing::warn!(url = %endpoint(url), read = told.items.len(), "the list goes on where it is not read; the rest is not known");
    Ok(List { complete: false, ..told })
}

/// Whether the token has the scope of the list, as far as the provider says. A GitHub App has permissions instead, and
/// GitHub says nothing.
fn grants(headers: &HeaderMap, reading: Reading) -> bool {
    let granted = reading.pages.scopes.and_then(|name| headers.get(name));
    let granted = granted.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut granted = granted.split(',').map(str::trim).filter(|scope| !scope.is_empty()).peekable();
    granted.peek().is_none() || granted.any(|scope| reading.preset.implies(scope, reading.scope))
}

/// What an endpoint tells a token.
enum Page {
    Read(Value, HeaderMap),
    /// The token lives and may not read this.
    Withheld(StatusCode),
}

async fn page(http: &HttpClient, url: &Url, tokens: &UpstreamTokens) -> Result<Page, IdentityError> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", tokens.access))
        .map_err(|_| IdentityError::Invalid("the access token cannot stand in a header".to_owned()))?;
    bearer.set_sensitive(true);
    let request = Request::get(url.as_str())
        .header(header::AUTHORIZATION, bearer)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Vec::new())
        .map_err(|_| IdentityError::Misconfigured(format!("{url} cannot be requested")))?;
    let (head, body) = http.send(request).await?.into_parts();
    match head.status {
        status if status.is_success() => {
            let value = serde_json::from_slice(&body).map_err(|_| unreadable(url))?;
            Ok(Page::Read(value, head.headers))
        }
        StatusCode::UNAUTHORIZED => Err(IdentityError::Refused("the access token is dead".to_owned())),
        StatusCode::FORBIDDEN if !is_rate_limit(&head.headers, &body) => {
            Ok(Page::Withheld(StatusCode::FORBIDDEN))
        }
        StatusCode::NOT_FOUND => Ok(Page::Withheld(StatusCode::NOT_FOUND)),
        status => {
            let wait = retry_after(&head.headers);
            tracing::debug!(url = %endpoint(url), %status, ?wait, "the provider does not tell");
            Err(failed(url, status))
        }
    }
}

fn failed(url: &Url, status: StatusCode) -> IdentityError {
    IdentityError::Unavailable(format!("{} answered {}", endpoint(url), status.as_u16()))
}

/// GitHub limits rates with 403 too, and then says so in one of three ways.
fn is_rate_limit(headers: &HeaderMap, body: &[u8]) -> bool {
    headers.contains_key(header::RETRY_AFTER)
        || headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0")
        || String::from_utf8_lossy(body).to_ascii_lowercase().contains("rate limit")
}

/// How a list goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Not at all.
    Last,
    At(Url),
    /// Where the token may not be sent: it goes to nobody else.
    Elsewhere,
}

/// The target of the `Link` header's `rel="next"` (RFC 8288).
fn linked(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get_all(header::LINK).iter().filter_map(|v| v.to_str().ok());
    links.flat_map(|line| line.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().split_once('>')?;
        parameters.split(';').any(is_next).then(|| target.trim_start_matches('<'))
    })
}

fn next_page(target: Option<&str>, base: &Url) -> Next {
    let Some(target) = target else { return Next::Last };
    let next = base.join(target).ok().filter(|next| next.origin() == base.origin());
    next.map_or(Next::Elsewhere, Next::At)
}

/// Whether a link's parameter says that it leads to the next page: one of the relations, in any case.
fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

fn unreadable(url: &Url) -> IdentityError {
    IdentityError::Unavailable(format!("{} answered without readable JSON", endpoint(url)))
}

/// Without a query, which may hold what is not for logs.
fn endpoint(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// A text, or a whole number as text: what a subject may be.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && text.len() <= 255 => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Names of groups are read up to this many.
const MAX_TEXTS: usize = 2000;

/// A list of texts; one text is a list of one. Empty and overlong ones are left out. And whether that is all that was
/// said: `None` for a value, or one of another shape, says nothing.
pub(super) fn texts(value: Option<&Value>) -> (Vec<String>, bool) {
    let items = match value {
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => return (Vec::new(), false),
    };
    let found: Vec<String> = items.iter().take(MAX_TEXTS).filter_map(text).collect();
    let complete = found.len() == items.len();
    (found, complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_on_the_same_origin() {
        let base = Url::parse("https://api.github.com/user/teams").unwrap();
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, link.parse().unwrap());
            next_page(linked(&headers), &base)
        };
        let third = || Next::At(Url::parse("https://api.github.com/user/teams?page=3").unwrap());
        let good = "<https://api.github.com/user/teams?page=1>; rel=\"prev\", <https://api.github.com/user/teams?page=3>; rel=\"next\"";
        assert_eq!(next(good), third());
        assert_eq!(next("<?page=3>; title=x; REL=\"last Next\""), third());
        assert_eq!(next("<https://evil.test/?page=3>; rel=\"next\""), Next::Elsewhere);
        assert_eq!(next("<http://api.github.com/?page=3>; rel=next"), Next::Elsewhere);
        assert_eq!(next("<?page=2>; rel=\"last\""), Next::Last);
        assert_eq!(next("rel=\"next\""), Next::Last);
    }

    #[test]
    fn a_subject_is_text_or_a_whole_number() {
        let json: Value =
            serde_json::from_str(r#"[1, 12345678901, "x", "", 1.5, null, true, {}, []]"#).unwrap();
        let found: Vec<_> = json.as_array().unwrap().iter().map(text).collect();
        assert_eq!(found[..3], [Some("1".into()), Some("12345678901".into()), Some("x".into())]);
        assert!(found[3..].iter().all(Option::is_none));
    }
}

//! How long what was fetched is used without asking again (RFC 9111 section 4.2).

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

/// Whatever its host says, unless it says that this is too long: a sign-in and its neighbours need it within the minute.
const SHORTEST: Duration = Duration::from_secs(60);
/// What a host forbids to use again (section 4.4 of the draft leaves the bounds to us): whoever names its URL must not
/// make us ask it as often as they like.
const BRIEF: Duration = Duration::from_secs(5);
/// Whatever its host says, as above.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How much longer what may be stale is used while its host is away (RFC 5861 section 4).
const STALE: Duration = Duration::from_secs(300);

/// How long an answer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Without asking again.
    pub fresh: Duration,
    /// For so much longer while its host is away.
    pub stale: Duration,
}

/// From the answer's headers.
pub fn life(headers: &HeaderMap) -> Life {
    let said = directives(headers);
    if is_forbidden(&said) {
        return Life { fresh: BRIEF, stale: Duration::ZERO };
    }
    let stale = if may_be_stale(&said) { STALE } else { Duration::ZERO };
    Life { fresh: lifetime(headers, &said), stale }
}

/// Whether one answer may not serve all users without asking again, all of it or some fields: a cache that serves more
/// than one may not keep what is `private` (RFC 9111 section 5.2.2.7), none may what is `no-store` (5.2.2.5), and what is
/// `no-cache` serves nobody while its host is away (5.2.2.4). So nothing bridges an outage of such a host: its owner who
/// wants that says `max-age`.
fn is_forbidden(directives: &[String]) -> bool {
    let mut names = directives.iter().filter_map(|directive| directive.split('=').next());
    names.any(|name| matches!(name, "no-store" | "no-cache" | "private"))
}

/// Whether a stale answer may be served at all (RFC 9111 section 4.2.4): one answer serves all users, so that what is
/// said to shared caches counts.
fn may_be_stale(directives: &[String]) -> bool {
    let forbids = ["must-revalidate", "proxy-revalidate"];
    !directives.iter().any(|said| forbids.contains(&said.as_str()) || said.starts_with("s-maxage="))
}

/// [`Life::fresh`] of what may be kept.
fn lifetime(headers: &HeaderMap, directives: &[String]) -> Duration {
    let seconds = |name: &str| {
        let value = directives.iter().find_map(|directive| directive.strip_prefix(name));
        value.map(|value| value.trim_matches('"').parse().unwrap_or(0))
    };
    // One answer serves all users: what is said to shared caches goes first.
    let life = seconds("s-maxage=").or_else(|| seconds("max-age=")).map(Duration::from_secs);
    let life = life.or_else(|| until_expiry(headers)).unwrap_or_default();
    let age = text(headers, header::AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    life.saturating_sub(Duration::from_secs(age)).clamp(SHORTEST, LONGEST)
}

fn directives(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|d| d.trim().to_ascii_lowercase()).collect()
}

/// By the clock of its host, for both dates are.
fn until_expiry(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| httpdate::parse_http_date(text(headers, name)?).ok();
    date(header::EXPIRES)?.duration_since(date(header::DATE)?).ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_document_lives_as_it_says_between_a_minute_and_a_day() {
        for (control, age, seconds) in [
            ("", "", 60),
            ("max-age=3600", "", 3600),
            ("public, Max-Age=\"3600\"", "600", 3000),
            ("max-age=3600", "9999", 60),
            ("max-age=31536000, immutable", "", 86_400),
            ("max-age=60, s-maxage=7200", "", 7200),
            ("s-maxage=0, max-age=7200", "", 60),
            ("no-cache", "", 5),
            ("max-age=7200, Private", "", 5),
            ("max-age=7200, private=\"set-cookie\"", "", 5),
            ("max-age=-1", "x", 60),
            ("max-age=99999999999999999999999", "", 60),
            ("max-age=3600, no-store", "", 5),
            ("No-Store", "", 5),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            headers.insert(header::AGE, HeaderValue::from_static(age));
            assert_eq!(life(&headers).fresh, Duration::from_secs(seconds), "{control} {age}");
        }
    }

    #[test]
    fn what_forbids_it_is_never_stale() {
        for (control, seconds) in [
            ("", 300),
            ("max-age=3600, private", 0),
            ("max-age=3600, Must-Revalidate", 0),
            ("proxy-revalidate", 0),
            ("no-cache", 0),
            ("max-age=60, s-maxage=7200", 0),
            ("no-store", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            assert_eq!(life(&headers).stale, Duration::from_secs(seconds), "{control}");
        }
    }

    #[test]
    fn what_says_nothing_but_when_it_expires_lives_until_then() {
        for (control, date, expires, seconds) in [
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 3600),
            ("public", "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 20:49:37 GMT", 86_400),
            ("max-age=120", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 120),
            ("no-store", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 5),
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 07:49:37 GMT", 60),
            ("", "", "Sun, 06 Nov 2094 08:49:37 GMT", 60),
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", "0", 60),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            headers.insert(header::DATE, HeaderValue::from_static(date));
            headers.insert(header::EXPIRES, HeaderValue::from_static(expires));
            assert_eq!(life(&headers).fresh, Duration::from_secs(seconds), "{control} {date} {expires}");
        }
    }
}

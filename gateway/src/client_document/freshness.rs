//! How long what was fetched is used without asking again (RFC 9111 section 4.2.1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

/// Whatever its host says, unless it is not to be stored: a sign-in and its neighbours need it within the minute.
const SHORTEST: Duration = Duration::from_secs(60);
/// Whatever its host says (section 4.4 of the draft leaves the bound to us).
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// From the answer's headers. Zero: it is for those alone who ask now.
pub fn lifetime(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(|d| d.trim().to_ascii_lowercase());
    let directives: Vec<String> = directives.collect();
    let said = |names: &[&str]| directives.iter().any(|directive| names.contains(&directive.as_str()));
    if said(&["no-store"]) {
        return Duration::ZERO;
    }
    if said(&["no-cache", "private"]) {
        return SHORTEST;
    }
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
            ("no-cache", "", 60),
            ("max-age=7200, private", "", 60),
            ("max-age=-1", "x", 60),
            ("max-age=99999999999999999999999", "", 60),
            ("max-age=3600, no-store", "", 0),
            ("No-Store", "", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            headers.insert(header::AGE, HeaderValue::from_static(age));
            assert_eq!(lifetime(&headers), Duration::from_secs(seconds), "{control} {age}");
        }
    }

    #[test]
    fn what_says_nothing_but_when_it_expires_lives_until_then() {
        for (control, date, expires, seconds) in [
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 3600),
            ("public", "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 20:49:37 GMT", 86_400),
            ("max-age=120", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 120),
            ("no-store", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 0),
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 07:49:37 GMT", 60),
            ("", "", "Sun, 06 Nov 2094 08:49:37 GMT", 60),
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", "0", 60),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            headers.insert(header::DATE, HeaderValue::from_static(date));
            headers.insert(header::EXPIRES, HeaderValue::from_static(expires));
            assert_eq!(lifetime(&headers), Duration::from_secs(seconds), "{control} {date} {expires}");
        }
    }
}

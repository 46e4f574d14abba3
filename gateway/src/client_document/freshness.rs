//! How long a document is used without asking again (RFC 9111 section 4.2.1).

use std::time::Duration;

use http::{HeaderMap, header};

/// Whatever a document says: a sign-in and its neighbours need it within the minute.
const SHORTEST: Duration = Duration::from_secs(60);
/// Whatever a document says (section 4.4 of the draft leaves the bound to us).
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// From the answer's headers.
pub(super) fn lifetime(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut max_age = 0_u64;
    for directive in values.flat_map(|value| value.split(',')).map(|d| d.trim().to_ascii_lowercase()) {
        if matches!(directive.as_str(), "no-store" | "no-cache" | "private") {
            return SHORTEST;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            max_age = seconds.trim_matches('"').parse().unwrap_or(0);
        }
    }
    let age = headers.get(header::AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(max_age.saturating_sub(age.unwrap_or(0))).clamp(SHORTEST, LONGEST)
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
            ("max-age=3600, no-store", "", 60),
            ("no-cache", "", 60),
            ("max-age=-1", "x", 60),
            ("max-age=99999999999999999999999", "", 60),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            headers.insert(header::AGE, HeaderValue::from_static(age));
            assert_eq!(lifetime(&headers), Duration::from_secs(seconds), "{control} {age}");
        }
    }
}

//! Which headers pass. Both ways a list of what may, so that a header nobody thought of stays outside.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Request headers that a backend sees as the client sent them: content, resumption, traces, and what MCP itself says.
/// Everything else stays here: `Authorization`, `Cookie`, `Proxy-Authorization`, `X-Forwarded-*`, `Origin`, hop-by-hop
/// headers, and whatever a backend might take for an identity, in any spelling. `Content-Type` too: the gateway has read
/// the body as JSON in UTF-8, and its backend must not read it as anything else.
const TO_BACKEND: [&str; 9] = [
    "accept",
    "accept-language",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "traceparent",
    "tracestate",
    "user-agent",
];
/// Arguments of a tool, whose names its schema chooses: proxies pass each of them (MCP 2026-07-28, SEP-2243).
const PARAMETER: &str = "mcp-param-";

/// Response headers that a client sees. `WWW-Authenticate` and `Set-Cookie` would speak for the gateway's origin.
const TO_CLIENT: [&str; 5] = ["content-type", "content-language", "last-modified", "etag", "retry-after"];

/// The session header of the legacy era; it never passes as it is.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The client's headers that the backend gets, without those that the gateway itself sets (`ours`).
pub(super) fn to_backend(client: &HeaderMap, ours: &[HeaderName]) -> HeaderMap {
    // Room for what the gateway adds: a map that grows costs more than one that is a little too large.
    let mut out = HeaderMap::with_capacity(client.len() + ours.len() + 2);
    for (name, value) in client {
        let passes = TO_BACKEND.contains(&name.as_str()) || name.as_str().starts_with(PARAMETER);
        if passes && !ours.iter().any(|ours| is_twin(ours, name)) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// Whether a backend may take one name for the other: CGI and its heirs (WSGI, Rack, PHP) write `_` for `-` and for other
/// signs, and would see two values of one name.
fn is_twin(ours: &HeaderName, name: &HeaderName) -> bool {
    let (ours, name) = (ours.as_str().as_bytes(), name.as_str().as_bytes());
    let same = |(a, b): (&u8, &u8)| a == b || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric());
    ours.len() == name.len() && ours.iter().zip(name).all(same)
}

/// The backend's headers that the client gets.
pub(super) fn to_client(backend: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(8);
    for (name, value) in backend {
        let passes = TO_CLIENT.contains(&name.as_str()) || name.as_str().starts_with("mcp-");
        if passes && *name != SESSION {
            out.append(name.clone(), value.clone());
        }
    }
    // It is for one user, whatever the backend says: a shared cache keeps what is marked public although the request
    // was authorized (RFC 9111 section 3.5). MCP itself says in its messages what a client may keep.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // What a backend sends must not become a page of our origin.
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out
}

/// Whether the one content type is JSON in UTF-8. A second one, another charset or a parameter that nobody knows could
/// make a backend read another message than the gateway did.
pub(super) fn is_plain_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(value)), None) = (values.next().map(HeaderValue::to_str), values.next()) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            ["", "charset=utf-8", "charset=\"utf-8\""]
                .iter()
                .any(|known| parameter.eq_ignore_ascii_case(known))
        })
}

/// Whether the content type of an answer is the given one, parameters aside.
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    if value.as_bytes() == wanted.as_bytes() {
        return true;
    }
    let value = value.to_str().unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_passes() {
        let mut client = HeaderMap::new();
        for name in [
            "accept",
            "authorization",
            "baggage",
            "connection",
            "content-encoding",
            "content-type",
            "cookie",
            "mcp-method",
            "mcp-param-region",
            "mcp-param-team_id",
            "mcp-session-id",
            "mcp-session_id",
            "mcp_method",
            "mcp-user-id",
            "origin",
            "proxy-authorization",
            "x-api-key",
            "x-forwarded-for",
            "x_forwarded_user",
            "x-user-id",
        ] {
            client.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let passed = to_backend(&client, &[]);
        let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&passed), ["accept", "mcp-method", "mcp-param-region", "mcp-param-team_id"]);
        // What the gateway itself sets has no twin.
        let ours = ["accept", "mcp_method", "mcp-param-team-id"].map(HeaderName::from_static);
        assert_eq!(names(&to_backend(&client, &ours)), ["mcp-param-region"]);
    }

    #[test]
    fn a_backend_does_not_speak_for_our_origin() {
        let mut backend = HeaderMap::new();
        for name in ["content-type", "set-cookie", "www-authenticate", "mcp-session-id", "location", "server"]
        {
            backend.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let passed = to_client(&backend);
        let names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "cache-control", "x-content-type-options"]);
    }

    #[test]
    fn a_request_is_json_in_utf_8_and_says_so_once() {
        let is_plain = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            is_plain_json(&headers)
        };
        for good in [
            "application/json",
            "Application/JSON;",
            "application/json; charset=utf-8",
            "application/json;Charset=\"UTF-8\" ",
        ] {
            assert!(is_plain(&[good]), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json, text/plain",
            "application/json; charset=utf-7",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset='utf-8'",
            "application/json; charset = utf-8",
            "application/json; x=y",
        ] {
            assert!(!is_plain(&[bad]), "{bad}");
        }
        assert!(!is_plain(&[]) && !is_plain(&["application/json", "application/json"]));
    }

    #[test]
    fn a_type_is_compared_without_its_parameters() {
        let mut headers = HeaderMap::new();
        assert!(!is_type(&headers, "application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("Application/JSON; charset=utf-8"));
        assert!(is_type(&headers, "application/json"));
    }
}

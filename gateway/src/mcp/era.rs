//! Both eras of MCP on one URL, told apart per request, and the headers that must agree with the body.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};

use super::envelope::{Envelope, Kind};

/// The first revision without sessions.
const FIRST_MODERN: &str = "2026-07-28";

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Which generation of MCP a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// 2025-03-26 to 2025-11-25: `initialize`, sessions, GET and DELETE.
    Legacy,
    /// 2026-07-28 and later: each POST stands alone.
    Modern,
}

/// Decides the era and refuses headers that say other than the body (SEP-2243). The error is for the client.
pub(super) fn check(headers: &HeaderMap, envelope: &Envelope<'_>) -> Result<Era, String> {
    let version = single(headers, &VERSION)?;
    let era = if envelope.method == "initialize" {
        Era::Legacy
    } else if envelope.params.version.is_some() || version.is_some_and(|v| v >= FIRST_MODERN) {
        Era::Modern
    } else {
        Era::Legacy
    };
    // A header is required only where the era has it; where it is sent it must be true.
    let strict = era == Era::Modern && envelope.kind == Kind::Request;
    agree("MCP-Protocol-Version", version.map(Cow::Borrowed), envelope.params.version.as_deref(), strict)?;
    let method = single(headers, &METHOD)?.map(Cow::Borrowed);
    if envelope.kind != Kind::Response || method.is_some() {
        agree("Mcp-Method", method, Some(&envelope.method), strict)?;
    }
    let name = single(headers, &NAME)?.map(decode).transpose()?;
    // What decides by the header must not differ from what decides by the body.
    if name.is_some() && envelope.name().is_none() {
        return Err("the header Mcp-Name names what the body does not".to_owned());
    }
    agree("Mcp-Name", name, envelope.name().as_deref(), strict)?;
    Ok(era)
}

fn agree(header: &str, sent: Option<Cow<'_, str>>, body: Option<&str>, required: bool) -> Result<(), String> {
    match (sent, body) {
        (Some(sent), Some(body)) if sent != body => {
            Err(format!("the header {header} says {sent:?}, the body says {body:?}"))
        }
        (None, Some(_)) if required => Err(format!("the header {header} is required")),
        _ => Ok(()),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(format!("the header {name} came more than once"));
    }
    first.map(|v| v.to_str().map_err(|_| format!("the header {name} is not ASCII"))).transpose()
}

/// A header's text; what does not fit a header comes as `=?base64?…?=`.
fn decode(value: &str) -> Result<Cow<'_, str>, String> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(inner).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.map(Cow::Owned).ok_or_else(|| "the header Mcp-Name is not valid base64".to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const MODERN: &str = r#"{"id":1,"method":"tools/call","params":{"name":"größe","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    const LEGACY: &str = r#"{"id":1,"method":"tools/call","params":{"name":"a"}}"#;

    fn check_with(body: &str, headers: &[(&'static str, &str)]) -> Result<Era, String> {
        let headers = headers
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap()))
            .collect();
        check(&headers, &Envelope::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn a_modern_request_brings_its_headers() {
        let all = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?Z3LDtsOfZQ==?="),
        ];
        assert_eq!(check_with(MODERN, &all), Ok(Era::Modern));
        for missing in 0..3 {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(check_with(MODERN, &some).is_err(), "without {:?}", all[missing]);
        }
    }

    #[test]
    fn a_header_never_says_other_than_the_body() {
        for wrong in [
            [("mcp-method", "tools/list"), ("mcp-name", "a")],
            [("mcp-method", "tools/call"), ("mcp-name", "b")],
            [("mcp-method", "tools/call"), ("mcp-name", "=?base64?%%?=")],
        ] {
            assert!(check_with(LEGACY, &wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(check_with(LEGACY, &[("mcp-method", "tools/call"), ("mcp-name", "a")]), Ok(Era::Legacy));
        let other = [("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/call")];
        assert!(check_with(MODERN, &other).is_err());
    }

    #[test]
    fn a_header_never_says_what_the_body_does_not() {
        let unnamed = r#"{"id":1,"method":"tools/call","params":{}}"#;
        let other = r#"{"id":1,"method":"tools/list","params":{"name":"a"}}"#;
        for body in [unnamed, other] {
            assert!(check_with(body, &[("mcp-name", "a")]).is_err(), "{body}");
            assert_eq!(check_with(body, &[]), Ok(Era::Legacy), "{body}");
        }
        let modern =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "a")];
        // A body without `_meta` is no mismatch: it lacks a parameter, which the backend says (-32602).
        assert_eq!(check_with(LEGACY, &modern), Ok(Era::Modern));
        // A notification has no `_meta` of its own.
        let told = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(check_with(told, &modern[..1]), Ok(Era::Modern));
    }

    #[test]
    fn a_legacy_request_needs_none_of_them() {
        assert_eq!(check_with(LEGACY, &[]), Ok(Era::Legacy));
        assert_eq!(check_with(LEGACY, &[("mcp-protocol-version", "2025-11-25")]), Ok(Era::Legacy));
        let initialize = r#"{"id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
        assert_eq!(check_with(initialize, &[]), Ok(Era::Legacy));
    }
}

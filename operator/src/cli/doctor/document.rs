//! Reading a JSON document of somebody's server.

use http::{HeaderMap, HeaderName, header};
use serde_json::{Map, Value};

use super::{
    finding::{Check, Client},
    html::is_html,
    instead::Instead,
    visit::Visit,
};
use crate::cli::http::Answer;

/// How much of a foreign text is shown.
const SHOWN: usize = 120;
/// What some editors put before a text (RFC 8259 section 8.1: not before JSON).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Clients whose parsers refuse it. Those in JavaScript skip it.
const REFUSE_MARK: &[Client] = &[Client::Codex, Client::PythonSdk, Client::RustSdk];

/// The JSON object of a successful answer, or what came instead.
pub(super) fn object(answer: Result<Answer, String>) -> Result<(Map<String, Value>, Answer), Instead> {
    let answer = answer.map_err(Instead::Silence)?;
    if let Some(other) = Instead::of(&answer) {
        return Err(other);
    }
    if let Some(how) = compressed(&answer) {
        return Err(Instead::Compressed(how));
    }
    match serde_json::from_slice(answer.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&answer.body)) {
        Ok(Value::Object(object)) => Ok((object, answer)),
        _ if is_html(&answer.headers) => Err(Instead::page(&answer)),
        _ => Err(Instead::NotJson),
    }
}

/// Reports a byte order mark, if the answer, which is `what`, begins with one.
pub(super) fn report_mark(visit: &mut Visit, check: Check, what: &str, answer: &Answer) {
    if answer.body.starts_with(BYTE_ORDER_MARK) {
        visit.report.fault(
            check,
            REFUSE_MARK,
            format!("{what} begins with a byte order mark, which is no JSON."),
            "Save it as UTF-8 without one.",
        );
    }
}

/// How an answer is compressed, if it is.
pub(super) fn compressed(answer: &Answer) -> Option<String> {
    let how = answer.headers.get(header::CONTENT_ENCODING)?.to_str().ok()?.trim();
    (!how.is_empty() && !how.eq_ignore_ascii_case("identity")).then(|| short(how))
}

/// All values of a header, as one.
pub(super) fn values(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(", ")
}

/// Where a redirect leads.
pub(super) fn location(answer: &Answer) -> String {
    let to = answer.headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
    to.map_or_else(
        || "nowhere".to_owned(),
        |to| answer.url.join(to).map_or_else(|_| short(to), |u| u.to_string()),
    )
}

/// ` (error: description)` of an OAuth error, if it is one.
pub(super) fn oauth_error(body: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return String::new() };
    let part = |name: &str| object.get(name).and_then(Value::as_str).map(short);
    match (part("error"), part("error_description")) {
        (Some(error), Some(description)) => format!(" ({error}: {description})"),
        (Some(error), None) => format!(" ({error})"),
        _ => String::new(),
    }
}

/// The names of members that are null, and of members that are empty texts.
pub(super) fn nulls_and_blanks(object: &Map<String, Value>) -> (Vec<String>, Vec<String>) {
    let named =
        |found: fn(&Value) -> bool| object.iter().filter(|(_, v)| found(v)).map(|(n, _)| short(n)).collect();
    (named(Value::is_null), named(|v| v.as_str() == Some("")))
}

/// The first characters of a foreign text.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

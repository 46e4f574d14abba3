//! The answer to `tools/list`, without the tools that are not offered.

use std::collections::BTreeMap;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Mcp,
    answer::{self, Asked},
    caller::Caller,
    headers::{self, SESSION},
    load::Place,
    refusal::Refusal,
    tools::Tools,
};

/// The longest list that is read.
pub(super) const MAX_LIST: usize = 4 * 1024 * 1024;

/// A JSON object whose members stay as they were written.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Passes the answer on without what is not offered. Which tools those are is the same for every user, so what the list
/// says of how long it may be kept still holds.
pub(super) async fn filter(
    mcp: &Mcp,
    caller: &Caller,
    asked: &Asked,
    response: http::Response<Incoming>,
    place: &mut Place,
) -> Result<Response, Refusal> {
    let (parts, body) = response.into_parts();
    let limit = mcp.backend.config.timeouts.first_byte;
    let bytes = tokio::time::timeout(limit, read(body, place)).await.unwrap_or(Err(Refusal::Slow(limit)))?;
    let events = headers::is_type(&parts.headers, "text/event-stream");
    let text = std::str::from_utf8(&bytes).map_err(|_| not_a_list())?;
    let filtered = if events { of_events(text, &mcp.tools) } else { of_message(text, &mcp.tools) };
    let mut headers = headers::to_client(&parts.headers);
    if let Some(session) = answer::session_header(mcp, caller, asked, parts.headers.get(SESSION)) {
        headers.insert(SESSION, session);
    }
    if events {
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    }
    let mut response = Response::new(Body::from(Bytes::from(filtered.ok_or_else(not_a_list)?)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The whole list, of which each piece is held as the call's.
async fn read(mut body: Incoming, place: &mut Place) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Refusal::BadAnswer("it broke its list of tools off".to_owned());
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_LIST {
            return Err(Refusal::BadAnswer("its list of tools is longer than 4 MiB".to_owned()));
        }
        place.take(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

pub(super) fn not_a_list() -> Refusal {
    Refusal::BadAnswer("its list of tools cannot be read".to_owned())
}

/// One message, or a batch of them (MCP 2025-03-26). `None`: it is not JSON.
fn of_message(text: &str, tools: &Tools) -> Option<String> {
    if !text.trim_start().starts_with('[') {
        return of_object(text, tools);
    }
    let batch: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let batch: Option<Vec<String>> = batch.into_iter().map(|one| of_object(one.get(), tools)).collect();
    Some(format!("[{}]", batch?.join(",")))
}

/// What is no list of tools (an error, a notification) stays as it is.
fn of_object(text: &str, tools: &Tools) -> Option<String> {
    let mut message: Members<'_> = serde_json::from_str(text).ok()?;
    let Some(result) = message.get("result") else { return Some(text.to_owned()) };
    let mut result: Members<'_> = serde_json::from_str(result.get()).ok()?;
    let Some(list) = result.get("tools") else { return Some(text.to_owned()) };
    let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let offered: Vec<&RawValue> = list.into_iter().filter(|tool| is_offered(tool, tools)).collect();
    let offered = serde_json::value::to_raw_value(&offered).ok()?;
    result.insert("tools".to_owned(), &offered);
    let result = serde_json::value::to_raw_value(&result).ok()?;
    message.insert("result".to_owned(), &result);
    serde_json::to_string(&message).ok()
}

/// A tool without a name that can be read is not offered.
fn is_offered(tool: &RawValue, tools: &Tools) -> bool {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_str::<Named>(tool.get()).is_ok_and(|tool| tools.offers(&tool.name))
}

/// Server-sent events, each of whose data is a message; their other fields stay as they are.
pub(super) fn of_events(text: &str, tools: &Tools) -> Option<String> {
    // A stream may begin with a byte order mark, which is no part of its first field.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let events: Option<Vec<String>> = text.split("\n\n").map(|event| of_event(event, tools)).collect();
    Some(events?.join("\n\n"))
}

fn of_event(event: &str, tools: &Tools) -> Option<String> {
    let data_of =
        |line: &'_ str| line.strip_prefix("data:").map(|d| d.strip_prefix(' ').unwrap_or(d).to_owned());
    let data: Vec<String> = event.lines().filter_map(data_of).collect();
    let data = data.join("\n");
    if data.trim().is_empty() {
        return Some(event.to_owned());
    }
    let message = of_message(&data, tools)?;
    let mut lines: Vec<&str> = event.lines().filter(|line| !line.starts_with("data:")).collect();
    // A message on one line: JSON's own line breaks may only stand between its tokens.
    let line = format!("data: {}", message.replace('\n', " "));
    lines.push(&line);
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Scopes;

    fn tools() -> Tools {
        let config = json!({"deny": ["secret"]});
        Tools::new(&serde_json::from_value(config).unwrap(), &Scopes::new(&[], None).unwrap()).unwrap()
    }

    #[test]
    fn only_offered_tools_are_listed_and_the_rest_stays() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"nextCursor":"c","tools":[{"name":"a","n":1e400},{"name":"secret"},{}]}}"#;
        let filtered = of_message(text, &tools()).unwrap();
        assert_eq!(
            filtered,
            r#"{"id":1,"jsonrpc":"2.0","result":{"nextCursor":"c","tools":[{"name":"a","n":1e400}]}}"#
        );
        for other in [r#"{"id":1,"error":{"code":-1}}"#, r#"{"method":"x"}"#, r#"{"id":1,"result":{}}"#] {
            assert_eq!(of_message(other, &tools()).as_deref(), Some(other));
        }
        assert_eq!(of_message(&format!(" [{text}]"), &tools()), Some(format!("[{filtered}]")));
        for broken in ["{", "[", "[[]]", "\"tools\""] {
            assert_eq!(of_message(broken, &tools()), None, "{broken}");
        }
    }

    #[test]
    fn events_keep_their_other_fields() {
        let list = r#"{"id":1,"result":{"tools":[{"name":"a"},{"name":"secret"}]}}"#;
        let (first, second) = list.split_at(7);
        let stream = format!(
            "\u{feff}: hi\n\nid: 1\r\ndata:\r\n\r\nevent: message\ndata: {first}\ndata: {second}\n\n"
        );
        let filtered = of_events(&stream, &tools()).unwrap();
        assert!(filtered.starts_with(": hi\n\nid: 1\ndata:\n\nevent: message\ndata: {"), "{filtered}");
        assert!(filtered.ends_with("\n\n"));
        let data = filtered.lines().last().filter(|l| !l.is_empty()).or(filtered.trim_end().lines().last());
        let message: Value = serde_json::from_str(data.unwrap().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(message["result"]["tools"], json!([{"name": "a"}]));
    }
}

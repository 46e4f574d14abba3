//! The envelope of a JSON-RPC message: what the gateway decides on, borrowed from the bytes that are forwarded.
//!
//! The backend must read the same message as we do. So a member that decides may not come twice, nor under a name
//! that only some parsers take for it (Go's `encoding/json` ignores case, with Unicode's folding).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The longest JSON-RPC id that is echoed, in bytes.
const MAX_ID: usize = 1024;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request, which gets an answer.
    Request,
    /// A notification.
    Notification,
    /// The client's answer to a request of the server (legacy era).
    Response,
}

/// One message.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub kind: Kind,
    /// Empty for a response.
    pub method: Cow<'a, str>,
    /// As it was written.
    pub id: Option<&'a RawValue>,
    pub params: Params<'a>,
}

/// The members of `params` that decide.
#[derive(Debug, Default)]
pub(super) struct Params<'a> {
    name: Option<&'a RawValue>,
    uri: Option<&'a RawValue>,
    task_id: Option<&'a RawValue>,
    /// The modern era's version.
    pub version: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Reads one message; the error is for the client.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
            return Err("a batch of messages is not served; send one message a request".to_owned());
        }
        // RFC 8259 section 8.1. What we skip is checked too: a backend may repair what it reads, and then read another
        // message.
        let message = std::str::from_utf8(bytes).map_err(|e| format!("not a JSON-RPC message: {e}"))?;
        let raw: Raw = serde_json::from_str(message).map_err(|e| format!("not a JSON-RPC message: {e}"))?;
        let method = match raw.method {
            Some(method) => {
                text(method).ok_or_else(|| "not a JSON-RPC message: method must be a string".to_owned())?
            }
            None => Cow::Borrowed(""),
        };
        let kind = match (raw.method.is_some(), raw.id.is_some(), raw.answer) {
            (true, true, false) => Kind::Request,
            (true, false, false) => Kind::Notification,
            (false, _, true) => Kind::Response,
            _ => return Err("not a JSON-RPC message: one of method, result and error is required".to_owned()),
        };
        if raw.id.is_some_and(|id| !well_formed_id(id, kind)) {
            return Err("not a JSON-RPC message: id must be a string or a number".to_owned());
        }
        let envelope = Self { kind, method, id: raw.id, params: raw.params };
        if envelope.named().is_some_and(|value| text(value).is_none()) {
            return Err("not a JSON-RPC message: params.name, uri and taskId must be strings".to_owned());
        }
        Ok(envelope)
    }

    /// What `Mcp-Name` must say of this message (SEP-2243), if its method has such a name.
    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        self.named().and_then(text)
    }

    /// The member that holds the name.
    fn named(&self) -> Option<&'a RawValue> {
        match &*self.method {
            "tools/call" | "prompts/get" => self.params.name,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => self.params.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.params.task_id,
            _ => None,
        }
    }

    /// Whether it calls a tool.
    pub(super) fn is_tool_call(&self) -> bool {
        self.kind == Kind::Request && self.method == "tools/call"
    }
}

fn well_formed_id(id: &RawValue, kind: Kind) -> bool {
    let first = id.get().as_bytes().first().copied().unwrap_or_default();
    let scalar = matches!(first, b'"' | b'-' | b'0'..=b'9');
    id.get().len() <= MAX_ID && (scalar || (kind == Kind::Response && id.get() == "null"))
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    /// serde borrows a `Cow` only when asked to.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text>(raw.get()).ok().map(|t| t.0)
}

#[derive(Default)]
struct Raw<'a> {
    method: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    params: Params<'a>,
    answer: bool,
}

/// The key itself when it is one of `known`, `None` when it is another; an error for a look-alike.
fn exact<E: Error>(key: &str, known: &[&'static str]) -> Result<Option<&'static str>, E> {
    if let Some(found) = known.iter().find(|k| **k == key) {
        return Ok(Some(found));
    }
    let folded: Cow<str> = if key.is_ascii() {
        Cow::Borrowed(key)
    } else {
        // The two characters beyond ASCII whose simple folding is an ASCII letter.
        Cow::Owned(key.replace('\u{17f}', "s").replace('\u{212a}', "k"))
    };
    match known.iter().find(|k| k.eq_ignore_ascii_case(&folded)) {
        Some(found) => Err(E::custom(format_args!("a member that could be taken for \"{found}\""))),
        None => Ok(None),
    }
}

fn once<'a, A: MapAccess<'a>>(
    map: &mut A,
    slot: &mut Option<&'a RawValue>,
    name: &'static str,
) -> Result<(), A::Error> {
    if slot.replace(map.next_value()?).is_some() { Err(A::Error::duplicate_field(name)) } else { Ok(()) }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
                let mut raw = Raw::default();
                let mut params: Option<Params<'de>> = None;
                while let Some(Key(key)) = map.next_key()? {
                    match exact(&key, &["method", "id", "params", "result", "error", "jsonrpc"])? {
                        Some("method") => once(&mut map, &mut raw.method, "method")?,
                        Some("id") => once(&mut map, &mut raw.id, "id")?,
                        Some("params") if params.is_some() => {
                            return Err(A::Error::duplicate_field("params"));
                        }
                        Some("params") => params = Some(map.next_value()?),
                        Some("result" | "error") => {
                            map.next_value::<IgnoredAny>()?;
                            raw.answer = true;
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                raw.params = params.unwrap_or_default();
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Params<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Params<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("params to be an object")
            }

            fn visit_unit<E: Error>(self) -> Result<Params<'de>, E> {
                Ok(Params::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params<'de>, A::Error> {
                let mut params = Params::default();
                let mut meta = None;
                let mut arguments = None;
                while let Some(Key(key)) = map.next_key()? {
                    match exact(&key, &["name", "uri", "taskId", "_meta", "arguments"])? {
                        Some("name") => once(&mut map, &mut params.name, "name")?,
                        Some("uri") => once(&mut map, &mut params.uri, "uri")?,
                        Some("taskId") => once(&mut map, &mut params.task_id, "taskId")?,
                        Some("_meta") => once(&mut map, &mut meta, "_meta")?,
                        Some("arguments") => once(&mut map, &mut arguments, "arguments")?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                if let Some(meta) = meta {
                    let meta: Option<Meta> = serde_json::from_str(meta.get()).map_err(A::Error::custom)?;
                    params.version = meta.and_then(|m| m.version).and_then(text);
                }
                Ok(params)
            }
        }
        deserializer.deserialize_any(Members)
    }
}

/// The member of `_meta` that makes a request one of the modern era (MCP 2026-07-28).
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<&'a RawValue>,
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;

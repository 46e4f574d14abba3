//! Every answer that the gateway itself gives on the MCP path: one exhaustive match, always in JSON-RPC's shape.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Mcp;
use crate::{clock::random, oauth::limits::BEARER};

/// JSON-RPC's own codes, MCP's, and (from -32050) the gateway's.
mod code {
    pub(super) const PARSE: i32 = -32700;
    pub(super) const INVALID_REQUEST: i32 = -32600;
    pub(super) const METHOD_NOT_FOUND: i32 = -32601;
    pub(super) const INVALID_PARAMS: i32 = -32602;
    pub(super) const HEADER_MISMATCH: i32 = -32020;
    pub(super) const SESSION_NOT_FOUND: i32 = -32001;
    pub(super) const UNAUTHORIZED: i32 = -32050;
    pub(super) const FORBIDDEN: i32 = -32051;
    pub(super) const BACKEND: i32 = -32052;
    pub(super) const UNAVAILABLE: i32 = -32053;
    pub(super) const TRANSPORT: i32 = -32054;
}

/// What is said of an answer whose user may not have it any more.
/// The tool may have done its work: nobody is told to repeat it unseen.
const SIGN_IN_ENDED: &str = "your sign-in ended before the answer came, and the tool may have done its work: sign in, and look before you repeat it";

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No access token.
    NoToken,
    /// A token that is not good here, or not any more.
    BadToken,
    /// A source brought more such tokens than any network of users would.
    TooManyBadTokens,
    /// The user must sign in again: the sentence that they read.
    SessionExpired(String),
    /// The user's right ended while the backend worked: the audit trail's word for how.
    Ended(&'static str),
    /// The user may not use the server.
    Denied { user: String },
    /// The token is not good for this; `scope` is, with what the client has (RFC 6750 section 3.1, SEP-2350).
    InsufficientScope { scope: String },
    /// The tool needs scopes that this user cannot be granted, so asking for more would not help.
    ToolDenied { user: String, tool: String, scope: String },
    /// The tool is not offered: as if the backend did not have it.
    UnknownTool(String),
    /// Another website's page asks.
    ForeignOrigin,
    /// A method other than POST, GET and DELETE.
    Method,
    /// No session of this user, or its pod is gone.
    SessionNotFound,
    /// The body is larger than 4 MiB.
    TooLarge,
    /// The body did not arrive in time.
    Incomplete,
    /// The body is not `application/json` in UTF-8, or is compressed.
    ContentType,
    /// The body is not one JSON-RPC message.
    Parse(String),
    /// It is one that two parsers could read differently, or no valid request.
    Invalid(String),
    /// A header says other than the body.
    HeaderMismatch(String),
    /// The user has too many calls under way, or too large ones.
    TooManyCalls,
    /// All users together have.
    Overloaded,
    /// The store does not answer.
    Store,
    /// A credential cannot be had now.
    Credential { retry_after: Duration },
    /// Our own configuration.
    Misconfigured(String),
    /// The backend cannot be reached or does not speak HTTP.
    Unreachable(String),
    /// The backend's answer is not one of MCP.
    BadAnswer(String),
    /// The backend is too slow.
    Slow(Duration),
    /// The backend refused the credential.
    BackendUnauthorized,
    /// The backend has no stream for GET.
    NoStream,
    /// The probe of the modern era, to a backend that fails on it.
    NotModern,
}

impl Refusal {
    /// The word for the audit trail.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::NoToken | Self::BadToken | Self::TooManyBadTokens => "unauthorized",
            Self::SessionExpired(_) => "session_expired",
            Self::Ended(how) => how,
            Self::Denied { .. } | Self::ToolDenied { .. } | Self::UnknownTool(_) => "denied",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::SessionNotFound => "session_not_found",
            Self::TooManyCalls => "too_many_calls",
            Self::Overloaded => "overloaded",
            Self::Store | Self::Credential { .. } => "unavailable",
            Self::Misconfigured(_) => "misconfigured",
            Self::Unreachable(_) | Self::BadAnswer(_) | Self::BackendUnauthorized => "backend_error",
            Self::Slow(_) => "backend_timeout",
            Self::NoStream | Self::NotModern => "not_supported",
            Self::ForeignOrigin
            | Self::Method
            | Self::TooLarge
            | Self::Incomplete
            | Self::ContentType
            | Self::Parse(_)
            | Self::Invalid(_)
            | Self::HeaderMismatch(_) => "invalid_request",
        }
    }

    /// Why, in the word of the audit trail: what refusals of one outcome are told apart by.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "invalid_token",
            Self::TooManyBadTokens => "too_many_invalid_tokens",
            Self::SessionExpired(_) => "session_expired",
            Self::Ended(_) => "late_answer",
            Self::Denied { .. } => "access_denied",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::ToolDenied { .. } => "tool_denied",
            Self::UnknownTool(_) => "unknown_tool",
            Self::ForeignOrigin => "foreign_origin",
            Self::Method => "method",
            Self::SessionNotFound => "session_not_found",
            Self::TooLarge => "too_large",
            Self::Incomplete => "timed_out",
            Self::ContentType => "content_type",
            Self::Parse(_) => "not_json",
            Self::Invalid(_) => "invalid_message",
            Self::HeaderMismatch(_) => "header_mismatch",
            Self::TooManyCalls => "too_many_calls",
            Self::Overloaded => "overloaded",
            Self::Store => "store",
            Self::Credential { .. } => "credential",
            Self::Misconfigured(_) => "misconfigured",
            Self::Unreachable(_) => "unreachable",
            Self::BadAnswer(_) => "bad_answer",
            Self::Slow(_) => "timeout",
            Self::BackendUnauthorized => "backend_unauthorized",
            Self::NoStream => "no_stream",
            Self::NotModern => "not_modern",
        }
    }

    /// The status and the JSON-RPC code.
    fn codes(&self) -> (StatusCode, i32) {
        use StatusCode as S;
        match self {
            Self::NoToken | Self::BadToken | Self::SessionExpired(_) => (S::UNAUTHORIZED, code::UNAUTHORIZED),
            // With 401 a client would renew its token where it can, and send again what may have been done.
            Self::Ended(_) => (S::FORBIDDEN, code::UNAUTHORIZED),
            Self::Denied { .. }
            | Self::InsufficientScope { .. }
            | Self::ToolDenied { .. }
            | Self::ForeignOrigin => (S::FORBIDDEN, code::FORBIDDEN),
            Self::UnknownTool(_) => (S::OK, code::INVALID_PARAMS),
            Self::Method | Self::NoStream => (S::METHOD_NOT_ALLOWED, code::TRANSPORT),
            Self::SessionNotFound => (S::NOT_FOUND, code::SESSION_NOT_FOUND),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, code::TRANSPORT),
            Self::Incomplete => (S::REQUEST_TIMEOUT, code::TRANSPORT),
            Self::ContentType => (S::UNSUPPORTED_MEDIA_TYPE, code::TRANSPORT),
            Self::Parse(_) => (S::BAD_REQUEST, code::PARSE),
            Self::Invalid(_) => (S::BAD_REQUEST, code::INVALID_REQUEST),
            Self::HeaderMismatch(_) => (S::BAD_REQUEST, code::HEADER_MISMATCH),
            Self::TooManyCalls | Self::TooManyBadTokens => (S::TOO_MANY_REQUESTS, code::UNAVAILABLE),
            Self::Overloaded | Self::Store | Self::Credential { .. } => {
                (S::SERVICE_UNAVAILABLE, code::UNAVAILABLE)
            }
            Self::Misconfigured(_)
            | Self::Unreachable(_)
            | Self::BadAnswer(_)
            | Self::BackendUnauthorized => (S::BAD_GATEWAY, code::BACKEND),
            Self::Slow(_) => (S::GATEWAY_TIMEOUT, code::BACKEND),
            Self::NotModern => (S::NOT_FOUND, code::METHOD_NOT_FOUND),
        }
    }

    /// Writes down what only an administrator may read (addresses, names of Secrets), under an id by which they find
    /// what a user tells them of.
    fn tell_administrator(&self, mcp: &Mcp) -> Option<String> {
        let (Self::Misconfigured(why) | Self::Unreachable(why)) = self else { return None };
        let id = format!("{:016x}", u64::from_be_bytes(random(mcp.server.entropy.as_ref())));
        tracing::warn!(incident = id, backend = mcp.backend.config.name, why, "a call could not be served");
        Some(id)
    }

    /// What the user reads.
    fn message(&self, mcp: &Mcp, incident_id: Option<&str>) -> String {
        let backend = &mcp.backend.config.name;
        let name = mcp.server.display_name();
        let url = &mcp.server.urls.resource;
        match self {
            Self::NoToken => format!("sign in to use {name}: an access token is required"),
            Self::BadToken => "the access token is not valid here, or has expired".to_owned(),
            Self::TooManyBadTokens => {
                "too many access tokens that are not valid here came from this address".to_owned()
            }
            Self::Ended(_) => SIGN_IN_ENDED.to_owned(),
            Self::Denied { user } => {
                format!("{user} may not use {name}; its administrators can grant access")
            }
            Self::InsufficientScope { scope } => format!("this needs a token with the scope: {scope}"),
            Self::ToolDenied { user, tool, scope } => {
                format!(
                    "{user} may not call {tool}: it needs the scope {scope}, which this account cannot be granted"
                )
            }
            Self::UnknownTool(tool) => format!("Unknown tool: {tool}"),
            Self::ForeignOrigin => "requests from pages of another origin are refused".to_owned(),
            Self::Method => "only POST, GET and DELETE are served here".to_owned(),
            Self::SessionNotFound => "session not found; initialize a new one".to_owned(),
            Self::TooLarge => "a request may have at most 4 MiB".to_owned(),
            Self::Incomplete => "the request's body did not arrive in time".to_owned(),
            Self::ContentType => "the body must be application/json in UTF-8, without compression".to_owned(),
            Self::SessionExpired(text)
            | Self::Parse(text)
            | Self::Invalid(text)
            | Self::HeaderMismatch(text) => text.clone(),
            Self::TooManyCalls => {
                "too many calls of yours are under way; wait until some are answered".to_owned()
            }
            Self::Overloaded => format!("{name} has too many calls under way; try again"),
            Self::Store => "access tokens cannot be checked at the moment; try again".to_owned(),
            Self::Credential { .. } => "your sign-in cannot be renewed at the moment; try again".to_owned(),
            Self::Misconfigured(_) => {
                format!(
                    "{name} is not configured completely; tell its administrator{}",
                    incident(incident_id)
                )
            }
            Self::Unreachable(_) => {
                format!("the tool backend \"{backend}\" cannot be reached{}", incident(incident_id))
            }
            Self::BadAnswer(why) => {
                format!("the tool backend \"{backend}\" did not answer as an MCP server: {why}")
            }
            Self::Slow(limit) => format!("the tool backend \"{backend}\" did not answer within {limit:?}"),
            Self::BackendUnauthorized => {
                format!("the tool backend \"{backend}\" refused the credential of this call (401)")
            }
            Self::NoStream => format!(
                "the tool backend \"{backend}\" offers no event stream on GET; use Streamable HTTP: POST to {url}"
            ),
            Self::NotModern => {
                format!("the tool backend \"{backend}\" does not know server/discover; initialize a session")
            }
        }
    }

    /// The answer, with the id of the request where it is known.
    pub(super) fn into_response(self, mcp: &Mcp, id: Option<&RawValue>) -> Response {
        let (status, code) = self.codes();
        let incident = self.tell_administrator(mcp);
        let message = self.message(mcp, incident.as_deref());
        let mut response = json(status, &error_body(id, code, &message));
        let headers = response.headers_mut();
        match &self {
            Self::NoToken => {
                headers.insert(header::WWW_AUTHENTICATE, mcp.challenge.clone());
            }
            Self::BadToken | Self::SessionExpired(_) => {
                headers
                    .insert(header::WWW_AUTHENTICATE, challenge(&mcp.challenge, "invalid_token", &message));
            }
            Self::InsufficientScope { scope } => {
                let base = bare_challenge(&mcp.server.urls.resource_metadata(), scope);
                headers.insert(header::WWW_AUTHENTICATE, challenge(&base, "insufficient_scope", &message));
            }
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
            }
            Self::NoStream => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST, DELETE"));
            }
            Self::Store | Self::TooManyCalls | Self::Overloaded => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Self::TooManyBadTokens => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(BEARER.window.as_secs()));
            }
            Self::Credential { retry_after } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            }
            _ => {}
        }
        response
    }
}

/// How a user tells an administrator what to look for in the log.
fn incident(id: Option<&str>) -> String {
    id.map(|id| format!(" (incident {id})")).unwrap_or_default()
}

/// A challenge with an error of RFC 6750 section 3.1, and the reason in words.
fn challenge(base: &HeaderValue, error: &str, message: &str) -> HeaderValue {
    // RFC 6750 allows no quotes, backslashes or characters beyond ASCII in a description.
    let plain = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' };
    let description: String = message.chars().map(plain).collect();
    let bare = base.to_str().unwrap_or("Bearer");
    let text = format!("{bare}, error=\"{error}\", error_description=\"{description}\"");
    HeaderValue::from_str(&text).unwrap_or_else(|_| base.clone())
}

/// The challenge of an MCP server: where its metadata is and which scope to ask for (RFC 9728 section 5.1).
pub(super) fn bare_challenge(resource_metadata: &str, scope: &str) -> HeaderValue {
    let text = format!("Bearer resource_metadata=\"{resource_metadata}\", scope=\"{scope}\"");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

/// The text of an error's innermost cause: the layers above it only say "client error".
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// A JSON-RPC error object.
pub(super) fn error_body(id: Option<&RawValue>, code: i32, message: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        jsonrpc: &'static str,
        id: Option<&'a RawValue>,
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        code: i32,
        message: &'a str,
    }
    // Strings and numbers always serialize.
    serde_json::to_string(&Body { jsonrpc: "2.0", id, error: Error { code, message } }).unwrap_or_default()
}

/// The error that ends a stream whose backend died.
pub(super) fn died_body(id: &RawValue, backend: &str) -> String {
    let message = format!("the tool backend \"{backend}\" broke the answer off");
    error_body(Some(id), code::BACKEND, &message)
}

/// The error that ends a stream whose user may not listen any more.
pub(super) fn cut_body(id: &RawValue, _: &str) -> String {
    error_body(Some(id), code::UNAUTHORIZED, SIGN_IN_ENDED)
}

/// A tool result that the user's model reads (`isError`).
pub(super) fn tool_error(id: &RawValue, text: &str, modern: bool) -> Response {
    let result_type = if modern { "\"resultType\":\"complete\"," } else { "" };
    let text = serde_json::Value::from(text);
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{result_type}\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}}}"
    );
    json(StatusCode::OK, &body)
}

fn json(status: StatusCode, body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// HTTP+SSE (2024-11-05) was asked for.
pub(super) fn old_transport(mcp: &Mcp, method: &Method) -> Response {
    let message = format!(
        "HTTP+SSE (2024-11-05) is not served here, so {method} has nothing to give; use Streamable HTTP at {}",
        mcp.server.urls.resource
    );
    json(StatusCode::NOT_FOUND, &error_body(None, code::TRANSPORT, &message))
}

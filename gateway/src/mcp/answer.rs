//! The backend's answer: whether it is one of MCP, and how it is passed on.

use std::{net::SocketAddr, sync::Arc};

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use serde_json::value::RawValue;

use super::{
    Mcp,
    call::Message,
    caller::Caller,
    envelope::Kind,
    headers::{self, SESSION},
    load::Place,
    refusal::Refusal,
    relay::Relay,
    session::Session,
    tool_events::ToolEvents,
    trail::Trail,
};

/// What was asked, as far as its answer depends on it.
pub(super) struct Asked {
    pub what: What,
    /// The request's id.
    pub id: Option<Box<RawValue>>,
    /// The session that it belongs to, and the id by which the client knows that.
    pub session: Option<Session>,
    presented: Option<HeaderValue>,
    /// The pod on which a new session lives.
    pub pod: Option<SocketAddr>,
}

/// The kinds of requests whose answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A GET, which waits for a stream.
    Get,
    /// `initialize`, which may open a session.
    Initialize,
    /// `server/discover`, which must not fail with 5xx.
    Probe,
    /// `tools/list`, from which tools may be hidden.
    ToolList,
    /// `tools/call`.
    ToolCall,
    /// `subscriptions/listen`, which only waits for events.
    Listen,
    /// Any other request, which must be answered by JSON or events.
    Request,
    /// DELETE, notifications, and the client's own answers.
    Rest,
}

impl What {
    fn of(method: &Method, message: Option<&Message<'_>>) -> Self {
        let Some(envelope) = message.map(|m| &m.envelope).filter(|e| e.kind == Kind::Request) else {
            return if *method == Method::GET { Self::Get } else { Self::Rest };
        };
        match &*envelope.method {
            "initialize" => Self::Initialize,
            "server/discover" => Self::Probe,
            "tools/list" => Self::ToolList,
            "tools/call" => Self::ToolCall,
            "subscriptions/listen" => Self::Listen,
            _ => Self::Request,
        }
    }
}

impl Asked {
    pub(super) fn new(
        method: &Method,
        message: Option<&Message<'_>>,
        session: Option<Session>,
        presented: Option<&HeaderValue>,
    ) -> Self {
        let id = message.and_then(|m| m.envelope.id).map(ToOwned::to_owned);
        let presented = session.as_ref().and(presented).cloned();
        Self { what: What::of(method, message), id, presented, session, pod: None }
    }
}

/// Refuses what is no answer of an MCP server.
pub(super) fn check(asked: &Asked, response: &http::Response<Incoming>) -> Result<(), Refusal> {
    let status = response.status();
    let bad = |reason: String| Err(Refusal::BadAnswer(reason));
    let json = headers::is_type(response.headers(), "application/json");
    let events = headers::is_type(response.headers(), "text/event-stream");
    if asked.what == What::Get && status == StatusCode::METHOD_NOT_ALLOWED {
        return Err(Refusal::NoStream);
    }
    if asked.what == What::Probe && status.is_server_error() {
        return Err(Refusal::NotModern);
    }
    if status.is_redirection() {
        return bad(format!("it redirects ({status}); the backend's path must be the one it serves"));
    }
    if response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return bad("it compressed its answer although nobody asked for that".to_owned());
    }
    if status.is_server_error() && !json {
        return bad(format!("it answered {status}"));
    }
    let right = match asked.what {
        What::Get => events,
        What::Rest => true,
        _ => events || json,
    };
    if status == StatusCode::OK && !right {
        return bad("its answer is neither JSON nor an event stream".to_owned());
    }
    Ok(())
}

/// Passes the answer on as it comes.
pub(super) fn pass(
    mcp: &Arc<Mcp>,
    caller: &Arc<Caller>,
    asked: Asked,
    response: http::Response<Incoming>,
    mut call: Trail,
    place: Place,
) -> Response {
    let (parts, body) = response.into_parts();
    call.status(parts.status);
    let failed = parts.status.is_client_error() || parts.status.is_server_error();
    let mut headers = headers::to_client(&parts.headers);
    if let Some(session) = session_header(mcp, caller, &asked, parts.headers.get(SESSION)) {
        headers.insert(SESSION, session);
    }
    let events = parts.status.is_success() && headers::is_type(&parts.headers, "text/event-stream");
    let scanner = if asked.what == What::ToolCall { mcp.backend.patterns.scanner() } else { None };
    let mut relay = Relay::new(body, (call, place), failed).search(scanner, mcp, caller);
    if events {
        // nginx and others would collect the events otherwise.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        let listens = matches!(asked.what, What::Get | What::Listen);
        relay = relay.events(asked.id, listens);
        // The answer to a call lists no tools; everything else may be the answer to something that was asked before.
        if asked.what != What::ToolCall {
            relay = relay.filter(ToolEvents::of(mcp));
        }
    }
    let mut response = Response::new(Body::new(relay));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    response
}

/// The session id that the client gets: a new one, sealed, or the one it has, where the backend repeats its own.
pub(super) fn session_header(
    mcp: &Mcp,
    caller: &Caller,
    asked: &Asked,
    sent: Option<&HeaderValue>,
) -> Option<HeaderValue> {
    let sent = sent?;
    if asked.what == What::Initialize {
        let session = Session::opened(sent, &mcp.backend.config.name, asked.pod)?;
        return session.seal(&mcp.server, &caller.record.user.id);
    }
    let same = asked.session.as_ref().is_some_and(|session| session.id.as_bytes() == sent.as_bytes());
    asked.presented.clone().filter(|_| same)
}

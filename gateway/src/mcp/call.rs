//! One request on the MCP path, from its headers to the answer's.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::{
    Mcp,
    answer::{self, What},
    caller::Caller,
    confirm,
    envelope::Envelope,
    era::{self, Era},
    headers,
    load::Place,
    proxy::Answered,
    refusal::Refusal,
    stream::awaited,
    tool_list,
    trail::Trail,
};
use crate::{
    audit::{Decision, Event},
    cors,
    model::IdentityState,
    oauth::{limits, source::Source},
};

/// A message that was read and whose headers agree with it.
pub(super) struct Message<'a> {
    pub envelope: Envelope<'a>,
    pub era: Era,
}

impl Message<'_> {
    pub(super) fn is_modern(&self) -> bool {
        self.era == Era::Modern
    }
}

/// Serves one request. Without a good token nothing else of it is looked at (MCP, and every probing client).
/// `source`: where it came from, by its headers.
pub(super) async fn serve(
    mcp: &Arc<Mcp>,
    request: Request,
    source: impl FnOnce(&HeaderMap) -> Source,
) -> Response {
    let started = mcp.now();
    let (parts, body) = request.into_parts();
    let caller = match confirm::settled(mcp, &parts.headers).await {
        Ok(caller) => caller,
        Err(refusal) => {
            mcp.metrics.unauthenticated.inc();
            let refusal = match refusal {
                Refusal::NoToken => refusal,
                refusal => not_admitted(mcp, source(&parts.headers), refusal),
            };
            return refusal.into_response(mcp, None);
        }
    };
    let mut call = Trail::new(mcp, &caller, source(&parts.headers), started);
    call.subject(parts.method.as_str(), None);
    let exchange = Exchange { mcp, caller: &caller, method: &parts.method, headers: &parts.headers };
    exchange.serve(body, call).await
}

/// A token was not good, or could not be checked. That is told until one source has brought too many, which then cost
/// little.
fn not_admitted(mcp: &Mcp, source: Source, refusal: Refusal) -> Refusal {
    let bad = refusal == Refusal::BadToken;
    let limit = if bad { limits::BEARER } else { limits::BEARER_UNCHECKED };
    if mcp.bearers.count(limit, &source.to_string(), mcp.now()).is_err() {
        return if bad { Refusal::TooManyBadTokens } else { refusal };
    }
    mcp.server.audit.write(Event::new(Decision::BearerRefused).source(source).because(refusal.reason()));
    refusal
}

/// An authenticated request.
pub(super) struct Exchange<'a> {
    pub mcp: &'a Arc<Mcp>,
    pub caller: &'a Arc<Caller>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
}

impl Exchange<'_> {
    async fn serve(&self, body: Body, mut call: Trail) -> Response {
        let mut place = match self.mcp.load.enter(self.caller.record.user.id) {
            Ok(place) => place,
            Err(refusal) => return self.refuse(refusal, None, call),
        };
        let bytes = match self.body(body, &mut place).await {
            Ok(bytes) => bytes,
            Err(refusal) => return self.refuse(refusal, None, call),
        };
        let envelope = match self.read(&bytes, &mut call) {
            Ok(envelope) => envelope,
            Err(refusal) => return self.refuse(refusal, None, call),
        };
        let era = match envelope.as_ref().map(|envelope| era::check(self.headers, envelope)).transpose() {
            Ok(era) => era,
            Err(reason) => return self.refuse(Refusal::HeaderMismatch(reason), envelope.as_ref(), call),
        };
        let message = envelope.zip(era).map(|(envelope, era)| Message { envelope, era });
        let message = message.as_ref();
        let envelope = message.map(|message| &message.envelope);
        if let Some(refusal) = self.forbidden().or_else(|| self.out_of_scope(message)) {
            return self.refuse(refusal, envelope, call);
        }
        let answered = self.proxy(message, bytes.clone()).await;
        place.sent();
        match answered {
            Ok(Answered::Backend(asked, response)) => match answer::check(&asked, &response) {
                Ok(()) if asked.what == What::ToolList && self.mcp.tools.hide_some() => {
                    let list = tool_list::filter(self.mcp, self.caller, &asked, response, &mut place);
                    match awaited(self.mcp, self.caller, list).await {
                        Ok(response) => {
                            call.status(response.status());
                            call.outcome("ok");
                            response
                        }
                        Err(refusal) => self.refuse(refusal, envelope, call),
                    }
                }
                Ok(()) => answer::pass(self.mcp, self.caller, *asked, response, call, place),
                Err(refusal) => self.refuse(refusal, envelope, call),
            },
            Ok(Answered::Here(response, outcome)) => {
                call.status(response.status());
                call.outcome(outcome);
                response
            }
            Err(refusal) => self.refuse(refusal, envelope, call),
        }
    }

    fn refuse(&self, refusal: Refusal, envelope: Option<&Envelope<'_>>, mut call: Trail) -> Response {
        let refusal = match (refusal, envelope) {
            // To clients of both eras a failing probe must look like a server that does not know it.
            (
                Refusal::Slow(_)
                | Refusal::Unreachable(_)
                | Refusal::BadAnswer(_)
                | Refusal::BackendUnauthorized,
                Some(envelope),
            ) if envelope.method == "server/discover" => Refusal::NotModern,
            (refusal, _) => refusal,
        };
        call.refused(&refusal);
        let response = refusal.into_response(self.mcp, envelope.and_then(|envelope| envelope.id));
        call.status(response.status());
        response
    }

    /// The body of a POST; nothing for the other methods.
    async fn body(&self, body: Body, place: &mut Place) -> Result<Bytes, Refusal> {
        self.check_origin()?;
        if *self.method == Method::GET || *self.method == Method::DELETE {
            return Ok(Bytes::new());
        }
        if *self.method != Method::POST {
            return Err(Refusal::Method);
        }
        if !headers::is_plain_json(self.headers) || self.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Refusal::ContentType);
        }
        place.read(body).await
    }

    /// A browser's page of another origin is refused (MCP, transports: DNS rebinding).
    fn check_origin(&self) -> Result<(), Refusal> {
        let known = cors::may_call(&self.mcp.server.urls, self.headers);
        if known { Ok(()) } else { Err(Refusal::ForeignOrigin) }
    }

    fn read<'b>(&self, bytes: &'b Bytes, call: &mut Trail) -> Result<Option<Envelope<'b>>, Refusal> {
        if *self.method != Method::POST {
            return Ok(None);
        }
        let envelope = Envelope::parse(bytes).map_err(|reason| {
            // A header that names one method cannot agree with what is no single message.
            if self.headers.contains_key("mcp-method") {
                Refusal::HeaderMismatch(reason)
            } else if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err() {
                Refusal::Parse(reason)
            } else {
                Refusal::Invalid(reason)
            }
        })?;
        let tool = if envelope.is_tool_call() { envelope.name() } else { None };
        call.subject(&envelope.method, tool.as_deref());
        Ok(Some(envelope))
    }

    /// `access` is asked on every call. A dead user's profile may be old: they hear first that they must sign in.
    fn forbidden(&self) -> Option<Refusal> {
        let record = &self.caller.record;
        if record.user.state != IdentityState::Live || self.mcp.server.allows(&self.caller.profile) {
            return None;
        }
        Some(Refusal::Denied { user: self.who() })
    }

    /// The user, as they know themselves.
    pub(super) fn who(&self) -> String {
        let profile = &self.caller.profile;
        profile.verified_email.as_ref().or(profile.name.as_ref()).unwrap_or(&profile.subject).clone()
    }
}

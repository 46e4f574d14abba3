//! From an admitted request to the backend's answer: session, credentials, pod.

use std::{net::SocketAddr, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use gatehouse_gateway_config::BackendConfig;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::OnceCell;

use super::{
    answer::{Asked, What},
    backend::{Outgoing, SendError},
    call::{Exchange, Message},
    confirm, dead,
    headers::{self, SESSION},
    pods::Pods,
    refusal::{self, Refusal},
    session::Session,
    stream::awaited,
};
use crate::{
    clock::random,
    credentials::{Check, CredentialError},
    model::IdentityState,
};

/// The probe of the modern era must not wait for a slow backend: rmcp gives up after ten seconds.
const PROBE_TIME: Duration = Duration::from_secs(8);
/// How many pods a new session tries.
const PODS_TRIED: usize = 3;

/// Who answered.
pub(super) enum Answered {
    /// The backend.
    Backend(Box<Asked>, http::Response<Incoming>),
    /// The gateway, with a result; and the word for the audit trail.
    Here(Response, &'static str),
}

impl Exchange<'_> {
    /// Sends the request on with the user's own credentials.
    pub(super) async fn proxy(
        &self,
        message: Option<&Message<'_>>,
        body: Bytes,
    ) -> Result<Answered, Refusal> {
        let credentials = &self.mcp.server.credentials;
        if matches!(self.caller.record.user.state, IdentityState::Dead { .. }) {
            let sentence = credentials.expired_sentence();
            return dead::answer(self.mcp, self.caller, message, sentence).await;
        }
        let session = self.session(message)?;
        let injected = match self.injected().await {
            Ok(injected) => injected,
            Err(CredentialError::SessionExpired(sentence)) => {
                return dead::answer(self.mcp, self.caller, message, sentence).await;
            }
            Err(error) => return Err(unavailable(error)),
        };
        let mut headers = headers::to_backend(self.headers, &self.mcp.backend.ours);
        if message.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.extend(injected.iter().cloned());
        let id = session.as_ref().and_then(Session::header);
        // An event's id says nothing of whose it is: only a session, which is this user's, makes it theirs. And only a
        // GET resumes a stream: the answers to other requests are looked at by what they ask.
        if id.is_none() || *self.method != Method::GET {
            headers.remove("last-event-id");
        }
        if let Some(id) = id {
            headers.insert(SESSION, id);
        }
        let mut asked = Asked::new(self.method, message, session, self.headers.get(SESSION));
        let response = awaited(self.mcp, self.caller, self.send(&mut asked, headers, body)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return self.refused_upstream(message).await;
        }
        Ok(Answered::Backend(Box::new(asked), response))
    }

    /// The session that the request belongs to. The modern era has none, and `initialize` begins a new one.
    fn session(&self, message: Option<&Message<'_>>) -> Result<Option<Session>, Refusal> {
        let none = message.is_some_and(|m| m.is_modern() || m.envelope.method == "initialize");
        let Some(presented) = self.headers.get(SESSION).filter(|_| !none) else { return Ok(None) };
        let user = &self.caller.record.user.id;
        let session = Session::open(&self.mcp.server, user, presented);
        let session = session.filter(|s| s.backend == self.mcp.backend.config.name);
        session.map(Some).ok_or(Refusal::SessionNotFound)
    }

    /// The headers of the user's own credentials; made once for as long as the caller is remembered.
    async fn injected(&self) -> Result<&[(HeaderName, HeaderValue)], CredentialError> {
        let cell: &OnceCell<_> = &self.caller.injected;
        let backend: &BackendConfig = &self.mcp.backend.config;
        let make = || self.mcp.server.credentials.headers(&self.caller.record, backend);
        cell.get_or_try_init(make).await.map(Vec::as_slice)
    }

    async fn send(
        &self,
        asked: &mut Asked,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<http::Response<Incoming>, Refusal> {
        let backend = &self.mcp.backend;
        let first_byte = backend.config.timeouts.first_byte;
        let limit = if asked.what == What::Probe { first_byte.min(PROBE_TIME) } else { first_byte };
        let outgoing = Outgoing { method: self.method.clone(), headers, body, pod: None, limit };
        if let Some(session) = &asked.session {
            let pod = self.pinned(session).await?;
            return match backend.send(Outgoing { pod, ..outgoing }).await {
                // The pod is gone, and the session with it.
                Err(SendError::NoConnection(_)) if pod.is_some() => Err(Refusal::SessionNotFound),
                sent => Ok(sent?),
            };
        }
        let Some(pods) = backend.pods.as_ref().filter(|_| asked.what == What::Initialize) else {
            return Ok(backend.send(outgoing).await?);
        };
        let mut last = Refusal::Unreachable("no pod of its Service is ready".to_owned());
        for pod in self.candidates(pods).await {
            match backend.send(Outgoing { pod: Some(pod), ..outgoing.clone() }).await {
                Ok(response) => {
                    asked.pod = Some(pod);
                    return Ok(response);
                }
                Err(SendError::NoConnection(reason)) => last = Refusal::Unreachable(reason),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last)
    }

    /// The pod of a session, while it is one of the backend's.
    async fn pinned(&self, session: &Session) -> Result<Option<SocketAddr>, Refusal> {
        match (&self.mcp.backend.pods, session.pod) {
            (None, None) => Ok(None),
            (Some(pods), Some(pod)) if pods.current(self.mcp.now()).await.contains(&pod) => Ok(Some(pod)),
            _ => Err(Refusal::SessionNotFound),
        }
    }

    /// The pods for a new session, from a random one on.
    async fn candidates(&self, pods: &Pods) -> Vec<SocketAddr> {
        let mut pods = pods.current(self.mcp.now()).await;
        let start = u64::from_be_bytes(random(self.mcp.server.entropy.as_ref()));
        let start = start.checked_rem(pods.len() as u64).and_then(|at| usize::try_from(at).ok());
        pods.rotate_left(start.unwrap_or(0));
        pods.truncate(PODS_TRIED);
        pods
    }

    /// The backend answered 401. Never passed on: the client would renew a sign-in that is not the cause.
    async fn refused_upstream(&self, message: Option<&Message<'_>>) -> Result<Answered, Refusal> {
        let backend = &self.mcp.backend;
        if backend.carries_identity
            && let Check::Dead(sentence) = confirm::ask(self.mcp, self.caller.record.user.id).await
        {
            return dead::answer(self.mcp, self.caller, message, sentence).await;
        }
        let call = message.filter(|m| m.envelope.is_tool_call());
        let Some((message, id)) = call.and_then(|m| Some((m, m.envelope.id?))) else {
            return Err(Refusal::BackendUnauthorized);
        };
        let text =
            format!("The tool backend \"{}\" refused the credential of this call.", backend.config.name);
        Ok(Answered::Here(refusal::tool_error(id, &text, message.is_modern()), "backend_error"))
    }
}

fn unavailable(error: CredentialError) -> Refusal {
    tracing::warn!(%error, "a call has no credential");
    match error {
        CredentialError::SessionExpired(sentence) => Refusal::SessionExpired(sentence),
        CredentialError::Unavailable { retry_after, .. } => Refusal::Credential { retry_after },
        CredentialError::Misconfigured(what) => Refusal::Misconfigured(what),
    }
}

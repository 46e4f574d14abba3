//! The tool backend: where it is, what every request to it carries, and how it is reached.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use gatehouse_gateway_config::{
    BackendConfig, BackendTarget, CredentialKind, ServerConfig, preset::DeadToken,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{
    pods::{Directory, Pods},
    refusal::{self, Refusal},
    scan::Patterns,
};
use crate::{
    egress::{self, Destination, Egress, Pinned, Transport},
    model::scope::ScopesError,
    refs::Refs,
};

/// One backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub config: BackendConfig,
    pub pods: Option<Pods>,
    /// What betrays a dead token of the user in a tool's result.
    pub patterns: Patterns,
    /// Whether calls carry the user's own token of the sign-in.
    pub carries_identity: bool,
    /// Names that only the gateway sets.
    pub ours: Vec<HeaderName>,
    uri: Uri,
    host: HeaderValue,
    fixed: Vec<(HeaderName, HeaderValue)>,
    transport: Transport<Full<Bytes>>,
}

/// A request to a backend, still without the backend's own parts.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The pod to dial, where it must be that one.
    pub pod: Option<SocketAddr>,
    /// How long the answer's headers may take.
    pub limit: Duration,
}

/// Why a backend's configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// A scope of its tools.
    #[error(transparent)]
    Scope(#[from] ScopesError),
    /// Its URL.
    #[error("backend \"{backend}\": \"{url}\" is not an http or https URL")]
    Url {
        /// The backend.
        backend: String,
        /// What was found.
        url: String,
    },
    /// A header.
    #[error("backend \"{backend}\": \"{name}\" cannot be a header, or not with its value")]
    Header {
        /// The backend.
        backend: String,
        /// The header's name.
        name: String,
    },
}

impl Backend {
    /// The server's one backend.
    pub(super) fn new(
        server: &ServerConfig,
        config: &BackendConfig,
        egress: &Egress,
        refs: Arc<dyn Refs>,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, BackendError> {
        let (url, service, pods) = match &config.target {
            BackendTarget::Service { url, pods, addresses, headless } => {
                let pin = match pods {
                    Some(pods) if *headless => Pinned::Name(pods.host.clone()),
                    _ if addresses.is_empty() => Pinned::Any,
                    _ => Pinned::Addresses(addresses.clone()),
                };
                (url, Some(pin), pods.as_ref())
            }
            BackendTarget::Url(url) => (url, None, None),
        };
        let (uri, host) = parse_url(config, url)?;
        let fixed: Vec<_> = config
            .headers
            .iter()
            .map(|h| Ok((name(config, &h.name)?, value(config, &h.name, &h.value)?)))
            .collect::<Result<_, BackendError>>()?;
        let mut ours: Vec<HeaderName> = fixed.iter().map(|(name, _)| name.clone()).collect();
        for inject in &config.inject {
            ours.push(name(config, &inject.header)?);
        }
        let destination = Destination {
            service,
            connect_timeout: config.timeouts.connect,
            tls: config.tls.clone().unwrap_or_default(),
        };
        let carries_identity = carries_identity(server, config);
        Ok(Self {
            config: config.clone(),
            pods: pods.map(|pods| Pods::new(pods, directory)),
            patterns: Patterns::new(if carries_identity {
                server.identity.dead_token()
            } else {
                DeadToken::OF_NONE
            }),
            carries_identity,
            ours,
            uri,
            host,
            fixed,
            transport: egress.transport(destination, refs),
        })
    }

    /// Sends a request and waits for the answer's headers.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Response<Incoming>, SendError> {
        let client =
            self.transport.client().map_err(|e| SendError::Refused(Refusal::Misconfigured(e.to_string())))?;
        let mut request = Request::new(Full::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = self.uri_for(outgoing.pod);
        *request.headers_mut() = outgoing.headers;
        for (name, value) in &self.fixed {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        request.headers_mut().insert(header::HOST, self.host.clone());
        let limit = outgoing.limit;
        match tokio::time::timeout(limit, client.request(request)).await {
            Err(_) => Err(SendError::Refused(Refusal::Slow(limit))),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(SendError::NoConnection(reason(&error))),
            Ok(Err(error)) => Err(SendError::Refused(Refusal::BadAnswer(reason(&error)))),
        }
    }

    fn uri_for(&self, pod: Option<SocketAddr>) -> Uri {
        let Some(pod) = pod else { return self.uri.clone() };
        let mut parts = self.uri.clone().into_parts();
        parts.authority = pod.to_string().parse().ok();
        // Scheme, path and a socket address always make a URI.
        Uri::from_parts(parts).unwrap_or_else(|_| self.uri.clone())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// No connection: nothing was sent.
    NoConnection(String),
    /// Anything else.
    Refused(Refusal),
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoConnection(reason) => Self::Unreachable(reason),
            SendError::Refused(refusal) => refusal,
        }
    }
}

/// What went wrong, by the innermost cause; none of it was written by the backend.
fn reason(error: &(dyn Error + 'static)) -> String {
    if let Some(refusal) = egress::refusal(error) {
        return refusal.to_string();
    }
    refusal::innermost(error)
}

fn parse_url(config: &BackendConfig, url: &str) -> Result<(Uri, HeaderValue), BackendError> {
    let fail = || BackendError::Url { backend: config.name.clone(), url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| fail())?;
    let http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().filter(|_| http).ok_or_else(fail)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| fail())?;
    Ok((uri, host))
}

fn name(config: &BackendConfig, name: &str) -> Result<HeaderName, BackendError> {
    name.parse().map_err(|_| BackendError::Header { backend: config.name.clone(), name: name.to_owned() })
}

fn value(config: &BackendConfig, name: &str, value: &str) -> Result<HeaderValue, BackendError> {
    let fail = |_| BackendError::Header { backend: config.name.clone(), name: name.to_owned() };
    HeaderValue::from_str(value).map_err(fail)
}

fn carries_identity(server: &ServerConfig, backend: &BackendConfig) -> bool {
    backend.inject.iter().any(|inject| {
        let credential = server.credentials.iter().find(|c| c.name == inject.credential);
        credential.is_some_and(|c| c.kind == CredentialKind::FromIdentity)
    })
}

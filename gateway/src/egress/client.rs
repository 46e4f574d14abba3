//! Requests whose answer is small: bounded in size and time, no redirects.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Full, LengthLimitError, Limited};

use super::{ConnectError, Refusal, TlsError, Transport, find};
use crate::pieces;

/// From the call to the answer's last byte.
const TOTAL: Duration = Duration::from_secs(10);
/// JWKS and pages of teams are far smaller.
const BODY_LIMIT: usize = 1024 * 1024;

/// Why there is no answer. Nothing that the other side wrote is in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The destination is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection: the request was not sent.
    #[error("{0}")]
    Connect(String),
    /// The time is over; the request may have been processed.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke or the answer is not HTTP; the request may have been processed.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is too long; the request was processed.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl HttpError {
    /// Whether the other side cannot have seen the request.
    pub fn nothing_sent(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Tls(_) | Self::Connect(_))
    }
}

/// A client for requests with small answers. Clones share the connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    transport: Arc<Transport<Full<Bytes>>>,
    total: Duration,
    body_limit: usize,
}

impl HttpClient {
    /// The default time limit of a request, from which the lease of a refresh is derived.
    pub const TIMEOUT: Duration = TOTAL;

    /// A client over these connections.
    pub fn new(transport: Transport<Full<Bytes>>) -> Self {
        Self { transport: Arc::new(transport), total: TOTAL, body_limit: BODY_LIMIT }
    }

    /// The same client with another time limit.
    #[must_use]
    pub fn with_timeout(self, total: Duration) -> Self {
        Self { total, ..self }
    }

    /// The same client with another limit of an answer's body, in bytes.
    #[must_use]
    pub fn with_body_limit(self, body_limit: usize) -> Self {
        Self { body_limit, ..self }
    }

    /// Sends a request and reads the whole answer. Any status is an answer; a redirect is one too.
    ///
    /// # Errors
    /// When there is no complete answer within the limits of time and size.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Bytes>, HttpError> {
        let client = self.transport.client()?;
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let exchange = async {
            let answer = client.request(request).await.map_err(|e| transport_error(&e))?;
            let (head, body) = answer.into_parts();
            let body = pieces::read(Limited::new(body, self.body_limit)).await;
            let body = body.map_err(|e| self.body_error(e.as_ref()))?;
            Ok(Response::from_parts(head, body.into()))
        };
        tokio::time::timeout(self.total, exchange).await.map_err(|_| HttpError::Timeout(self.total))?
    }

    fn body_error(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> HttpError {
        if error.is::<LengthLimitError>() {
            HttpError::TooLong(self.body_limit)
        } else {
            HttpError::Broken(innermost(error))
        }
    }
}

fn transport_error(error: &hyper_util::client::legacy::Error) -> HttpError {
    match find(error) {
        Some(ConnectError::Refused(refusal)) => HttpError::Refused(refusal.clone()),
        Some(other) => HttpError::Connect(other.to_string()),
        None if error.is_connect() => HttpError::Connect(innermost(error)),
        None => HttpError::Broken(innermost(error)),
    }
}

/// The cause, which says more than the wrappers do: TLS and system errors, never the other side's words.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

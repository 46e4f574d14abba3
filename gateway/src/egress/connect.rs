//! The connector: resolve, check each address, connect to a checked one, then TLS.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tower::Service;

use super::{
    Pinned,
    allow::{AllowList, Refusal, is_relative_cluster_name},
    resolve::Resolve,
};

/// A proxy's answer to CONNECT is a status line and a few headers.
const PROXY_ANSWER_LIMIT: usize = 8 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The destination is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The name of a Service leads elsewhere.
    #[error("{host} leads to {address}, which is no address of that Service as it was accepted")]
    Astray {
        /// The host.
        host: String,
        /// Where it leads to.
        address: IpAddr,
    },
    /// The URL names no host.
    #[error("the URL names no host")]
    NoHost,
    /// The name does not resolve.
    #[error("{host} does not resolve: {reason}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No address accepted the connection.
    #[error("{host} does not accept connections: {source}")]
    Unreachable {
        /// The host.
        host: String,
        /// Of the last address that was tried.
        source: io::Error,
    },
    /// The proxy did not open a tunnel.
    #[error("the proxy {proxy} {reason}")]
    Proxy {
        /// Its address.
        proxy: String,
        /// What it did.
        reason: String,
    },
    /// Connecting, TLS included, took too long.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

/// Makes the connections of one client. See [`super::Egress`].
#[derive(Debug, Clone)]
pub struct Connector {
    pub(super) https: HttpsConnector<Tcp>,
    pub(super) timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pending<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.https.call(uri);
        let limit = self.timeout;
        Box::pin(async move {
            timeout(limit, connecting).await.map_err(|_| BoxError::from(ConnectError::Timeout(limit)))?
        })
    }
}

/// The TCP half of [`Connector`].
#[derive(Debug, Clone)]
pub(super) struct Tcp(pub(super) Arc<Rules>);

/// Which search domains a name is tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Those of the pod, by which the name of a Service is one.
    System,
    /// None: the name is whole.
    None,
}

impl Search {
    /// Whoever writes a URL must not reach a Service by a name that does not look like one: `tools.team-b` is that of a
    /// Service by the pod's search domains alone. `tools.team-b.svc`, which is it too, is seen to be one.
    fn of(host: &str) -> Self {
        if is_relative_cluster_name(host) { Self::System } else { Self::None }
    }
}

/// What the TCP half goes by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) allow: Arc<AllowList>,
    /// The destination is a Service, and reached without the proxy.
    pub(super) service: Option<Pinned>,
    /// `host:port`.
    pub(super) proxy: Option<(String, u16)>,
    pub(super) timeout: Duration,
}

/// The address that a host is, if it is one and no name.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pending<Self::Response, ConnectError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let rules = Arc::clone(&self.0);
        Box::pin(async move { rules.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Rules {
    async fn connect(&self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = self.permitted(host).await?;
        let stream = match (&self.service, &self.proxy) {
            (None, Some(proxy)) => self.tunnel(proxy, SocketAddr::new(addresses[0], port)).await?,
            _ => self.dial(host, &addresses, port).await?,
        };
        // Small JSON messages must not wait for Nagle's algorithm; failing to say so costs only time.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// The addresses that may be connected to: these very ones are, whatever the name says a moment later.
    async fn permitted(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if let Some(pin) = &self.service {
            return self.of_service(host, pin).await;
        }
        let found = self.resolve(host, Search::of(host)).await?;
        let mut refusal = None;
        let mut permitted = Vec::new();
        for address in found {
            match self.allow.check(host, address) {
                Ok(()) => permitted.push(address),
                Err(refused) => refusal = Some(refused),
            }
        }
        match refusal {
            Some(refused) if permitted.is_empty() => Err(refused.into()),
            _ => Ok(permitted),
        }
    }

    /// The addresses of a Service, or of a pod that the gateway itself has found.
    async fn of_service(&self, host: &str, pin: &Pinned) -> Result<Vec<IpAddr>, ConnectError> {
        // The configuration names Services by name; what is a number is the address of a pod.
        let host = match pin {
            Pinned::Name(name) if literal(host).is_none() => name.as_str(),
            _ => host,
        };
        let found = self.resolve(host, Search::System).await?;
        for address in &found {
            self.allow.check_service(host, *address)?;
        }
        let pinned = match pin {
            Pinned::Addresses(addresses) if literal(host).is_none() => addresses,
            _ => return Ok(found),
        };
        let astray = |address| ConnectError::Astray { host: host.to_owned(), address };
        let (own, others): (Vec<IpAddr>, Vec<IpAddr>) =
            found.iter().partition(|found| pinned.contains(found));
        match others.first() {
            Some(address) if own.is_empty() => Err(astray(*address)),
            _ => Ok(own),
        }
    }

    async fn resolve(&self, host: &str, search: Search) -> Result<Vec<IpAddr>, ConnectError> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let bare = host.trim_matches(['[', ']']);
        let unresolved =
            |reason: String| ConnectError::Unresolved { host: bare.chars().take(253).collect(), reason };
        let absolute;
        let name = match search {
            Search::System => bare,
            Search::None => {
                absolute = format!("{}.", bare.trim_end_matches('.'));
                absolute.as_str()
            }
        };
        let found = self.resolver.resolve(name).await.map_err(|e| unresolved(e.to_string()))?;
        if found.is_empty() { Err(unresolved("no address".to_owned())) } else { Ok(found) }
    }

    /// Tries the addresses in turn; each has its share of the time, so that a dead one leaves some for the next.
    async fn dial(&self, host: &str, addresses: &[IpAddr], port: u16) -> Result<TcpStream, ConnectError> {
        let end = Instant::now() + self.timeout;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (tried, address) in addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            match timeout_at(Instant::now() + share, TcpStream::connect((*address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(ConnectError::Unreachable { host: host.to_owned(), source: last })
    }

    /// Asks the proxy for a tunnel to the checked address: the name is never resolved again.
    async fn tunnel(
        &self,
        (proxy, proxy_port): &(String, u16),
        target: SocketAddr,
    ) -> Result<TcpStream, ConnectError> {
        let fail = |reason: String| ConnectError::Proxy { proxy: format!("{proxy}:{proxy_port}"), reason };
        // The administrator's own word.
        let addresses = self.resolve(proxy, Search::System).await?;
        let mut stream = self.dial(proxy, &addresses, *proxy_port).await?;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|e| fail(format!("hung up: {e}")))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= PROXY_ANSWER_LIMIT {
                return Err(fail("answered CONNECT with something else than HTTP".to_owned()));
            }
            // Byte by byte: what follows the empty line belongs to the tunnel.
            answer.push(stream.read_u8().await.map_err(|e| fail(format!("hung up: {e}")))?);
        }
        let status = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "));
        match status.and_then(|rest| rest.get(..3)) {
            Some([b'2', _, _]) => Ok(stream),
            Some(code) => Err(fail(format!("answered CONNECT {target} with {}", code.escape_ascii()))),
            None => Err(fail("answered CONNECT with something else than HTTP".to_owned())),
        }
    }
}

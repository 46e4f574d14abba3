//! Everything the gateway connects to, except Redis, goes through here (decision 20).
//!
//! The check stands in the connector, after resolution: an address that is not globally routable is refused unless
//! `egress.allow` lists it, and the connection goes to the very address that was checked. So it holds for every
//! spelling of a host, for a name that changes its answer, and for each new connection of a pool. Names are looked up
//! without search domains, except those that end in `.svc`. Redirects are never followed.
//!
//! Two uses:
//!
//! ```ignore
//! // Calls with a bounded answer and a total time limit: identity providers.
//! let http = HttpClient::new(egress.transport(Destination::default(), refs.clone()));
//! let answer: http::Response<Bytes> = http.send(request).await?;
//!
//! // A backend: pooled connections, streaming bodies, the caller's own time limits.
//! let backend: Transport<BackendBody> = egress.transport(
//!     Destination { service: Some(pin), connect_timeout: timeouts.connect, tls: tls.unwrap_or_default() },
//!     refs.clone(),
//! );
//! let response: http::Response<hyper::body::Incoming> = backend.client()?.request(request).await?;
//! // On an error: `egress::refusal(&error)` finds the refusal, whose text says the line to add to egress.allow.
//! ```

mod address;
mod allow;
mod client;
mod connect;
mod resolve;
mod tls;

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use gatehouse_gateway_config::{EgressConfig, TlsConfig};
use http_body::Body;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::RootCertStore;
use url::Url;

pub use address::not_global;
pub use allow::{AllowError, AllowList, Refusal};
pub use client::{HttpClient, HttpError};
pub use connect::{ConnectError, Connector};
pub use resolve::{Resolve, SystemResolver};
pub use tls::TlsError;

use connect::{Rules, Tcp};

use crate::refs::{Refs, Value};

/// A pooled connection that nobody used for this long is closed: below the minute at which many servers close it.
const IDLE: Duration = Duration::from_secs(45);

/// The rule for outbound connections of this process.
#[derive(Debug, Clone)]
pub struct Egress {
    allow: Arc<AllowList>,
    proxy: Option<(String, u16)>,
    roots: Arc<RootCertStore>,
    resolver: Arc<dyn Resolve>,
}

/// Why the `egress` section is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// An entry of `allow`.
    #[error(transparent)]
    Allow(#[from] AllowError),
    /// The proxy.
    #[error("egress.proxy: \"{0}\" is not of the form http://host:port")]
    Proxy(String),
    /// The CAs.
    #[error("egress.ca holds no certificates of CAs in PEM")]
    Ca,
}

/// How a destination is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A Service of the server's own namespace, which is neither checked by `egress.allow` nor proxied.
    pub service: Option<Pinned>,
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// CA, client certificate and server name.
    pub tls: TlsConfig,
}

/// What the name of a Service may lead to: whoever owns the Service can turn it into an alias of any name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned {
    /// Whatever an address of a Service or a pod can be.
    Any,
    /// These alone.
    Addresses(Vec<IpAddr>),
    /// What this name leads to, which is asked instead: the operator's own copy of a Service that has no address.
    Name(String),
}

impl Default for Destination {
    fn default() -> Self {
        Self { service: None, connect_timeout: Duration::from_secs(5), tls: TlsConfig::default() }
    }
}

impl Egress {
    /// The rule as configured.
    ///
    /// # Errors
    /// When an entry of `allow`, the proxy or the CAs are malformed.
    pub fn new(config: &EgressConfig) -> Result<Self, EgressError> {
        let allow = Arc::new(AllowList::parse(&config.allow)?);
        let proxy = config.proxy.as_deref().map(parse_proxy).transpose()?;
        let roots = Arc::new(tls::web_roots(config.ca.as_deref()).ok_or(EgressError::Ca)?);
        Ok(Self { allow, proxy, roots, resolver: Arc::new(SystemResolver) })
    }

    /// The same rule with another resolver, for tests.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The same rule for URLs that strangers choose: `egress.allow` opens what the administrator's own configuration needs,
    /// and counts for these hosts alone.
    #[must_use]
    pub fn for_strangers(&self, hosts: &[String]) -> Self {
        Self { allow: Arc::new(self.allow.only_for(hosts)), ..self.clone() }
    }

    /// A pool of connections for one destination.
    pub fn transport<B>(&self, destination: Destination, refs: Arc<dyn Refs>) -> Transport<B> {
        Transport { egress: self.clone(), destination, refs, current: RwLock::default() }
    }

    fn connector(&self, destination: &Destination, refs: &dyn Refs) -> Result<Connector, TlsError> {
        let tls = tls::client_config(&destination.tls, &self.roots, refs)?;
        let rules = Rules {
            resolver: Arc::clone(&self.resolver),
            allow: Arc::clone(&self.allow),
            service: destination.service.clone(),
            proxy: self.proxy.clone(),
            timeout: destination.connect_timeout,
        };
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let builder = match tls::server_name(&destination.tls)? {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let https = builder.enable_http1().wrap_connector(Tcp(Arc::new(rules)));
        Ok(Connector { https, timeout: destination.connect_timeout })
    }
}

/// A pool of connections that follows its Secrets: when the CA or the client certificate changes, new connections
/// use the new one, and the old pool ends with its requests.
pub struct Transport<B> {
    egress: Egress,
    destination: Destination,
    refs: Arc<dyn Refs>,
    current: RwLock<Option<Pool<B>>>,
}

struct Pool<B> {
    inputs: Vec<Option<Value>>,
    client: Client<Connector, B>,
}

impl<B> std::fmt::Debug for Transport<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl<B> Transport<B>
where
    B: Body + Send + 'static + Unpin,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The client; cheap.
    ///
    /// # Errors
    /// When a named CA or certificate is missing or unusable, and no earlier one was good.
    pub fn client(&self) -> Result<Client<Connector, B>, TlsError> {
        let inputs = tls::inputs(&self.destination.tls, self.refs.as_ref());
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(pool) = current.as_ref().filter(|pool| same(&pool.inputs, &inputs)) {
                return Ok(pool.client.clone());
            }
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match (self.egress.connector(&self.destination, self.refs.as_ref()), current.as_mut()) {
            (Ok(connector), _) => {
                let client = Client::builder(TokioExecutor::new())
                    .pool_idle_timeout(IDLE)
                    .pool_timer(TokioTimer::new())
                    .timer(TokioTimer::new())
                    .build(connector);
                *current = Some(Pool { inputs, client: client.clone() });
                Ok(client)
            }
            // The last good one goes on; remembering the bad values says so once.
            (Err(error), Some(pool)) => {
                tracing::warn!(%error, "new TLS material is not usable; the previous one stays in use");
                pool.inputs = inputs;
                Ok(pool.client.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

/// The refusal inside an error of a [`Client`], if that is what it was.
pub fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    match find(error)? {
        ConnectError::Refused(refusal) => Some(refusal),
        _ => None,
    }
}

/// The connector's own error inside an error of a [`Client`].
fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a ConnectError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<ConnectError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn same(a: &[Option<Value>], b: &[Option<Value>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|pair| match pair {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        })
}

fn parse_proxy(text: &str) -> Result<(String, u16), EgressError> {
    let fail = || EgressError::Proxy(text.chars().take(100).collect());
    let url = Url::parse(text).map_err(|_| fail())?;
    let plain = url.scheme() == "http"
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none();
    let host = url.host_str().filter(|_| plain).ok_or_else(fail)?;
    Ok((host.to_owned(), url.port_or_known_default().ok_or_else(fail)?))
}

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

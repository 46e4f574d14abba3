//! The one place where a configuration becomes a gateway.

use std::sync::Arc;

use axum::Router;
use gatehouse_gateway_config::{GatewayConfig, ServerConfig, keys::Keyring};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use crate::{
    app::{self, App},
    audit::{self, Audit},
    client_document::Documents,
    clock::{Clock, Entropy},
    credentials::{Custody, CustodyParts},
    denied::Denied,
    egress::{Destination, Egress, EgressError},
    identity::{self, IdentityError, Setup},
    keys::Keys,
    mcp::{BackendError, Mcp, dns::Dns},
    metrics::Metrics,
    model::{Scopes, scope::ScopesError},
    refs::Refs,
    server::{Server, Urls, UrlsError},
    store::{
        Store, StoreClock,
        memory::MemoryStore,
        redis::{RedisConfigError, RedisStore},
    },
};

/// A gateway, ready to be served.
#[derive(Debug)]
pub struct Gateway {
    /// Its server.
    pub server: Arc<Server>,
    /// The server's MCP path.
    pub mcp: Arc<Mcp>,
    /// What Prometheus sees.
    pub metrics: Arc<Metrics>,
    /// Every route.
    pub router: Router,
    /// Networks of the proxies in front.
    pub trusted_proxies: Vec<IpNet>,
}

/// Why a configuration cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The file holds more than one server.
    #[error("servers: this version serves one, {0} were found")]
    Servers(usize),
    /// A server has more or less than one backend.
    #[error("server \"{server}\": backends: exactly one is served by this version, {found} were found")]
    Backends {
        /// The server.
        server: String,
        /// How many.
        found: usize,
    },
    /// `url` or `issuer`.
    #[error(transparent)]
    Urls(#[from] UrlsError),
    /// `egress`.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// `trustedProxies`.
    #[error("trustedProxies: \"{0}\" is not a network such as 10.0.0.0/8")]
    TrustedProxy(String),
    /// `redis`.
    #[error(transparent)]
    Redis(#[from] RedisConfigError),
    /// `identity`.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// `scopes`.
    #[error(transparent)]
    Scopes(#[from] ScopesError),
    /// A backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Makes a gateway. Nothing is connected to yet: what is away must not keep a gateway from starting.
///
/// # Errors
/// When a part of the configuration has no meaning.
pub fn assemble(
    config: &GatewayConfig,
    keyring: Keyring,
    refs: Arc<dyn Refs>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    audit: Option<Arc<dyn audit::Sink>>,
) -> Result<Gateway, AssembleError> {
    let server = single(config)?;
    let egress = Egress::new(&config.egress)?;
    let trusted = trusted_proxies(config)?;
    let keys = Keys::new(keyring, clock.clone());
    let store: Arc<dyn Store> = match &config.redis {
        None => Arc::new(MemoryStore::new(clock.clone())),
        Some(redis) => {
            let (namespace, name) = (&server.namespace, &server.name);
            Arc::new(RedisStore::new(redis, namespace, name, keys.clone(), refs.clone(), clock.clone())?)
        }
    };
    let urls = Urls::new(&server.url, &server.issuer)?;
    let dated: Arc<dyn Clock> = Arc::new(StoreClock::new(store.clone(), clock.clone()));
    let setup = Setup {
        egress: egress.clone(),
        refs: refs.clone(),
        clock: dated.clone(),
        redirect_uri: urls.endpoint("/oauth/callback"),
    };
    let identity = identity::connect(&server.identity, setup)?;
    let audit = Audit::new(audit, clock.clone(), &server.namespace, &server.name);
    let tasks = TaskTracker::new();
    let credentials = Arc::new(Custody::new(CustodyParts {
        config: server.clone(),
        keys: keys.clone(),
        refs: refs.clone(),
        store: store.clone(),
        clock: dated,
        entropy: entropy.clone(),
        identity: identity.clone(),
        audit: audit.clone(),
        tasks: tasks.clone(),
    }));
    let documents = documents(&egress, server, &refs, &clock);
    let config = server.clone();
    let scopes = Scopes::new(&config.scopes, config.policy.scopes.as_deref())?;
    let server = Arc::new(Server {
        config,
        urls,
        scopes,
        keys,
        refs,
        store,
        clock,
        entropy,
        identity,
        documents,
        credentials,
        denied: Denied::default(),
        audit,
        tasks,
    });
    connect(server, &egress, trusted)
}

/// Puts the routes around a server.
fn connect(
    server: Arc<Server>,
    egress: &Egress,
    trusted_proxies: Vec<IpNet>,
) -> Result<Gateway, AssembleError> {
    let metrics = Arc::new(Metrics::new(&server.config.namespace, &server.config.name));
    let mcp = Mcp::new(server.clone(), egress, Arc::new(Dns::system()), metrics.clone())?;
    let mcp = Arc::new(mcp);
    let app = Arc::new(App::new(server.clone(), trusted_proxies.clone()));
    let router = app::router(&app, &mcp);
    Ok(Gateway { server, mcp, metrics, router, trusted_proxies })
}

fn documents(
    egress: &Egress,
    config: &ServerConfig,
    refs: &Arc<dyn Refs>,
    clock: &Arc<dyn Clock>,
) -> Documents {
    let policy = config.policy.metadata_documents.as_ref();
    let hosts = policy.map(|policy| policy.allowed_hosts.as_slice()).unwrap_or_default();
    Documents::new(egress, Destination::default(), refs.clone(), hosts, clock.clone())
}

fn single(config: &GatewayConfig) -> Result<&ServerConfig, AssembleError> {
    let [server] = config.servers.as_slice() else {
        return Err(AssembleError::Servers(config.servers.len()));
    };
    if server.backends.len() != 1 {
        let found = server.backends.len();
        return Err(AssembleError::Backends { server: server.name.clone(), found });
    }
    Ok(server)
}

fn trusted_proxies(config: &GatewayConfig) -> Result<Vec<IpNet>, AssembleError> {
    let parse = |text: &String| text.parse().map_err(|_| AssembleError::TrustedProxy(text.clone()));
    config.trusted_proxies.iter().map(parse).collect()
}

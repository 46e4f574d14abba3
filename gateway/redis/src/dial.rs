//! One connection to one node.

use std::{fmt, net::SocketAddr};

use gatehouse_gateway_config::redis::Address;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisFuture, TlsCertificates, aio::MultiplexedConnection,
    io::AsyncDNSResolver,
};
use zeroize::Zeroizing;

/// As whom we come, and whom we trust. Read anew for each connection, so that a rotation needs no restart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The ACL user; absent: `default`.
    pub username: Option<String>,
    /// Its password; absent: nobody asks for one.
    pub password: Option<Zeroizing<String>>,
    /// The CAs (PEM) that signed the nodes' certificates; absent: the web's roots.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate chain and its key (PEM).
    pub certificate: Option<Certificate>,
    /// The name to verify and to send as SNI, for every node; absent: the host that is dialled.
    pub server_name: Option<String>,
}

/// A certificate chain and its key (PEM).
pub type Certificate = (Vec<u8>, Zeroizing<Vec<u8>>);

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Login {
    /// The same trust without user and password.
    pub(crate) fn anonymous(&self) -> Self {
        Self { username: None, password: None, ..self.clone() }
    }
}

/// Why a node could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// A node refused us, or is not there.
    #[error("{node}: {source}")]
    Node {
        /// The node.
        node: Address,
        /// What happened.
        source: redis::RedisError,
    },
    /// Nobody who was asked knows the master.
    #[error("nobody who was asked knows the master: {0}")]
    NoMaster(String),
    /// A node that is called the master is none.
    #[error("{0} is called the master and is none (yet)")]
    NotMaster(Address),
}

impl ReachError {
    /// The error code of the server's answer, where it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Node { source, .. } => source.code(),
            Self::NoMaster(_) | Self::NotMaster(_) => None,
        }
    }
}

/// Connects to `node`, authenticates, and says hello.
///
/// # Errors
/// When it is not there, not whom we trust, or does not let us in.
pub async fn dial(
    node: &Address,
    tls: bool,
    login: &Login,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ReachError> {
    let fail = |source| ReachError::Node { node: node.clone(), source };
    let client = client(node, tls, login).map_err(fail)?;
    let mut config = config.clone();
    // TLS verifies the host that is dialled; under another name, that name is "resolved" to the node.
    if let (Address::Tcp { host, .. }, true, Some(_)) = (node, tls, &login.server_name) {
        config = config.set_dns_resolver(Always(host.clone()));
    }
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(fail)
}

fn client(node: &Address, tls: bool, login: &Login) -> redis::RedisResult<Client> {
    let address = match node {
        Address::Socket(path) => ConnectionAddr::Unix(path.clone()),
        Address::Tcp { host, port } if tls => {
            let host = login.server_name.as_ref().unwrap_or(host).clone();
            ConnectionAddr::TcpTls { host, port: *port, insecure: false, tls_params: None }
        }
        Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let mut settings = RedisConnectionInfo::default()
        // RESP3 carries the notice of a disconnection.
        .set_protocol(ProtocolVersion::RESP3)
        // CLIENT SETINFO is not among the rights of a server's user.
        .set_skip_set_lib_name();
    if let Some(username) = &login.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password.as_str());
    }
    let info: ConnectionInfo = address.into_connection_info()?.set_redis_settings(settings);
    if !tls {
        return Client::open(info);
    }
    let client_tls = login.certificate.as_ref().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.clone(),
        client_key: key.to_vec(),
    });
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: login.ca.clone() })
}

/// Resolves every name to one host.
struct Always(String);

impl AsyncDNSResolver for Always {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _name: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((self.0.as_str(), port)).await?.collect();
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

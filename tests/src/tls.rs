//! TLS before a server that speaks none, as an ingress terminates it. All certificates are of one authority, which every
//! client here trusts.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::redis_fleet::tls::{Authority, Chain};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::generate);

/// The authority's certificate (PEM).
pub(crate) fn ca() -> String {
    AUTHORITY.pem()
}

/// Ends the TLS of every connection before a server; it runs while this lives.
#[derive(Debug)]
pub(crate) struct Terminator {
    _connections: JoinSet<()>,
}

impl Terminator {
    /// Listens as `host` before the server at `behind`. That one sees each connection come from the address that it came
    /// from.
    pub(crate) fn before(listener: TcpListener, host: &str, behind: SocketAddr) -> Self {
        let tls = acceptor(host);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                let tls = tls.clone();
                connections.spawn(async move {
                    // Browsers open connections that they do not use, and end others as they like.
                    let Ok(mut before) = tls.accept(stream).await else { return };
                    let Ok(mut behind) = connect(peer, behind).await else { return };
                    let _ = copy_bidirectional(&mut before, &mut behind).await;
                });
            }
        });
        Self { _connections: accepting }
    }
}

async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.ip(), 0))?;
    socket.connect(to).await
}

fn acceptor(host: &str) -> TlsAcceptor {
    let Chain { certificate, key } = AUTHORITY.sign(Some(host));
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("rcgen's key");
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("rcgen's certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has them").with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).expect("they belong together");
    TlsAcceptor::from(Arc::new(config))
}

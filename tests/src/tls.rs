//! TLS before a server that speaks none, as an ingress terminates it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    process::Command,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Ends the TLS of every connection before a server; it runs while this lives.
#[derive(Debug)]
pub(crate) struct Terminator {
    _connections: JoinSet<()>,
}

impl Terminator {
    /// Listens as `host`, with a certificate that nobody vouches for, before the server at `behind`. That one sees each
    /// connection come from the address that it came from.
    pub(crate) async fn before(listener: TcpListener, host: &str, behind: SocketAddr) -> Self {
        let tls = acceptor(host).await;
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

async fn acceptor(host: &str) -> TlsAcceptor {
    let directory = TempDir::new().expect("a temporary directory");
    let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("certificate.pem"));
    self_signed(host, &key, &certificate).await;
    let key = PrivateKeyDer::from_pem_file(&key).expect("openssl's key");
    let certificate = CertificateDer::from_pem_file(&certificate).expect("openssl's certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has them").with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).expect("they belong together");
    TlsAcceptor::from(Arc::new(config))
}

async fn self_signed(host: &str, key: &Path, certificate: &Path) {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", &format!("/CN={host}"), "-addext", &format!("subjectAltName=DNS:{host}")])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate);
    let output = command.output().await.expect("openssl is installed (tests/run installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

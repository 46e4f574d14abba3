//! Servers with TLS: as it should be, and as it should not.

use std::{net::SocketAddr, sync::Arc};

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate {
    Good,
    Expired,
    OfOtherHost,
    OfUnknownCa,
    WithoutIntermediate,
}

/// The server's side.
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    /// With such a certificate, and the CA that clients trust: `None` leaves them with those of the web.
    pub(super) fn new(certificate: Certificate) -> (Self, Option<CertificateDer<'static>>) {
        let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let intermediate = CertifiedIssuer::signed_by(ca("intermediate"), key, &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let hosts: &[&str] = match certificate {
            Certificate::OfOtherHost => &["other.test"],
            _ => &["127.0.0.1", "localhost"],
        };
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        if certificate == Certificate::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let leaf = params.signed_by(&key, &intermediate).unwrap();
        let mut chain = vec![leaf.der().clone()];
        if certificate != Certificate::WithoutIntermediate {
            chain.push(intermediate.der().clone());
        }
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let trusted = (certificate != Certificate::OfUnknownCa).then(|| root.der().clone());
        (Self(TlsAcceptor::from(Arc::new(config))), trusted)
    }

    /// Serves on this listener.
    pub(super) fn over(self, listener: TcpListener) -> TlsListener {
        TlsListener { listener, acceptor: self.0 }
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Accepts those with whom the handshake succeeds.
pub(super) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

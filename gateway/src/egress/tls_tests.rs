//! A configured CA, server name and client certificate, against a server that demands all three.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use gatehouse_gateway_config::{EgressConfig, KeyRef, TlsConfig};
use http::Request;
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    certificates::{CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY, pem},
    *,
};
use crate::refs::Refs;

fn certificate(base64: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&pem("CERTIFICATE", base64)).unwrap()
}

/// Demands a certificate of the CA, and answers each connection once.
async fn serve() -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(CA)).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::from_pem_slice(&pem("PRIVATE KEY", SERVER_KEY)).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(SERVER)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    address
}

/// Values that a test replaces.
#[derive(Debug)]
struct Rotating(Mutex<std::collections::BTreeMap<KeyRef, crate::refs::Value>>);

impl Rotating {
    fn set(&self, key: KeyRef, value: Vec<u8>) {
        self.0.lock().unwrap().insert(key, Arc::new(zeroize::Zeroizing::new(value)));
    }
}

impl Refs for Rotating {
    fn get(&self, key: &KeyRef) -> Option<crate::refs::Value> {
        self.0.lock().unwrap().get(key).cloned()
    }
}

fn ca() -> KeyRef {
    KeyRef::secret("ca", "ca.crt")
}

fn refs() -> Arc<Rotating> {
    let refs = Rotating(Mutex::default());
    refs.set(ca(), pem("CERTIFICATE", CA));
    refs.set(KeyRef::secret("gw-cert", "tls.crt"), pem("CERTIFICATE", CLIENT));
    refs.set(KeyRef::secret("gw-cert", "tls.key"), pem("PRIVATE KEY", CLIENT_KEY));
    Arc::new(refs)
}

fn all() -> TlsConfig {
    TlsConfig {
        ca: Some(ca()),
        client_certificate: Some("gw-cert".into()),
        server_name: Some("tools.internal".into()),
    }
}

fn client(tls: TlsConfig, refs: Arc<dyn Refs>) -> HttpClient {
    let egress =
        Egress::new(&EgressConfig { allow: vec!["127.0.0.1".into()], ..EgressConfig::default() }).unwrap();
    HttpClient::new(egress.transport(Destination { tls, ..Destination::default() }, refs))
}

async fn get(client: &HttpClient, address: SocketAddr) -> Result<Bytes, HttpError> {
    let request = Request::get(format!("https://{address}/")).body(Vec::new()).unwrap();
    client.send(request).await.map(http::Response::into_body)
}

#[tokio::test]
async fn ca_server_name_and_client_certificate_are_used() {
    let address = serve().await;
    assert_eq!(get(&client(all(), refs()), address).await.unwrap(), "hi");
    for (tls, expected) in [
        (TlsConfig { ca: None, ..all() }, "UnknownIssuer"),
        (TlsConfig { server_name: None, ..all() }, "not valid for name"),
        (TlsConfig { server_name: Some("other.internal".into()), ..all() }, "not valid for name"),
    ] {
        let error = get(&client(tls, refs()), address).await.unwrap_err();
        assert!(error.nothing_sent() && error.to_string().contains(expected), "{error:?}");
    }
    let without = TlsConfig { client_certificate: None, ..all() };
    assert!(get(&client(without, refs()), address).await.is_err());
}

#[tokio::test]
async fn the_cas_of_the_egress_rule_count_where_none_is_named() {
    let address = serve().await;
    let ca = |ca: &[u8]| Some(String::from_utf8_lossy(ca).into_owned());
    let egress =
        |ca| Egress::new(&EgressConfig { allow: vec!["127.0.0.1".into()], ca, ..EgressConfig::default() });
    let get = async |egress: Egress, tls: TlsConfig| {
        let destination = Destination { tls, ..Destination::default() };
        get(&HttpClient::new(egress.transport(destination, refs())), address).await
    };
    let company = egress(ca(&pem("CERTIFICATE", CA))).unwrap();
    assert_eq!(get(company, TlsConfig { ca: None, ..all() }).await.unwrap(), "hi");
    // It is no other's, and takes nothing from what names its own.
    let other = || egress(ca(&pem("CERTIFICATE", CLIENT))).unwrap();
    let error = get(other(), TlsConfig { ca: None, ..all() }).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error:?}");
    assert_eq!(get(other(), all()).await.unwrap(), "hi");
    for bad in ["", "a CA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(egress(Some(bad.to_owned())).unwrap_err(), EgressError::Ca, "{bad:?}");
    }
}

#[tokio::test]
async fn a_new_ca_is_used_and_a_bad_one_leaves_the_last_good() {
    let address = serve().await;
    let refs = refs();
    refs.set(ca(), pem("CERTIFICATE", CLIENT));
    let client = client(all(), refs.clone());
    assert!(get(&client, address).await.is_err());
    refs.set(ca(), pem("CERTIFICATE", CA));
    assert_eq!(get(&client, address).await.unwrap(), "hi");
    refs.set(ca(), b"broken".to_vec());
    assert_eq!(get(&client, address).await.unwrap(), "hi");
}

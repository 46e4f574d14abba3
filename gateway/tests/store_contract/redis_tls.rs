//! Redis behind TLS, with a CA of the company's own.

use std::net::TcpListener;

use gatehouse_gateway::{refs::FixedRefs, store::Store};
use gatehouse_gateway_config::{KeyRef, RedisConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{
    lab::{PASSWORD, config, password, redis_store, some_keys},
    server::RedisServer,
};

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The arguments of a server on `port` whose certificate `ca` signed.
fn arguments(ca: &CertifiedIssuer<'_, KeyPair>, dir: &TempDir, port: u16, clients: &str) -> Vec<String> {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, ca).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (write("cert.pem", certificate.pem()), write("key.pem", key.serialize_pem()));
    let root = write("ca.pem", ca.pem());
    let pairs = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", cert),
        ("--tls-key-file", key),
        ("--tls-ca-cert-file", root),
        ("--tls-auth-clients", clients.to_owned()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

#[tokio::test]
async fn only_a_server_of_the_named_ca_is_trusted() {
    let (right, wrong, dir) = (ca(), ca(), TempDir::new().unwrap());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(server) = RedisServer::start_with(&arguments(&right, &dir, port, "no")).await else { return };
    let keys = some_keys();
    server.admin().await.give_rights(&keys.instance(), PASSWORD).await;
    let reaches = async |host: &str, ca: Option<String>| {
        let name = KeyRef::secret("redis-ca", "ca.crt");
        let mut refs: FixedRefs = password(PASSWORD);
        let named = ca.is_some().then(|| name.clone());
        refs.insert(name, ca.unwrap_or_default().into_bytes());
        let config = RedisConfig { ca: named, ..config(&format!("rediss://{host}:{port}")) };
        redis_store(&config, &keys, refs).ping().await.is_ok()
    };
    assert!(reaches("localhost", Some(right.pem())).await);
    assert!(!reaches("localhost", Some(wrong.pem())).await, "another CA");
    assert!(!reaches("localhost", None).await, "the web's CAs did not sign it");
    assert!(!reaches("127.0.0.1", Some(right.pem())).await, "it is not called so");
    assert!(!reaches("localhost", Some("no certificate".to_owned())).await);
}

#[tokio::test]
async fn a_client_certificate_and_another_name_are_presented() {
    let (ca, other, dir) = (self::ca(), self::ca(), TempDir::new().unwrap());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(server) = RedisServer::start_with(&arguments(&ca, &dir, port, "yes")).await else { return };
    let keys = some_keys();
    server.admin().await.give_rights(&keys.instance(), PASSWORD).await;
    let reaches = async |signer: Option<&CertifiedIssuer<'_, KeyPair>>, name: Option<&str>| {
        let mut refs: FixedRefs = password(PASSWORD);
        let root = KeyRef::secret("redis", "ca.crt");
        refs.insert(root.clone(), ca.pem().into_bytes());
        if let Some(signer) = signer {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            // With the name of its issuer it would count as signed by itself.
            params.distinguished_name.push(DnType::CommonName, "gateway");
            let chain = params.signed_by(&key, signer).unwrap();
            refs.insert(KeyRef::secret("redis", "tls.crt"), chain.pem().into_bytes());
            refs.insert(KeyRef::secret("redis", "tls.key"), key.serialize_pem().into_bytes());
        }
        let config = RedisConfig {
            ca: Some(root),
            client_certificate: signer.map(|_| "redis".to_owned()),
            server_name: name.map(str::to_owned),
            ..config(&format!("rediss://127.0.0.1:{port}"))
        };
        redis_store(&config, &keys, refs).ping().await.is_ok()
    };
    assert!(reaches(Some(&ca), Some("localhost")).await);
    assert!(!reaches(Some(&ca), None).await, "its certificate does not name the address");
    assert!(!reaches(Some(&ca), Some("elsewhere")).await, "nor another name");
    assert!(!reaches(None, Some("localhost")).await, "it asks for a certificate");
    assert!(!reaches(Some(&other), Some("localhost")).await, "of its own CA");
}

//! Redis behind TLS, with a CA of the company's own.

use std::net::TcpListener;

use gatehouse_gateway::{refs::FixedRefs, store::Store};
use gatehouse_gateway_config::{KeyRef, RedisConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
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
fn arguments(ca: &CertifiedIssuer<'_, KeyPair>, dir: &TempDir, port: u16) -> Vec<String> {
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
        ("--tls-auth-clients", "no".to_owned()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

#[tokio::test]
async fn only_a_server_of_the_named_ca_is_trusted() {
    let (right, wrong, dir) = (ca(), ca(), TempDir::new().unwrap());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(server) = RedisServer::start_with(&arguments(&right, &dir, port)).await else { return };
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

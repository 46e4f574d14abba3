//! Redis behind TLS, with a CA of the company's own.

use std::sync::{Arc, Mutex};

use gatehouse_gateway::{
    clock::SystemClock,
    refs::FixedRefs,
    store::{Store, redis::RedisStore},
};
use gatehouse_gateway_config::{KeyRef, RedisConfig};
use tempfile::TempDir;

use crate::{
    free_port,
    lab::{PASSWORD, config, connect, fleet_config, give_rights, password, prefix, redis_store, some_keys},
    redis_faults::{ChangingRefs, refused},
    redis_fleet::{RedisFleet, tls::Authority},
    server::{Admin, RedisServer},
};

/// The arguments of a server on `port` whose certificate `ca` signed.
fn arguments(ca: &Authority, dir: &TempDir, port: u16, clients: &str) -> Vec<String> {
    let mut settings = ca.settings(dir.path(), "localhost");
    settings.extend([("tls-port", port.to_string()), ("tls-auth-clients", clients.to_owned())]);
    settings.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
}

#[tokio::test]
async fn only_a_server_of_the_named_ca_is_trusted() {
    let (right, wrong, dir) = (Authority::generate(), Authority::generate(), TempDir::new().unwrap());
    let port = free_port();
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
    let (ca, other, dir) = (Authority::generate(), Authority::generate(), TempDir::new().unwrap());
    let port = free_port();
    let Some(server) = RedisServer::start_with(&arguments(&ca, &dir, port, "yes")).await else { return };
    let keys = some_keys();
    server.admin().await.give_rights(&keys.instance(), PASSWORD).await;
    let reaches = async |signer: Option<&Authority>, name: Option<&str>| {
        let mut refs: FixedRefs = password(PASSWORD);
        let root = KeyRef::secret("redis", "ca.crt");
        refs.insert(root.clone(), ca.pem().into_bytes());
        if let Some(signer) = signer {
            let chain = signer.sign(None);
            refs.insert(KeyRef::secret("redis", "tls.crt"), chain.certificate.into_bytes());
            refs.insert(KeyRef::secret("redis", "tls.key"), chain.key.into_bytes());
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

/// Every process gets a certificate of another CA, then the user another password; the store follows when its Secrets
/// do, and not before.
pub(crate) async fn a_rotation_needs_no_restart(fleet: &mut RedisFleet) {
    let keys = some_keys();
    give_rights(fleet, &keys, PASSWORD).await;
    let (config, refs) = fleet_config(fleet, 1, PASSWORD);
    let refs = Arc::new(ChangingRefs(Mutex::new(refs)));
    let clock = Arc::new(SystemClock::default());
    let store = RedisStore::new(&config, "team-a", "github", keys.clone(), refs.clone(), clock).unwrap();
    connect(&store).await;
    let end_connections = async |fleet: &RedisFleet| {
        let _: i64 =
            Admin::of(fleet.master(&prefix(&keys)).await).run(&["CLIENT", "KILL", "USER", "tenant"]).await;
    };

    fleet.rotate_certificates().await;
    give_rights(fleet, &keys, PASSWORD).await;
    end_connections(fleet).await;
    refused(&store, "invalid peer certificate").await;
    *refs.0.lock().unwrap() = fleet_config(fleet, 1, PASSWORD).1;
    connect(&store).await;

    give_rights(fleet, &keys, "rotated").await;
    end_connections(fleet).await;
    refused(&store, "WRONGPASS").await;
    *refs.0.lock().unwrap() = fleet_config(fleet, 1, "rotated").1;
    connect(&store).await;
}

//! What `tls` of a backend and of an identity provider says is what their connections are made with.

use std::{net::SocketAddr, sync::Arc};

use gatehouse_gateway_config::KeyRef;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::kit::Kit;

const NAME: &str = "tools.internal";

fn certified() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed([NAME.to_owned()]).unwrap()
}

/// Takes TLS in front of a plain server, from clients with this certificate alone if one is given.
fn tls_before(
    plain: SocketAddr,
    server: &CertifiedKey<KeyPair>,
    client: Option<&CertifiedKey<KeyPair>>,
) -> u16 {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match client {
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client.cert.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(server.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = builder.with_single_cert(vec![server.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(plain).await.unwrap();
                // Either side may close first.
                let _ = copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_backends_ca_name_and_client_certificate_are_used() {
    let (server, client) = (certified(), certified());
    let all =
        json!({"ca": {"name": "ca", "key": "ca.crt"}, "clientCertificate": "gw-cert", "serverName": NAME});
    for (missing, status) in
        [(None, 200), (Some("ca"), 502), (Some("clientCertificate"), 502), (Some("serverName"), 502)]
    {
        let kit = Kit::with(|config| {
            let backend = &mut config["backends"][0];
            let plain = backend["target"]["url"].as_str().unwrap().trim_start_matches("http://");
            let plain = plain.trim_end_matches("/backend/mcp").parse().unwrap();
            let port = tls_before(plain, &server, Some(&client));
            backend["target"] = json!({"url": format!("https://127.0.0.1:{port}/backend/mcp")});
            backend["tls"] = all.clone();
            if let Some(missing) = missing {
                backend["tls"].as_object_mut().unwrap().remove(missing);
            }
        })
        .await;
        kit.refs.set(KeyRef::secret("ca", "ca.crt"), server.cert.pem());
        kit.refs.set(KeyRef::secret("gw-cert", "tls.crt"), client.cert.pem());
        kit.refs.set(KeyRef::secret("gw-cert", "tls.key"), client.signing_key.serialize_pem());
        let token = kit.sign_in("1").await;
        assert_eq!(kit.call(&token).await.status, status, "without {missing:?}");
        assert_eq!(kit.backend.seen().len(), usize::from(status == 200), "without {missing:?}");
    }
}

#[tokio::test]
async fn the_ca_of_an_identity_provider_is_used() {
    let server = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for trusted in [true, false] {
        let kit = Kit::with(|config| {
            let oauth2 = &mut config["identity"]["oauth2"];
            let plain = oauth2["userInfo"]["url"].as_str().unwrap().trim_start_matches("http://");
            let port = tls_before(plain.trim_end_matches("/user").parse().unwrap(), &server, None);
            oauth2["userInfo"]["url"] = format!("https://127.0.0.1:{port}/user").into();
            if trusted {
                oauth2["ca"] = json!({"name": "ca", "key": "ca.crt"});
            }
        })
        .await;
        kit.refs.set(KeyRef::secret("ca", "ca.crt"), server.cert.pem());
        let token = kit.sign_in("1").await;
        // The backend's 401 is confirmed at the provider.
        kit.backend.answer(401, "application/json", "{}");
        kit.call(&token).await;
        assert_eq!(kit.provider.asked(), usize::from(trusted));
    }
}

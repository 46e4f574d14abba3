//! TLS to the outside: rustls with ring, the web's roots and those of `egress.ca` or a CA of the connection's own, a client
//! certificate.

use std::sync::Arc;

use gatehouse_gateway_config::{KeyRef, TlsConfig};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use crate::refs::{Refs, Value};

/// Why TLS cannot be set up: a Secret or ConfigMap is missing or holds something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The value does not exist.
    #[error("{0} does not exist")]
    Missing(KeyRef),
    /// The value is not what it should be.
    #[error("{key} holds no {expected} in PEM")]
    NotPem {
        /// The value.
        key: KeyRef,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key do not fit each other, or the CA is not usable.
    #[error("{key}: {reason}")]
    Unusable {
        /// The value.
        key: KeyRef,
        /// What rustls said.
        reason: String,
    },
    /// The server name is none.
    #[error("tls.serverName \"{0}\" is not a host name or address")]
    ServerName(String),
}

/// The client certificate's two keys in a Secret of type `kubernetes.io/tls`.
fn pair(secret: &str) -> (KeyRef, KeyRef) {
    (KeyRef::secret(secret, "tls.crt"), KeyRef::secret(secret, "tls.key"))
}

/// The values that a configuration depends on, as they are now: when one is another, the configuration is stale.
pub(super) fn inputs(tls: &TlsConfig, refs: &dyn Refs) -> Vec<Option<Value>> {
    let certificate = tls.client_certificate.as_deref().map(pair);
    let keys = certificate.into_iter().flat_map(|(cert, key)| [cert, key]).chain(tls.ca.clone());
    keys.map(|key| refs.get(&key)).collect()
}

/// The web's roots, and those of `egress.ca` beside them; `None`: that holds no certificate of a CA.
pub(super) fn web_roots(ca: Option<&str>) -> Option<RootCertStore> {
    let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let Some(ca) = ca else { return Some(store) };
    for certificate in pem_certificates(ca.as_bytes())? {
        store.add(certificate).ok()?;
    }
    Some(store)
}

/// Builds the client's configuration from the values as they are now. `web` counts where no CA is named.
pub(super) fn client_config(
    tls: &TlsConfig,
    web: &Arc<RootCertStore>,
    refs: &dyn Refs,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::ServerName(e.to_string()))?;
    let builder = match &tls.ca {
        None => builder.with_root_certificates(Arc::clone(web)),
        Some(ca) => builder.with_root_certificates(roots(ca, refs)?),
    };
    let Some((cert, key)) = tls.client_certificate.as_deref().map(pair) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&cert, refs)?;
    let pem = refs.get(&key).ok_or_else(|| TlsError::Missing(key.clone()))?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::NotPem { key: key.clone(), expected: "private key" })?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|e| TlsError::Unusable { key, reason: e.to_string() })
}

/// The name to verify and to send, when it is not the URL's host.
pub(super) fn server_name(tls: &TlsConfig) -> Result<Option<ServerName<'static>>, TlsError> {
    let Some(name) = &tls.server_name else { return Ok(None) };
    let parsed = ServerName::try_from(name.clone());
    parsed.map(Some).map_err(|_| TlsError::ServerName(name.clone()))
}

fn roots(ca: &KeyRef, refs: &dyn Refs) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(ca, refs)? {
        store.add(certificate).map_err(|e| TlsError::Unusable { key: ca.clone(), reason: e.to_string() })?;
    }
    Ok(store)
}

fn certificates(key: &KeyRef, refs: &dyn Refs) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = refs.get(key).ok_or_else(|| TlsError::Missing(key.clone()))?;
    let found = pem_certificates(&pem);
    found.ok_or_else(|| TlsError::NotPem { key: key.clone(), expected: "certificate" })
}

/// At least one.
fn pem_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|list| !list.is_empty())
}

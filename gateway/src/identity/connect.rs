//! From configuration to the identity at work.

use std::sync::Arc;

use gatehouse_gateway_config::{IdentityConfig, KeyRef, TlsConfig};
use url::Url;
use zeroize::Zeroizing;

use super::{IdentityError, local::LocalUsers, oauth2::OAuth2, oidc::Oidc};
use crate::{
    clock::Clock,
    egress::{Destination, Egress, HttpClient},
    refs::Refs,
    server::Identity,
};

/// GitHub refuses requests without one.
pub(crate) const USER_AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));

/// What an identity needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The rule for outbound connections.
    pub egress: Egress,
    /// The values of Secrets.
    pub refs: Arc<dyn Refs>,
    /// Time, which dates what the provider gave: the store's ([`StoreClock`]).
    ///
    /// [`StoreClock`]: crate::store::StoreClock
    pub clock: Arc<dyn Clock>,
    /// Our own callback: `Urls::endpoint("/oauth/callback")`.
    pub redirect_uri: String,
}

/// Makes the identity of a server. Nothing is connected to yet: a provider that is away does not stop a gateway.
///
/// # Errors
/// When a URL in the configuration is none.
pub fn connect(config: &IdentityConfig, setup: Setup) -> Result<Identity, IdentityError> {
    Ok(match config {
        IdentityConfig::Oauth2(c) => Identity::Provider(Arc::new(OAuth2::new((**c).clone(), setup)?)),
        IdentityConfig::Oidc(c) => Identity::Provider(Arc::new(Oidc::new((**c).clone(), setup)?)),
        IdentityConfig::Local(c) => {
            Identity::Local(Arc::new(LocalUsers::new(c.clone(), setup.refs, setup.clock)))
        }
    })
}

impl Setup {
    /// A client for a provider's endpoints.
    pub(super) fn http(&self, ca: Option<&KeyRef>) -> HttpClient {
        let tls = TlsConfig { ca: ca.cloned(), ..TlsConfig::default() };
        let destination = Destination { tls, ..Destination::default() };
        HttpClient::new(self.egress.transport(destination, Arc::clone(&self.refs)))
    }

    /// The current value of a client secret. A line break at its end is an editor's, not the provider's.
    pub(super) fn secret(&self, key: &KeyRef) -> Result<Zeroizing<String>, IdentityError> {
        let value = self.refs.get(key);
        let text = value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let text = text.map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
        text.map(|text| Zeroizing::new(text.to_owned()))
            .ok_or_else(|| IdentityError::Misconfigured(format!("{key} does not exist or is empty")))
    }
}

/// Parses a URL of the configuration.
pub(super) fn url(field: &str, text: &str) -> Result<Url, IdentityError> {
    let parsed = Url::parse(text).ok().filter(|u| matches!(u.scheme(), "https" | "http") && u.has_host());
    parsed.ok_or_else(|| {
        IdentityError::Misconfigured(format!("{field}: \"{text}\" is not an absolute http or https URL"))
    })
}

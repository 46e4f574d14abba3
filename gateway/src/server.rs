//! One server at work: its configuration, URLs, keys, store, identity and credentials, shared by every request.

use std::sync::Arc;

use gatehouse_gateway_config::{RegistrationMode, ServerConfig};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::{
    audit::Audit,
    client_document::Documents,
    clock::{Clock, Entropy},
    credentials::{Credentials, standing::Standing},
    denied::Denied,
    identity::{Provider, local::LocalUsers},
    keys::Keys,
    model::Scopes,
    refs::Refs,
    store::Store,
};

/// One server.
#[derive(Debug)]
pub struct Server {
    /// What the operator rendered.
    pub config: ServerConfig,
    /// Its URLs.
    pub urls: Urls,
    /// Its scopes.
    pub scopes: Scopes,
    /// Its keys.
    pub keys: Keys,
    /// The values of referenced Secrets.
    pub refs: Arc<dyn Refs>,
    /// Its state.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How users sign in.
    pub identity: Identity,
    /// What clients say of themselves at the URLs that are their ids.
    pub documents: Documents,
    /// What calls carry.
    pub credentials: Arc<dyn Credentials>,
    /// Who was denied since the configuration was written.
    pub denied: Denied,
    /// What is told of decisions and calls.
    pub audit: Audit,
    /// What must come to its end, whoever asked for it.
    pub tasks: TaskTracker,
}

impl Server {
    /// The name on pages and in messages.
    pub fn display_name(&self) -> &str {
        self.config.display.name.as_deref().unwrap_or(&self.config.name)
    }

    /// What a change of a user's standing takes: see [`crate::credentials::standing`].
    pub fn standing(&self) -> Standing<'_> {
        (&self.store, &self.audit, &self.tasks)
    }

    /// Waits until what was begun has come to its end. Call it when no request comes any more.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether clients may come whose id is the URL of a document.
    pub fn takes_documents(&self) -> bool {
        match &self.config.policy.metadata_documents {
            Some(documents) => documents.mode == RegistrationMode::Allowed,
            None => !self.urls.insecure_loopback,
        }
    }
}

/// How users sign in.
#[derive(Debug, Clone)]
pub enum Identity {
    /// At a provider, by redirect.
    Provider(Arc<dyn Provider>),
    /// Here, by name and password.
    Local(Arc<LocalUsers>),
}

/// Every URL of a server; made from `spec.url` and `spec.issuer` alone, never from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// The MCP endpoint and resource, byte for byte as configured.
    pub resource: String,
    /// The issuer, byte for byte as configured.
    pub issuer: String,
    /// The path of the MCP endpoint, for example `/mcp`.
    pub mcp_path: String,
    /// The path of the issuer without a slash at its end: empty at the origin, else for example `/t/x`.
    pub issuer_path: String,
    /// `scheme://host[:port]`.
    pub origin: String,
    /// The issuer is `http`, which is accepted on loopback only: cookies have no `__Host-` and no Secure.
    pub insecure_loopback: bool,
}

/// Why a server's URLs are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlsError {
    /// Not a URL.
    #[error("{field}: \"{value}\" is not an absolute http or https URL")]
    NotAUrl {
        /// `url` or `issuer`.
        field: &'static str,
        /// What was found.
        value: String,
    },
    /// The issuer is not a prefix of the URL.
    #[error("issuer \"{issuer}\" is not the origin of url \"{url}\", nor a prefix of it")]
    NotAPrefix {
        /// The issuer.
        issuer: String,
        /// The URL.
        url: String,
    },
    /// http is for loopback hosts only.
    #[error("issuer \"{0}\": http is accepted for localhost, 127.0.0.1 and [::1] only")]
    Insecure(String),
}

impl Urls {
    /// Derives every URL.
    ///
    /// # Errors
    /// When `url` or `issuer` is malformed, they do not belong together, or http is used beyond loopback.
    pub fn new(url: &str, issuer: &str) -> Result<Self, UrlsError> {
        let parse = |field, value: &str| {
            let parsed =
                Url::parse(value).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
            parsed.ok_or_else(|| UrlsError::NotAUrl { field, value: value.to_owned() })
        };
        let (resource, base) = (parse("url", url)?, parse("issuer", issuer)?);
        let issuer_path = base.path().trim_end_matches('/').to_owned();
        let below =
            resource.path().strip_prefix(issuer_path.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if resource.origin() != base.origin() || !below {
            return Err(UrlsError::NotAPrefix { issuer: issuer.to_owned(), url: url.to_owned() });
        }
        let insecure = base.scheme() == "http";
        if insecure && !is_loopback(&base) {
            return Err(UrlsError::Insecure(issuer.to_owned()));
        }
        Ok(Self {
            resource: url.to_owned(),
            issuer: issuer.to_owned(),
            mcp_path: resource.path().to_owned(),
            issuer_path,
            origin: base.origin().ascii_serialization(),
            insecure_loopback: insecure,
        })
    }

    /// The absolute URL of an endpoint below the issuer, for example `endpoint("/oauth/token")`.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.issuer_path)
    }

    /// The protected-resource document's URL, path-inserted (RFC 9728 section 3.1).
    pub fn resource_metadata(&self) -> String {
        format!("{}/.well-known/oauth-protected-resource{}", self.origin, self.mcp_path)
    }
}

/// Whether a URL's host is `localhost`, 127.0.0.0/8 or `[::1]`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_stand_below_the_issuer() {
        let urls = Urls::new("https://h.example/t/x/mcp", "https://h.example/t/x").unwrap();
        assert_eq!(urls.endpoint("/oauth/token"), "https://h.example/t/x/oauth/token");
        assert_eq!(
            urls.resource_metadata(),
            "https://h.example/.well-known/oauth-protected-resource/t/x/mcp"
        );
        let urls = Urls::new("https://h.example/api/mcp", "https://h.example").unwrap();
        assert_eq!(urls.endpoint("/oauth/token"), "https://h.example/oauth/token");
        assert_eq!(urls.issuer_path, "");
    }

    #[test]
    fn an_issuer_elsewhere_or_without_tls_is_refused() {
        for (url, issuer) in [
            ("https://h.example/mcp", "https://other.example"),
            ("https://h.example/tx/mcp", "https://h.example/t"),
            ("http://h.example/mcp", "http://h.example"),
            ("https://h.example/mcp", "h.example"),
        ] {
            assert!(Urls::new(url, issuer).is_err(), "{url} {issuer}");
        }
        assert!(Urls::new("http://localhost:8080/mcp", "http://localhost:8080").is_ok());
    }
}

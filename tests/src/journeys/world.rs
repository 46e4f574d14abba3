//! A gateway whose every exchange is kept, and whoever knows its users.

use std::sync::Arc;

use http::Method;

use super::{LOGIN, sign_in};
use crate::{
    Recorded,
    dev::{Gateway, Setup},
    github::{App, GitHub},
    idp::{Client, Idp},
    manifests::{DEFAULT_LIFETIMES, GITHUB, LOCAL, OIDC},
    tap::Tap,
    webdriver::WebDriver,
};

/// Goes before the policy of the manifests: it names its server.
const POLICY: &str = r#"
---
apiVersion: gatehouse.dev/v1alpha1
kind: OAuthClientPolicy
metadata: { name: web, namespace: team-a }
spec:
  targetRefs: [{ name: {server} }]
  redirectUris: { allow: ["{web}"] }
"#;

/// Who knows the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The gateway itself.
    Local,
    /// GitHub.
    GitHub,
    /// An OpenID Connect provider.
    Oidc,
}

pub(super) struct World {
    pub(super) gateway: Gateway,
    /// What the gateway was asked.
    pub(super) tap: Arc<Tap>,
    provider: Provider,
}

enum Provider {
    Gateway,
    GitHub(GitHub),
    Oidc(Idp),
}

impl World {
    /// Starts a gateway that lets web clients have their codes at `web`.
    pub(super) async fn start(identity: Identity, web: &str) -> Self {
        Self::at(None, identity, web).await
    }

    /// The same, at an https issuer of this host if it has one.
    pub(super) async fn at(host: Option<&'static str>, identity: Identity, web: &str) -> Self {
        let (manifest, server) = match identity {
            Identity::Local => (LOCAL, "tools"),
            Identity::GitHub => (GITHUB, "github"),
            Identity::Oidc => (OIDC, "sso"),
        };
        let tap = Arc::new(Tap::default());
        let manifest = format!("{manifest}{POLICY}");
        let setup = match host {
            Some(host) => Setup::https(host, &manifest),
            None => Setup::manifest(&manifest),
        };
        let provider = match identity {
            Identity::Local => Provider::Gateway,
            Identity::GitHub => Provider::GitHub(GitHub::start(App::at(&setup.issuer())).await),
            Identity::Oidc => Provider::Oidc(Idp::start(Client::at(&setup.issuer())).await),
        };
        let setup = setup
            .with("server", server)
            .with("web", web)
            .with("provider", &provider.origin().unwrap_or_default())
            .with("lifetimes", DEFAULT_LIFETIMES)
            // Nobody calls a tool.
            .with("backend", "http://127.0.0.1:9/mcp")
            .watched(&tap);
        Self { gateway: setup.start().await, tap, provider }
    }

    /// Where the pages come from that the user sees.
    pub(super) fn origins(&self) -> Vec<String> {
        std::iter::once(self.gateway.issuer.clone()).chain(self.provider.origin()).collect()
    }

    /// Whether somebody else knows the users.
    pub(super) fn has_provider(&self) -> bool {
        !matches!(self.provider, Provider::Gateway)
    }

    /// Fills the form of whoever asks who is there.
    pub(super) async fn fill_form(&self, browser: &WebDriver) {
        if self.has_provider() {
            browser.fill(LOGIN, "alice").await;
            browser.click("form button").await;
        } else {
            sign_in(browser, "alice", "alice").await;
        }
    }

    /// How many forms were filled.
    pub(super) fn forms(&self) -> usize {
        match &self.provider {
            Provider::Gateway => self.tap.heard("POST /oauth/signin").len(),
            provider => provider.asked(&Method::POST, provider.authorize()),
        }
    }

    /// How often the gateway sent a browser to the provider.
    pub(super) fn visits(&self) -> usize {
        self.provider.asked(&Method::GET, self.provider.authorize())
    }

    /// How many of the provider's codes the gateway redeemed.
    pub(super) fn exchanges(&self) -> usize {
        let path = match &self.provider {
            Provider::Oidc(_) => "/token",
            Provider::GitHub(_) | Provider::Gateway => "/login/oauth/access_token",
        };
        self.provider.asked(&Method::POST, path)
    }
}

impl Provider {
    fn origin(&self) -> Option<String> {
        match self {
            Self::Gateway => None,
            Self::GitHub(github) => Some(github.url()),
            Self::Oidc(idp) => Some(idp.issuer()),
        }
    }

    fn authorize(&self) -> &'static str {
        match self {
            Self::Oidc(_) => "/authorize",
            Self::GitHub(_) | Self::Gateway => "/login/oauth/authorize",
        }
    }

    fn asked(&self, method: &Method, path: &str) -> usize {
        let requests: Vec<Recorded> = match self {
            Self::Gateway => Vec::new(),
            Self::GitHub(github) => github.requests(),
            Self::Oidc(idp) => idp.requests(),
        };
        requests.iter().filter(|r| r.method == *method && r.uri.path() == path).count()
    }
}

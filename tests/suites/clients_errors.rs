//! The errors that people hit by hand with other gateways: none of them may be possible here.
//!
//! Here each is pinned down by itself; `clients_life.rs` shows them through real clients.

mod errors {
    mod discovery;
    mod isolation;
    mod revoked;
    mod state;
    mod tokens;
}

use std::sync::Arc;

use e2e::{
    backend::{Backend, Callers},
    dev::{Gateway, Setup},
    github::{App, GitHub},
    idp::{Client, Idp},
    manifests::{GITHUB, LOCAL, OIDC},
    redis::Redis,
    tap::Tap,
};

/// A gateway with local users, on Redis.
struct Local {
    gateway: Gateway,
    backend: Backend,
    redis: Redis,
}

impl Local {
    async fn start(lifetimes: &str, replicas: usize) -> Self {
        let backend =
            Backend::start(Callers::tokens(&[("token-of-alice", "alice"), ("token-of-bob", "bob")])).await;
        let redis = Redis::start().await;
        let setup = Setup::manifest(LOCAL).with("backend", &backend.url()).with("lifetimes", lifetimes);
        let gateway = setup.redis(&redis).replicas(replicas).start().await;
        Self { gateway, backend, redis }
    }
}

/// A gateway whose users are GitHub's, before a backend that asks GitHub who calls.
struct Hub {
    gateway: Gateway,
    github: GitHub,
    backend: Backend,
    /// What is said before the gateway.
    tap: Arc<Tap>,
    _redis: Redis,
}

impl Hub {
    async fn start(replicas: usize) -> Self {
        let setup = Setup::manifest(GITHUB);
        let github = GitHub::start(App::at(&setup.issuer())).await;
        let backend = Backend::start(Callers::GitHub(github.url())).await;
        let redis = Redis::start().await;
        let tap = Arc::new(Tap::default());
        let setup = setup.with("provider", &github.url()).with("backend", &backend.url());
        let gateway = setup.redis(&redis).watched(&tap).replicas(replicas).start().await;
        Self { gateway, github, backend, tap, _redis: redis }
    }
}

/// A gateway whose users are an OpenID Connect provider's, before a backend that asks the provider who calls.
struct Sso {
    gateway: Gateway,
    idp: Idp,
    _backend: Backend,
    _redis: Redis,
}

impl Sso {
    async fn start() -> Self {
        let setup = Setup::manifest(OIDC);
        let idp = Idp::start(Client::at(&setup.issuer())).await;
        let backend = Backend::start(Callers::UserInfo(idp.issuer())).await;
        let redis = Redis::start().await;
        let setup = setup.with("provider", &idp.issuer()).with("backend", &backend.url());
        let gateway = setup.redis(&redis).replicas(2).start().await;
        Self { gateway, idp, _backend: backend, _redis: redis }
    }
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}

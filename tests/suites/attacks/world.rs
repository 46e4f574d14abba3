//! The two tenants that all tests attack, and one test's place in them.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use e2e::{
    backend::{Backend, Callers},
    browser::{Browser, Page},
    dev::{Gateway, Setup},
    github::{App, GitHub},
    manifests::GITHUB,
    net::http_from,
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    redis::Redis,
    watch::Watch,
};
use reqwest::{Client, RequestBuilder};

/// A web client's callback, which the policies of both tenants allow.
pub(crate) const WEB_CALLBACK: &str = "https://c1.test/cb";
/// How many users tenant B has: more than all tests take.
const LOCAL_USERS: u32 = 96;
/// The password of each of them, and its hash.
const PASSWORD: &str = "alice";
const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$mFHYlGtXagusfD3r4lRY6A$SglUPcYqNsymz6bTWMuX19dHnAF+EHAEpkqtva7g8aA";

const POLICY: &str = "
---
apiVersion: gatehouse.dev/v1alpha1
kind: OAuthClientPolicy
metadata: { name: default, namespace: {namespace} }
spec:
  targetRefs: [{ selector: {} }]
  redirectUris: { allow: [\"https://c1.test/cb\", \"https://c1.test/second\"] }
";

/// What all tests share.
pub(crate) struct World {
    pub(crate) watch: Arc<Watch>,
    pub(crate) redis: Redis,
    /// Tenant A: users of [`World::github`].
    pub(crate) a: Gateway,
    /// Tenant B: users of its own.
    pub(crate) b: Gateway,
    pub(crate) github: GitHub,
    pub(crate) backend_a: Backend,
    _backend_b: Backend,
    next: AtomicU32,
}

impl World {
    pub(crate) async fn start() -> Self {
        let watch = Arc::new(Watch::default());
        // Ours begin like this on purpose: whatever reaches a client, a log or Redis in clear is found.
        for secret in ["ghu_", "ghr_", "token-of-", "test-client-secret"] {
            watch.keep_upstream(secret);
        }
        let redis = Redis::start().await;
        let (hub, local) = tokio::join!(hub(&watch, &redis), local(&watch, &redis));
        let ((a, github, backend_a), (b, backend_b)) = (hub, local);
        Self { watch, redis, a, b, github, backend_a, _backend_b: backend_b, next: AtomicU32::new(0) }
    }
}

/// A tenant whose users are a GitHub's, with two replicas.
pub(crate) async fn hub(watch: &Arc<Watch>, redis: &Redis) -> (Gateway, GitHub, Backend) {
    hub_at(watch, &redis.url()).await
}

/// [`hub`], whose Redis is reached at this URL.
pub(crate) async fn hub_at(watch: &Arc<Watch>, redis: &str) -> (Gateway, GitHub, Backend) {
    let manifest = format!("{GITHUB}{}", POLICY.replace("{namespace}", "team-a"));
    let setup = Setup::manifest(&manifest);
    watch.trust_origin(&setup.issuer());
    let github = GitHub::start(App::at(&setup.issuer())).await;
    watch.trust_origin(&github.url());
    let backend = Backend::start(Callers::GitHub(github.url())).await;
    let setup = setup.with("provider", &github.url()).with("backend", &backend.url());
    (setup.redis_at(redis).watched(watch).replicas(2).start().await, github, backend)
}

/// A tenant with users of its own, with two replicas.
async fn local(watch: &Arc<Watch>, redis: &Redis) -> (Gateway, Backend) {
    let names: Vec<String> = (0..LOCAL_USERS).map(|n| format!("user-{n}")).collect();
    let tokens: Vec<(String, String)> = names.iter().map(|n| (format!("token-of-{n}"), n.clone())).collect();
    let pairs: Vec<(&str, &str)> = tokens.iter().map(|(t, n)| (t.as_str(), n.as_str())).collect();
    let backend = Backend::start(Callers::tokens(&pairs)).await;
    let setup = Setup::manifest(&local_manifest(&names));
    watch.trust_origin(&setup.issuer());
    let setup = setup.with("backend", &backend.url());
    (setup.redis(redis).watched(watch).replicas(2).start().await, backend)
}

fn local_manifest(names: &[String]) -> String {
    let user = |name: &String| {
        format!(
            "    - {{ name: {name}, uid: uid-of-{name}, passwordHash: \"{PASSWORD_HASH}\", email: {name}@example.com, token: token-of-{name} }}\n"
        )
    };
    let users = names.iter().map(user).collect::<Vec<_>>().concat();
    let server = "
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: tools, namespace: team-b }
spec:
  url: {issuer}/mcp
  identity: { local: { usersSecretRef: { name: users, key: users.yaml } } }
  access: { everyone: {} }
  credentials: [{ name: me, fromIdentity: {} }]
  backends: [{ name: tools, url: \"{backend}\", inject: [{ credential: me }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: users, namespace: team-b }
stringData:
  users.yaml: |
";
    format!("{server}{users}{}", POLICY.replace("{namespace}", "team-b"))
}

/// One test: an address to ask from, and users that nobody else is.
pub(crate) struct Attack {
    pub(crate) world: Arc<World>,
    pub(crate) http: Client,
    address: IpAddr,
}

impl Attack {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let number = world.next.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 1, high, low.wrapping_add(1)));
        Self { world, http: http_from(address), address }
    }

    /// Tenant A.
    pub(crate) fn a(&self) -> &Gateway {
        &self.world.a
    }

    /// Tenant B.
    pub(crate) fn b(&self) -> &Gateway {
        &self.world.b
    }

    /// Another address, as another machine.
    pub(crate) fn elsewhere(&self) -> Self {
        Self::new(self.world.clone())
    }

    /// A browser of a new user of tenant A.
    pub(crate) fn visitor(&self) -> Browser {
        self.visitor_of(&self.world.github).0
    }

    /// A browser of a new user of this GitHub, and the user's login.
    pub(crate) fn visitor_of(&self, github: &GitHub) -> (Browser, String) {
        let login = format!("visitor-{}", self.world.next.fetch_add(1, Ordering::Relaxed));
        github.add(&login);
        (self.browser(&login), login)
    }

    /// A fresh browser of a user.
    pub(crate) fn browser(&self, user: &str) -> Browser {
        Browser::with_password(user, PASSWORD).through(self.http.clone())
    }

    /// A browser of a new user of tenant B, and the user's name.
    pub(crate) fn local(&self) -> (Browser, String) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < LOCAL_USERS, "tenant B has too few users");
        let name = format!("user-{number}");
        (self.browser(&name), name)
    }

    /// A public client of a tenant, with an application's own scheme.
    pub(crate) async fn client(&self, gateway: &Gateway) -> OAuthClient {
        self.client_as(gateway, "none", REDIRECT_URI).await
    }

    /// A client of a tenant.
    pub(crate) async fn client_as(&self, gateway: &Gateway, method: &str, redirect_uri: &str) -> OAuthClient {
        OAuthClient::register_through(self.http.clone(), &gateway.issuer, method, redirect_uri).await
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.expect("the gateway answers")).await
    }

    /// Asks for an address.
    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.send(self.http.get(url)).await
    }

    /// Posts a registration of any shape.
    pub(crate) async fn register(&self, gateway: &Gateway, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.post(format!("{}/oauth/register", gateway.issuer));
        self.send(request.header("content-type", "application/json").body(body)).await
    }

    /// What this test has to keep secret, so far.
    pub(crate) fn secrets(&self) -> std::collections::BTreeSet<String> {
        self.world.watch.secrets(self.address)
    }

    /// This test breaks what the gateway needs, and asks for these answers.
    pub(crate) fn expect(&self, statuses: &[u16]) {
        self.world.watch.expect(self.address, statuses);
    }

    /// The standing invariants, for the tenants that all share.
    pub(crate) async fn finish(&self) {
        self.look(&[&self.world.a, &self.world.b], &self.world.redis).await;
    }

    /// The standing invariants, for a tenant of this test's own.
    pub(crate) async fn inspect(&self, gateway: &Gateway, redis: &Redis) {
        self.look(&[gateway], redis).await;
    }

    async fn look(&self, gateways: &[&Gateway], redis: &Redis) {
        let watch = &self.world.watch;
        let findings = watch.findings(self.address);
        assert!(findings.is_empty(), "{findings:#?}");
        let mut places = vec![("Redis", redis.dump().await)];
        places.extend(gateways.iter().map(|gateway| ("the log", gateway.output())));
        for (place, text) in &places {
            let mut leaks = watch.leaks(self.address, text);
            leaks.extend(
                ["ghu_", "ghr_", "token-of-"].map(str::to_owned).into_iter().filter(|s| text.contains(s)),
            );
            assert!(leaks.is_empty(), "{place} holds {leaks:?}");
            let panicked = text.lines().find(|line| line.contains("panicked at"));
            assert!(panicked.is_none(), "{panicked:?}");
        }
    }
}

/// The code that reached the client; a provider's own code in the address of a failed callback is none.
pub(crate) fn code(page: &Page) -> Option<String> {
    page.parameter("code").filter(|_| page.status == 0)
}

/// The consent page of a new flow, at a tenant whose users sign in elsewhere.
pub(crate) async fn consent(client: &OAuthClient, browser: &Browser) -> Page {
    let page = browser.open(&client.authorize_url()).await;
    assert!(page.approve_link().is_some(), "{} {}\n{}", page.status, page.url, page.body);
    page
}

/// Whether an access token opens the MCP endpoint.
pub(crate) async fn works(client: &OAuthClient, access: &str) -> bool {
    client.whoami(Some(access)).await.status == 200
}

/// Waits until an access token opens nothing on either replica.
pub(crate) async fn dies(client: &OAuthClient, access: &str) {
    e2e::net::eventually("the access token to die", async || {
        (!works(client, access).await && !works(client, access).await).then_some(())
    })
    .await;
}

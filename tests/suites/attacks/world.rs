//! The tenants that all tests attack, and one test's place in them.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ::redis::AsyncCommands;
use e2e::{
    backend::{Backend, Callers},
    balancer::REPLICA,
    browser::{Browser, Page},
    dev::{Gateway, Setup},
    github::{self, App, GitHub},
    idp,
    manifests::GITHUB,
    net::{eventually, http_to},
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    raw::{self, Heard},
    redis::Redis,
    sink::Sink,
    watch::Watch,
};
use reqwest::{Client, RequestBuilder};
use serde_json::json;

use crate::documents;

/// A web client's callback, which the policies of all tenants allow.
pub(crate) const WEB_CALLBACK: &str = "https://c1.test/cb";
/// How many users tenants B, C, D and F have: more than all tests take.
const LOCAL_USERS: u32 = 320;
/// The password of each of them, long enough to be looked for in logs, and its hash.
pub(crate) const PASSWORD: &str = "a-password-of-the-attack-suite";
pub(crate) const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$50SzUV2ys1MAOUIc+HteoA$OAsHoB/KdQFvivjkzaUteA2yln0pqD3ZMPjItyAvVoo";
/// How long codes and flows live.
pub(crate) const TEN_MINUTES: Duration = Duration::from_secs(600);
/// How long access tokens live.
pub(crate) const AN_HOUR: Duration = Duration::from_secs(3600);
/// How long a replica may go on with what it knows: an end that happened elsewhere, or a file before it changed.
pub(crate) const SEEN: Duration = Duration::from_secs(5);
/// What a busy machine adds to that.
pub(crate) const SLACK: Duration = Duration::from_secs(1);
/// The host of tenants C, D and E.
pub(crate) const HOST: &str = "tools.test";
/// The path of tenant F's issuer.
const PATH: &str = "/t/tools";

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
    /// Tenant C: as B, at an https issuer.
    pub(crate) c: Gateway,
    /// Tenant D: as C, whose clients come by documents of [`e2e::web`].
    pub(crate) d: Gateway,
    /// Tenant E: as A, at an https issuer, with users of a GitHub of its own.
    pub(crate) e: Gateway,
    /// Tenant F: as B, at an issuer with a path.
    below: Gateway,
    pub(crate) github: GitHub,
    github_e: GitHub,
    pub(crate) backend_a: Backend,
    /// Where no document may lead.
    pub(crate) sink: Sink,
    _backends: [Backend; 5],
    next: AtomicU32,
    next_user: AtomicU32,
}

impl World {
    pub(crate) async fn start() -> Self {
        let watch = Arc::new(Watch::default());
        // Ours begin like this on purpose: whatever reaches a client, a log or Redis in clear is found.
        let github = [github::ACCESS, github::REFRESH, "token-of-", "test-client-secret"];
        for secret in github.into_iter().chain([idp::ACCESS, idp::REFRESH, idp::ID_TOKEN]) {
            watch.keep_upstream(secret);
        }
        let (redis, sink) = tokio::join!(Redis::start(), Sink::start());
        let url = redis.url();
        let urls = [url.as_str()];
        let ((a, github, backend_a), (behind_tls, github_e, backend_e)) =
            tokio::join!(hub(&watch, &redis), hub_of(&watch, &url, "team-e", Some(HOST)));
        let ((b, backend_b), (c, backend_c), (d, backend_d), (below, backend_f)) = tokio::join!(
            local(&watch, &redis, "team-b", None),
            local(&watch, &redis, "team-c", Some(HOST)),
            documents::tenant(&watch, &redis),
            local_at(&watch, &urls, "team-f", |manifest| Setup::below(PATH, manifest))
        );
        let (next, next_user) = (AtomicU32::new(0), AtomicU32::new(0));
        let backends = [backend_b, backend_c, backend_d, backend_e, backend_f];
        Self {
            watch,
            redis,
            a,
            b,
            c,
            d,
            e: behind_tls,
            below,
            github,
            github_e,
            backend_a,
            sink,
            _backends: backends,
            next,
            next_user,
        }
    }

    /// The tenants that all tests share.
    pub(crate) fn tenants(&self) -> [&Gateway; 6] {
        [&self.a, &self.b, &self.c, &self.d, &self.e, &self.below]
    }

    /// What holds when all tests are over, whoever asked: every answer was good, and nobody's secret stands anywhere.
    pub(crate) async fn finish(&self) {
        let findings = self.watch.all_findings();
        assert!(findings.is_empty(), "{findings:#?}");
        nobody_leaked(&self.watch, &places(&self.tenants(), &self.redis).await);
    }
}

/// A tenant whose users are a GitHub's, with two replicas.
pub(crate) async fn hub(watch: &Arc<Watch>, redis: &Redis) -> (Gateway, GitHub, Backend) {
    hub_at(watch, &redis.url()).await
}

/// [`hub`], whose Redis is reached at this URL.
pub(crate) async fn hub_at(watch: &Arc<Watch>, redis: &str) -> (Gateway, GitHub, Backend) {
    hub_of(watch, redis, "team-a", None).await
}

/// [`hub_at`], behind TLS where it has a host.
async fn hub_of(
    watch: &Arc<Watch>,
    redis: &str,
    namespace: &str,
    host: Option<&'static str>,
) -> (Gateway, GitHub, Backend) {
    let manifest =
        format!("{}{}", GITHUB.replace("team-a", namespace), POLICY.replace("{namespace}", namespace));
    let setup = host.map_or_else(|| Setup::manifest(&manifest), |host| Setup::https(host, &manifest));
    let github = GitHub::start(App::at(&setup.issuer())).await;
    watch.provider(&setup.issuer(), &github.url());
    let backend = Backend::start(Callers::GitHub(github.url())).await;
    let setup = setup.with("provider", &github.url()).with("backend", &backend.url());
    (setup.redis_at(redis).watched(watch).replicas(2).start().await, github, backend)
}

/// A tenant with users of its own, with two replicas; behind TLS, where it has a host.
pub(crate) async fn local(
    watch: &Arc<Watch>,
    redis: &Redis,
    namespace: &str,
    host: Option<&'static str>,
) -> (Gateway, Backend) {
    local_by(watch, &[&redis.url()], namespace, host).await
}

/// [`local`], whose replicas reach their Redis at these URLs in turns.
pub(crate) async fn local_by(
    watch: &Arc<Watch>,
    redis: &[&str],
    namespace: &str,
    host: Option<&'static str>,
) -> (Gateway, Backend) {
    let place =
        |manifest: &str| host.map_or_else(|| Setup::manifest(manifest), |host| Setup::https(host, manifest));
    local_at(watch, redis, namespace, place).await
}

/// [`local_by`], where it is set up like this.
async fn local_at(
    watch: &Arc<Watch>,
    redis: &[&str],
    namespace: &str,
    place: impl FnOnce(&str) -> Setup,
) -> (Gateway, Backend) {
    let (manifest, callers) = local_users(namespace);
    let backend = Backend::start(callers).await;
    let setup = place(&manifest);
    watch.tenant(&setup.issuer());
    let setup = setup.with("backend", &backend.url());
    (setup.redis_by(redis).watched(watch).replicas(2).start().await, backend)
}

/// The manifest of a tenant with users of its own, and how its backend knows them.
pub(crate) fn local_users(namespace: &str) -> (String, Callers) {
    let names: Vec<String> = (0..LOCAL_USERS).map(|n| format!("user-{n}")).collect();
    let tokens = names.iter().map(|n| (format!("token-of-{n}"), n.clone())).collect();
    (local_manifest(&names, namespace), Callers::Tokens(tokens))
}

fn local_manifest(names: &[String], namespace: &str) -> String {
    let user = |name: &String| {
        format!(
            "    - {{ name: {name}, uid: uid-of-{name}, passwordHash: \"{PASSWORD_HASH}\", email: {name}@example.com, token: token-of-{name} }}\n"
        )
    };
    let users = names.iter().map(user).collect::<Vec<_>>().concat();
    let server = "
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: tools, namespace: {namespace} }
spec:
  url: {issuer}/mcp
  identity: { local: { usersSecretRef: { name: users, key: users.yaml } } }
  access: { everyone: {} }
  credentials: [{ name: me, fromIdentity: {} }]
  backends: [{ name: tools, url: \"{backend}\", inject: [{ credential: me }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: users, namespace: {namespace} }
stringData:
  users.yaml: |
";
    format!("{server}{users}{POLICY}").replace("{namespace}", namespace)
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
        // Limits count networks, too.
        let address = IpAddr::V4(Ipv4Addr::new(127, high + 1, low, 1));
        Self { world, http: http_to(HOST, address), address }
    }

    /// Tenant A.
    pub(crate) fn a(&self) -> &Gateway {
        &self.world.a
    }

    /// Tenant B.
    pub(crate) fn b(&self) -> &Gateway {
        &self.world.b
    }

    /// Tenant C, behind TLS.
    pub(crate) fn c(&self) -> &Gateway {
        &self.world.c
    }

    /// Tenant D, which fetches documents.
    pub(crate) fn d(&self) -> &Gateway {
        &self.world.d
    }

    /// Tenant E, behind TLS, whose users are a GitHub's.
    pub(crate) fn e(&self) -> &Gateway {
        &self.world.e
    }

    /// Tenants A and E, and who knows the users of each.
    pub(crate) fn hubs(&self) -> [(&Gateway, &GitHub); 2] {
        let World { a, e, github, github_e, .. } = self.world.as_ref();
        [(a, github), (e, github_e)]
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

    /// A browser of a new user of any tenant but A, and the user's name.
    pub(crate) fn local(&self) -> (Browser, String) {
        let number = self.world.next_user.fetch_add(1, Ordering::Relaxed);
        assert!(number < LOCAL_USERS, "tenant B has too few users");
        let name = format!("user-{number}");
        (self.browser(&name), name)
    }

    /// A browser of a new user of this one of the tenants that all share.
    pub(crate) fn user_of(&self, gateway: &Gateway) -> Browser {
        let hub = self.hubs().into_iter().find(|(hub, _)| hub.issuer == gateway.issuer);
        hub.map_or_else(|| self.local().0, |(_, github)| self.visitor_of(github).0)
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

    /// Sends bytes to a replica of tenant A, on a connection of their own.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Heard {
        raw::ask(self.world.watch.as_ref(), self.address, &self.a().addresses[0], bytes).await
    }

    /// Ends the life of the record whose key ends like this, and which was written to live no longer than `life`:
    /// Redis's own clock, which decides, cannot be moved.
    pub(crate) async fn expire(&self, ending: &str, life: Duration) {
        let keys = self.world.redis.keys().await;
        let key = keys.iter().find(|key| key.ends_with(ending));
        let key = key.unwrap_or_else(|| panic!("there is no record {ending}"));
        let left = self.world.redis.ttl(key).await;
        let bounded = u64::try_from(left).is_ok_and(|left| left > 0 && left <= life.as_secs());
        assert!(bounded, "{ending} would live for {left} s");
        let mut connection = self.world.redis.connection().await;
        let _: () = connection.pexpire(key, 1).await.expect("PEXPIRE works");
        eventually("a record to expire", async || {
            let there: bool = connection.exists(key).await.expect("EXISTS works");
            (!there).then_some(())
        })
        .await;
    }

    /// What this test has to keep secret, so far.
    pub(crate) fn secrets(&self) -> std::collections::BTreeSet<String> {
        self.world.watch.secrets(self.address)
    }

    /// This test breaks what the gateway needs, and asks for these answers.
    pub(crate) fn expect(&self, statuses: &[u16]) {
        self.world.watch.expect(self.address, statuses);
    }

    /// The standing invariants, for the tenants that all share. Secrets of other addresses are looked for at the end.
    pub(crate) async fn finish(&self) {
        self.was_answered_well();
        for (place, text) in places(&self.world.tenants(), &self.world.redis).await {
            let leaks = self.world.watch.leaks(self.address, &text);
            assert!(leaks.is_empty(), "{place} holds {leaks:?}");
        }
    }

    /// The standing invariants, for a tenant of this test's own: whichever addresses asked it.
    pub(crate) async fn inspect(&self, gateway: &Gateway, redis: &Redis) {
        self.was_answered_well();
        nobody_leaked(&self.world.watch, &places(&[gateway], redis).await);
    }

    /// The part of the standing invariants that is about answers.
    pub(crate) fn was_answered_well(&self) {
        let findings = self.world.watch.findings(self.address);
        assert!(findings.is_empty(), "{findings:#?}");
    }
}

/// Where a secret could stand: what Redis holds, and what these tenants wrote and count. What must stand in none of those
/// whoever asked is looked for here.
async fn places(gateways: &[&Gateway], redis: &Redis) -> Vec<(&'static str, String)> {
    let mut places = vec![("Redis", redis.dump().await)];
    for gateway in gateways {
        let metrics = gateway.metrics().await;
        assert!(metrics.contains("gatehouse_gateway_call_seconds"), "no metrics: {metrics}");
        // No request adds a series, so no label names anybody.
        let named = ["visitor-", "user-", "example.com", "gc_"].iter().find(|name| metrics.contains(**name));
        assert!(named.is_none(), "a metric names {named:?}");
        places.extend([("the log", gateway.output()), ("a metric", metrics)]);
    }
    for (_, text) in &places {
        let panicked = text.lines().find(|line| line.contains("panicked at"));
        assert!(panicked.is_none(), "{panicked:?}");
    }
    places
}

/// No secret of any address stands there, in any shape.
fn nobody_leaked(watch: &Watch, places: &[(&'static str, String)]) {
    let texts: Vec<&str> = places.iter().map(|(_, text)| text.as_str()).collect();
    for ((place, _), leaks) in places.iter().zip(watch.all_leaks(&texts)) {
        assert!(leaks.is_empty(), "{place} holds {leaks:?}");
    }
}

/// The code that reached the client; a provider's own code in the address of a failed callback is none.
pub(crate) fn code(page: &Page) -> Option<String> {
    page.parameter("code").filter(|_| page.status == 0)
}

/// The consent page of a new flow, behind the sign-in form where the tenant has one.
pub(crate) async fn consent(client: &OAuthClient, browser: &Browser) -> Page {
    let mut page = browser.open(&client.authorize_url()).await;
    if page.approve_link().is_none() {
        page = browser.next(&page).await.unwrap_or(page);
    }
    assert!(page.approve_link().is_some(), "{} {}\n{}", page.status, page.url, page.body);
    page
}

/// As whom an access token calls at one replica.
pub(crate) async fn caller(client: &OAuthClient, access: &str, replica: usize) -> Answer {
    let request = client.call_request(Some(access), "whoami", json!({})).header(REPLICA, replica);
    Answer::of(request.send().await.expect("the gateway answers")).await
}

/// Whether an access token calls as this user, at each replica.
pub(crate) async fn works(client: &OAuthClient, access: &str, user: &str) -> bool {
    for replica in 0..2 {
        let answer = caller(client, access, replica).await;
        if answer.status != 200 || answer.json()["result"]["content"][0]["text"] != user {
            return false;
        }
    }
    true
}

/// Waits until an access token opens nothing on either replica, each of which sees its end within [`SEEN`].
pub(crate) async fn dies(client: &OAuthClient, access: &str) {
    let late = outlives(client, access, &[0, 1]).await;
    assert!(late <= SEEN + SLACK, "a token was taken {late:?} after its end");
}

/// Waits until each of these replicas refuses an access token for what it is. How long after now the last call began that
/// the token still opened: how long a refusal takes is no part of it.
pub(crate) async fn outlives(client: &OAuthClient, access: &str, replicas: &[usize]) -> Duration {
    let dead = |answer: &Answer| answer.status == 401 && answer.challenge.contains("error=\"invalid_token\"");
    last_taken(client, access, replicas, dead).await
}

/// [`outlives`], where the answers that refuse it are these.
pub(crate) async fn last_taken(
    client: &OAuthClient,
    access: &str,
    replicas: &[usize],
    refuses: impl Fn(&Answer) -> bool,
) -> Duration {
    let (begun, mut last) = (Instant::now(), Duration::ZERO);
    eventually("the access token to die", async || {
        let mut dead = true;
        for &replica in replicas {
            let asked = begun.elapsed();
            let answer = caller(client, access, replica).await;
            if answer.status == 200 {
                last = asked;
            }
            dead &= refuses(&answer);
        }
        dead.then_some(())
    })
    .await;
    last
}

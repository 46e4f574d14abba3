//! Real clients at issuers with a path: two servers share one origin, each has what is below its own path, and a client of
//! either goes from the first sign-in to a call and a refresh.

#![expect(clippy::expect_used, reason = "what a suite cannot prepare fails it")]

use std::sync::Arc;

use e2e::{
    backend::{Backend, Callers},
    browser::Browser,
    clients::{Inspector, Sdk},
    dev::{Gateway, Setup},
    life::{Effort, Live},
    manifests::LOCAL,
    net::http,
    oauth::{OAuthClient, REDIRECT_URI},
    redis::Redis,
    tap::{Heard, Tap},
};

/// The paths of the two issuers.
const PATHS: [&str; 2] = ["/t/github", "/t/sso"];
/// Short-lived, so that a token runs out within the test.
const SHORT: &str = "accessToken: 6s, refreshGrace: 2s";
/// How many seconds an access token lives by that.
const LIFE: i64 = 6;

/// Two servers at one origin, whose every exchange is heard.
struct World {
    tap: Arc<Tap>,
    servers: [Gateway; 2],
    backends: [Backend; 2],
    redis: Redis,
}

impl World {
    async fn start() -> Self {
        let (redis, tap) = (Redis::start().await, Arc::new(Tap::default()));
        let callers = || Callers::tokens(&[("token-of-alice", "alice")]);
        let backends = [Backend::start(callers()).await, Backend::start(callers()).await];
        let filled = |setup: Setup, backend: &Backend| {
            setup.with("backend", &backend.url()).with("lifetimes", SHORT).redis(&redis)
        };
        let first = filled(Setup::below(PATHS[0], LOCAL), &backends[0]).watched(&tap).start().await;
        let manifest = LOCAL.replace("team-a", "team-b");
        let second = filled(Setup::beside(&first, PATHS[1], &manifest), &backends[1]).start().await;
        let balancer = first.balancer.as_ref().expect("what is watched is behind one");
        balancer.send_below(PATHS[1], &second.addresses[0]);
        Self { tap, servers: [first, second], backends, redis }
    }

    async fn access_tokens_run_out(&self) {
        self.redis.access_tokens_run_out_for_both(LIFE).await;
    }

    /// Each of the two was found by the documents of its own path, at the first URL that was tried, and gave tokens for one
    /// sign-in and for refreshes.
    fn were_found_apart(&self) {
        let heard = self.tap.heard("");
        let summary = || format!("{:#?}", self.tap.summary());
        for (path, backend) in PATHS.into_iter().zip(&self.backends) {
            let documents: Vec<&Heard> = heard
                .iter()
                .filter(|h| h.what.starts_with("GET /.well-known/") && h.what.contains(path))
                .collect();
            for (document, end) in [("oauth-protected-resource", "/mcp"), ("oauth-authorization-server", "")]
            {
                let first = documents.iter().find(|h| h.what.contains(document)).expect("it was asked for");
                let inserted = format!("GET /.well-known/{document}{path}{end}");
                assert!(first.what == inserted && first.status == 200, "{}", summary());
            }
            let granted = |grant_type: &str| {
                let tokens = self.tap.heard(&format!("POST {path}/oauth/token"));
                let good = tokens.iter().filter(|h| h.status == 200);
                good.filter(|h| h.form("grant_type").as_deref() == Some(grant_type)).count()
            };
            assert_eq!(granted("authorization_code"), 1, "{}", summary());
            assert!(granted("refresh_token") > 0, "{}", summary());
            assert!(!backend.requests().is_empty(), "nothing was called: {}", summary());
        }
        // Nobody was led out of the two paths, or had to look there.
        let astray = heard.iter().find(|h| !PATHS.iter().any(|path| h.what.contains(path)));
        assert!(astray.is_none(), "{}", summary());
    }
}

async fn lives_at_both(sign_in: impl AsyncFn(&str) -> Live) {
    let world = World::start().await;
    let mut clients = Vec::new();
    for server in &world.servers {
        let mut client = sign_in(&server.url).await;
        assert!(client.works().await, "{}: {:#?}", server.url, world.tap.summary());
        clients.push(client);
    }
    let before = world.tap.redeemed();
    world.access_tokens_run_out().await;
    for client in &mut clients {
        assert_eq!(client.go_on(&world.tap, before).await, Effort::None, "{:#?}", world.tap.summary());
    }
    world.were_found_apart();
}

#[tokio::test]
async fn typescript_sdk_v1() {
    lives_at_both(async |url| Live::sdk(Sdk::TypeScript1, url).await).await;
}

#[tokio::test]
async fn typescript_sdk_v2() {
    lives_at_both(async |url| Live::sdk(Sdk::TypeScript2, url).await).await;
}

#[tokio::test]
async fn python_sdk() {
    lives_at_both(async |url| Live::sdk(Sdk::Python, url).await).await;
}

#[tokio::test]
async fn mcp_remote() {
    lives_at_both(async |url| Live::sdk(Sdk::McpRemote, url).await).await;
}

#[tokio::test]
async fn rust_sdk() {
    lives_at_both(async |url| Live::rust(url).await).await;
}

/// It calls tools only with an account: what is seen is that it connects.
#[tokio::test]
async fn claude_code() {
    lives_at_both(async |url| Live::claude(url).await).await;
}

#[tokio::test]
async fn inspector() {
    let world = World::start().await;
    let inspectors = world.servers.each_ref().map(|server| Inspector::of(&server.url, "alice"));
    for inspector in &inspectors {
        assert_eq!(inspector.call("whoami").await.text, "alice", "{:#?}", world.tap.summary());
    }
    world.access_tokens_run_out().await;
    for inspector in &inspectors {
        assert_eq!(inspector.call("whoami").await.text, "alice", "{:#?}", world.tap.summary());
    }
    world.were_found_apart();
}

/// One user of both in one browser, which has the cookies of both at one host.
#[tokio::test]
async fn what_one_server_gives_is_refused_by_the_other() {
    let world = World::start().await;
    let browser = Browser::of("alice");
    let mut clients = Vec::new();
    for server in &world.servers {
        let client = OAuthClient::register(&server.issuer).await;
        let tokens = client.tokens(&browser).await;
        clients.push((client, tokens));
    }
    for [(own, (access, refresh)), (other, _)] in [[&clients[0], &clients[1]], [&clients[1], &clients[0]]] {
        let called = own.whoami(Some(access)).await;
        assert_eq!(called.json()["result"]["content"][0]["text"], "alice", "{}", called.text);
        let refused = other.whoami(Some(access)).await;
        assert_eq!((refused.status, &*refused.challenge_parameter("error")), (401, "invalid_token"));
        let path = other.url.split_once("//").and_then(|(_, rest)| rest.split_once('/')).expect("it has one");
        let named = refused.challenge_parameter("resource_metadata");
        let document = format!("/.well-known/oauth-protected-resource/{}", path.1);
        assert!(named.ends_with(&document), "{}", refused.challenge);
        // Neither as its own client nor as the other's.
        let stolen = other.refresh(refresh).await;
        assert!(stolen.is_error(400, "invalid_grant"), "{} {}", stolen.status, stolen.text);
        let stranger = OAuthClient::named(http(), &other.issuer, own.id(), REDIRECT_URI);
        let stolen = stranger.refresh(refresh).await;
        assert!(stolen.is_error(401, "invalid_client"), "{} {}", stolen.status, stolen.text);
        let page = browser.open(&stranger.authorize_url()).await;
        assert!(page.status == 400 && page.parameter("code").is_none(), "{} {}", page.status, page.url);
        assert_eq!(own.refresh(refresh).await.status, 200, "nothing was spent");
        // Whoever signed in at the one is known there after the other's sign-in, too.
        let account = browser.open(&format!("{}/account", own.issuer)).await;
        assert!(account.status == 200 && account.body.contains("alice"), "{}", account.body);
    }
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}

//! Clients at an https issuer, behind TLS, that come with a metadata document: from the sign-in to a refresh under its URL,
//! and nothing registers. Real ones, and scripts in the place of those that cannot be had.

#![expect(clippy::expect_used, reason = "what a suite cannot prepare fails it")]

use std::{collections::HashSet, sync::Arc};

use e2e::{
    backend::{Backend, Callers},
    browser::Browser,
    clients::{ClaudeCode, Home, Sdk, Session},
    dev::{Gateway, Setup, gatehouse},
    manifests::{DEFAULT_LIFETIMES, with_documents},
    net::http,
    oauth::{OAuthClient, REDIRECT_URI, mcp},
    process::Process,
    profiles::{PROFILES, Scripted},
    redis::Redis,
    rmcp_client::Rmcp,
    tap::{Heard, Tap},
    web,
};
use serde_json::{Value, json};
use url::Url;

/// Short-lived, so that a token runs out within the test.
const SHORT: &str = "accessToken: 6s, refreshGrace: 2s";
/// How many seconds an access token lives by that.
const LIFE: i64 = 6;
/// The document of Claude Code, which is built in.
const CLAUDE_CODE: &str = "https://claude.ai/oauth/claude-code-client-metadata";

/// Two replicas behind the TLS of one host, whose every exchange is heard.
struct World {
    tap: Arc<Tap>,
    gateway: Gateway,
    redis: Redis,
    _backend: Backend,
}

impl World {
    async fn start() -> Self {
        Self::with_lifetimes(SHORT).await
    }

    async fn with_lifetimes(lifetimes: &str) -> Self {
        let backend = Backend::start(Callers::tokens(&[("token-of-alice", "alice")])).await;
        let redis = Redis::start().await;
        let tap = Arc::new(Tap::default());
        let setup = Setup::https("tools.test", &with_documents(web::hosts().map(|(_, host)| host)))
            .with("backend", &backend.url())
            .with("lifetimes", lifetimes);
        let gateway = setup.redis(&redis).watched(&tap).replicas(2).start().await;
        Self { tap, gateway, redis, _backend: backend }
    }

    /// The access token of whoever called last has run out, for both sides.
    async fn access_token_runs_out(&self) {
        self.redis.access_tokens_run_out_for_both(LIFE).await;
    }

    /// Whoever signed in, redeemed and refreshed here was the client of this document, and nobody registered.
    fn knows_only(&self, document: &str) {
        let asked = |heard: &Heard| {
            let url = Url::parse(&self.gateway.issuer).and_then(|issuer| issuer.join(&heard.target));
            let url = url.expect("a target is a path");
            url.query_pairs().find(|(name, _)| name == "client_id").map(|(_, id)| id.into_owned())
        };
        // The later pages of a sign-in name its flow instead.
        let begun: Vec<String> = self.tap.heard("GET /oauth/authorize").iter().filter_map(asked).collect();
        assert!(!begun.is_empty() && begun.iter().all(|id| id == document), "{begun:?}");
        let tokens = self.tap.heard("POST /oauth/token");
        let ids: Vec<_> = tokens.iter().map(|h| h.form("client_id")).collect();
        assert!(ids.iter().all(|id| id.as_deref() == Some(document)), "{ids:?}");
        for grant in ["authorization_code", "refresh_token"] {
            let granted = |h: &Heard| h.status == 200 && h.form("grant_type").as_deref() == Some(grant);
            assert!(tokens.iter().any(granted), "no {grant}: {:#?}", self.tap.summary());
        }
        assert!(self.tap.heard("POST /oauth/register").is_empty(), "{:#?}", self.tap.summary());
    }
}

/// A document of a client of this name that is sent its codes here.
fn publish(url: &str, name: &str, redirect_uri: &str) {
    let document = json!({
        "client_name": name, "redirect_uris": [redirect_uri], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "application_type": "native",
    });
    web::publish(url, document);
}

async fn comes_by_its_document(sdk: Sdk, redirect_uri: &str) {
    let world = World::start().await;
    let document = format!("https://client.test/{sdk:?}.json");
    publish(&document, "An SDK", redirect_uri);
    let environment = [("CLIENT_METADATA_URL", document.as_str())];
    let mut session = Session::connect_with(sdk, &world.gateway.url, "alice", &environment).await;
    assert_eq!(session.whoami().await, "alice");
    world.access_token_runs_out().await;
    assert_eq!(session.whoami().await, "alice");
    session.close().await;
    world.knows_only(&document);
}

#[tokio::test]
async fn typescript_sdk_v1() {
    comes_by_its_document(Sdk::TypeScript1, "http://localhost/callback").await;
}

#[tokio::test]
async fn typescript_sdk_v2() {
    comes_by_its_document(Sdk::TypeScript2, "http://localhost/callback").await;
}

#[tokio::test]
async fn python_sdk() {
    comes_by_its_document(Sdk::Python, "http://localhost/callback").await;
}

#[tokio::test]
async fn mcp_remote() {
    comes_by_its_document(Sdk::McpRemote, "http://localhost/oauth/callback").await;
}

#[tokio::test]
async fn rust_sdk() {
    let world = World::start().await;
    let document = "https://client.test/rust.json";
    publish(document, "An SDK", REDIRECT_URI);
    let client = Rmcp::connect_by(&world.gateway.url, "alice", Some(document)).await;
    assert_eq!(client.whoami().await, "alice");
    world.access_token_runs_out().await;
    assert_eq!(client.whoami().await, "alice");
    world.knows_only(document);
}

/// It calls tools only with an account: what is seen is that it connects.
#[tokio::test]
async fn claude_code() {
    let world = World::start().await;
    publish(CLAUDE_CODE, "Claude Code", "http://localhost/callback");
    let claude = ClaudeCode::with(&world.gateway.url, "alice").await;
    claude.login().await;
    for _ in 0..2 {
        let list = claude.list().await;
        assert!(list.contains("Connected"), "{list}\n{:#?}", world.tap.summary());
        world.access_token_runs_out().await;
    }
    world.knows_only(CLAUDE_CODE);
}

/// The authority here is none of the web's.
#[tokio::test]
async fn the_command_that_prints_a_token_trusts_a_private_authority() {
    let world = World::start().await;
    let token = async |trust: &[&str]| {
        let home = Home::of("alice");
        let mut command = gatehouse();
        home.enter(&mut command);
        command.arg("token").args(trust).arg(&world.gateway.url);
        let mut process = Process::start(command);
        (process.wait().await.code(), process.stdout(), process.output())
    };
    let (code, _, said) = token(&[]).await;
    assert!(code == Some(1) && said.contains("UnknownIssuer"), "{said}");
    let (code, _, said) = token(&["--ca", "bin/xdg-open"]).await;
    assert!(code == Some(2) && said.contains("--ca bin/xdg-open: "), "{said}");
    let (code, token, said) = token(&["--ca", "ca.pem"]).await;
    assert_eq!(code, Some(0), "{said}");
    let begins = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": { "name": "curl", "version": "1" } } });
    let answer = mcp(&http(), &world.gateway.url, Some(&token), &begins).send().await.expect("it is reached");
    assert_eq!(answer.status(), 200);
    let answer = mcp(&http(), &world.gateway.url, None, &begins).send().await.expect("it is reached");
    assert_eq!(answer.status(), 401, "the token is looked at");
}

/// `gatehouse doctor` finds nothing in the way of any client on this network, with and without a signed-in user's token; it
/// says that pages of other origins are kept away (110).
#[tokio::test]
async fn the_doctor_finds_nothing_in_any_programs_way() {
    let world = World::with_lifetimes(DEFAULT_LIFETIMES).await;
    let url = &world.gateway.url;
    // The documents that it looks at: these two come to be published as their clients sign in.
    for profile in PROFILES.iter().filter(|profile| ["claude.ai", "VS Code"].contains(&profile.name)) {
        let mut client = Scripted::by_document(profile, url, "alice", profile.callbacks[0]);
        assert_eq!(client.whoami().await, "alice");
    }
    publish(CLAUDE_CODE, "Claude Code", "http://localhost/callback");
    publish("https://chatgpt.com/oauth/codex/client.json", "Codex", "http://127.0.0.1/callback");
    let client = OAuthClient::register(&world.gateway.issuer).await;
    let (access, _) = client.tokens(&Browser::of("alice")).await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), access).expect("it can be written to");
    let file = file.path().to_str().expect("it is text");
    assert!(!examined(url, &[]).await.contains("session"));
    assert!(examined(url, &["--token-file", file]).await.contains("session"));
}

/// What the doctor has looked at, after looking at what it said.
async fn examined(url: &str, token: &[&str]) -> HashSet<String> {
    let home = Home::of("alice");
    let mut command = gatehouse();
    home.enter(&mut command);
    command.args(["doctor", "--format", "json", "--ca", "ca.pem"]).args(token).arg(url);
    let mut doctor = Process::start(command);
    let code = doctor.wait().await.code();
    let report: Value = serde_json::from_str(&doctor.stdout()).expect("it is JSON");
    let findings = report["findings"].as_array().expect("there are some");
    let (good, other): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding["level"] == "good");
    for finding in &other {
        // It is right in that this host leads nowhere for who is elsewhere.
        let elsewhere = finding["check"] == "reach" && finding["clients"] == json!(["claude-ai", "chat-gpt"]);
        let pages = finding["check"] == "cors" && finding["level"] == "note";
        assert!(elsewhere || pages, "{finding:#}");
    }
    assert_eq!(code, Some(1), "{}", doctor.output());
    assert_eq!(report["keptAway"]["clients in a browser"], "cors", "{report:#}");
    let checks = good.iter().filter_map(|finding| finding["check"].as_str());
    let checks: HashSet<String> = checks.map(str::to_owned).collect();
    for check in
        ["challenge", "resource", "issuer", "registration", "authorize", "browser", "documents", "token"]
    {
        assert!(checks.contains(check), "{check} was not found good: {report:#}");
    }
    checks
}

/// The profile of this name, once for each address at which it has its codes.
async fn script_comes_by_its_document(name: &str) -> (World, Vec<Scripted>) {
    let world = World::start().await;
    let profile = PROFILES.iter().find(|profile| profile.name == name).expect("there is one");
    let url = &world.gateway.url;
    let mut clients: Vec<Scripted> = profile
        .callbacks
        .iter()
        .map(|callback| Scripted::by_document(profile, url, "alice", callback))
        .collect();
    for client in &mut clients {
        assert_eq!(client.whoami().await, "alice");
    }
    world.access_token_runs_out().await;
    for client in &mut clients {
        assert_eq!(client.whoami().await, "alice");
        assert_eq!(client.registrations, 0);
        world.knows_only(client.client_id().expect("it has signed in"));
    }
    assert_eq!(
        world.tap.redeemed(),
        clients.len(),
        "nobody had to sign in again: {:#?}",
        world.tap.summary()
    );
    (world, clients)
}

#[tokio::test]
async fn claude_ai_by_script() {
    script_comes_by_its_document("claude.ai").await;
}

#[tokio::test]
async fn vs_code_by_script() {
    script_comes_by_its_document("VS Code").await;
}

/// It signs: an assertion of its own with each request, and what it was given is of no use without one.
#[tokio::test]
async fn chatgpt_by_script() {
    let (world, mut clients) = script_comes_by_its_document("ChatGPT").await;
    let tokens = world.tap.heard("POST /oauth/token");
    let assertions: HashSet<String> = tokens.iter().filter_map(|h| h.form("client_assertion")).collect();
    assert_eq!(assertions.len(), tokens.len(), "{:#?}", world.tap.summary());
    let id = tokens[0].form("client_id").expect("it says who it is");
    let thief = OAuthClient::named(http(), &world.gateway.issuer, &id, "https://chatgpt.com/");
    let newest =
        tokens.iter().filter_map(|h| h.json()["refresh_token"].as_str().map(str::to_owned)).next_back();
    let refused = thief.refresh(&newest.expect("it was given one")).await;
    assert!(refused.is_error(400, "invalid_grant"), "{} {}", refused.status, refused.text);
    // It was the token that the client goes on with, and still is.
    world.access_token_runs_out().await;
    assert_eq!(clients[0].whoami().await, "alice");
    assert_eq!(world.tap.redeemed(), 1, "{:#?}", world.tap.summary());
}

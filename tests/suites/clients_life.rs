//! Real clients after the first sign-in: a token that runs out, a revocation, a Redis that was emptied; and what is
//! wrong with other gateways, seen through what a real client sent and was given. The README's table of clients is
//! made here.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what a suite cannot prepare fails it")]

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{
    backend::{Backend, Callers},
    balancer::REPLICA,
    browser::Browser,
    clients::{Sdk, Session},
    dev::{Gateway, Setup},
    life::{Effort, Live},
    manifests::{DEFAULT_LIFETIMES, LOCAL, with_scopes},
    net::{eventually, http},
    oauth::{Answer, OAuthClient},
    profiles::{PROFILES, Scripted},
    redis::Redis,
    step_up::StepUp,
    tap::Tap,
};
use futures::future::{FutureExt, LocalBoxFuture, join_all};
use http::HeaderValue;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// Two replicas on one Redis, whose every exchange is heard.
struct World {
    tap: Arc<Tap>,
    gateway: Gateway,
    backend: Backend,
    redis: Redis,
}

impl World {
    async fn start(lifetimes: &str) -> Self {
        Self::of(LOCAL, lifetimes).await
    }

    async fn of(manifest: &str, lifetimes: &str) -> Self {
        let backend =
            Backend::start(Callers::tokens(&[("token-of-alice", "alice"), ("token-of-bob", "bob")])).await;
        let redis = Redis::start().await;
        let tap = Arc::new(Tap::default());
        let setup = Setup::manifest(manifest).with("backend", &backend.url()).with("lifetimes", lifetimes);
        let gateway = setup.redis(&redis).watched(&tap).replicas(2).start().await;
        Self { tap, gateway, backend, redis }
    }

    /// What it takes a client to go on after `end`, which ends its sign-in. Counted from before: a client that listens
    /// hears of it at once, and may sign in again before the next line runs.
    async fn after(&self, client: &mut Live, end: impl AsyncFnOnce()) -> Effort {
        let (before, bearer) = (self.tap.redeemed(), self.bearer());
        end().await;
        self.refuses(&bearer).await;
        client.go_on(&self.tap, before).await
    }

    /// What a client called with last.
    fn bearer(&self) -> HeaderValue {
        let calls = self.tap.heard("POST /mcp");
        calls.iter().rfind(|h| h.status.is_success()).expect("it called").asked["authorization"].clone()
    }

    /// Waits until this opens nothing on either replica, so that what a client does next does not depend on what a replica
    /// still remembers.
    async fn refuses(&self, bearer: &HeaderValue) {
        let host = self.gateway.issuer.strip_prefix("http://").unwrap();
        for address in &self.gateway.addresses {
            eventually("a replica to refuse the token", async || {
                let request = http().post(format!("http://{address}/mcp")).header("host", host);
                let answer = request
                    .header("authorization", bearer)
                    .header("content-type", "application/json")
                    .body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
                (answer.send().await.unwrap().status() == 401).then_some(())
            })
            .await;
        }
    }

    /// Alice ends her one client on her account page.
    async fn alice_disconnects(&self) {
        let browser = Browser::of("alice");
        let mut page = browser.open(&format!("{}/account/signin", self.gateway.issuer)).await;
        while let Some(next) = browser.next(&page).await {
            page = next;
        }
        let had = self.redis.all("refresh").await;
        assert!(!had.is_empty(), "the client was connected");
        let done = browser.press(&page, "disconnect").await;
        assert!(done.status < 400, "{} {}", done.status, done.body);
        let has = self.redis.all("refresh").await;
        assert!(has.iter().all(|key| !had.contains(key)), "left: {has:?}\n{:#?}", self.tap.summary());
    }

    /// Redis hangs while the client calls, at first with a token that is good, then with one that ran out, until it is told
    /// to come again.
    async fn redis_is_away(&self, client: &mut Live) {
        self.redis.pause().await;
        let begun = Instant::now();
        // What a replica remembers is answered.
        client.works().await;
        eventually("its access token to run out", async || (begun.elapsed() > LONGER.1).then_some(())).await;
        let told = || self.tap.heard("").into_iter().filter(|h| h.status == 503).collect::<Vec<_>>();
        let before = told().len();
        let calls = async {
            // Real clients decide themselves whether they refresh ahead of a call.
            if let Live::Scripted(scripted) = client {
                scripted.renew().await;
            }
            // Who goes to the browser stays in that call until Redis is back.
            client.works().await;
        };
        tokio::join!(calls, async {
            eventually("the client to be told", async || (told().len() > before).then_some(())).await;
            self.redis.resume().await;
        });
        assert!(told().iter().all(|h| h.headers.contains_key("retry-after")), "{:#?}", told());
    }

    async fn is_emptied(&self) {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut self.redis.connection().await).await.unwrap();
    }
}

/// A client, and how alice signs in with it.
struct Client {
    name: String,
    how: &'static str,
    sign_in: Box<dyn Fn(String) -> LocalBoxFuture<'static, Live>>,
}

impl Client {
    fn new<F: Future<Output = Live> + 'static>(
        name: &str,
        how: &'static str,
        sign_in: impl Fn(String) -> F + 'static,
    ) -> Self {
        Self { name: name.to_owned(), how, sign_in: Box::new(move |url| sign_in(url).boxed_local()) }
    }

    /// Signed in at this world.
    async fn at(&self, world: &World) -> Live {
        let mut live = (self.sign_in)(world.gateway.url.clone()).await;
        assert!(live.works().await, "{} works after its sign-in", self.name);
        live
    }
}

/// Those of the table, in its order.
fn clients() -> Vec<Client> {
    let versions = versions();
    let sdks = [
        (Sdk::TypeScript1, "@modelcontextprotocol/sdk"),
        (Sdk::TypeScript2, "@modelcontextprotocol/client"),
        (Sdk::Python, "mcp"),
        (Sdk::McpRemote, "mcp-remote"),
    ];
    let sdks = sdks.map(|(sdk, package)| {
        Client::new(&versions(package), "run", move |url| async move { Live::sdk(sdk, &url).await })
    });
    let rust = Client::new(&versions("rmcp"), "run", async |url| Live::rust(&url).await);
    let claude = versions("@anthropic-ai/claude-code");
    let claude = Client::new(&claude, "run, up to its tool list", async |url| Live::claude(&url).await);
    let scripted = PROFILES.iter().map(|profile| {
        Client::new(profile.name, SCRIPTED, move |url| async move { Live::scripted(profile, &url).await })
    });
    sdks.into_iter().chain([rust, claude]).chain(scripted).collect()
}

/// One line of the table.
struct Row {
    name: String,
    how: &'static str,
    expired: Effort,
    away: Effort,
    revoked: Effort,
    flushed: Effort,
    stepped: StepUp,
}

async fn row(client: &Client, away: Effort) -> Row {
    let world = World::start(SHORT).await;
    let mut live = client.at(&world).await;
    let before = world.tap.redeemed();
    world.redis.access_tokens_run_out_for_both(LIFE).await;
    let expired = live.go_on(&world.tap, before).await;
    let revoked = world.after(&mut live, async || world.alice_disconnects().await).await;
    let flushed = world.after(&mut live, async || world.is_emptied().await).await;
    let world = World::of(&with_scopes(), DEFAULT_LIFETIMES).await;
    let stepped = (client.sign_in)(world.gateway.url.clone()).await.step_up(&world.tap).await;
    Row { name: client.name.clone(), how: client.how, expired, away, revoked, flushed, stepped }
}

/// What it takes a client to go on after Redis was away. Its refresh may have been done by a Redis that was slow to say so:
/// then the token that it still has is replaced.
async fn outage(client: &Client) -> Effort {
    let world = World::start(LONGER.0).await;
    let bob = OAuthClient::register(&world.gateway.issuer).await;
    let (_, mut refresh) = bob.tokens(&Browser::of("bob")).await;
    let mut live = client.at(&world).await;
    let (before, bearer) = (world.tap.redeemed(), world.bearer());
    world.redis_is_away(&mut live).await;
    world.refuses(&bearer).await;
    // Refreshes have a connection of their own, and somebody who knows of nothing goes on there, too.
    for replica in ["0", "1"] {
        refresh = eventually("a replica to refresh", async || {
            let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
            let renewed = bob.post("/oauth/token", &form, &[(REPLICA, replica)]).await;
            assert!([200, 503].contains(&renewed.status), "{} {}", renewed.status, renewed.text);
            (renewed.status == 200).then(|| renewed.get("refresh_token"))
        })
        .await;
    }
    live.go_on(&world.tap, before).await
}

/// Short-lived, so that a token runs out within the test; the grace is at most half an access token's life.
const SHORT: &str = "accessToken: 6s, refreshGrace: 2s";
/// How many seconds an access token lives by that.
const LIFE: i64 = 6;
/// Where all clients are slow at once, each of them comes back within the grace. And how long an access token lives.
const LONGER: (&str, Duration) = ("accessToken: 16s, refreshGrace: 8s", Duration::from_secs(16));

/// What is run in the place of a client that cannot be had.
const SCRIPTED: &str = "scripted";

/// Clients whose user begins a sign-in by hand. Everybody else's opens the browser by itself.
const BY_HAND: [&str; 2] = ["rmcp ", "@anthropic-ai/claude-code "];

/// Clients that forget their tokens when a refresh fails for whatever reason. Their sign-in is there, and they begin another.
const FORGETFUL: [&str; 1] = ["mcp "];

#[tokio::test]
async fn every_client_goes_on_after_expiry_an_outage_revocation_and_an_emptied_redis() {
    let clients = clients();
    // All at once: most of that is waiting.
    let outages = join_all(clients.iter().map(outage)).await;
    let mut rows = Vec::new();
    for (client, away) in clients.iter().zip(outages) {
        rows.push(row(client, away).await);
    }
    for row in &rows {
        row.is_bearable();
    }
    the_readme_says_so(&table(&rows));
}

impl Row {
    /// What no client may ask of its user, whatever the README says.
    fn is_bearable(&self) {
        let name = &self.name;
        assert_eq!(self.expired, Effort::None, "{name}: a token that ran out is renewed unseen");
        let is_one_of = |clients: &[&str]| clients.iter().any(|client| name.starts_with(client));
        let by_hand = is_one_of(&BY_HAND);
        let survives = if is_one_of(&FORGETFUL) { Effort::SignIn } else { Effort::None };
        assert_eq!(self.away, survives, "{name}: Redis was away, and nothing was lost");
        for (what, effort) in [("a revocation", self.revoked), ("an emptied Redis", self.flushed)] {
            assert_ne!(effort, Effort::None, "{name}: {what} ends what it had");
            assert!(by_hand || effort == Effort::SignIn, "{name}: {what} costs {effort:?}");
        }
        let hopeless = self.stepped == StepUp::Never;
        assert_eq!(hopeless, name == "claude.ai", "{name}: a call that needs more takes {:?}", self.stepped);
    }
}

fn table(rows: &[Row]) -> String {
    let mut table =
        "| client | how | access token ran out | Redis away | signed out on the account page | Redis emptied | a call needs more scopes |\n\
                     |---|---|---|---|---|---|---|\n"
            .to_owned();
    for Row { name, how, expired, away, revoked, flushed, stepped } in rows {
        // What a script does on 503 is what the protocol says; what its client does is not public.
        let away = if *how == SCRIPTED { "not known" } else { away.text() };
        let cells =
            [name.as_str(), how, expired.text(), away, revoked.text(), flushed.text(), stepped.text()];
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

/// The README holds the table between two marks. With `UPDATE_README=1` it is written there.
fn the_readme_says_so(table: &str) {
    const MARKS: [&str; 2] = ["<!-- clients: made by tests/run clients_life -->\n", "<!-- clients: end -->"];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(file).unwrap();
    let (before, rest) = readme.split_once(MARKS[0]).expect("the README has the first mark");
    let (found, after) = rest.split_once(MARKS[1]).expect("the README has the second mark");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(file, format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1])).unwrap();
        return;
    }
    assert_eq!(found, table, "the README's table is not what was found: run this suite with UPDATE_README=1");
}

/// What a package is called with its version, from what pins it.
fn versions() -> impl Fn(&str) -> String {
    let npm: Value = serde_json::from_str(include_str!("../clients/package.json")).unwrap();
    move |package| {
        if let Some(version) = npm["dependencies"][package].as_str() {
            return format!("{package} {version}");
        }
        let pinned = include_str!("../clients/requirements.txt")
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{package}==")));
        if let Some(version) = pinned {
            return format!("{package} {version} (Python)");
        }
        let lock = include_str!("../../Cargo.lock");
        let (_, rest) =
            lock.split_once(&format!("name = \"{package}\"\nversion = \"")).expect("it is pinned");
        format!("{package} {} (Rust)", rest.split('"').next().unwrap())
    }
}

/// Where a scripted client may have its codes sent, and what it does when its registration is revoked.
#[tokio::test]
async fn every_callback_of_a_client_works_and_it_registers_anew_when_it_is_told_to() {
    let mut world = World::start(SHORT).await;
    let mut clients = Vec::new();
    for profile in &PROFILES {
        for callback in profile.callbacks {
            let mut client = Scripted::with_callback(profile, &world.gateway.url, "alice", callback);
            assert_eq!(client.whoami().await, "alice", "{} at {callback}", profile.name);
            assert_eq!(client.registrations, 1, "{}", profile.name);
            clients.push((profile.name, client));
        }
    }
    let second = world.redis.second().await + 1;
    let time = Timestamp::from_second(second).unwrap();
    let revoked = format!("registration: {{ dynamic: {{ notBefore: \"{time}\" }} }}\n  lifetimes: {{");
    world.gateway.edit("lifetimes: {", &revoked).await;
    world.redis.until(second).await;
    for (name, client) in &mut clients {
        assert_eq!(client.whoami().await, "alice", "{name}");
        assert_eq!(client.registrations, 2, "{name}");
    }
    let told = world.tap.heard("POST /oauth/token").into_iter().filter(|h| h.status == 401);
    let told: Vec<_> = told.map(|h| h.json()["error"].clone()).collect();
    assert!(told.len() == clients.len() && told.iter().all(|e| e == "invalid_client"), "{told:?}");
}

fn empty_or_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().any(empty_or_null),
        Value::Object(members) => members.values().any(empty_or_null),
        _ => false,
    }
}

/// Through one real client: what it was given when it registered and discovered (1 to 4), where its tokens are kept and
/// for how long (8), that it acts for its own user alone (9), that its code and its old tokens are dead (6, 7), and
/// that without its token nothing goes through (10).
async fn none_of_the_errors(sdk: Sdk) {
    let world = World::start("refreshGrace: 0s").await;
    let (mut alice, mut bob) = tokio::join!(
        Session::connect(sdk, &world.gateway.url, "alice"),
        Session::connect(sdk, &world.gateway.url, "bob")
    );
    what_it_was_given(&world);
    what_redis_keeps(&world).await;

    // 9: each acts for their own user, at once, and Bob cannot write to Alice's project.
    let project = json!({ "project": "alice/notes" });
    let (hers, his) = tokio::join!(alice.call("write", project.clone()), bob.call("write", project));
    assert!(!hers.is_error && hers.error.is_empty(), "{hers:?}");
    assert!(his.is_error, "{his:?}");
    let (hers, his) = tokio::join!(alice.whoami(), bob.whoami());
    assert_eq!((hers.as_str(), his.as_str()), ("alice", "bob"));

    // 10: the client's own call, without its token.
    let call = world.tap.heard("POST /mcp").pop().unwrap();
    world.backend.clear();
    let mut request = http().post(&world.gateway.url).body(call.question.clone());
    for (name, value) in
        call.asked.iter().filter(|(n, _)| !["authorization", "host", "content-length"].contains(&n.as_str()))
    {
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert!(world.backend.requests().is_empty(), "{:?}", world.backend.requests());

    the_code_is_dead(&world).await;
    a_live_token_dies_of_a_refresh(&world).await;
    what_it_renews_by_itself_leaves_nothing_alive(sdk).await;
}

/// 1 to 4.
fn what_it_was_given(world: &World) {
    let registrations = world.tap.heard("POST /oauth/register");
    assert!(!registrations.is_empty(), "it registered");
    for registration in registrations {
        assert_eq!(registration.status, 201, "{}", registration.answer);
        assert!(!empty_or_null(&registration.json()), "{}", registration.answer);
    }
    let documents = world.tap.heard("GET /.well-known/oauth-protected-resource");
    assert!(!documents.is_empty() && documents.iter().all(|d| d.status == 200), "{documents:#?}");
    let calls = world.tap.heard("POST /mcp");
    assert!(calls.iter().any(|call| call.status == 401), "it began without a token: {calls:#?}");
    for refused in calls.iter().filter(|call| call.status == 401) {
        let challenge =
            refused.headers.get("www-authenticate").and_then(|c| c.to_str().ok()).unwrap_or_default();
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains("resource_metadata=\""),
            "{challenge}"
        );
    }
    assert_eq!(world.tap.approvals(), 2, "two users approved, and both clients got their codes");
    let redeemed = world.tap.heard("POST /oauth/token");
    assert!(redeemed.iter().all(|r| r.status == 200), "{redeemed:#?}");
}

/// 8.
async fn what_redis_keeps(world: &World) {
    for (kind, life) in [("client", 365 * 86_400), ("access", 3600), ("refresh", 30 * 86_400)] {
        let keys = world.redis.all(kind).await;
        assert_eq!(keys.len(), 2, "{kind}: {keys:?}");
        for key in keys {
            let left = world.redis.ttl(&key).await;
            assert!((life - 120..=life).contains(&left), "{key} lives for {left} s");
        }
    }
    assert_eq!(world.redis.count("code").await, 0, "redeemed codes are gone");
}

/// 6: from another client, and once more from its own.
async fn the_code_is_dead(world: &World) {
    let redeemed = world.tap.heard("POST /oauth/token").remove(0);
    let code = redeemed.form("code").expect("the first request redeems a code");
    let other = OAuthClient::register(&world.gateway.issuer).await;
    let stolen = other.redeem(&code).await;
    assert!(stolen.is_error(400, "invalid_grant"), "{}", stolen.text);
    let again = replay(world, &redeemed).await;
    assert!(again.is_error(400, "invalid_grant"), "{}", again.text);
}

/// 7: without a grace, a refresh before its time kills the access token, too. No client refreshes that early, so its part
/// is played.
async fn a_live_token_dies_of_a_refresh(world: &World) {
    let redeemed = world.tap.heard("POST /oauth/token").into_iter().rfind(|h| h.status == 200).unwrap();
    let old = redeemed.json();
    let text = |name: &str| old[name].as_str().unwrap().to_owned();
    let form = [("grant_type", "refresh_token".to_owned()), ("refresh_token", text("refresh_token"))];
    let mut request = http().post(format!("{}/oauth/token", world.gateway.issuer));
    if let Some(basic) = redeemed.asked.get("authorization") {
        request = request.header("authorization", basic);
    }
    let mine = ["client_id", "client_secret"].into_iter().filter_map(|n| Some((n, redeemed.form(n)?)));
    let form: Vec<(&str, String)> = form.into_iter().chain(mine).collect();
    let renewed = Answer::of(request.form(&form).send().await.unwrap()).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let client = OAuthClient::register(&world.gateway.issuer).await;
    let access = text("access_token");
    eventually("the old access token to die on both replicas", async || {
        let (one, two) =
            (client.whoami(Some(&access)).await.status, client.whoami(Some(&access)).await.status);
        (one == 401 && two == 401).then_some(())
    })
    .await;
}

/// 7: the client itself renews what ran out, and of the pair that it had nothing is good after that: neither the access
/// token on any replica nor the refresh token, whose second use ends the sign-in.
async fn what_it_renews_by_itself_leaves_nothing_alive(sdk: Sdk) {
    let world = World::start("accessToken: 6s, refreshGrace: 0s").await;
    let mut alice = Session::connect(sdk, &world.gateway.url, "alice").await;
    if sdk == Sdk::Python {
        world.redis.access_tokens_run_out_for_both(LIFE).await;
    } else {
        // Without a grace, no later than that: who listens opens its stream again three seconds after it ended, and refreshes.
        world.redis.access_tokens_run_out().await;
    }
    assert_eq!(alice.whoami().await, "alice", "{:#?}", world.tap.summary());
    assert_eq!(world.tap.redeemed(), 1, "nobody signed in again: {:#?}", world.tap.summary());
    let exchanges = world.tap.heard("POST /oauth/token");
    let [.., before, renewed] = &exchanges[..] else { panic!("no renewal: {:#?}", world.tap.summary()) };
    let (old, new) = (before.json(), renewed.json());
    assert_eq!(renewed.form("grant_type").as_deref(), Some("refresh_token"));
    assert_eq!(renewed.form("refresh_token").as_deref(), old["refresh_token"].as_str());
    assert_ne!((&new["access_token"], &new["refresh_token"]), (&old["access_token"], &old["refresh_token"]));
    let other = OAuthClient::register(&world.gateway.issuer).await;
    for _ in &world.gateway.replicas {
        assert_eq!(other.whoami(old["access_token"].as_str()).await.status, 401);
    }
    let had = world.redis.all("refresh").await;
    assert!(!had.is_empty(), "what it was given is good");
    let again = replay(&world, renewed).await;
    assert!(again.is_error(400, "invalid_grant"), "{} {}", again.status, again.text);
    // Who listens hears of its end, and may have signed in again by now.
    let has = world.redis.all("refresh").await;
    assert!(has.iter().all(|key| !had.contains(key)), "a refresh token that comes twice was stolen: {has:?}");
}

/// Sends what a client sent, word for word.
async fn replay(world: &World, heard: &e2e::tap::Heard) -> Answer {
    let mut request =
        http().post(format!("{}/oauth/token", world.gateway.issuer)).body(heard.question.clone());
    for name in ["content-type", "authorization"] {
        if let Some(value) = heard.asked.get(name) {
            request = request.header(name, value);
        }
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn typescript_sdk_v1_meets_none_of_the_errors() {
    none_of_the_errors(Sdk::TypeScript1).await;
}

#[tokio::test]
async fn typescript_sdk_v2_meets_none_of_the_errors() {
    none_of_the_errors(Sdk::TypeScript2).await;
}

#[tokio::test]
async fn python_sdk_meets_none_of_the_errors() {
    none_of_the_errors(Sdk::Python).await;
}

#[tokio::test]
async fn mcp_remote_meets_none_of_the_errors() {
    none_of_the_errors(Sdk::McpRemote).await;
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}

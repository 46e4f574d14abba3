//! A gateway in this process, and browsers and clients that talk to its router.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, SaltString},
};
use async_trait::async_trait;
use axum::{Router, body::Body, extract::ConnectInfo};
use gatehouse_gateway::{
    app::{self, App},
    audit::{self, Audit},
    client_document::Documents,
    clock::{Entropy, ManualClock, SeededEntropy, SystemEntropy},
    credentials::{Check, CredentialError, Credentials, Custody, CustodyParts},
    denied::Denied,
    egress::{Destination, Egress},
    identity::{
        IdentityError, Provider, RenewError, Renewed, SignedIn, UpstreamAnswer, UpstreamRequest,
        local::LocalUsers,
    },
    keys::Keys,
    mcp::{Mcp, pods::Directory},
    metrics::Metrics,
    model::{Profile, Prompt, Scopes, Unknown, UpstreamTokens, UserId, UserRecord, pkce},
    refs::{self, Refs},
    server::{Identity, Server, Urls},
    store::{CallRecord, Store, memory::MemoryStore, redis::RedisStore},
    upload::Uploads,
};
use gatehouse_gateway_config::{
    AccessRule, BackendConfig, EgressConfig, KeyRef, RedisConfig, ServerConfig, denial::Denial, keys::Keyring,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use zeroize::Zeroizing;

use crate::redis_server::Admin;

pub(crate) const NOW: i64 = 1_795_478_400;
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const CALLBACK: &str = "http://127.0.0.1:61000/callback";

/// A gateway and what a test may move.
pub(crate) struct Gateway {
    pub(crate) router: Router,
    pub(crate) app: Arc<App>,
    pub(crate) users: Arc<UsersFile>,
    pub(crate) server: Arc<Server>,
    pub(crate) clock: ManualClock,
    pub(crate) provider: Arc<FakeProvider>,
    pub(crate) checks: Arc<FakeCredentials>,
    pub(crate) trail: Arc<Trail>,
    pub(crate) origin: String,
    mcp: Arc<Mcp>,
    /// The state, where it is in this process.
    memory: Option<MemoryStore>,
}

/// A server's configuration to start from: users alice and bob, whose passwords are their names.
pub(crate) fn config() -> Value {
    json!({
        "namespace": "team-a", "name": "github",
        "url": "https://gw.test/mcp", "issuer": "https://gw.test",
        "display": {"name": "GitHub tools"},
        "identity": {"local": {"users": {"name": "users", "key": "users.yaml"}}},
        "access": {"allow": "everyone"},
        "credentials": [{"name": "me", "kind": "fromIdentity"}],
        "backends": [{"name": "tools", "target": {"url": "https://tools.test/mcp"},
            "inject": [{"credential": "me", "header": "Authorization", "format": "Bearer {token}"}]}],
    })
}

/// As [`config`], where users sign in at GitHub.
pub(crate) fn provider_config() -> Value {
    let mut config = config();
    config["identity"] = json!({"oauth2": {
        "provider": "GitHub",
        "authorizationUrl": "https://idp.test/authorize", "tokenUrl": "https://idp.test/token",
        "userInfo": {"url": "https://idp.test/user", "subject": "/id"},
        "clientId": "upstream", "clientSecret": {"name": "idp", "key": "secret"},
        "scopes": ["repo", "read:user"],
    }});
    config
}

pub(crate) fn keyring(seed: u64) -> Keyring {
    Keyring::generate(&mut StdRng::seed_from_u64(seed))
}

pub(crate) fn at_redis(url: &str) -> RedisConfig {
    serde_json::from_value(json!({ "url": url })).unwrap()
}

impl Gateway {
    pub(crate) fn local() -> Self {
        Self::new(config())
    }

    pub(crate) fn with_provider() -> Self {
        Self::new(provider_config())
    }

    pub(crate) fn edited(mut config: Value, path: &str, value: Value) -> Self {
        let mut place = &mut config;
        for key in path.split('.') {
            place = &mut place[key];
        }
        *place = value;
        Self::new(config)
    }

    pub(crate) fn new(config: Value) -> Self {
        Self::seeded(config, 1)
    }

    /// The same server, whose Redis nobody answers for.
    pub(crate) fn without_redis(config: Value) -> Self {
        // Bound and dropped: nobody listens there.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::build(config, 1, Some(&at_redis(&format!("redis://{address}"))))
    }

    /// A replica of the same server, on this Redis, which it has heard from as each has that is ready.
    pub(crate) async fn on_redis(config: Value, url: &str) -> Self {
        Self::on_redis_at(config, url, NOW).await
    }

    /// As [`Gateway::on_redis`], where the machine believes that it is `unix` seconds since 1970.
    pub(crate) async fn on_redis_at(config: Value, url: &str, unix: i64) -> Self {
        let gateway = Self::assemble(config, 1, ManualClock::at(unix), None, Some(&at_redis(url)), None);
        gateway.server.store.ping().await.unwrap();
        gateway
    }

    /// A replica of the same server, for which a replica of this Redis must acknowledge each claim: where there is none,
    /// nothing is.
    pub(crate) async fn unacknowledged(config: Value, url: &str) -> Self {
        let redis = RedisConfig { min_replicas: 1, ..at_redis(url) };
        let gateway = Self::assemble(config, 1, ManualClock::at(NOW), None, Some(&redis), None);
        gateway.server.store.ping().await.unwrap();
        gateway
    }

    /// Denies these subjects, as the operator does.
    pub(crate) async fn deny(&self, redis: Option<&Admin>, generation: i64, subjects: &[&str]) {
        let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
        let rule = AccessRule { subjects, ..AccessRule::default() };
        let rules = if rule.subjects.is_empty() { Vec::new() } else { vec![rule] };
        let denial = Denial { generation, rules };
        match (redis, &self.memory) {
            (Some(admin), _) => {
                let prefix = format!("gatehouse:{{team-a/github.{}}}:", self.server.keys.instance());
                admin.deny(&keyring(1), &prefix, &denial).await;
            }
            (None, memory) => memory.as_ref().unwrap().deny(denial),
        }
    }

    /// Another seed is another server: other keys, another instance.
    pub(crate) fn seeded(config: Value, seed: u64) -> Self {
        Self::build(config, seed, None)
    }

    /// The same server after a change of its configuration: another process, the same keys, clock and store.
    pub(crate) fn reconfigured(&self, config: Value) -> Self {
        Self::assemble(config, 1, self.clock.clone(), Some(self.server.store.clone()), None, None)
    }

    fn build(config: Value, seed: u64, redis: Option<&RedisConfig>) -> Self {
        Self::assemble(config, seed, ManualClock::at(NOW), None, redis, None)
    }

    /// A server that fetches the documents of clients like this.
    pub(crate) fn fetching(config: Value, clock: ManualClock, documents: Documents) -> Self {
        Self::assemble(config, 1, clock, None, None, Some(documents))
    }

    /// As [`Gateway::fetching`], on this Redis.
    pub(crate) async fn fetching_on_redis(
        config: Value,
        clock: ManualClock,
        documents: Documents,
        redis: &RedisConfig,
    ) -> Self {
        let gateway = Self::assemble(config, 1, clock, None, Some(redis), Some(documents));
        gateway.server.store.ping().await.unwrap();
        gateway
    }

    /// Another replica of the same server, which fetches the documents of clients like this.
    pub(crate) fn replica(&self, config: Value, documents: Documents) -> Self {
        Self::assemble(config, 1, self.clock.clone(), Some(self.server.store.clone()), None, Some(documents))
    }

    fn assemble(
        config: Value,
        seed: u64,
        clock: ManualClock,
        store: Option<Arc<dyn Store>>,
        redis: Option<&RedisConfig>,
        documents: Option<Documents>,
    ) -> Self {
        let config: ServerConfig = serde_json::from_value(config).unwrap();
        let ring = keyring(seed);
        let refs = Arc::new(UsersFile::default());
        let provider = Arc::new(FakeProvider::default());
        let trail = Arc::new(Trail::default());
        let identity = match &config.identity {
            gatehouse_gateway_config::IdentityConfig::Local(local) => {
                let users = LocalUsers::new(local.clone(), refs.clone(), Arc::new(clock.clone()));
                // As the sweep does when a process starts.
                users.current();
                Identity::Local(Arc::new(users))
            }
            _ => Identity::Provider(provider.clone()),
        };
        let keys = Keys::new(ring, Arc::new(clock.clone()));
        // Replicas that share their state must not mint the same.
        let entropy: Arc<dyn Entropy> = match redis {
            Some(_) => Arc::new(SystemEntropy),
            None => Arc::new(SeededEntropy::new(seed)),
        };
        let memory = MemoryStore::new(Arc::new(clock.clone()));
        let in_memory = store.is_none() && redis.is_none();
        let store: Arc<dyn Store> = match (store, redis) {
            (Some(store), _) => store,
            (None, None) => Arc::new(memory.clone()),
            (None, Some(redis)) => {
                let store = RedisStore::new(
                    redis,
                    "team-a",
                    "github",
                    keys.clone(),
                    refs.clone(),
                    Arc::new(clock.clone()),
                );
                Arc::new(store.unwrap())
            }
        };
        let audit = Audit::new(Some(trail.clone()), Arc::new(clock.clone()), "team-a", "github");
        let tasks = TaskTracker::new();
        let custody = matches!(identity, Identity::Local(_)).then(|| {
            Custody::new(CustodyParts {
                config: config.clone(),
                keys: keys.clone(),
                refs: refs.clone(),
                store: store.clone(),
                clock: Arc::new(clock.clone()),
                entropy: entropy.clone(),
                identity: identity.clone(),
                audit: audit.clone(),
                tasks: tasks.clone(),
            })
        });
        let checks = Arc::new(FakeCredentials { check: Mutex::default(), custody });
        let egress = Egress::new(&EgressConfig::default()).unwrap();
        let documents = documents.unwrap_or_else(|| {
            Documents::new(&egress, Destination::default(), refs.clone(), &[], Arc::new(clock.clone()))
        });
        let server = Arc::new(Server {
            urls: Urls::new(&config.url, &config.issuer).unwrap(),
            scopes: Scopes::new(&config.scopes, config.policy.scopes.as_deref()).unwrap(),
            keys,
            refs: refs.clone(),
            store,
            clock: Arc::new(clock.clone()),
            entropy,
            identity,
            documents,
            credentials: checks.clone(),
            denied: Denied::default(),
            audit,
            tasks,
            config,
        });
        let metrics = Arc::new(Metrics::new("team-a", "github"));
        let mcp = Arc::new(Mcp::new(server.clone(), &egress, Arc::new(NoPods), metrics).unwrap());
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let app = Arc::new(App::new(server.clone(), trusted));
        let router = app::router(&app, &mcp);
        let origin = server.urls.origin.clone();
        let memory = in_memory.then_some(memory);
        Self { router, app, users: refs, server, clock, provider, checks, trail, origin, mcp, memory }
    }

    /// The same gateway, where requests' bodies are counted here.
    pub(crate) fn uploading(self, uploads: Uploads) -> Self {
        let trusted_proxies = self.app.trusted_proxies.clone();
        let app = App { uploads: Arc::new(uploads), ..App::new(self.server.clone(), trusted_proxies) };
        let app = Arc::new(app);
        Self { router: app::router(&app, &self.mcp), app, ..self }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        // A name's own direction is no part of what a page says.
        let body = body.replace("<bdi>", "").replace("</bdi>", "");
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        assert!(
            !answer.status.is_server_error()
                || answer.status == StatusCode::SERVICE_UNAVAILABLE
                || answer.status == StatusCode::BAD_GATEWAY,
            "{answer:?}"
        );
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], Body::empty())).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: impl ToString) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(request(Method::POST, path, &headers, Body::from(body.to_string()))).await
    }

    pub(crate) async fn token(&self, params: &[(&str, &str)]) -> Answer {
        self.token_with(&[], params).await
    }

    pub(crate) async fn token_with(&self, headers: &[(&str, &str)], params: &[(&str, &str)]) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send(request(Method::POST, "/oauth/token", &all, Body::from(form(params)))).await
    }

    /// Registers a client; its id.
    pub(crate) async fn register(&self, metadata: Value) -> Client {
        let answer = self.post_json("/oauth/register", metadata).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let json = answer.json();
        let secret = json["client_secret"].as_str().map(str::to_owned);
        Client { id: json["client_id"].as_str().unwrap().to_owned(), secret }
    }

    pub(crate) async fn public_client(&self) -> Client {
        self.register_redirect("http://127.0.0.1/callback").await
    }

    /// A public client with this redirect URI.
    pub(crate) async fn register_redirect(&self, redirect_uri: &str) -> Client {
        let metadata = json!({
            "client_name": "Claude Code", "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
        });
        self.register(metadata).await
    }

    /// A whole sign-in of alice in `browser`; her code.
    pub(crate) async fn code(&self, browser: &mut Browser, client: &Client) -> String {
        let page = browser.consent(self, client, "alice").await;
        let answer = browser.get(self, &page.link("approve")).await;
        answer.redirect_param("code").unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// A whole sign-in of alice; her tokens.
    pub(crate) async fn tokens(&self, client: &Client) -> Value {
        let code = self.code(&mut Browser::default(), client).await;
        let answer = self.token(&redeem(client, &code)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// Whether an access token still opens the MCP path.
    pub(crate) async fn accepts(&self, access_token: &str) -> bool {
        let hash = gatehouse_gateway::model::AccessToken::hash_presented(access_token);
        self.server.store.call(&hash).await.unwrap().is_some()
    }
}

/// The audit events of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Vec<u8>>);

impl audit::Sink for Trail {
    fn take(&self, record: &audit::Record<'_>) {
        record.json(&mut self.0.lock().unwrap());
    }
}

impl Trail {
    /// The events since the last look.
    pub(crate) fn take(&self) -> Vec<Value> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was decided since the last look: event, outcome and, where there is one, reason.
    pub(crate) fn decisions(&self) -> Vec<String> {
        let word = |event: &Value, name: &str| event[name].as_str().map(str::to_owned);
        let words = |event: &Value| {
            ["event", "outcome", "reason"].iter().filter_map(|n| word(event, n)).collect::<Vec<_>>()
        };
        self.take().iter().map(|event| words(event).join(" ")).collect()
    }
}

/// A registered client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
}

/// The parameters that redeem a code.
pub(crate) fn redeem<'a>(client: &'a Client, code: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", &client.id),
        ("code", code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", CALLBACK),
    ]
}

/// The parameters that refresh.
pub(crate) fn refresh<'a>(client: &'a Client, token: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("grant_type", "refresh_token"), ("client_id", &client.id), ("refresh_token", token)]
}

/// `params` with one replaced, or left out.
pub(crate) fn with<'a>(
    mut params: Vec<(&'a str, &'a str)>,
    name: &'a str,
    value: Option<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    params.retain(|(key, _)| *key != name);
    params.extend(value.map(|value| (name, value)));
    params
}

/// An authorization request that is right.
pub(crate) fn authorization(client: &Client) -> Vec<(&str, &str)> {
    vec![
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", CALLBACK),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "xyz"),
        ("resource", "https://gw.test/mcp"),
    ]
}

pub(crate) fn authorize_path(params: &[(&str, &str)]) -> String {
    format!("/oauth/authorize?{}", form(params))
}

pub(crate) fn form(params: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

pub(crate) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}

/// `text` as gzip has it (RFC 1952), in one block that is stored as it is.
pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    let tail = [crc32(text).to_le_bytes(), u32::from(length).to_le_bytes()].concat();
    [&head[..], &lengths, text, &tail].concat()
}

fn crc32(text: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !text.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[test]
fn what_is_gzipped_has_the_checksum_of_its_kind() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        self.header("location")
    }

    /// A parameter of the redirect's query, which stands there at most once.
    pub(crate) fn redirect_param(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(self.location()).ok()?;
        let values: Vec<_> = url.query_pairs().filter(|(key, _)| key == name).collect();
        assert!(values.len() <= 1, "{self:?}");
        values.first().map(|(_, value)| value.to_string())
    }

    /// The link with this id, or with this label.
    pub(crate) fn link(&self, id: &str) -> String {
        let marked = format!("id=\"{id}\" href=\"");
        let labelled = format!("\">{id}</a>");
        let href = match (self.body.split_once(&marked), self.body.split_once(&labelled)) {
            (Some((_, rest)), _) => rest.split('"').next(),
            (None, Some((before, _))) => before.rsplit("href=\"").next(),
            (None, None) => None,
        };
        unescape(href.unwrap_or_else(|| panic!("no link {id} in {}", self.body)))
    }

    /// Where the first form goes.
    pub(crate) fn action(&self) -> String {
        let marked = "<form method=\"post\" action=\"";
        let (_, rest) = self.body.split_once(marked).unwrap_or_else(|| panic!("no form in {}", self.body));
        unescape(rest.split('"').next().unwrap())
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let marked = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&marked).unwrap_or_else(|| panic!("no {name} in {}", self.body));
        unescape(rest.split('"').next().unwrap())
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    pub(crate) fn is_error(&self, status: u16, code: &str) -> bool {
        self.status == status && self.error() == code && self.header("cache-control") == "no-store"
    }

    /// An error page: HTML without a redirect.
    pub(crate) fn is_page(&self, status: u16) -> bool {
        self.status == status
            && self.header("content-type").starts_with("text/html")
            && self.headers.get(header::LOCATION).is_none()
            && self.header("cache-control") == "no-store"
    }
}

fn unescape(text: &str) -> String {
    text.replace("&#38;", "&").replace("&#39;", "'").replace("&#34;", "\"").replace("&amp;", "&")
}

/// A browser: cookies, and the headers that browsers add.
#[derive(Debug, Default, Clone)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
    /// Where it stands; unknown, if it does not say.
    pub(crate) address: Option<IpAddr>,
}

impl Browser {
    pub(crate) async fn get(&mut self, gateway: &Gateway, path: &str) -> Answer {
        self.get_with(gateway, path, &[]).await
    }

    pub(crate) async fn get_with(
        &mut self,
        gateway: &Gateway,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let path = path.strip_prefix(&gateway.origin).unwrap_or(path);
        let cookies = self.header();
        let mut all = vec![("cookie", cookies.as_str())];
        all.extend_from_slice(headers);
        let answer = gateway.send(self.from(request(Method::GET, path, &all, Body::empty()))).await;
        self.keep(&answer);
        answer
    }

    pub(crate) async fn post(&mut self, gateway: &Gateway, path: &str, params: &[(&str, &str)]) -> Answer {
        self.post_with(gateway, path, params, &[]).await
    }

    pub(crate) async fn post_with(
        &mut self,
        gateway: &Gateway,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let cookies = self.header();
        let mut all =
            vec![("cookie", cookies.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        let body = Body::from(form(params));
        let answer = gateway.send(self.from(request(Method::POST, path, &all, body))).await;
        self.keep(&answer);
        answer
    }

    fn from(&self, mut request: Request<Body>) -> Request<Body> {
        if let Some(address) = self.address {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 1)));
        }
        request
    }

    /// Signs in on the sign-in page.
    pub(crate) async fn sign_in(
        &mut self,
        gateway: &Gateway,
        page: &Answer,
        name: &str,
        password: &str,
    ) -> Answer {
        let (flow, token) = (page.field("flow"), page.field("token"));
        let params = [("flow", flow.as_str()), ("token", &token), ("username", name), ("password", password)];
        self.post(gateway, &page.action(), &params).await
    }

    /// The consent page, after a local sign-in if one is asked for.
    pub(crate) async fn consent(&mut self, gateway: &Gateway, client: &Client, name: &str) -> Answer {
        self.consent_to(gateway, &authorization(client), name).await
    }

    /// As [`Browser::consent`], for this authorization request.
    pub(crate) async fn consent_to(
        &mut self,
        gateway: &Gateway,
        asked: &[(&str, &str)],
        name: &str,
    ) -> Answer {
        self.arrive(gateway, &authorize_path(asked), name).await
    }

    /// The page that `path` leads to, after a local sign-in if one is asked for.
    pub(crate) async fn arrive(&mut self, gateway: &Gateway, path: &str, name: &str) -> Answer {
        let mut page = self.get(gateway, path).await;
        while page.status == StatusCode::SEE_OTHER {
            page = self.get(gateway, page.location()).await;
            if page.body.contains("id=\"signin\"") {
                page = self.sign_in(gateway, &page, name, name).await;
            }
        }
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        page
    }

    fn header(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Answer) {
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let text = set.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The file of users, which a test may edit, and the secrets of listed clients.
#[derive(Debug)]
pub(crate) struct UsersFile(Mutex<refs::Value>);

impl Default for UsersFile {
    fn default() -> Self {
        static FILE: LazyLock<String> =
            LazyLock::new(|| user_entry("alice", "alice") + &user_entry("bob", "bob"));
        Self(Mutex::new(content(&FILE)))
    }
}

impl UsersFile {
    pub(crate) fn add(&self, name: &str) {
        let before = self.0.lock().unwrap().clone();
        self.write(&(String::from_utf8(before.to_vec()).unwrap() + &user_entry(name, name)));
    }

    pub(crate) fn write(&self, text: &str) {
        *self.0.lock().unwrap() = content(text);
    }
}

impl Refs for UsersFile {
    fn get(&self, key: &KeyRef) -> Option<refs::Value> {
        match (key.name.as_str(), key.key.as_str()) {
            ("users", _) => Some(self.0.lock().unwrap().clone()),
            // Secrets of clients; what an editor leaves at the end is not part of one.
            ("ci", "old") => Some(content("old-secret")),
            ("ci", "new") => Some(content("new-secret\n")),
            ("ci", "odd") => Some(content(ODD_SECRET)),
            _ => None,
        }
    }
}

/// What `openssl rand -base64` may give, and worse: read as a form it says something else.
pub(crate) const ODD_SECRET: &str = "a+b/c%3D==:x";

fn content(text: &str) -> refs::Value {
    Arc::new(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The entry of a user in the file.
pub(crate) fn user_entry(name: &str, password: &str) -> String {
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    let hash = cheap.hash_password(password.as_bytes(), &salt).unwrap();
    format!("- {{name: {name}, uid: uid-{name}, passwordHash: \"{hash}\", email: {name}@example.com}}\n")
}

/// An identity provider that answers as it is told to.
#[derive(Debug, Default)]
pub(crate) struct FakeProvider {
    pub(crate) answers: Mutex<VecDeque<Result<SignedIn, IdentityError>>>,
    pub(crate) exchanged: Mutex<Vec<String>>,
    /// What the next exchange waits for, when it has arrived.
    pub(crate) waits: Mutex<Option<oneshot::Receiver<()>>>,
    /// Every exchange that has arrived waits while a test holds this.
    pub(crate) held: tokio::sync::RwLock<()>,
}

impl FakeProvider {
    /// The next exchange signs this user in.
    pub(crate) fn signs_in(&self, subject: &str) {
        self.signs_in_as(subject, Unknown::default());
    }

    /// As [`Self::signs_in`], where the provider does not tell everything.
    pub(crate) fn signs_in_as(&self, subject: &str, unknown: Unknown) {
        let profile = Profile {
            subject: subject.to_owned(),
            name: Some(format!("User {subject}")),
            unknown,
            ..Profile::default()
        };
        let tokens = UpstreamTokens {
            access: format!("upstream-{subject}"),
            refresh: None,
            expires_at: None,
            issued_at: None,
            client_id: "upstream".to_owned(),
        };
        self.answers.lock().unwrap().push_back(Ok(SignedIn { profile, tokens: Some(tokens) }));
    }

    pub(crate) fn fails(&self, error: IdentityError) {
        self.answers.lock().unwrap().push_back(Err(error));
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn authorization_url(&self, request: UpstreamRequest<'_>) -> Result<url::Url, IdentityError> {
        let prompt = match request.prompt {
            None => "",
            Some(Prompt::Login) => "login",
            Some(Prompt::SelectAccount) => "select_account",
        };
        let mut url = url::Url::parse("https://idp.test/authorize").unwrap();
        url.query_pairs_mut()
            .append_pair("state", request.state)
            .append_pair("code_challenge", request.challenge)
            .append_pair("nonce", request.nonce)
            .append_pair("prompt", prompt);
        Ok(url)
    }

    async fn exchange(&self, answer: UpstreamAnswer<'_>) -> Result<SignedIn, IdentityError> {
        self.exchanged.lock().unwrap().push(answer.code.to_owned());
        // The code names the challenge that it was issued for, as a provider remembers it.
        let challenge = answer.code.split_once('.').map(|(_, challenge)| challenge);
        if pkce::challenge_of(answer.verifier).as_deref() != challenge {
            return Err(IdentityError::Refused("invalid_grant".to_owned()));
        }
        drop(self.held.read().await);
        let waits = self.waits.lock().unwrap().take();
        if let Some(waits) = waits {
            waits.await.unwrap();
        }
        self.answers.lock().unwrap().pop_front().expect("an answer for each exchange")
    }

    async fn profile(&self, _: &UpstreamTokens, known: &Profile) -> Result<Profile, IdentityError> {
        Ok(known.clone())
    }

    async fn refresh(&self, _: &UpstreamTokens, _: &Profile) -> Result<Renewed, RenewError> {
        Err(RenewError::Refused("no refresh token".to_owned()))
    }
}

/// Answers re-checks as it is told to, and else as the file of users says.
#[derive(Debug)]
pub(crate) struct FakeCredentials {
    pub(crate) check: Mutex<Option<Check>>,
    /// Of `identity.local`.
    custody: Option<Custody>,
}

#[async_trait]
impl Credentials for FakeCredentials {
    async fn headers(
        &self,
        _: &CallRecord,
        _: &BackendConfig,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, CredentialError> {
        Ok(Vec::new())
    }

    async fn recheck(&self, user: &UserRecord) -> Check {
        let told = self.check.lock().unwrap().clone();
        match (told, &self.custody) {
            (Some(check), _) => check,
            (None, Some(custody)) => custody.recheck(user).await,
            // A user at a provider is checked only in tests that say what comes of it.
            (None, None) => panic!("no check is due in this test"),
        }
    }

    async fn confirm(&self, _: &UserId) -> Check {
        Check::Live
    }

    fn expired_sentence(&self) -> String {
        "Your GitHub session expired, please sign in again.".to_owned()
    }
}

#[derive(Debug)]
struct NoPods;

#[async_trait]
impl Directory for NoPods {
    async fn pods(&self, _: &str) -> Result<Vec<std::net::SocketAddr>, String> {
        Ok(Vec::new())
    }
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

//! Feeds a parser: what the fuzzing programs do with each input, and the tests of every build with the corpus.
//!
//! No input is answered with a server error, or refused because there were too many before it: such a refusal would keep
//! all that follow from the parser.

#[path = "texts.rs"]
mod texts;
#[path = "upstream.rs"]
mod upstream;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatehouse_gateway::{
    assemble::{Gateway, assemble},
    client_document::{Document, DocumentUrl, KeySet, freshness},
    clock::{Entropy, ManualClock, SeededEntropy},
    jws,
    model::{AccessToken, GrantId, RedirectUri, RefreshToken, pkce, registration::Registration},
    oauth::{assertion::UnverifiedAssertion, source::Source},
    refs::FixedRefs,
};
use gatehouse_gateway_config::{GatewayConfig, KeyRef, keys::Keyring, policy::RedirectUrisConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use self::{
    texts::{printable, under_next_key},
    upstream::{KNOWN, Part, Upstream},
};

const NOW: i64 = 1_795_478_400;
const FORM: &str = "application/x-www-form-urlencoded";
const DOCUMENT: &str = "https://a.example.com/c";
const ISSUER: &str = "https://gw.test";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// Where the client comes back to, in a query.
const CALLBACK: &str = "http%3A%2F%2F127.0.0.1%3A61000%2Fcallback";
/// No parser is given more than what fits into a body or a head.
const LONGEST: usize = 16 << 10;
/// How many inputs a world is given: its clients grow old with each, and its store is its memory.
const INPUTS: u32 = 1000;
/// Time between two requests: the windows of all limits that count them are over before they are full.
const PAUSE: Duration = Duration::from_secs(60);
/// alice, whose password is her name, at the least cost that there is.
const USERS: &str = "- {name: alice, uid: uid-alice, passwordHash: \
    \"$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$wTb35lGLofyWvJY1J9P0nJAZvNXuDmXGR7Hs3eSNU6Y\"}";

static UPSTREAM: LazyLock<Upstream> = LazyLock::new(Upstream::start);
static WORLD: LazyLock<Mutex<(World, u32)>> = LazyLock::new(|| Mutex::new((World::new(), 0)));

/// Feeds `parser`, which is a program of `gateway/fuzz` and a folder of `gateway/corpus`; false: the input is too long to be one.
pub(crate) fn feed(parser: &str, input: &[u8]) -> bool {
    if input.len() > LONGEST {
        return false;
    }
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    if world.1 == INPUTS {
        *world = (World::new(), 0);
    }
    world.1 += 1;
    world.0.feed(parser, input);
    true
}

/// What only this process knows, which stands in the inputs as `{name}`.
type Known<'a> = &'a [(&'static str, &'a str)];

fn filled(input: &[u8], known: Known<'_>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(input) else { return input.to_vec() };
    known
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
        .into_bytes()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn location(&self) -> &str {
        self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The cookie that it sets last, as a browser sends it.
    fn cookie(&self) -> String {
        let set = self.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = set.filter_map(|text| text.split(';').next());
        pairs.next_back().expect("it sets a cookie").to_owned()
    }

    /// All that it sets.
    fn cookies(&self) -> String {
        let set = self.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        set.filter_map(|text| text.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// What stands between `before` and the next quotation mark.
    fn quoted(&self, before: &str) -> String {
        let page = std::str::from_utf8(&self.body).expect("a page");
        let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
        rest.split('"').next().expect("at least one part").replace("&#38;", "&").replace("&amp;", "&")
    }

    fn field(&self, name: &str) -> String {
        self.quoted(&format!("name=\"{name}\" value=\""))
    }
}

/// A server that signs its users in itself, one whose users come from a provider, and a client of each.
struct World {
    runtime: Runtime,
    local: Site,
    provider: Site,
    refresh: String,
    access: String,
    grant: String,
    /// A code that was redeemed, and what came of it.
    spent: String,
    kept: String,
}

struct Site {
    clock: ManualClock,
    gateway: Gateway,
    client: String,
    /// A client with its secret.
    confidential: (String, String),
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let entropy = Arc::new(SeededEntropy::new(1));
        let local = json!({"local": {"users": {"name": "users", "key": "users.yaml"}}});
        let at = &UPSTREAM.url;
        let provider = json!({"oauth2": {
            "authorizationUrl": "https://idp.test/authorize", "tokenUrl": format!("{at}/token"),
            "userInfo": {"url": format!("{at}/userinfo"), "subject": "/sub"},
            "clientId": "upstream", "clientSecret": {"name": "idp", "key": "secret"},
        }});
        let local = Site::new(&runtime, &local, entropy.clone());
        let provider = Site::new(&runtime, &provider, entropy.clone());
        let (keys, grant) = (&local.gateway.server.keys, GrantId::random(entropy.as_ref()));
        let refresh = RefreshToken::mint(keys, entropy.as_ref(), grant, 1).expose().to_owned();
        let access = AccessToken::mint(keys, entropy.as_ref()).expose().to_owned();
        let (grant, (spent, kept)) = (grant.to_string(), Default::default());
        let mut world = Self { runtime, local, provider, refresh, access, grant, spent, kept };
        let (id, secret) = world.local.confidential.clone();
        (world.spent, _) = world.signs_in(&world.local.client, "");
        (_, world.kept) = world.signs_in(&id, &format!("&client_secret={secret}"));
        world
    }

    /// A code of alice's that was redeemed, and the refresh token that came of it.
    fn signs_in(&self, client: &str, more: &str) -> (String, String) {
        let code = self.code(client);
        let form = format!(
            "grant_type=authorization_code&code={code}&client_id={client}&redirect_uri={CALLBACK}&code_verifier={VERIFIER}{more}"
        );
        let answer = self.post("/oauth/token", FORM, form.as_bytes());
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        (code, answer["refresh_token"].as_str().expect("a refresh token").to_owned())
    }

    /// A code of alice's.
    fn code(&self, client: &str) -> String {
        let sent = self.authorize_as(&self.local, client);
        let cookie = sent.cookie();
        let page = self.get(&self.local, sent.location(), &cookie);
        let (flow, token) = (page.field("flow"), page.field("token"));
        let form = format!("flow={flow}&token={token}&username=alice&password=alice");
        let signed_in = self.submit("/oauth/signin", FORM, &cookie, form.as_bytes());
        let cookies = format!("{cookie}; {}", signed_in.cookies());
        let page = self.get(&self.local, signed_in.location(), &cookies);
        let landed = self.get(&self.local, &page.quoted("id=\"approve\" href=\""), &cookies);
        let url = url::Url::parse(landed.location()).expect("the client's");
        let code = url.query_pairs().find(|(name, _)| name == "code");
        code.expect("a code").1.into_owned()
    }

    fn feed(&self, parser: &str, input: &[u8]) {
        let (confidential, secret) = &self.local.confidential;
        let mut known = vec![
            ("client", self.local.client.as_str()),
            ("refresh", self.refresh.as_str()),
            ("access", self.access.as_str()),
            ("confidential", confidential.as_str()),
            ("secret", secret.as_str()),
            ("spent", self.spent.as_str()),
            ("kept", self.kept.as_str()),
        ];
        let next = [&self.local.client, &self.refresh, &self.access, confidential, &self.spent];
        let next = next.map(|text| under_next_key(text));
        let names = ["next_client", "next_refresh", "next_access", "next_confidential", "next_code"];
        known.extend(names.into_iter().zip(next.iter().map(String::as_str)));
        let input = &filled(&filled(input, &known), &KNOWN);
        match parser {
            "registration" => drop(self.post("/oauth/register", "application/json", input)),
            "token" => self.token(input),
            "revocation" => drop(self.post("/oauth/revoke", FORM, input)),
            "authorization" => {
                drop(self.get(&self.local, &format!("/oauth/authorize?{}", printable(input)), ""));
            }
            "basic_header" => self.with_authorization("/oauth/token", input),
            "basic_pair" => {
                let header = format!("Basic {}", STANDARD.encode(input));
                self.with_authorization("/oauth/token", header.as_bytes());
            }
            "bearer" => self.with_authorization("/mcp", input),
            "cookies" => self.cookies(input),
            "state" => self.state(input),
            "callback" => self.callback(input),
            "token_answer" => self.upstream(Part::Token, input),
            "discovery" => self.upstream(Part::Discovery, input),
            "jwks" => self.upstream(Part::Keys, input),
            "user_info" => self.upstream(Part::UserInfo, input),
            "forwarded" => forwarded(input),
            "signin" => self.signin(input),
            "account" => self.account(input),
            "sealed" => self.sealed(input),
            "redirect_uri" => redirect_uri(input),
            "document_url" => document_url(input),
            "document" => document(input),
            "cache_control" => life(header::CACHE_CONTROL, input),
            "http_date" => life(header::EXPIRES, input),
            "assertion" => assertion(input),
            "jws_header" => assertion(assertion_of(input, claims().as_bytes()).as_bytes()),
            "assertion_claims" => assertion(assertion_of(b"{\"alg\":\"EdDSA\"}", input).as_bytes()),
            other => unreachable!("no parser is called {other}"),
        }
    }

    fn send(&self, site: &Site, request: Request<Body>) -> Answer {
        site.send(&self.runtime, request)
    }

    fn get(&self, site: &Site, path: &str, cookie: &str) -> Answer {
        let path = path.strip_prefix(ISSUER).unwrap_or(path);
        let request = Request::builder().uri(path).header(header::COOKIE, cookie);
        self.send(site, request.body(Body::empty()).expect("a request"))
    }

    fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.submit(path, kind, "", body)
    }

    /// As a browser sends a form of ours.
    fn submit(&self, path: &str, kind: &str, cookie: &str, body: &[u8]) -> Answer {
        let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, kind);
        let request = request.header(header::COOKIE, cookie).header("sec-fetch-site", "same-origin");
        self.send(&self.local, request.body(Body::from(body.to_vec())).expect("a request"))
    }

    /// Asks for tokens; `{code}` is a code that waits to be redeemed.
    fn token(&self, input: &[u8]) {
        let waits = input.windows(6).any(|window| window == b"{code}");
        let code = if waits { self.code(&self.local.client) } else { String::new() };
        self.post("/oauth/token", FORM, &filled(input, &[("code", &code)]));
    }

    fn upstream(&self, part: Part, input: &[u8]) {
        self.runtime.block_on(UPSTREAM.signs_in(part, input));
    }

    fn with_authorization(&self, path: &str, value: &[u8]) {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, FORM);
        let request = request.header(header::AUTHORIZATION, value);
        let body = Body::from("grant_type=refresh_token&refresh_token=x");
        self.send(&self.local, request.body(body).expect("a request"));
    }

    /// A sign-in that begins.
    fn authorize(&self, site: &Site) -> Answer {
        self.authorize_as(site, &site.client)
    }

    fn authorize_as(&self, site: &Site, client: &str) -> Answer {
        let challenge = pkce::s256(VERIFIER);
        let query = format!(
            "response_type=code&client_id={client}&redirect_uri={CALLBACK}\
             &code_challenge={challenge}&code_challenge_method=S256"
        );
        self.get(site, &format!("/oauth/authorize?{query}"), "")
    }

    /// Approves with an input for the cookies.
    fn cookies(&self, input: &[u8]) {
        let page = self.authorize(&self.provider);
        let (cookie, approve) = (page.cookie(), page.quoted("id=\"approve\" href=\""));
        let input = filled(input, &[("cookie", &cookie)]);
        let Ok(value) = HeaderValue::from_bytes(&input) else { return };
        let request = Request::builder().uri(approve).header(header::COOKIE, value);
        let answer = self.send(&self.provider, request.body(Body::empty()).expect("a request"));
        let is_right = String::from_utf8_lossy(&input).split(';').any(|pair| pair.trim() == cookie);
        assert!(matches!(answer.status, 303 | 403), "{}", answer.status);
        assert!(answer.status == 403 || is_right, "{input:?} opens a flow");
    }

    /// Comes back from the provider, which has no code, with an input for the `state`.
    fn state(&self, input: &[u8]) {
        let page = self.authorize(&self.provider);
        let cookie = page.cookie();
        let sent = self.get(&self.provider, &page.quoted("id=\"approve\" href=\""), &cookie);
        let url = url::Url::parse(sent.location()).expect("the provider's");
        let (_, state) = url.query_pairs().find(|(name, _)| name == "state").expect("a state");
        let presented = printable(&filled(input, &[("state", &state)]));
        let path = format!("/oauth/callback?error=access_denied&state={presented}");
        let answer = self.get(&self.provider, &path, &cookie);
        assert!(matches!(answer.status, 400 | 403 | 414), "{}", answer.status);
    }

    /// Comes back from the provider, to a flow of its own, with an input for the query.
    fn callback(&self, input: &[u8]) {
        UPSTREAM.says(None);
        let page = self.authorize(&self.provider);
        let cookie = page.cookie();
        let sent = self.get(&self.provider, &page.quoted("id=\"approve\" href=\""), &cookie);
        let url = url::Url::parse(sent.location()).expect("the provider's");
        let (_, state) = url.query_pairs().find(|(name, _)| name == "state").expect("a state");
        let query = printable(&filled(input, &[("state", &state), ("upstream_code", "code")]));
        let answer = self.get(&self.provider, &format!("/oauth/callback?{query}"), &cookie);
        assert!(matches!(answer.status, 303 | 400 | 403 | 414), "{}", answer.status);
        let landed = answer.location().starts_with("http://127.0.0.1:61000/callback?");
        assert!(
            answer.status != 303 || landed && query.contains(&*state),
            "{input:?} leads to {}",
            answer.location()
        );
    }

    /// Fills in the sign-in form.
    fn signin(&self, input: &[u8]) {
        let sent = self.authorize(&self.local);
        let cookie = sent.cookie();
        let page = self.get(&self.local, sent.location(), &cookie);
        let input = filled(input, &[("flow", &page.field("flow")), ("token", &page.field("token"))]);
        let answer = self.submit("/oauth/signin", FORM, &cookie, &input);
        let is_right = String::from_utf8_lossy(&input).contains("username=alice&password=alice");
        assert!(answer.status != 303 || is_right, "{input:?} signs in");
    }

    /// Fills in a form of alice's own page.
    fn account(&self, input: &[u8]) {
        let sent = self.get(&self.local, "/account/signin", "");
        let flow = sent.cookie();
        let page = self.get(&self.local, sent.location(), &flow);
        let (id, token) = (page.field("flow"), page.field("token"));
        let form = format!("flow={id}&token={token}&username=alice&password=alice");
        let signed_in = self.submit("/oauth/signin", FORM, &flow, form.as_bytes());
        assert_eq!(signed_in.status, 303);
        let cookie = signed_in.cookies();
        let token = self.get(&self.local, "/account", &cookie).field("token");
        let input = filled(input, &[("token", &token), ("grant", &self.grant)]);
        let answer = self.submit("/account", FORM, &cookie, &input);
        assert!(matches!(answer.status, 303 | 400 | 403 | 404 | 413), "{}", answer.status);
    }

    fn sealed(&self, input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let server = &self.local.gateway.server;
        let policy = &server.config.policy.registration;
        assert_eq!(Registration::open(&server.keys, policy, NOW, text).is_ok(), text == self.local.client);
        assert_eq!(RefreshToken::parse(&server.keys, text).is_ok(), text == self.refresh);
        assert_eq!(AccessToken::check(&server.keys, text).is_ok(), text == self.access);
    }
}

impl Site {
    fn new(runtime: &Runtime, identity: &Value, entropy: Arc<dyn Entropy>) -> Self {
        let config = json!({"egress": {"allow": ["127.0.0.1"]}, "servers": [{
            "namespace": "team-a", "name": "github", "url": format!("{ISSUER}/mcp"), "issuer": ISSUER,
            "identity": identity, "access": {"allow": "everyone"},
            "backends": [{"name": "tools", "target": {"url": "https://tools.test/mcp"}}],
        }]});
        let clock = ManualClock::at(NOW);
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(1));
        let config = GatewayConfig::parse(&config.to_string()).expect("the configuration is right");
        let mut refs = FixedRefs::default();
        refs.insert(KeyRef::secret("users", "users.yaml"), USERS.into());
        refs.insert(KeyRef::secret("idp", "secret"), b"secret".to_vec());
        let gateway = assemble(&config, ring, Arc::new(refs), Arc::new(clock.clone()), entropy, None)
            .expect("it can be assembled");
        let mut site = Self { clock, gateway, client: String::new(), confidential: Default::default() };
        (site.client, _) = site.register(runtime, "none");
        site.confidential = site.register(runtime, "client_secret_post");
        site
    }

    /// A client's id and secret.
    fn register(&self, runtime: &Runtime, method: &str) -> (String, String) {
        let body =
            json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": method});
        let request = Request::builder().method(Method::POST).uri("/oauth/register");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let answer = self.send(runtime, request);
        assert_eq!(answer.status, 201);
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (text("client_id"), text("client_secret"))
    }

    fn send(&self, runtime: &Runtime, request: Request<Body>) -> Answer {
        self.clock.advance(PAUSE);
        runtime.block_on(async {
            let answer = self.gateway.router.clone().oneshot(request).await.expect("a router is infallible");
            let (parts, body) = answer.into_parts();
            let status = parts.status.as_u16();
            assert!(status < 500 && status != 429, "{status}");
            let body = body.collect().await.expect("a whole answer").to_bytes().to_vec();
            Answer { status, headers: parts.headers, body }
        })
    }
}

/// Whatever stands before what a trusted proxy adds, and whatever a stranger says, is not believed.
fn forwarded(input: &[u8]) {
    let [proxy, stranger, client] =
        [[10, 0, 0, 1], [203, 0, 113, 9], [198, 51, 100, 7]].map(|ip| IpAddr::from(Ipv4Addr::from(ip)));
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let Ok(line) = HeaderValue::from_bytes(input) else { return };
    let added = HeaderValue::from_bytes(&[input, b", ", client.to_string().as_bytes()].concat());
    for (peer, line, expected) in
        [(stranger, line, stranger), (proxy, added.expect("it is one, too"), client)]
    {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-for"), line)]);
        assert_eq!(Source::of(peer, &headers, &trusted).0, Some(expected));
    }
}

fn redirect_uri(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(uri) = RedirectUri::parse(text) else { return };
    let url = url::Url::parse(text).expect("what we accept, the rest of the world reads");
    assert!(uri.as_str() == text && uri.is_registered_as(&uri));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    assert!(!["javascript", "data", "file", "vbscript"].contains(&url.scheme()));
}

fn document_url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(id) = DocumentUrl::parse(text) else { return };
    let url = url::Url::parse(text).expect("what we accept, the rest of the world reads");
    assert!(url.as_str() == id.as_str() && url.host_str() == Some(id.host()));
    assert!(url.scheme() == "https" && matches!(url.host(), Some(url::Host::Domain(_))));
}

fn document(input: &[u8]) {
    let url = DocumentUrl::parse(DOCUMENT).expect("it is one");
    let policy = RedirectUrisConfig::default();
    if let Ok(document) = Document::read(input, &url, &policy) {
        assert!(!document.redirect_uris.is_empty() && !document.name.is_empty());
        assert!(document.redirect_uris.iter().all(|uri| uri.is_allowed(&policy)));
    }
    if let Ok(keys) = KeySet::read(input) {
        for algorithm in jws::ALGORITHMS {
            assert!(keys.verify(None, &algorithm, input, &[1; 64]).is_err());
        }
    }
}

fn life(name: HeaderName, input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let life = freshness::life(&HeaderMap::from_iter([(name, value)])).fresh.as_secs();
    // Five seconds where it may not be kept.
    assert!(life == 5 || (60..=86_400).contains(&life));
}

/// What an assertion of the client with a document claims.
fn claims() -> String {
    json!({"iss": DOCUMENT, "sub": DOCUMENT, "aud": ISSUER, "exp": NOW + 60, "jti": "j"}).to_string()
}

/// An assertion whose signature nobody looks at.
fn assertion_of(header: &[u8], claims: &[u8]) -> String {
    let claims = filled(claims, &[("claims", &self::claims())]);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", part(header), part(&claims), part(&[0; 64]))
}

fn assertion(input: &[u8]) {
    let right = assertion_of(b"{\"alg\":\"EdDSA\",\"kid\":\"k1\"}", claims().as_bytes());
    let input = filled(input, &[("assertion", &right)]);
    let Ok(text) = std::str::from_utf8(&input) else { return };
    let now = Duration::from_secs(NOW.unsigned_abs());
    let read = UnverifiedAssertion::read(text, &[ISSUER.to_owned()], now);
    if let Ok(read) = &read {
        assert!(text.split('.').count() == 3 && text.len() >= read.client_id().len());
    }
    assert!(read.is_ok() || text != right, "the right one is read");
}

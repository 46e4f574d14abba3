//! Feeds a parser: what the fuzzing programs do with each input, and the tests of every build with the corpus.
//!
//! No input is answered with a server error, or refused because there were too many before it: such a refusal would keep
//! all that follow from the parser.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatehouse_gateway::{
    assemble::{Gateway, assemble},
    client_document::{Document, DocumentUrl, KeySet, freshness},
    clock::{Entropy, ManualClock, SeededEntropy},
    jws,
    model::{AccessToken, GrantId, RedirectUri, RefreshToken, pkce, registration::Registration},
    oauth::assertion::UnverifiedAssertion,
    refs::FixedRefs,
};
use gatehouse_gateway_config::{GatewayConfig, KeyRef, keys::Keyring, policy::RedirectUrisConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const NOW: i64 = 1_795_478_400;
const FORM: &str = "application/x-www-form-urlencoded";
const DOCUMENT: &str = "https://a.example.com/c";
const ISSUER: &str = "https://gw.test";
/// No parser is given more than what fits into a body or a head.
const LONGEST: usize = 16 << 10;
/// How many inputs a world is given: its clients grow old with each, and its store is its memory.
const INPUTS: u32 = 1000;
/// Time between two requests: the windows of all limits that count them are over before they are full.
const PAUSE: Duration = Duration::from_secs(60);
/// alice, whose password is her name, at the least cost that there is.
const USERS: &str = "- {name: alice, uid: uid-alice, passwordHash: \
    \"$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$wTb35lGLofyWvJY1J9P0nJAZvNXuDmXGR7Hs3eSNU6Y\"}";

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

/// What fits in a request line.
fn printable(input: &[u8]) -> String {
    let fits = |b: &&u8| b.is_ascii_graphic() && !b"<>\"{}|\\^`#".contains(b);
    input.iter().filter(fits).map(|b| char::from(*b)).collect()
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
}

struct Site {
    clock: ManualClock,
    gateway: Gateway,
    client: String,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let entropy = Arc::new(SeededEntropy::new(1));
        let local = json!({"local": {"users": {"name": "users", "key": "users.yaml"}}});
        let provider = json!({"oauth2": {
            "provider": "GitHub", "authorizationUrl": "https://idp.test/authorize",
            "tokenUrl": "https://idp.test/token", "userInfo": {"url": "https://idp.test/user", "subject": "/id"},
            "clientId": "upstream", "clientSecret": {"name": "idp", "key": "secret"},
        }});
        let local = Site::new(&runtime, &local, entropy.clone());
        let provider = Site::new(&runtime, &provider, entropy.clone());
        let (keys, grant) = (&local.gateway.server.keys, GrantId::random(entropy.as_ref()));
        let refresh = RefreshToken::mint(keys, entropy.as_ref(), grant, 1).expose().to_owned();
        let access = AccessToken::mint(keys, entropy.as_ref()).expose().to_owned();
        Self { runtime, local, provider, refresh, access, grant: grant.to_string() }
    }

    fn feed(&self, parser: &str, input: &[u8]) {
        let known =
            [("client", self.local.client.as_str()), ("refresh", &self.refresh), ("access", &self.access)];
        let input = &filled(input, &known);
        match parser {
            "registration" => drop(self.post("/oauth/register", "application/json", input)),
            "token" => drop(self.post("/oauth/token", FORM, input)),
            "revocation" => drop(self.post("/oauth/revoke", FORM, input)),
            "authorization" => {
                drop(self.get(&self.local, &format!("/oauth/authorize?{}", printable(input)), ""));
            }
            "basic_header" => self.with_authorization("/oauth/token", input),
            "bearer" => self.with_authorization("/mcp", input),
            "cookies" => self.cookies(input),
            "state" => self.state(input),
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

    fn with_authorization(&self, path: &str, value: &[u8]) {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, FORM);
        let request = request.header(header::AUTHORIZATION, value);
        let body = Body::from("grant_type=refresh_token&refresh_token=x");
        self.send(&self.local, request.body(body).expect("a request"));
    }

    /// A sign-in that begins.
    fn authorize(&self, site: &Site) -> Answer {
        let challenge = pkce::s256("a-verifier-of-forty-three-characters-or-more");
        let query = format!(
            "response_type=code&client_id={}&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcallback\
             &code_challenge={challenge}&code_challenge_method=S256",
            site.client
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
        let set =
            signed_in.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie = set.filter_map(|text| text.split(';').next()).collect::<Vec<_>>().join("; ");
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
        let config = json!({"servers": [{
            "namespace": "team-a", "name": "github", "url": format!("{ISSUER}/mcp"), "issuer": ISSUER,
            "identity": identity, "access": {"allow": "everyone"},
            "backends": [{"name": "tools", "target": {"url": "https://tools.test/mcp"}}],
        }]});
        let clock = ManualClock::at(NOW);
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(1));
        let config = GatewayConfig::parse(&config.to_string()).expect("the configuration is right");
        let mut refs = FixedRefs::default();
        refs.insert(KeyRef::secret("users", "users.yaml"), USERS.into());
        let gateway = assemble(&config, ring, Arc::new(refs), Arc::new(clock.clone()), entropy, None)
            .expect("it can be assembled");
        let mut site = Self { clock, gateway, client: String::new() };
        let body = r#"{"redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}"#;
        let request = Request::builder().method(Method::POST).uri("/oauth/register");
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
        let answer = site.send(runtime, request.expect("a request"));
        assert_eq!(answer.status, 201);
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        answer["client_id"].as_str().expect("an id").clone_into(&mut site.client);
        site
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

//! Feeds one parser, the one that this program is named after, as `gateway/tests/oauth/parsers.rs` does.

#![no_main]

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use gatehouse_gateway::{
    assemble::{Gateway, assemble},
    client_document::{Document, DocumentUrl, KeySet, freshness},
    clock::{ManualClock, SeededEntropy},
    jws,
    model::{AccessToken, GrantId, RedirectUri, RefreshToken, registration::Registration},
    oauth::assertion::UnverifiedAssertion,
    refs::FixedRefs,
};
use gatehouse_gateway_config::{GatewayConfig, keys::Keyring, policy::RedirectUrisConfig};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use libfuzzer_sys::{Corpus, fuzz_target};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const NOW: i64 = 1_795_478_400;
const FORM: &str = "application/x-www-form-urlencoded";
const DOCUMENT: &str = "https://a.example.com/c";
/// No parser is given more than what fits into a body or a head.
const LONGEST: usize = 16 << 10;

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > LONGEST {
        return Corpus::Reject;
    }
    feed(env!("CARGO_BIN_NAME"), &WORLD.filled(input));
    Corpus::Keep
});

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// A gateway with a client, and tokens that its keys sign and that its store does not know.
struct World {
    runtime: Runtime,
    clock: ManualClock,
    gateway: Gateway,
    known: [(&'static str, String); 3],
}

impl World {
    fn new() -> Self {
        let config = json!({"servers": [{
            "namespace": "team-a", "name": "github", "url": "https://gw.test/mcp", "issuer": "https://gw.test",
            "identity": {"local": {"users": {"name": "users", "key": "users.yaml"}}},
            "access": {"allow": "everyone"},
            "backends": [{"name": "tools", "target": {"url": "https://tools.test/mcp"}}],
        }]});
        let (clock, entropy) = (ManualClock::at(NOW), Arc::new(SeededEntropy::new(1)));
        let ring = Keyring::generate(&mut StdRng::seed_from_u64(1));
        let config = GatewayConfig::parse(&config.to_string()).expect("the configuration is right");
        let refs = Arc::new(FixedRefs::default());
        let gateway = assemble(&config, ring, refs, Arc::new(clock.clone()), entropy.clone(), None)
            .expect("it can be assembled");
        let keys = &gateway.server.keys;
        let refresh = RefreshToken::mint(keys, entropy.as_ref(), GrantId::random(entropy.as_ref()), 1);
        let access = AccessToken::mint(keys, entropy.as_ref());
        let known = [
            ("client", String::new()),
            ("refresh", refresh.expose().to_owned()),
            ("access", access.expose().to_owned()),
        ];
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut world = Self { runtime, clock, gateway, known };
        let body = r#"{"redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}"#;
        let (status, answer) = world.post("/oauth/register", "application/json", body.as_bytes());
        assert_eq!(status, 201);
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        world.known[0].1 = answer["client_id"].as_str().expect("an id").to_owned();
        world
    }

    /// What only this process knows in the place of `{name}`.
    fn filled(&self, input: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(input) else { return input.to_vec() };
        let mut text = text.to_owned();
        for (name, value) in &self.known {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text.into_bytes()
    }

    fn send(&self, request: Request<Body>) -> (u16, Vec<u8>) {
        // The limits are per window, and nothing may grow for ever.
        self.clock.advance(std::time::Duration::from_secs(1));
        self.runtime.block_on(async {
            let answer = self.gateway.router.clone().oneshot(request).await.expect("a router is infallible");
            let status = answer.status().as_u16();
            // 503: a key that is not listed may be ours, from a replica that has read a newer key file.
            assert!(status < 500 || status == 503, "{status}");
            (status, answer.into_body().collect().await.expect("a whole answer").to_bytes().to_vec())
        })
    }

    fn post(&self, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, kind);
        self.send(request.body(Body::from(body.to_vec())).expect("a request"))
    }

    fn with_header(&self, method: Method, path: &str, name: header::HeaderName, value: &[u8]) {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, FORM);
        if let Some(headers) = request.headers_mut() {
            headers.insert(name, value);
        }
        let body = Body::from("grant_type=refresh_token&refresh_token=x");
        self.send(request.body(body).expect("a request"));
    }
}

fn feed(parser: &str, input: &[u8]) {
    let world = &*WORLD;
    match parser {
        "registration" => drop(world.post("/oauth/register", "application/json", input)),
        "token" => drop(world.post("/oauth/token", FORM, input)),
        "revocation" => drop(world.post("/oauth/revoke", FORM, input)),
        "authorization" => {
            let fits = |b: &&u8| b.is_ascii_graphic() && !b"<>\"{}|\\^`#".contains(b);
            let query: String = input.iter().filter(fits).map(|b| char::from(*b)).collect();
            let request = Request::builder().uri(format!("/oauth/authorize?{query}"));
            let Ok(request) = request.body(Body::empty()) else { return };
            world.send(request);
        }
        "basic_header" => world.with_header(Method::POST, "/oauth/token", header::AUTHORIZATION, input),
        "bearer" => world.with_header(Method::POST, "/mcp", header::AUTHORIZATION, input),
        "cookies" => world.with_header(Method::GET, "/oauth/authorize/approve", header::COOKIE, input),
        "sealed" => sealed(world, input),
        "redirect_uri" => redirect_uri(input),
        "document_url" => document_url(input),
        "document" => document(input),
        "cache_control" => life(header::CACHE_CONTROL, input),
        "http_date" => life(header::EXPIRES, input),
        "assertion" => assertion(input),
        other => unreachable!("no parser is called {other}"),
    }
}

fn sealed(world: &World, input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let server = &world.gateway.server;
    let policy = &server.config.policy.registration;
    assert_eq!(Registration::open(&server.keys, policy, NOW, text).is_ok(), text == world.known[0].1);
    assert_eq!(RefreshToken::parse(&server.keys, text).is_ok(), text == world.known[1].1);
    assert_eq!(AccessToken::check(&server.keys, text).is_ok(), text == world.known[2].1);
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

fn life(name: header::HeaderName, input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let life = freshness::lifetime(&HeaderMap::from_iter([(name, value)])).as_secs();
    assert!(life == 0 || (60..=86_400).contains(&life));
}

fn assertion(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let now = std::time::Duration::from_secs(NOW.unsigned_abs());
    if let Ok(read) = UnverifiedAssertion::read(text, &["https://gw.test".to_owned()], now) {
        assert!(text.split('.').count() == 3 && text.len() >= read.client_id().len());
    }
}

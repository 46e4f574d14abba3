//! Clients whose id is the URL of a document: attacks 115 to 119 and 121 against a web of this process, and a whole
//! sign-in.
//!
//! The web stands behind the egress proxy: it sees each address that a connection was asked for, after it was checked.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use gatehouse_gateway::{
    client_document::{DocumentUrl, Documents},
    clock::ManualClock,
    egress::{Destination, Egress, Resolve},
    oauth::source::Source,
    refs::{Refs, Value as Secret},
};
use gatehouse_gateway_config::{EgressConfig, KeyRef, RedisConfig, TlsConfig, policy::RedirectUrisConfig};
use http::StatusCode;
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::support::{
    Answer, Browser, Client, Gateway, NOW, at_redis, authorization, authorize_path, config, gzip, redeem,
    refresh, with,
};

pub(crate) const ID: &str = "https://client.example/metadata.json";
pub(crate) const PUBLIC: &str = "8.8.8.8";
const NOBODY: Source = Source(None);

/// What every host answers, and what was asked of them: `CONNECT address` or `GET path`.
#[derive(Debug)]
pub(crate) struct Web {
    answer: Mutex<Vec<u8>>,
    /// What is answered where a document names its keys.
    keys: Mutex<Vec<u8>>,
    seen: Mutex<Vec<String>>,
}

/// Gives its answers in order, the last one for ever.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<IpAddr>>);

#[async_trait::async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        Ok(vec![if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] }])
    }
}

/// The CA of the web.
#[derive(Debug)]
struct Ca(String);

impl Refs for Ca {
    fn get(&self, _: &KeyRef) -> Option<Secret> {
        Some(Arc::new(Zeroizing::new(self.0.clone().into_bytes())))
    }
}

/// A gateway that fetches from a web of its own.
pub(crate) struct World {
    pub(crate) web: Arc<Web>,
    pub(crate) clock: ManualClock,
    pub(crate) gateway: Gateway,
    egress: Egress,
    ca: String,
}

impl World {
    pub(crate) async fn new(answer: Vec<u8>) -> Self {
        Self::with(config(), answer, &[PUBLIC]).await
    }

    pub(crate) async fn with(config: Value, answer: Vec<u8>, addresses: &[&str]) -> Self {
        Self::opened(config, answer, addresses, &[]).await
    }

    /// As [`World::with`], where `egress.allow` has these entries.
    pub(crate) async fn opened(config: Value, answer: Vec<u8>, addresses: &[&str], allow: &[&str]) -> Self {
        let web = Web { answer: Mutex::new(answer), keys: Mutex::default(), seen: Mutex::default() };
        let web = Arc::new(web);
        let certified = rcgen::generate_simple_self_signed(["client.example".to_owned()]).unwrap();
        let key = certified.signing_key.serialize_pem();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certified.cert.der().clone()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Some(format!("http://{}", listener.local_addr().unwrap()));
        tokio::spawn(Arc::clone(&web).serve(listener, TlsAcceptor::from(Arc::new(tls))));
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let allow = allow.iter().map(|&entry| entry.to_owned()).collect();
        let egress = Egress::new(&EgressConfig { allow, proxy, ca: None }).unwrap();
        let egress = egress.with_resolver(Arc::new(Scripted(Mutex::new(addresses))));
        let (clock, ca) = (ManualClock::at(NOW), certified.cert.pem());
        let documents = documents(&egress, &ca, &config, &clock);
        let gateway = Gateway::fetching(config, clock.clone(), documents);
        Self { web, clock, gateway, egress, ca }
    }

    /// Another replica of the gateway, which has fetched nothing yet.
    pub(crate) fn replica(&self) -> Gateway {
        self.gateway.replica(config(), documents(&self.egress, &self.ca, &config(), &self.clock))
    }

    /// The same server on this Redis, whose machine believes that it is `unix` seconds since 1970.
    pub(crate) async fn on_redis_at(&self, url: &str, unix: i64) -> Gateway {
        self.on(&at_redis(url), unix).await
    }

    /// As [`World::on_redis_at`], on a Redis that is used like this.
    pub(crate) async fn on(&self, redis: &RedisConfig, unix: i64) -> Gateway {
        let clock = ManualClock::at(unix);
        let documents = documents(&self.egress, &self.ca, &config(), &clock);
        Gateway::fetching_on_redis(config(), clock, documents, redis).await
    }

    pub(crate) async fn authorize(&self, id: &str) -> Answer {
        let client = Client { id: id.to_owned(), secret: None };
        self.gateway.get(&authorize_path(&authorization(&client))).await
    }

    /// The id is refused on a page of ours, which says this.
    pub(crate) async fn refuses(&self, id: &str, says: &str) {
        let answer = self.authorize(id).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id}: {answer:?}");
        assert!(!answer.headers.contains_key("location") && answer.body.contains(says), "{id}: {answer:?}");
    }
}

fn documents(egress: &Egress, ca: &str, config: &Value, clock: &ManualClock) -> Documents {
    let hosts = config["policy"]["metadataDocuments"]["allowedHosts"].as_array();
    let hosts: Vec<_> = hosts.into_iter().flatten().map(|host| host.as_str().unwrap().to_owned()).collect();
    let tls = TlsConfig { ca: Some(KeyRef::secret("ca", "ca.crt")), ..TlsConfig::default() };
    let destination = Destination { tls, ..Destination::default() };
    let refs = Arc::new(Ca(ca.to_owned()));
    let documents = Documents::new(egress, destination, refs, &hosts, Arc::new(clock.clone()));
    documents.with_timeout(Duration::from_secs(2))
}

impl Web {
    /// What a document's address answers from now on.
    pub(crate) fn say(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// What the address of keys answers from now on.
    pub(crate) fn publish(&self, answer: Vec<u8>) {
        *self.keys.lock().unwrap() = answer;
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let (web, tls) = (Arc::clone(&self), tls.clone());
            tokio::spawn(async move { web.reply(stream, tls).await });
        }
    }

    async fn reply(&self, mut stream: TcpStream, tls: TlsAcceptor) -> io::Result<()> {
        self.note(&head(&mut stream).await?);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        let mut stream = tls.accept(stream).await?;
        let asked = head(&mut stream).await?;
        self.note(&asked);
        let place = if asked.starts_with("GET /keys") { &self.keys } else { &self.answer };
        let answer = place.lock().unwrap().clone();
        stream.write_all(&answer).await?;
        // Until the client goes: a body that is shorter than it said stays unfinished.
        stream.read_u8().await.map(|_| ())
    }

    fn note(&self, head: &str) {
        let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
        self.seen.lock().unwrap().push(line.to_owned());
    }

    /// The requests since the last look.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// As [`Web::seen`], those for a document alone.
    pub(crate) fn fetches(&self) -> usize {
        self.seen().iter().filter(|line| line.starts_with("GET ")).count()
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

pub(crate) fn document() -> Value {
    json!({
        "client_id": ID, "client_name": "Claude Code", "token_endpoint_auth_method": "none",
        "redirect_uris": ["http://127.0.0.1/callback", "http://localhost/callback"],
    })
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

pub(crate) fn ok() -> Vec<u8> {
    answer("200 OK", "Content-Type: application/json\r\n", document().to_string().as_bytes())
}

#[tokio::test]
async fn a_client_signs_in_by_its_document_which_is_fetched_once() {
    let world = World::new(ok()).await;
    let gateway = &world.gateway;
    let client = Client { id: ID.to_owned(), secret: None };
    let mut browser = Browser::default();
    let page = browser.consent(gateway, &client, "alice").await;
    let claim = "Any program on this computer can say that it is Claude Code.";
    for expected in ["Claude Code", "Identified by <strong>client.example</strong>", claim] {
        assert!(page.body.contains(expected), "{expected}: {}", page.body);
    }
    assert!(!page.body.contains("Unverified"));
    assert_eq!(world.web.seen(), ["CONNECT 8.8.8.8:443", "GET /metadata.json"]);
    // What comes now needs no document: it was pinned.
    world.clock.advance(Duration::from_secs(120));
    world.web.say(answer("404 Not Found", "", b""));
    let code = browser.get(gateway, &page.link("approve")).await.redirect_param("code").unwrap();
    let tokens = gateway.token(&redeem(&client, &code)).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let token = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
    let refreshed = gateway.token(&refresh(&client, &token)).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    assert_eq!(world.web.fetches(), 0);
    let secret = with(refresh(&client, &token), "client_secret", Some("s"));
    assert_eq!(gateway.token(&secret).await.json()["error"], "invalid_client");
}

#[tokio::test]
async fn the_redirect_uri_is_one_of_the_documents() {
    let world = World::new(ok()).await;
    let client = Client { id: ID.to_owned(), secret: None };
    for (uri, status) in [
        ("http://localhost:53211/callback", StatusCode::SEE_OTHER),
        ("http://localhost:53211/other", StatusCode::BAD_REQUEST),
        ("https://evil.example/callback", StatusCode::BAD_REQUEST),
    ] {
        let asked = with(authorization(&client), "redirect_uri", Some(uri));
        let answer = world.gateway.get(&authorize_path(&asked)).await;
        assert_eq!(answer.status, status, "{uri}: {answer:?}");
        assert!(!answer.body.contains("evil.example"));
    }
}

/// Attack 115; [`DocumentUrl`] has the whole list.
#[tokio::test]
async fn an_odd_url_is_unknown_and_fetches_nothing() {
    let world = World::new(ok()).await;
    for id in ["http://client.example/c", "https://client.example/", "https://client.example:8443/c"] {
        world.refuses(id, "does not know your application").await;
        let client = Client { id: id.to_owned(), secret: None };
        let answer = world.gateway.token(&redeem(&client, "gk_x")).await;
        assert_eq!(answer.json()["error"], "invalid_client", "{id}");
    }
    assert_eq!(world.web.seen(), [""; 0]);
}

/// Attack 116.
#[tokio::test]
async fn a_host_inside_is_not_connected_to() {
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ] {
        let world = World::with(config(), ok(), &[address]).await;
        world.refuses(ID, "cannot be fetched").await;
        assert_eq!(world.web.seen(), [""; 0], "{address}");
    }
}

/// Attack 117.
#[tokio::test]
async fn a_name_that_changes_its_answer_is_checked_each_time() {
    let world = World::with(config(), ok(), &[PUBLIC, "10.0.0.1"]).await;
    assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.web.seen(), ["CONNECT 8.8.8.8:443", "GET /metadata.json"]);
    world.clock.advance(Duration::from_secs(61));
    world.refuses(ID, "cannot be fetched").await;
    assert_eq!(world.web.seen(), [""; 0]);
}

/// Attacks 118 and 119.
#[tokio::test]
async fn an_answer_that_is_no_document_is_refused() {
    let json = "Content-Type: application/json\r\n";
    let body = document().to_string();
    let padded = format!("{body}{}", " ".repeat(5 * 1024));
    let other = body.replace("metadata.json", "other.json");
    let secret = body.replacen('{', "{\"client_secret\":\"s3cr3t\",", 1);
    let redirect = format!("Location: https://client.example/x\r\n{json}");
    let encoded = format!("Content-Encoding: gzip\r\n{json}");
    for (bytes, says) in [
        (answer("302 Found", &redirect, body.as_bytes()), "cannot be fetched"),
        (answer("404 Not Found", json, body.as_bytes()), "cannot be fetched"),
        (answer("200 OK", json, padded.as_bytes()), "cannot be fetched"),
        (answer("200 OK", &encoded, &gzip(body.as_bytes())), "cannot be fetched"),
        (answer("200 OK", &encoded, body.as_bytes()), "cannot be fetched"),
        (answer("200 OK", "Content-Type: text/html\r\n", body.as_bytes()), "cannot be fetched"),
        (answer("200 OK", json, other.as_bytes()), "another application"),
        (answer("200 OK", json, secret.as_bytes()), "publishes a secret"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(), "cannot be fetched"),
    ] {
        let world = World::new(bytes).await;
        world.refuses(ID, says).await;
        assert_eq!(world.web.fetches(), 1, "{says}");
        // A failure is not kept (section 4.4 of the draft).
        world.web.say(ok());
        assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER, "{says}");
    }
}

/// Attack 121.
#[tokio::test]
async fn a_crowd_fetches_once_and_a_host_is_asked_for_so_much() {
    let world = World::new(ok()).await;
    let (documents, policy) = (&world.gateway.server.documents, RedirectUrisConfig::default());
    let known = DocumentUrl::parse(ID).unwrap();
    let crowd = futures::future::join_all((0..1000).map(|_| documents.get(&known, &policy, &NOBODY))).await;
    assert!(crowd.iter().all(Result::is_ok));
    assert_eq!(world.web.fetches(), 1);
    for n in 0..1000 {
        let url = DocumentUrl::parse(&format!("https://client.example/{n}")).unwrap();
        let source = Source(Some(Ipv4Addr::from_bits(n).into()));
        assert!(documents.get(&url, &policy, &source).await.is_err());
    }
    assert_eq!(world.web.fetches(), 29);
    // Who is known is not held back by it.
    world.clock.advance(Duration::from_secs(59));
    assert!(documents.get(&known, &policy, &NOBODY).await.is_ok());
    let held = world.authorize("https://client.example/new").await;
    assert_eq!(held.status, StatusCode::TOO_MANY_REQUESTS, "{held:?}");
}

/// Its host wants to be asked each time (RFC 9111 section 5.2.2): so it is, but not as often as strangers like.
#[tokio::test]
async fn a_document_that_may_not_be_used_again_is_asked_for_every_few_seconds() {
    for control in ["no-store", "no-cache", "max-age=3600, private"] {
        let headers = format!("Content-Type: application/json\r\nCache-Control: {control}\r\n");
        let body = document().to_string();
        let world = World::new(answer("200 OK", &headers, body.as_bytes())).await;
        let (documents, policy) = (&world.gateway.server.documents, RedirectUrisConfig::default());
        let url = DocumentUrl::parse(ID).unwrap();
        let ask = async || documents.get(&url, &policy, &NOBODY).await;
        // However often it was asked for before: who is known is not held back.
        for round in 0..40 {
            let crowd = futures::future::join_all((0..100).map(|_| ask())).await;
            assert!(crowd.iter().all(Result::is_ok), "{control} {round}");
            world.clock.advance(Duration::from_millis(4999));
            assert!(ask().await.is_ok());
            assert_eq!(world.web.fetches(), 1, "{control} {round}");
            world.clock.advance(Duration::from_millis(1));
        }
        let other = body.replace("Claude Code", "Another name");
        world.web.say(answer("200 OK", &headers, other.as_bytes()));
        assert_eq!(ask().await.unwrap().name, "Another name", "{control}");
        world.clock.advance(Duration::from_secs(5));
        world.web.say(answer("503 Service Unavailable", "", b""));
        assert!(ask().await.is_err(), "{control}: it is not kept for bad days either");
    }
}

#[tokio::test]
async fn an_outage_is_bridged_for_minutes_and_a_refusal_counts_at_once() {
    for away in [&b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"[..], b"", &answer("503 Away", "", b"")] {
        let world = World::new(ok()).await;
        assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
        world.clock.advance(Duration::from_secs(61));
        world.web.say(away.to_vec());
        world.web.seen();
        for _ in 0..3 {
            assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
        }
        assert_eq!(world.web.fetches(), 1, "a host that is away is left alone for a moment");
        world.clock.advance(Duration::from_secs(298));
        assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
        world.clock.advance(Duration::from_secs(2));
        world.refuses(ID, "cannot be fetched").await;
        world.web.say(ok());
        assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
        world.clock.advance(Duration::from_secs(61));
        world.web.say(answer("404 Not Found", "", b""));
        world.refuses(ID, "cannot be fetched").await;
        world.web.say(away.to_vec());
        world.refuses(ID, "cannot be fetched").await;
    }
}

/// RFC 9111 section 4.2.4.
#[tokio::test]
async fn an_outage_is_not_bridged_with_what_may_not_be_stale() {
    for (control, bridged) in [
        ("max-age=60", true),
        ("max-age=60, must-revalidate", false),
        ("Max-Age=60, Proxy-Revalidate", false),
        ("s-maxage=60", false),
    ] {
        let headers = format!("Content-Type: application/json\r\nCache-Control: {control}\r\n");
        let world = World::new(answer("200 OK", &headers, document().to_string().as_bytes())).await;
        assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
        world.web.say(answer("503 Away", "", b""));
        world.clock.advance(Duration::from_secs(59));
        assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER, "{control}");
        world.clock.advance(Duration::from_secs(2));
        let status = if bridged { StatusCode::SEE_OTHER } else { StatusCode::BAD_REQUEST };
        assert_eq!(world.authorize(ID).await.status, status, "{control}");
    }
}

#[tokio::test]
async fn a_failure_is_for_those_who_wait_for_it_and_limits_hold_the_rest_back() {
    let world = World::new(answer("404 Not Found", "", b"")).await;
    let (documents, policy) = (&world.gateway.server.documents, RedirectUrisConfig::default());
    let url = DocumentUrl::parse(ID).unwrap();
    let crowd = futures::future::join_all((0..1000).map(|_| documents.get(&url, &policy, &NOBODY))).await;
    assert!(crowd.iter().all(Result::is_err));
    assert_eq!(world.web.fetches(), 1);
    world.web.say(ok());
    assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);

    let world = World::new(answer("404 Not Found", "", b"")).await;
    for n in 0..30 {
        let status = if n < 10 { StatusCode::BAD_REQUEST } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(world.authorize(ID).await.status, status, "{n}");
    }
    assert_eq!(world.web.fetches(), 10, "one source");
    let documents = &world.gateway.server.documents;
    for n in 0..100 {
        let source = Source(Some(Ipv4Addr::from_bits(n << 8).into()));
        assert!(documents.get(&url, &policy, &source).await.is_err());
    }
    assert_eq!(world.web.fetches(), 20, "all together ask one host thirty times a minute");
}

/// Attack 53, of a client that its document describes.
#[tokio::test]
async fn a_remembered_consent_is_for_the_document_as_it_was() {
    let world = World::new(ok()).await;
    let gateway = &world.gateway;
    let client = Client { id: ID.to_owned(), secret: None };
    let mut browser = Browser::default();
    let page = browser.consent(gateway, &client, "alice").await;
    browser.get(gateway, &page.link("approve")).await;
    let mut approved = async |document: &Value| {
        let json = "Content-Type: application/json\r\n";
        world.web.say(answer("200 OK", json, document.to_string().as_bytes()));
        world.clock.advance(Duration::from_secs(61));
        browser.consent(gateway, &client, "alice").await.body.contains("You approved this on")
    };
    assert!(approved(&document()).await);
    let mut other = document();
    other["redirect_uris"] = json!(["http://127.0.0.1/callback"]);
    assert!(!approved(&other).await, "another list of addresses under the same name");
    let mut signs = document();
    signs["token_endpoint_auth_method"] = json!("private_key_jwt");
    signs["jwks_uri"] = json!("https://client.example/keys");
    assert!(!approved(&signs).await, "another way to prove itself");
    assert!(approved(&document()).await, "what was approved is still known");
}

#[tokio::test]
async fn a_policy_says_which_hosts_and_whether_at_all() {
    let another = "on a host that this server&#39;s client policy does not name";
    for (policy, refused) in [
        (json!({"allowedHosts": ["client.example"]}), None),
        (json!({"allowedHosts": ["*.client.example", "claude.ai"]}), Some(another)),
        (json!({"mode": "Refused"}), Some("this server takes none")),
    ] {
        let mut config = config();
        config["policy"] = json!({"metadataDocuments": policy});
        let world = World::with(config, ok(), &[PUBLIC]).await;
        if let Some(why) = refused {
            world.gateway.trail.take();
            world.refuses(ID, why).await;
            assert_eq!(world.web.seen(), [""; 0]);
            let told = world.gateway.trail.take();
            assert_eq!((&told[0]["reason"], &told[0]["client_id"]), (&json!("client_document"), &json!(ID)));
        } else {
            assert_eq!(world.authorize(ID).await.status, StatusCode::SEE_OTHER);
        }
    }
}

#[tokio::test]
async fn a_server_on_loopback_offers_it_only_if_told_to() {
    let mut config = config();
    config["url"] = json!("http://localhost:8080/mcp");
    config["issuer"] = json!("http://localhost:8080");
    let offered = |gateway: Gateway| async move {
        let path = "/.well-known/oauth-authorization-server";
        let host = [("host", "localhost:8080")];
        let asked = crate::support::request(http::Method::GET, path, &host, axum::body::Body::empty());
        gateway.send(asked).await.json()["client_id_metadata_document_supported"].clone()
    };
    assert_eq!(offered(Gateway::new(config.clone())).await, Value::Null);
    config["policy"] = json!({"metadataDocuments": {"mode": "Allowed"}});
    assert_eq!(offered(Gateway::new(config)).await, true);
}

//! Attack 130: whatever parses bytes from outside, by properties, from a corpus of what is right and of what once was
//! wrong somewhere: no panic, no server error, no redirect elsewhere, and nothing that only resembles a secret opens
//! anything.
//!
//! The corpus lies in `gateway/corpus`, a folder for each parser; the programs of `gateway/fuzz` start from there, too.
//! What fuzzing finds becomes a file there: each is tried as it is, and then changed. `PROPTEST_CASES` asks for more.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{body::Body, extract::ConnectInfo};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatehouse_gateway::{
    client_document::{Document, DocumentUrl, KeySet, freshness},
    model::{AccessToken, RedirectUri, RefreshToken, registration::Registration},
    oauth::{assertion::UnverifiedAssertion, source::Source},
};
use gatehouse_gateway_config::policy::RedirectUrisConfig;
use http::{HeaderMap, HeaderValue, Method, header};
use proptest::{prelude::*, sample::Index};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    callback::at_provider,
    support::{
        Answer, Browser, Client, Gateway, authorization, authorize_path, provider_config, redeem, request,
        seconds, with,
    },
    texts::{printable, under_next_key},
    upstream::{KNOWN, Part, Upstream},
};

/// Each case is a request of a millisecond or two.
const CASES: u32 = 1000;
const FORM: &str = "application/x-www-form-urlencoded";

type Texts = Vec<Vec<u8>>;
/// What only the test knows, by the name under which it stands in the corpora.
type Known = Vec<(&'static str, String)>;

/// The corpus of a parser. What only the test knows stands in it as `{name}`.
fn corpus(parser: &str, known: &[(&str, String)]) -> Texts {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(parser);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files.iter().map(|path| filled(&std::fs::read(path).unwrap(), known)).collect()
}

fn filled(text: &[u8], known: &[(&str, String)]) -> Vec<u8> {
    known.iter().fold(text.to_vec(), |text, (name, value)| {
        replaced(&text, format!("{{{name}}}").as_bytes(), value.as_bytes())
    })
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = text.windows(from.len()).position(|window| window == from);
    at.map_or(text.to_vec(), |at| [&text[..at], to, &replaced(&text[at + from.len()..], from, to)].concat())
}

/// A text of the corpus with a few edits, or nothing but noise.
fn mutated(corpus: Texts) -> impl Strategy<Value = Vec<u8>> {
    let other = prop::sample::select(corpus.clone());
    let edit = (any::<Index>(), any::<u8>(), 0..6_u8);
    let edited = (prop::sample::select(corpus), other, prop::collection::vec(edit, 0..5));
    let edited = edited.prop_map(|(mut bytes, other, edits)| {
        for (index, new, kind) in edits {
            let at = index.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = new,
                1 => bytes.insert(at, new),
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..),
                4 => drop(bytes.splice(at..at, other.iter().copied())),
                _ if at < bytes.len() => bytes[at] ^= 1 << (new % 8),
                _ => {}
            }
        }
        bytes.truncate(16 << 10);
        bytes
    });
    prop_oneof![9 => edited, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

/// Runs `property` on each text of the corpora as it is, beside the first of the others, and on many that are changed.
fn holds<const N: usize>(corpora: [Texts; N], property: impl AsyncFn([Vec<u8>; N])) {
    let runtime = Runtime::new().unwrap();
    let first = corpora.each_ref().map(|texts| texts[0].clone());
    for (place, texts) in corpora.iter().enumerate() {
        for text in texts {
            let mut input = first.clone();
            input[place].clone_from(text);
            runtime.block_on(property(input));
        }
    }
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(CASES);
    // A finding is printed, and becomes a file of the corpus.
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(input in corpora.map(mutated))| runtime.block_on(property(input)));
}

fn prepared<T>(make: impl AsyncFnOnce() -> T) -> T {
    Runtime::new().unwrap().block_on(make())
}

fn sane(answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status.as_u16()), "{answer:?}");
    if answer.status == 303 {
        let own = [
            "http://127.0.0.1:",
            "http://127.0.0.1/callback?",
            "/oauth/signin?",
            "/oauth/authorize?flow=",
            "/account",
            "https://idp.test/authorize?",
        ];
        assert!(own.iter().any(|own| answer.location().starts_with(own)), "{answer:?}");
    }
}

/// Posts a second after what was asked before: the limits are per window.
async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    gateway.clock.advance(seconds(1));
    post_now(gateway, path, headers, body).await
}

/// Posts at once, where something must outlive however many cases there are.
async fn post_now(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    gateway.send(request(Method::POST, path, headers, Body::from(body))).await
}

#[test]
fn registrations() {
    let gateway = Gateway::local();
    holds([corpus("registration", &[])], async |[body]| {
        let answer = post(&gateway, "/oauth/register", &[("content-type", "application/json")], body).await;
        sane(&answer, &[201, 400, 413, 429]);
    });
}

#[test]
fn authorization_requests() {
    let gateway = Gateway::local();
    let known = signed_in(&gateway);
    holds([corpus("authorization", &known)], async |[query]| {
        gateway.clock.advance(seconds(1));
        sane(&gateway.get(&format!("/oauth/authorize?{}", printable(&query))).await, &[303, 400, 414, 429]);
    });
}

/// A public client of alice's with its tokens and a code that it has redeemed, and one that has a secret.
fn signed_in(gateway: &Gateway) -> Known {
    prepared(async || {
        let client = gateway.public_client().await;
        let spent = gateway.code(&mut Browser::default(), &client).await;
        let tokens = gateway.token(&redeem(&client, &spent)).await.json();
        let metadata = json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "client_secret_post"});
        let confidential = gateway.register(metadata).await;
        let secret = confidential.secret.clone().unwrap();
        let code = gateway.code(&mut Browser::default(), &confidential).await;
        let kept = gateway.token(&with(redeem(&confidential, &code), "client_secret", Some(&secret))).await;
        let text = |answer: &serde_json::Value, name: &str| answer[name].as_str().unwrap().to_owned();
        let mut known = vec![
            ("client", client.id),
            ("refresh", text(&tokens, "refresh_token")),
            ("access", text(&tokens, "access_token")),
            ("confidential", confidential.id),
            ("spent", spent),
        ];
        let next = ["next_client", "next_refresh", "next_access", "next_confidential", "next_code"];
        let next = next.into_iter().zip(&known).map(|(name, (_, text))| (name, under_next_key(text)));
        known.extend(next.collect::<Vec<_>>());
        known.extend([("secret", secret), ("kept", text(&kept.json(), "refresh_token"))]);
        known
    })
}

fn value<'a>(known: &'a Known, name: &str) -> &'a str {
    known.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str()).unwrap()
}

fn holds_text(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Asks for tokens. Of the client, `{code}` is a code that waits to be redeemed.
async fn asks_for_tokens(gateway: &Gateway, known: &Known, body: Vec<u8>, header: &[u8]) -> Answer {
    let body = if holds_text(&body, "{code}") {
        let client = Client { id: value(known, "client").to_owned(), secret: None };
        let code = gateway.code(&mut Browser::default(), &client).await;
        filled(&body, &[("code", code)])
    } else {
        body
    };
    let mut asked = request(Method::POST, "/oauth/token", &[("content-type", FORM)], Body::from(body));
    let header = HeaderValue::from_bytes(header).ok().filter(|value| !value.is_empty());
    asked.headers_mut().extend(header.map(|value| (header::AUTHORIZATION, value)));
    gateway.clock.advance(seconds(1));
    let answer = gateway.send(asked).await;
    sane(&answer, &[200, 400, 401, 413]);
    answer
}

/// What an answer of the token endpoint says: of a good one, the scope.
fn says(answer: &Answer) -> String {
    let json = answer.json();
    let said = json.get("error_description").or_else(|| json.get("scope"));
    said.and_then(|text| text.as_str()).unwrap_or_default().to_owned()
}

/// The corpus and what came of it reach what they are there for.
fn came_up(said: &RefCell<BTreeSet<String>>, expected: &[&str]) {
    let said = said.borrow();
    let missed: Vec<_> = expected.iter().filter(|text| !said.contains(**text)).collect();
    assert!(missed.is_empty(), "nothing led to {missed:?}, only to {said:?}");
}

#[test]
fn token_requests_and_basic_headers() {
    let gateway = Gateway::local();
    let known = signed_in(&gateway);
    let (said, redeemed) = (RefCell::new(BTreeSet::new()), Cell::new(0));
    holds([corpus("token", &known), corpus("basic_header", &known)], async |[body, header]| {
        let answer = asks_for_tokens(&gateway, &known, body.clone(), &header).await;
        let good = answer.status == 200 && holds_text(&body, "grant_type=authorization_code");
        redeemed.set(redeemed.get() + u32::from(good));
        said.borrow_mut().insert(says(&answer));
    });
    assert!(redeemed.get() > 1, "a code is redeemed also where something about it was changed");
    came_up(&said, &["mcp", "the client_secret is wrong", "the Authorization header is not valid Basic"]);
}

/// A client with a secret proves itself by it, and by nothing that resembles it.
#[test]
fn token_requests_and_secrets() {
    let gateway = Gateway::local();
    let known = signed_in(&gateway);
    let (confidential, secret) = (value(&known, "confidential"), value(&known, "secret"));
    let said = RefCell::new(BTreeSet::new());
    holds([corpus("token", &known), corpus("basic_pair", &known)], async |[body, pair]| {
        let header = format!("Basic {}", STANDARD.encode(&pair));
        let claims =
            pair.strip_prefix(format!("{confidential}:").as_bytes()).map(|text| text == secret.as_bytes());
        let answer = asks_for_tokens(&gateway, &known, body, header.as_bytes()).await;
        let known = answer.status == 200 || answer.error() == "invalid_grant";
        assert!(!known || claims != Some(false), "a secret like {secret} proved it: {pair:?} {answer:?}");
        said.borrow_mut().insert(says(&answer));
    });
    let expected = [
        "mcp",
        "the client authenticated in two ways at once",
        "the client_secret is wrong",
        "client_id differs from the one in the Authorization header",
    ];
    came_up(&said, &expected);
}

#[test]
fn revocations() {
    let gateway = Gateway::local();
    let ours = signed_in(&gateway);
    let (client, access) = (value(&ours, "client"), value(&ours, "access"));
    let other = prepared(async || gateway.public_client().await);
    let theirs = ours.iter().map(|(name, text)| match *name {
        "client" => ("client", other.id.clone()),
        _ => (*name, text.clone()),
    });
    holds([corpus("revocation", &theirs.collect::<Known>())], async |[body]| {
        // Whatever a client says that is not its own: nothing of another's ends.
        let own = holds_text(&body, client);
        sane(
            &post_now(&gateway, "/oauth/revoke", &[("content-type", FORM)], body).await,
            &[200, 400, 401, 413, 429],
        );
        assert!(own || gateway.accepts(access).await, "another client ended it");
    });
    holds([corpus("revocation", &ours)], async |[body]| {
        sane(
            &post_now(&gateway, "/oauth/revoke", &[("content-type", FORM)], body).await,
            &[200, 400, 401, 413, 429],
        );
    });
}

#[test]
fn bearer_tokens() {
    let gateway = Gateway::local();
    let known = signed_in(&gateway);
    holds([corpus("bearer", &known)], async |[header]| {
        // The token itself, however its scheme is written, is right.
        if holds_text(&header, value(&known, "access")) {
            return;
        }
        let Ok(value) = HeaderValue::from_bytes(&header) else { return };
        let mut asked =
            request(Method::POST, "/mcp", &[("content-type", "application/json")], Body::from("{}"));
        asked.headers_mut().insert(header::AUTHORIZATION, value);
        sane(&gateway.send(asked).await, &[401]);
    });
}

#[test]
fn sealed_client_ids_and_refresh_tokens() {
    let gateway = Gateway::local();
    let known = signed_in(&gateway);
    let server = &gateway.server;
    let clients = ["client", "confidential"].map(|name| value(&known, name));
    let tokens = ["refresh", "kept"].map(|name| value(&known, name));
    holds([corpus("sealed", &known)], async |[bytes]| {
        let Ok(text) = String::from_utf8(bytes) else { return };
        let policy = &server.config.policy.registration;
        assert_eq!(
            Registration::open(&server.keys, policy, crate::support::NOW, &text).is_ok(),
            clients.contains(&text.as_str())
        );
        assert_eq!(
            RefreshToken::parse(&server.keys, &text).is_ok(),
            tokens.contains(&text.as_str()),
            "{text}"
        );
    });
}

/// The form of the sign-in page, sent by the browser that was given it, with every part of it changed: a flow for each,
/// and time enough between them that no guess counts with another.
#[test]
fn forms_of_the_sign_in_page() {
    let gateway = Gateway::local();
    let client = prepared(async || gateway.public_client().await);
    holds([corpus("signin", &[])], async |[body]| {
        gateway.clock.advance(seconds(60));
        let mut browser = Browser::default();
        let sent = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
        let page = browser.get(&gateway, sent.location()).await;
        let body = filled(&body, &[("flow", page.field("flow")), ("token", page.field("token"))]);
        let cookie = cookies(&browser);
        let headers =
            [("content-type", FORM), ("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        let answer = post_now(&gateway, "/oauth/signin", &headers, body.clone()).await;
        sane(&answer, &[200, 303, 400, 401, 403, 413]);
        let right = String::from_utf8_lossy(&body).contains("username=alice&password=alice");
        assert!(answer.status != 303 || right, "{answer:?}");
    });
}

/// Whatever alice's page is made to say, nothing of bob's ends.
#[test]
fn forms_of_the_account_page() {
    let gateway = Gateway::local();
    let (access, grant, browser, token) = prepared(async || {
        let client = gateway.public_client().await;
        let mut his = Browser::default();
        let page = his.consent(&gateway, &client, "bob").await;
        let sent = his.get(&gateway, &page.link("approve")).await;
        let tokens = gateway.token(&redeem(&client, &sent.redirect_param("code").unwrap())).await.json();
        let access = tokens["access_token"].as_str().unwrap().to_owned();
        let call = gateway.server.store.call(&AccessToken::hash_presented(&access)).await.unwrap().unwrap();
        let mut hers = Browser::default();
        let page = hers.account(&gateway, "alice").await;
        (access, call.grant.id.to_string(), hers, page.field("token"))
    });
    holds([corpus("account", &[("token", token), ("grant", grant)])], async |[body]| {
        let cookie = cookies(&browser);
        let headers =
            [("content-type", FORM), ("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        sane(&post_now(&gateway, "/account", &headers, body).await, &[303, 400, 403, 404, 413, 429]);
        assert!(gateway.accepts(&access).await, "alice ended bob's sign-in");
    });
}

fn cookies(browser: &Browser) -> String {
    browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

#[test]
fn redirect_uris() {
    holds([corpus("redirect_uri", &[])], async |[bytes]| {
        let Ok(text) = String::from_utf8(bytes) else { return };
        let Ok(uri) = RedirectUri::parse(&text) else { return };
        assert!(uri.as_str() == text && uri.is_registered_as(&uri), "{text}");
        // What we accept, the rest of the world reads as we do.
        let url = url::Url::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{text}");
        assert!(!["javascript", "data", "file", "vbscript"].contains(&url.scheme()), "{text}");
        assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
    });
}

#[test]
fn cookies_and_states() {
    let gateway = Gateway::new(provider_config());
    let (cookie, approve, state) = prepared(async || {
        let client = gateway.public_client().await;
        let mut browser = Browser::default();
        let page = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
        let (name, value) = browser.cookies.iter().next().unwrap();
        let cookie = format!("{name}={value}");
        let approve = page.link("approve");
        let sent = browser.get(&gateway, &approve).await;
        (cookie, approve, sent.redirect_param("state").unwrap())
    });
    let approve = approve.strip_prefix(&gateway.origin).unwrap_or(&approve).to_owned();
    let known = [("cookie", cookie.clone()), ("state", state.clone())];
    let corpora = [corpus("cookies", &known), corpus("state", &known)];
    // Each comes from a network of its own: what many of one ask for is refused before it is read.
    let network = AtomicU32::new(0);
    holds(corpora, async |[header, presented]| {
        let Ok(value) = HeaderValue::from_bytes(&header) else { return };
        let is_right = String::from_utf8_lossy(&header).split(';').any(|pair| pair.trim() == cookie);
        let ask = async |path: &str| {
            let mut asked = request(Method::GET, path, &[], Body::empty());
            asked.headers_mut().insert(header::COOKIE, value.clone());
            let source = Ipv4Addr::from_bits(network.fetch_add(1 << 8, Ordering::Relaxed));
            asked.extensions_mut().insert(ConnectInfo(SocketAddr::new(source.into(), 1)));
            gateway.send(asked).await
        };
        let answer = ask(&approve).await;
        sane(&answer, &[303, 403]);
        assert!(answer.status != 303 || is_right, "{answer:?}");
        let presented = printable(&presented);
        if !presented.starts_with(&state) {
            sane(&ask(&format!("/oauth/callback?code=x&state={presented}")).await, &[400, 403, 414]);
        }
    });
}

/// What a browser brings from the provider, to a flow of its own: a sign-in, or a page that repeats none of it.
#[test]
fn answers_of_the_provider() {
    let gateway = Gateway::with_provider();
    let client = prepared(async || gateway.public_client().await);
    let ended = RefCell::new(BTreeSet::new());
    holds([corpus("callback", &[])], async |[query]| {
        gateway.clock.advance(seconds(60));
        let mut browser = Browser::default();
        let (asked, _) = at_provider(&gateway, &mut browser, &client).await;
        let [state, challenge] = ["state", "code_challenge"].map(|name| asked.redirect_param(name).unwrap());
        let code = format!("upstream-code.{challenge}");
        let query = filled(&query, &[("state", state.clone()), ("upstream_code", code)]);
        gateway.provider.answers.lock().unwrap().clear();
        gateway.provider.signs_in("42");
        let answer = browser.get(&gateway, &format!("/oauth/callback?{}", printable(&query))).await;
        sane(&answer, &[303, 400, 403, 414]);
        assert!(answer.status != 303 || holds_text(&query, &state), "{answer:?}");
        assert!(!answer.body.contains("evil"), "{answer:?}");
        ended.borrow_mut().insert(answer.status.as_u16());
    });
    assert!(ended.borrow().contains(&303), "nobody signed in");
}

/// A provider's documents and answers.
#[test]
fn what_a_provider_says() {
    let upstream = Upstream::start();
    let known: Known = KNOWN.map(|(name, text)| (name, text.to_owned())).into();
    let parts = [
        ("token_answer", Part::Token),
        ("discovery", Part::Discovery),
        ("jwks", Part::Keys),
        ("user_info", Part::UserInfo),
    ];
    for (parser, part) in parts {
        let (good, tried) = (Cell::new(0), Cell::new(0));
        holds([corpus(parser, &known)], async |[text]| {
            let signed_in = upstream.signs_in(part, &text).await;
            good.set(good.get() + u32::from(signed_in));
            tried.set(tried.get() + 1);
        });
        assert!(good.get() > 0 && good.get() < tried.get(), "{parser}: {good:?} of {tried:?}");
    }
}

/// Whatever a client writes there, what a trusted proxy adds is believed, and of anybody else nothing.
#[test]
fn forwarded_addresses() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let [proxy, stranger, client] =
        ["10.0.0.1", "203.0.113.9", "198.51.100.7"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let of = |peer: IpAddr, lines: &[&[u8]]| {
        let lines = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
        let headers = lines.map(|line| (header::HeaderName::from_static("x-forwarded-for"), line)).collect();
        Source::of(peer, &headers, &trusted).0
    };
    let added = client.to_string();
    holds([corpus("forwarded", &[])], async |[line]| {
        assert_eq!(of(stranger, &[&line]), Some(stranger));
        let on_one_line = [&line, b", ".as_slice(), added.as_bytes()].concat();
        if HeaderValue::from_bytes(&line).is_ok() {
            assert_eq!(of(proxy, &[&on_one_line]), Some(client));
        }
        assert_eq!(of(proxy, &[&line, added.as_bytes()]), Some(client));
    });
}

const DOCUMENT: &str = "https://a.example.com/c";

#[test]
fn urls_of_documents() {
    holds([corpus("document_url", &[])], async |[bytes]| {
        let Ok(text) = String::from_utf8(bytes) else { return };
        let Some(id) = DocumentUrl::parse(&text) else { return };
        // What we accept, the rest of the world reads as we do.
        let url = url::Url::parse(&text).unwrap();
        assert!(id.as_str() == text && url.as_str() == text && url.host_str() == Some(id.host()), "{text}");
        assert!(matches!(url.host(), Some(url::Host::Domain(_))), "{text}");
        assert!(url.scheme() == "https" && url.port().is_none() && url.fragment().is_none(), "{text}");
        assert!(url.username().is_empty() && url.password().is_none(), "{text}");
    });
}

#[test]
fn documents_and_key_sets() {
    let url = DocumentUrl::parse(DOCUMENT).unwrap();
    let policy = RedirectUrisConfig::default();
    let texts = corpus("document", &[]);
    let good = texts.iter().filter(|text| Document::read(text, &url, &policy).is_ok());
    assert_eq!(good.count(), 3, "public, with keys, and with keys elsewhere");
    holds([texts], async |[bytes]| {
        if let Ok(document) = Document::read(&bytes, &url, &policy) {
            assert!(!document.redirect_uris.is_empty() && !document.name.is_empty());
            assert!(document.redirect_uris.iter().all(|uri| uri.is_allowed(&policy)), "{document:?}");
        }
        if let Ok(keys) = KeySet::read(&bytes) {
            for algorithm in gatehouse_gateway::jws::ALGORITHMS {
                assert!(keys.verify(None, &algorithm, &bytes, &[1; 64]).is_err());
            }
        }
    });
}

#[test]
fn lives_of_documents() {
    let dates = || corpus("http_date", &[]);
    holds([corpus("cache_control", &[]), dates(), dates()], async |[control, date, expires]| {
        let mut headers = HeaderMap::new();
        let values = [(header::CACHE_CONTROL, control), (header::DATE, date), (header::EXPIRES, expires)];
        for (name, value) in values {
            headers.extend(HeaderValue::from_bytes(&value).ok().map(|value| (name, value)));
        }
        let life = freshness::life(&headers).fresh.as_secs();
        assert!(life == 5 || (60..=86_400).contains(&life), "{headers:?}: {life}");
    });
}

#[test]
fn client_assertions() {
    let now = seconds(crate::support::NOW.unsigned_abs());
    let ours = ["https://gw.test".to_owned()];
    let exp = now.as_secs() + 60;
    let header = r#"{"alg":"EdDSA","kid":"k1"}"#.to_owned();
    let claims =
        format!(r#"{{"iss":"{DOCUMENT}","sub":"{DOCUMENT}","aud":"{}","exp":{exp},"jti":"j"}}"#, ours[0]);
    let assertion = |header: &[u8], claims: &[u8]| {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}.{}", part(header), part(claims), part(&[0; 64]))
    };
    let right = assertion(header.as_bytes(), claims.as_bytes());
    assert!(UnverifiedAssertion::read(&right, &ours, now).is_ok());
    let sane = |text: &str| {
        if let Ok(read) = UnverifiedAssertion::read(text, &ours, now) {
            assert!(text.split('.').count() == 3 && text.len() <= 8 * 1024, "{text}");
            assert!(text.len() >= read.client_id().len(), "{text}");
        }
    };
    let known = [("assertion", right), ("claims", claims)];
    let corpora = ["assertion", "jws_header", "assertion_claims"].map(|parser| corpus(parser, &known));
    holds(corpora, async |[text, header, claims]| {
        sane(&String::from_utf8_lossy(&text));
        sane(&assertion(&header, &claims));
    });
}

//! Attack 130: whatever parses bytes from outside, by properties, from a corpus of what is right and of what once was
//! wrong somewhere: no panic, no server error, no redirect elsewhere, and nothing that only resembles a secret opens
//! anything.

use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatehouse_gateway::{
    client_document::{Document, DocumentUrl, KeySet, freshness},
    model::{RedirectUri, RefreshToken, registration::Registration},
    oauth::assertion::UnverifiedAssertion,
};
use gatehouse_gateway_config::policy::RedirectUrisConfig;
use http::{HeaderMap, HeaderValue, Method, header};
use proptest::{prelude::*, sample::Index};
use tokio::runtime::Runtime;

use crate::support::{
    Answer, Browser, Client, Gateway, authorization, authorize_path, form, provider_config, redeem, refresh,
    request, seconds,
};

/// Each case is a request of a millisecond or two.
const CASES: u32 = 300;
/// What names a key that is not listed may be ours, from a replica that has read a newer key file: try again.
const UNKNOWN_KEY: u16 = 503;
const FORM: &str = "application/x-www-form-urlencoded";

/// A text of the corpus with a few edits, or nothing but noise.
fn mutated(corpus: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let other = prop::sample::select(corpus.clone());
    let edit = (any::<Index>(), any::<u8>(), 0..6_u8);
    let edited = (prop::sample::select(corpus), other, prop::collection::vec(edit, 0..5));
    let edited = edited.prop_map(|(text, other, edits)| {
        let mut bytes = text.into_bytes();
        for (index, new, kind) in edits {
            let at = index.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = new,
                1 => bytes.insert(at, new),
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..),
                4 => drop(bytes.splice(at..at, other.bytes())),
                _ if at < bytes.len() => bytes[at] ^= 1 << (new % 8),
                _ => {}
            }
        }
        bytes.truncate(16 << 10);
        bytes
    });
    prop_oneof![9 => edited, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

fn corpus<const N: usize>(texts: [&str; N], more: impl IntoIterator<Item = String>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).chain(more).collect()
}

/// Runs `property` on many inputs, in a gateway's runtime.
fn holds<S: Strategy>(strategy: S, property: impl AsyncFn(S::Value)) {
    let runtime = Runtime::new().unwrap();
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(input in strategy)| runtime.block_on(property(input)));
}

fn prepared<T>(make: impl AsyncFnOnce() -> T) -> T {
    Runtime::new().unwrap().block_on(make())
}

/// What fits in a request line.
fn printable(bytes: &[u8]) -> String {
    let fits = |b: &&u8| b.is_ascii_graphic() && !b"<>\"{}|\\^`#".contains(b);
    bytes.iter().filter(fits).map(|b| char::from(*b)).collect()
}

fn sane(answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status.as_u16()), "{answer:?}");
    if answer.status == 303 {
        let own = [
            "http://127.0.0.1:",
            "http://127.0.0.1/callback?",
            "/oauth/signin?",
            "https://idp.test/authorize?",
        ];
        assert!(own.iter().any(|own| answer.location().starts_with(own)), "{answer:?}");
    }
}

async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    // The limits are per window.
    gateway.clock.advance(seconds(1));
    gateway.send(request(Method::POST, path, headers, Body::from(body))).await
}

#[test]
fn registrations() {
    let gateway = Gateway::local();
    let texts = corpus(
        [
            r#"{"redirect_uris":["http://localhost:1/cb","cursor://x/y"],"client_name":"x"}"#,
            r#"{"redirect_uris":["javascript:alert(1)"],"grant_types":null,"jwks":{"keys":[{}]}}"#,
            r#"{"redirect_uris":["http://[::1]/"],"client_uri":"http://169.254.169.254/","contacts":[]}"#,
            "[[[[[[[[",
            "{\"client_name\":\"\\ud800\"}",
            "1e999",
            "\u{feff}{}",
        ],
        [],
    );
    holds(mutated(texts), async |body| {
        let answer = post(&gateway, "/oauth/register", &[("content-type", "application/json")], body).await;
        sane(&answer, &[201, 400, 413, 429]);
    });
}

#[test]
fn authorization_requests() {
    let gateway = Gateway::local();
    let client = prepared(async || gateway.public_client().await);
    let right = form(&authorization(&client));
    let texts = corpus(["client_id=&redirect_uri=%00", "a=%ff&a", "&&&=%", "state=%0d%0aX:y"], [right]);
    holds(mutated(texts), async |query| {
        gateway.clock.advance(seconds(1));
        sane(
            &gateway.get(&format!("/oauth/authorize?{}", printable(&query))).await,
            &[303, 400, 414, 429, UNKNOWN_KEY],
        );
    });
}

#[test]
fn token_requests_and_basic_headers() {
    let gateway = Gateway::local();
    let (client, tokens) = prepared(async || {
        let client = gateway.public_client().await;
        let tokens = gateway.tokens(&client).await;
        (client, tokens["refresh_token"].as_str().unwrap().to_owned())
    });
    let other = Client { id: client.id.clone(), secret: None };
    let bodies = corpus(
        ["grant_type=client_credentials", "grant_type=refresh_token&refresh_token=%c3%28", "=&=&="],
        [form(&refresh(&client, &tokens)), form(&redeem(&other, "x"))],
    );
    let headers = corpus(["Basic Z2NfOng=", "basic  ", "Basic OjpA", "Bearer x", "Basic ////", "\u{7f}"], []);
    holds((mutated(bodies), mutated(headers), any::<bool>()), async |(body, header, sent)| {
        let header = HeaderValue::from_bytes(&header).ok().filter(|_| sent);
        let mut asked = request(Method::POST, "/oauth/token", &[("content-type", FORM)], Body::from(body));
        asked.headers_mut().extend(header.map(|value| (header::AUTHORIZATION, value)));
        gateway.clock.advance(seconds(1));
        sane(&gateway.send(asked).await, &[200, 400, 401, 413, UNKNOWN_KEY]);
    });
}

#[test]
fn bearer_tokens() {
    let gateway = Gateway::local();
    let access = prepared(async || {
        let client = gateway.public_client().await;
        gateway.tokens(&client).await["access_token"].as_str().unwrap().to_owned()
    });
    let right = format!("Bearer {access}");
    let texts = corpus(["Bearer ", "bearer a b", "Basic x", "Bearer \u{e9}"], [right.clone()]);
    holds(mutated(texts), async |header| {
        let Ok(value) = HeaderValue::from_bytes(&header) else { return };
        // The token itself, however its scheme is written, is right.
        if String::from_utf8_lossy(&header).contains(access.as_str()) {
            return;
        }
        let mut asked =
            request(Method::POST, "/mcp", &[("content-type", "application/json")], Body::from("{}"));
        asked.headers_mut().insert(header::AUTHORIZATION, value);
        sane(&gateway.send(asked).await, &[401]);
    });
}

#[test]
fn sealed_client_ids_and_refresh_tokens() {
    let gateway = Gateway::local();
    let (client, token) = prepared(async || {
        let client = gateway.public_client().await;
        let tokens = gateway.tokens(&client).await;
        (client.id, tokens["refresh_token"].as_str().unwrap().to_owned())
    });
    let server = &gateway.server;
    let texts = corpus(["gc_", "gc_AAAA", "gc_\u{e9}", "AQ", ""], [client.clone(), token.clone()]);
    holds(mutated(texts), async |bytes| {
        let Ok(text) = String::from_utf8(bytes) else { return };
        let policy = &server.config.policy.registration;
        assert_eq!(
            Registration::open(&server.keys, policy, crate::support::NOW, &text).is_ok(),
            text == client
        );
        assert_eq!(RefreshToken::parse(&server.keys, &text).is_ok(), text == token, "{text}");
    });
}

#[test]
fn redirect_uris() {
    let texts = corpus(
        [
            "http://127.0.0.1:5000/cb",
            "http://[::1]/cb?x=y",
            "http://localhost",
            "https://c1.test/cb",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "javascript:alert(1)",
            "https://a@b.test/",
            "com.app:/cb",
            "https://c1.test\\@evil.test/",
            "http://127.0.0.1.evil.test/",
            "https://c1.test:443/%2e%2e/",
        ],
        [],
    );
    holds(mutated(texts), async |bytes| {
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
    let cookies =
        corpus(["a=b; c", "=;=;=", "__Host-gh-=", "; ;"], [cookie.clone(), cookie.replace("__Host-", "")]);
    let states = corpus(["", "A", "%00", "AQ=="], [state.clone()]);
    holds((mutated(cookies), mutated(states)), async |(header, presented)| {
        let Ok(value) = HeaderValue::from_bytes(&header) else { return };
        let is_right = String::from_utf8_lossy(&header).split(';').any(|pair| pair.trim() == cookie);
        let ask = async |path: &str| {
            let mut asked = request(Method::GET, path, &[], Body::empty());
            asked.headers_mut().insert(header::COOKIE, value.clone());
            gateway.send(asked).await
        };
        let answer = ask(&approve).await;
        sane(&answer, &[303, 403]);
        assert!(answer.status != 303 || is_right, "{answer:?}");
        let presented = printable(&presented);
        if !presented.starts_with(&state) {
            sane(
                &ask(&format!("/oauth/callback?code=x&state={presented}")).await,
                &[400, 403, 414, UNKNOWN_KEY],
            );
        }
    });
}

const DOCUMENT: &str = "https://a.example.com/c";

#[test]
fn urls_of_documents() {
    let texts = corpus(
        [
            DOCUMENT,
            "https://a.example.com/c?v=2",
            "https://a.example.com/c#f",
            "https://a.example.com:8443/c",
            "https://a.example.com/x/../c",
            "https://u:p@a.example.com/c",
            "https://[::1]/%2e%2e/c",
            "https:\\\\2130706433\\c",
        ],
        [],
    );
    holds(mutated(texts), async |bytes| {
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
    let keys =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let start = format!("{{\"client_id\":\"{DOCUMENT}\",\"client_name\":\"x\",\"redirect_uris\":[");
    let public = format!("{start}\"http://localhost/cb\"]}}");
    let method = "\"token_endpoint_auth_method\":\"private_key_jwt\"";
    let inline = format!("{start}\"http://[::1]/cb\"],{method},\"jwks\":{keys}}}");
    let named = format!("{start}\"http://localhost/cb\"],{method},\"jwks_uri\":\"{DOCUMENT}/jwks\"}}");
    let url = DocumentUrl::parse(DOCUMENT).unwrap();
    let policy = RedirectUrisConfig::default();
    for right in [&public, &inline, &named] {
        assert!(Document::read(right.as_bytes(), &url, &policy).is_ok(), "{right}");
    }
    let texts = corpus(
        ["[[[[[[[[", r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":""}]}"#, "1e999"],
        [public, inline, named, keys.to_owned()],
    );
    holds(mutated(texts), async |bytes| {
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
    let control =
        corpus(["max-age=3600", "no-store, s-maxage=\"1\"", "private,,max-age=", "max-age=1e9"], []);
    let dates = corpus(["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "0"], []);
    holds((mutated(control), mutated(dates.clone()), mutated(dates)), async |(control, date, expires)| {
        let mut headers = HeaderMap::new();
        let values = [(header::CACHE_CONTROL, control), (header::DATE, date), (header::EXPIRES, expires)];
        for (name, value) in values {
            headers.extend(HeaderValue::from_bytes(&value).ok().map(|value| (name, value)));
        }
        let life = freshness::lifetime(&headers).as_secs();
        assert!(life == 0 || (60..=86_400).contains(&life), "{headers:?}: {life}");
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
    let texts = corpus(["..", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."], [right.clone()]);
    let headers = corpus([r#"{"alg":"none"}"#, r#"{"alg":"HS256","crit":[]}"#], [header]);
    let bodies = corpus([r#"{"aud":["a","b"],"exp":1e308}"#, r#"{"exp":-1,"nbf":null}"#], [claims]);
    holds((mutated(texts), mutated(headers), mutated(bodies)), async |(text, header, claims)| {
        sane(&String::from_utf8_lossy(&text));
        sane(&assertion(&header, &claims));
    });
}

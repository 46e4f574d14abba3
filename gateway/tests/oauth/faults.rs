//! Attacks 94 and 130: Redis away, and nonsense in every parser.

use axum::body::Body;
use gatehouse_gateway::clock::{Entropy, SeededEntropy, random};
use http::{Method, StatusCode};

use crate::support::{
    Browser, Client, Gateway, authorization, authorize_path, config, provider_config, redeem, refresh,
    request, seconds,
};

#[tokio::test]
async fn without_redis_nothing_is_minted_and_everyone_is_asked_to_come_back() {
    let live = Gateway::new(provider_config());
    let client = live.public_client().await;
    let local = Gateway::local();
    let code = local.code(&mut Browser::default(), &client).await;
    let tokens = local.tokens(&client).await;
    let mut browser = Browser::default();
    let approve = browser.get(&live, &authorize_path(&authorization(&client))).await.link("approve");
    let asked = browser.get(&live, &approve).await;
    let state = asked.redirect_param("state").unwrap();

    let gateway = Gateway::without_redis(provider_config());
    // What needs no Redis goes on.
    assert_eq!(gateway.public_client().await.id.len(), client.id.len());
    assert_eq!(gateway.get("/.well-known/oauth-protected-resource/mcp").await.status, 200);
    let callback = format!("/oauth/callback?state={state}&code=x");
    for path in [authorize_path(&authorization(&client)), approve, callback] {
        let page = browser.get(&gateway, &path).await;
        assert!(page.is_page(503) && !page.header("retry-after").is_empty(), "{path} {page:?}");
    }
    for params in [redeem(&client, &code), refresh(&client, tokens["refresh_token"].as_str().unwrap())] {
        let answer = gateway.token(&params).await;
        assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert!(gateway.provider.exchanged.lock().unwrap().is_empty());
}

/// A text in which a few bytes of a good one are changed, doubled or lost.
fn mutated(entropy: &dyn Entropy, good: &str) -> Vec<u8> {
    let mut bytes = good.as_bytes().to_vec();
    for _ in 0..=random::<1>(entropy)[0] % 4 {
        let [place_high, place_low, kind, new] = random::<4>(entropy);
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(u16::from_be_bytes([place_high, place_low])) % bytes.len();
        match kind % 4 {
            0 => bytes[at] = new,
            1 => bytes.insert(at, new),
            2 => bytes.truncate(at),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
        }
    }
    bytes
}

#[tokio::test]
async fn nonsense_is_refused_without_a_panic_or_a_redirect_elsewhere() {
    let gateway = Gateway::new(config());
    let client = gateway.public_client().await;
    let entropy = SeededEntropy::new(7);
    let tokens = gateway.tokens(&client).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap().to_owned();
    let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", "Basic Z2NfOng=")];
    let json = [("content-type", "application/json")];
    let registration = r#"{"redirect_uris":["http://localhost:1/cb","cursor://x/y"],"client_name":"x"}"#;
    for _ in 0..1500 {
        let query = printable(&mutated(&entropy, &crate::support::form(&authorization(&client))));
        let answer = gateway.get(&format!("/oauth/authorize?{query}")).await;
        if answer.status == 303 {
            let to = answer.location();
            assert!(
                ["http://127.0.0.1:", "http://127.0.0.1/callback?", "/oauth/signin?"]
                    .iter()
                    .any(|own| to.starts_with(own)),
                "{query} {to}"
            );
        }
        let body = mutated(&entropy, &crate::support::form(&refresh(&client, &refresh_token)));
        let typed = if body.len().is_multiple_of(2) { &form[..] } else { &form[..1] };
        let answer = gateway.send(request(Method::POST, "/oauth/token", typed, Body::from(body))).await;
        assert!(matches!(answer.status.as_u16(), 200 | 400 | 401), "{answer:?}");
        let body = Body::from(mutated(&entropy, registration));
        let answer = gateway.send(request(Method::POST, "/oauth/register", &json, body)).await;
        assert!(matches!(answer.status.as_u16(), 201 | 400 | 429), "{answer:?}");
        // The limits are per window.
        gateway.clock.advance(crate::support::seconds(1));
    }
    let other = Client { id: client.id, secret: None };
    assert_eq!(gateway.get(&authorize_path(&authorization(&other))).await.status, 303);
}

/// What fits in a request line.
fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .filter(|b| b.is_ascii_graphic() && !b"<>\"{}|\\^`#".contains(b))
        .map(|b| char::from(*b))
        .collect()
}

#[tokio::test]
async fn a_flood_of_one_source_or_of_bytes_is_refused_and_may_come_again() {
    let gateway = Gateway::local();
    for _ in 0..3000 {
        assert!(gateway.token(&[]).await.is_error(400, "invalid_request"));
    }
    assert_eq!(gateway.token(&[]).await.status, StatusCode::TOO_MANY_REQUESTS);
    gateway.clock.advance(seconds(60));
    assert!(gateway.token(&[]).await.is_error(400, "invalid_request"));

    let one = || gateway.app.bodies.take(1);
    let all: Vec<_> = std::iter::from_fn(|| gateway.app.bodies.take(64 * 1024)).collect();
    let answer = gateway.token(&[("grant_type", "refresh_token")]).await;
    assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "2");
    let page = Browser::default().post(&gateway, "/oauth/signin", &[("flow", "x")]).await;
    assert!(page.is_page(503), "{page:?}");
    // What has no body needs no room.
    assert_eq!(gateway.get("/.well-known/oauth-authorization-server").await.status, StatusCode::OK);
    drop(all);
    assert!(one().is_some());
}

/// A server shares its Redis with others: what strangers can write there is bounded for each server.
#[tokio::test]
async fn a_server_holds_so_many_flows() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    for _ in 0..10_000 {
        gateway.server.store.hit("flows:all", seconds(600)).await.unwrap();
    }
    assert!(gateway.get(&path).await.is_page(429));
    gateway.clock.advance(seconds(600));
    assert_eq!(gateway.get(&path).await.status, StatusCode::SEE_OTHER);
}

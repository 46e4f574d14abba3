//! Floods of begun sign-ins: what strangers take is nobody else's room.

use gatehouse_gateway::store::Quota;
use http::StatusCode;

use crate::{
    callback::return_path,
    support::{Answer, Browser, Gateway, authorization, authorize_path, seconds},
};

/// A request by way of a trusted proxy that saw it come from `source`.
async fn from(browser: &mut Browser, gateway: &Gateway, path: &str, source: &str) -> Answer {
    browser.address = Some("10.1.1.1".parse().unwrap());
    browser.get_with(gateway, path, &[("x-forwarded-for", source)]).await
}

/// Takes all that strangers share, as a few networks could.
async fn fill_shared(gateway: &Gateway) {
    take(gateway, "flows-strangers:all", 5000).await;
}

/// Takes all the room of strangers, as hundreds of networks could.
pub(crate) async fn fill(gateway: &Gateway) {
    fill_shared(gateway).await;
    take(gateway, "flows-reserve:all", 3000).await;
}

async fn take(gateway: &Gateway, key: &str, count: u64) {
    let all = Quota { key: key.to_owned(), count, window: seconds(600) };
    while gateway.server.store.admit(std::slice::from_ref(&all)).await.unwrap().is_none() {}
}

async fn is_held_back(gateway: &Gateway, path: &str, source: &str) -> bool {
    from(&mut Browser::default(), gateway, path, source).await.is_page(429)
}

#[tokio::test]
async fn five_addresses_hold_nobody_else_back() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let sources = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "198.51.100.1", "192.0.2.1"];
    let mut admitted = [0; 5];
    for _ in 0..3 {
        for (source, admitted) in sources.iter().zip(&mut admitted) {
            for _ in 0..310 {
                // Each says another address of its own, which no trusted proxy saw.
                let spoofed = format!("{}, {source}", std::net::Ipv4Addr::from_bits(*admitted));
                let answer = from(&mut Browser::default(), &gateway, &path, &spoofed).await;
                *admitted += u32::from(answer.status == StatusCode::OK);
            }
        }
        gateway.clock.advance(seconds(60));
    }
    // A source has its budget, and a network that of two sources.
    assert_eq!(admitted, [300, 300, 200, 400, 400]);
    let mut stranger = Browser::default();
    assert_eq!(from(&mut stranger, &gateway, &path, "198.18.0.1").await.status, StatusCode::OK);
    gateway.clock.advance(seconds(600));
    assert!(!is_held_back(&gateway, &path, sources[0]).await);
}

/// Whoever has seven networks to begin sign-ins from shuts out nobody who comes from an eighth.
#[tokio::test]
async fn networks_that_began_few_have_a_share_of_their_own() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut busy = Browser::default();
    for n in 0..10 {
        assert_eq!(from(&mut busy, &gateway, &path, &format!("203.0.113.{n}")).await.status, StatusCode::OK);
    }
    fill_shared(&gateway).await;
    assert!(is_held_back(&gateway, &path, "203.0.113.99").await, "it began ten before");
    for network in ["198.51.100", "192.0.2"] {
        for n in 0..12 {
            let source = format!("{network}.{n}");
            assert_eq!(is_held_back(&gateway, &path, &source).await, n >= 10, "{source}");
        }
    }
    take(&gateway, "flows-reserve:all", 3000).await;
    assert!(is_held_back(&gateway, &path, "198.18.0.1").await, "there is an end to it");
    gateway.clock.advance(seconds(600));
    assert!(!is_held_back(&gateway, &path, "203.0.113.99").await);
}

#[tokio::test]
async fn a_known_browser_begins_whatever_strangers_do() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let (mut alice, mut bob) = (Browser::default(), Browser::default());
    alice.consent(&gateway, &client, "alice").await;
    bob.consent(&gateway, &client, "bob").await;
    fill(&gateway).await;
    for source in ["203.0.113.1", "198.51.100.1", "2001:db8::1"] {
        assert!(is_held_back(&gateway, &path, source).await);
        assert!(is_held_back(&gateway, "/account/signin", source).await);
        let page = from(&mut alice, &gateway, &path, source).await;
        assert!(page.is_page(200) && page.body.contains("id=\"approve\""), "{page:?}");
    }
    assert_eq!(
        from(&mut bob, &gateway, "/account/signin", "203.0.113.1").await.status,
        StatusCode::SEE_OTHER
    );
    // The cookie is proven, whatever it says.
    let mut forged = alice.clone();
    for (_, value) in forged.cookies.iter_mut().filter(|(name, _)| name.ends_with("-b")) {
        *value = format!("{}AAAA", &value[..value.len() - 4]);
    }
    assert!(from(&mut forged, &gateway, &path, "203.0.113.1").await.is_page(429));
    // One user's browsers together take no more than that user's room.
    let begun = futures::future::join_all((0..100).map(|_| {
        let (mut browser, gateway, path) = (alice.clone(), &gateway, &path);
        async move { from(&mut browser, gateway, path, "203.0.113.1").await.status }
    }));
    let begun = begun.await;
    assert_eq!(begun.iter().filter(|status| **status == StatusCode::OK).count(), 57, "{begun:?}");
    assert_eq!(from(&mut bob, &gateway, &path, "203.0.113.1").await.status, StatusCode::OK);
    gateway.clock.advance(seconds(600));
    assert!(!is_held_back(&gateway, &path, "203.0.113.1").await);
}

/// Whoever is known finds the strangers' room open when their own is full.
#[tokio::test]
async fn a_known_browser_is_never_worse_off_than_a_stranger() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut alice = Browser::default();
    alice.consent(&gateway, &client, "alice").await;
    for n in 0..200 {
        assert_eq!(alice.get(&gateway, &path).await.status, StatusCode::OK, "{n}");
    }
}

#[tokio::test]
async fn a_sign_in_at_a_provider_makes_the_browser_known() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut browser = Browser::default();
    let page = browser.get(&gateway, &path).await;
    let asked = browser.get(&gateway, &page.link("approve")).await;
    gateway.provider.signs_in("42");
    assert!(browser.get(&gateway, &return_path(&asked)).await.redirect_param("code").is_some());
    // It is known for longer than anybody is signed in.
    gateway.clock.advance(seconds(179 * 24 * 3600));
    fill(&gateway).await;
    assert!(is_held_back(&gateway, &path, "203.0.113.1").await);
    assert!(browser.get(&gateway, &path).await.is_page(200));
    gateway.clock.advance(seconds(24 * 3600));
    fill(&gateway).await;
    assert!(browser.get(&gateway, &path).await.is_page(429));
}

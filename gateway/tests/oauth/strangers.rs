//! What somebody who never signed in can make Redis and the identity provider do.

use http::StatusCode;

use crate::{
    callback::{at_provider, return_path},
    redis_server::RedisServer,
    support::{Browser, Gateway, authorization, authorize_path, provider_config},
};

fn standing_at(address: &str) -> Browser {
    Browser { address: Some(address.parse().unwrap()), ..Browser::default() }
}

/// Each claim of the strict replica fails, because nobody acknowledges it.
#[tokio::test]
async fn links_that_are_followed_again_make_no_replica_wait() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(provider_config(), &redis.url()).await;
    let strict = Gateway::unacknowledged(provider_config(), &redis.url()).await;
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let (approve, deny) = (page.link("approve"), page.link("deny"));
    let asked = browser.get(&gateway, &approve).await;
    assert_eq!(browser.get(&strict, &approve).await.location(), asked.location());

    let callback = return_path(&asked);
    let cancelled = callback.split("&code=").next().unwrap().to_owned() + "&error=access_denied";
    assert!(browser.get(&strict, &cancelled).await.is_page(503), "the first answer is claimed");
    let again = browser.get(&strict, &callback).await;
    assert!(again.is_page(400) && again.body.contains("used before"), "{again:?}");
    let second = browser.get(&strict, &again.link("Try again")).await;
    assert_eq!(second.status, StatusCode::SEE_OTHER, "{second:?}");

    browser.get(&gateway, &deny).await.location();
    for path in [&deny, &approve, &return_path(&second)] {
        let over = browser.get(&strict, path).await;
        assert!(over.is_page(200) && over.body.contains("You cancelled"), "{over:?}");
    }

    // A sign-in that is over says the same once more.
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.signs_in("42");
    assert!(browser.get(&gateway, &path).await.redirect_param("code").is_some());
    assert!(browser.get(&strict, &path).await.redirect_param("code").is_some());
    assert!(gateway.provider.exchanged.lock().unwrap().len() == 1);
}

#[tokio::test]
async fn codes_of_one_network_at_the_provider_leave_room_for_others() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browsers = Vec::new();
    for n in 1..=17 {
        let mut browser = standing_at(&format!("203.0.113.{n}"));
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        browsers.push((browser, path));
    }
    let (mut late, late_path) = browsers.pop().unwrap();
    let mut other = standing_at("198.51.100.1");
    let (_, other_path) = at_provider(&gateway, &mut other, &client).await;
    let sent = || gateway.provider.exchanged.lock().unwrap().len();
    let held = gateway.provider.held.write().await;
    let mut under_way: Vec<_> =
        browsers.iter_mut().map(|(browser, path)| Box::pin(browser.get(&gateway, path))).collect();
    for one in &mut under_way {
        assert!(futures::poll!(one).is_pending());
    }
    assert_eq!(sent(), 16);
    let refused = late.get(&gateway, &late_path).await;
    assert!(refused.is_page(503) && refused.header("retry-after") == "5", "{refused:?}");
    assert_eq!(sent(), 16);
    let mut elsewhere = Box::pin(other.get(&gateway, &other_path));
    assert!(futures::poll!(&mut elsewhere).is_pending());
    assert_eq!(sent(), 17);
    for n in 0..18 {
        gateway.provider.signs_in(&n.to_string());
    }
    drop(held);
    for answer in futures::future::join_all(under_way).await {
        assert!(answer.redirect_param("code").is_some());
    }
    assert!(elsewhere.await.redirect_param("code").is_some());
    // Its code was not spent.
    assert!(late.get(&gateway, &late_path).await.redirect_param("code").is_some());
}

//! What somebody who never signed in can make Redis and the identity provider do.

use gatehouse_gateway::oauth::limits::{self, Limit};
use http::StatusCode;

use crate::{
    callback::{at_provider, return_path},
    redis_server::RedisServer,
    support::{Answer, Browser, Client, Gateway, authorization, authorize_path, provider_config, seconds},
    trips::counted,
};

fn standing_at(address: &str) -> Browser {
    Browser { address: Some(address.parse().unwrap()), ..Browser::default() }
}

/// Uses up what one source may ask for.
fn use_up(gateway: &Gateway, limit: Limit, source: &str) {
    let now = gateway.server.clock.monotonic();
    while gateway.app.limiter.count(limit, source, now).is_ok() {}
}

fn is_told_to_wait(answer: &Answer) -> bool {
    answer.is_page(429) && answer.header("retry-after") == "60"
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

/// A browser that began a sign-in, and the links of its consent page.
async fn begun(gateway: &Gateway, client: &Client, address: &str) -> (Browser, [String; 2]) {
    let mut browser = standing_at(address);
    let page = browser.get(gateway, &authorize_path(&authorization(client))).await;
    (browser, ["approve", "deny"].map(|link| page.link(link)))
}

#[tokio::test]
async fn a_source_and_a_network_answer_so_often() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut known = standing_at("203.0.113.1");
    let (_, path) = at_provider(&gateway, &mut known, &client).await;
    gateway.provider.signs_in("42");
    assert!(known.get(&gateway, &path).await.redirect_param("code").is_some());

    let (mut first, [approve, deny]) = begun(&gateway, &client, "203.0.113.1").await;
    let asked = first.get(&gateway, &approve).await;
    for _ in 0..limits::ANSWERS.count - 3 {
        assert_eq!(first.get(&gateway, &approve).await.location(), asked.location());
    }
    gateway.trail.take();
    for link in [&approve, &deny] {
        assert!(is_told_to_wait(&first.get(&gateway, link).await));
    }
    assert!(is_told_to_wait(&first.get(&gateway, &return_path(&asked)).await));
    let told = ["consent refused", "consent refused", "sign_in throttled"]
        .map(|what| what.to_owned() + " too_many_requests");
    assert_eq!(gateway.trail.decisions(), told);

    // The whole network ends up there, and nobody else; not whoever signed in there before.
    use_up(&gateway, limits::ANSWERS_NETWORK, "203.0.113.0");
    let (mut second, [approve, _]) = begun(&gateway, &client, "203.0.113.2").await;
    assert!(is_told_to_wait(&second.get(&gateway, &approve).await));
    let (mut other, [approve_there, _]) = begun(&gateway, &client, "198.51.100.1").await;
    assert_eq!(other.get(&gateway, &approve_there).await.status, StatusCode::SEE_OTHER);
    let (_, path) = at_provider(&gateway, &mut known, &client).await;
    gateway.provider.signs_in("42");
    assert!(known.get(&gateway, &path).await.redirect_param("code").is_some());
    gateway.clock.advance(seconds(60));
    assert_eq!(second.get(&gateway, &approve).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_is_refused_asks_nothing_of_redis() {
    let Some(redis) = RedisServer::start().await else { return };
    let admin = redis.admin().await;
    let gateway = Gateway::on_redis(provider_config(), &redis.url()).await;
    let client = gateway.public_client().await;
    let (mut browser, [approve, _]) = begun(&gateway, &client, "203.0.113.1").await;
    let flow = approve.split("flow=").nth(1).unwrap().split('&').next().unwrap();
    let resumed = format!("/oauth/authorize?flow={flow}");
    let prefix = browser.cookies.keys().next().unwrap()[.."__Host-gh-01234567-".len()].to_owned();
    let made_up = browser.cookies.values().next().unwrap().clone();
    browser.cookies.insert(format!("{prefix}s"), made_up);
    assert_eq!(browser.get(&gateway, &resumed).await.status, StatusCode::OK);
    for limit in [limits::AUTHORIZE, limits::PAGES, limits::ANSWERS] {
        use_up(&gateway, limit, "203.0.113.1");
    }
    let begin = authorize_path(&authorization(&client));
    let before = counted(&admin).await;
    for path in [begin.as_str(), "/account/signin", &resumed, "/account", &approve] {
        let answer = browser.get(&gateway, path).await;
        assert!(is_told_to_wait(&answer), "{path}: {answer:?}");
    }
    let form = [("action", "disconnect-all"), ("token", "x")];
    assert!(is_told_to_wait(&browser.post(&gateway, "/account", &form).await));
    let after = counted(&admin).await;
    // The second read is that of the count itself.
    assert_eq!((after.0 - before.0, after.1 - before.1), (0, 1));
    assert_eq!(standing_at("203.0.113.2").get(&gateway, &begin).await.status, StatusCode::OK);
}

/// The same for the form of local users, whose page stands on a flow that was begun.
#[tokio::test]
async fn sign_in_pages_are_counted_before_their_flow_is_read() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = standing_at("203.0.113.1");
    let begun = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let form = browser.get(&gateway, begun.location()).await;
    use_up(&gateway, limits::PAGES, "203.0.113.1");
    assert!(is_told_to_wait(&browser.get(&gateway, begun.location()).await));
    assert!(is_told_to_wait(&browser.sign_in(&gateway, &form, "alice", "alice").await));
    gateway.clock.advance(seconds(60));
    assert_eq!(browser.sign_in(&gateway, &form, "alice", "alice").await.status, StatusCode::SEE_OTHER);
    // From here on it is known, and strangers at its address take nothing from it.
    use_up(&gateway, limits::PAGES, "203.0.113.1");
    use_up(&gateway, limits::AUTHORIZE, "203.0.113.1");
    assert_eq!(browser.get(&gateway, "/account").await.status, StatusCode::OK);
    assert_eq!(browser.get(&gateway, &authorize_path(&authorization(&client))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_page_loads_in_itself_begins_no_sign_in() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut visitor = Browser::default();
    let elsewhere = ("sec-fetch-site", "cross-site");
    for _ in 0..50 {
        for destination in ["image", "iframe", "empty", "script", "object", "embed", ""] {
            let headers = [elsewhere, ("sec-fetch-dest", destination)];
            let answer = visitor.get_with(&gateway, &path, &headers).await;
            assert!(answer.is_page(403) && answer.headers.get("set-cookie").is_none(), "{answer:?}");
        }
    }
    // Pages that a browser fetches before anybody opens them, because a page elsewhere says so (speculation rules).
    for purpose in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("purpose", "prefetch"),
    ] {
        for path in [path.as_str(), "/oauth/callback?x=1", "/account"] {
            let headers = [elsewhere, ("sec-fetch-dest", "document"), purpose];
            let answer = visitor.get_with(&gateway, path, &headers).await;
            assert!(answer.is_page(403) && answer.headers.get("set-cookie").is_none(), "{answer:?}");
        }
    }
    let local = Gateway::local();
    for (gateway, path) in [
        (&gateway, "/oauth/callback?x=1"),
        (&gateway, "/account"),
        (&local, "/account"),
        (&local, "/oauth/signin?flow=x"),
    ] {
        let answer = visitor.get_with(gateway, path, &[elsewhere, ("sec-fetch-dest", "image")]).await;
        assert!(answer.is_page(403), "{path}: {answer:?}");
    }
    let images = [elsewhere, ("sec-fetch-dest", "image")];
    for _ in 0..limits::ANSWERS.count {
        assert!(visitor.get_with(&gateway, "/oauth/callback?state=x&code=y", &images).await.is_page(403));
    }
    let (_, callback) = at_provider(&gateway, &mut visitor, &client).await;
    gateway.provider.signs_in("42");
    assert!(visitor.get(&gateway, &callback).await.redirect_param("code").is_some());
    // None of them was counted for the visitor's address. Links, new windows and programs are what sign-ins begin with.
    for headers in [&[elsewhere, ("sec-fetch-dest", "document")][..], &[("sec-fetch-mode", "cors")], &[]] {
        assert_eq!(visitor.get_with(&gateway, &path, headers).await.status, StatusCode::OK, "{headers:?}");
    }
}

#[tokio::test]
async fn codes_of_one_network_at_the_provider_leave_room_for_others() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browsers = Vec::new();
    // One signed in here before.
    let mut known = standing_at("192.0.2.1");
    let (_, path) = at_provider(&gateway, &mut known, &client).await;
    gateway.provider.signs_in("0");
    known.get(&gateway, &path).await;
    let before = gateway.provider.exchanged.lock().unwrap().len();
    let (_, known_path) = at_provider(&gateway, &mut known, &client).await;
    let addresses =
        (1..=12).map(|n| format!("198.51.100.{n}")).chain((1..=13).map(|n| format!("203.0.113.{n}")));
    for address in addresses {
        let mut browser = standing_at(&address);
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        browsers.push((browser, path));
    }
    let (mut late, late_path) = browsers.pop().unwrap();
    let mut other = standing_at("192.0.2.200");
    let (_, other_path) = at_provider(&gateway, &mut other, &client).await;
    let sent = || gateway.provider.exchanged.lock().unwrap().len() - before;
    let held = gateway.provider.held.write().await;
    let mut under_way: Vec<_> =
        browsers.iter_mut().map(|(browser, path)| Box::pin(browser.get(&gateway, path))).collect();
    for one in &mut under_way {
        assert!(futures::poll!(one).is_pending());
    }
    assert_eq!(sent(), 24, "of each network half of what strangers have");
    let refused = late.get(&gateway, &late_path).await;
    assert!(refused.is_page(503) && refused.header("retry-after") == "5", "{refused:?}");
    let mut elsewhere = Box::pin(other.get(&gateway, &other_path));
    assert!(futures::poll!(&mut elsewhere).is_pending());
    assert_eq!(sent(), 24, "another stranger waits");
    let mut again = Box::pin(known.get(&gateway, &known_path));
    assert!(futures::poll!(&mut again).is_pending());
    assert_eq!(sent(), 25, "who is known does not");
    for n in 0..28 {
        gateway.provider.signs_in(&n.to_string());
    }
    drop(held);
    for answer in futures::future::join_all(under_way).await {
        assert!(answer.redirect_param("code").is_some());
    }
    assert!(elsewhere.await.redirect_param("code").is_some());
    assert!(again.await.redirect_param("code").is_some());
    // Its code was not spent.
    assert!(late.get(&gateway, &late_path).await.redirect_param("code").is_some());
}

/// Another browser of a user, known as they are, which comes back from the provider with this path.
async fn known_too(gateway: &Gateway, client: &Client, user: &Browser, address: &str) -> (Browser, String) {
    let mut browser = Browser { cookies: user.cookies.clone(), ..standing_at(address) };
    let (_, path) = at_provider(gateway, &mut browser, client).await;
    (browser, path)
}

#[tokio::test]
async fn codes_of_one_known_user_leave_room_for_other_known_users() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut users = Vec::new();
    for (n, address) in (1..=3).zip(["198.51.100.1", "192.0.2.1", "192.0.2.2"]) {
        let mut browser = standing_at(address);
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        gateway.provider.signs_in(&n.to_string());
        assert!(browser.get(&gateway, &path).await.redirect_param("code").is_some());
        users.push(browser);
    }
    let mut browsers = Vec::new();
    for n in 1..=17 {
        browsers.push(known_too(&gateway, &client, &users[0], &format!("198.51.100.{n}")).await);
    }
    for n in 1..=11 {
        let mut stranger = standing_at(&format!("203.0.113.{n}"));
        let (_, path) = at_provider(&gateway, &mut stranger, &client).await;
        browsers.push((stranger, path));
    }
    for n in 1..=4 {
        browsers.push(known_too(&gateway, &client, &users[1], &format!("192.0.2.{n}")).await);
    }
    let (mut late, late_path) = browsers.remove(16);
    let (mut third, third_path) = known_too(&gateway, &client, &users[2], "192.0.2.2").await;
    let (mut fourth, fourth_path) = known_too(&gateway, &client, &users[2], "192.0.2.3").await;
    let before = gateway.provider.exchanged.lock().unwrap().len();
    let sent = || gateway.provider.exchanged.lock().unwrap().len() - before;
    let held = gateway.provider.held.write().await;
    let mut under_way: Vec<_> =
        browsers.iter_mut().map(|(browser, path)| Box::pin(browser.get(&gateway, path))).collect();
    // The first user's as known and as their network's, strangers, and the second user's.
    for (n, one) in (1..).zip(&mut under_way) {
        assert!(futures::poll!(one).is_pending());
        assert_eq!(sent(), n, "each at once");
    }
    let refused = late.get(&gateway, &late_path).await;
    assert!(refused.is_page(503) && refused.header("retry-after") == "5", "{refused:?}");
    let mut third = Box::pin(third.get(&gateway, &third_path));
    assert!(futures::poll!(&mut third).is_pending());
    assert_eq!(sent(), 32, "who is known takes the last place of strangers");
    let mut fourth = Box::pin(fourth.get(&gateway, &fourth_path));
    assert!(futures::poll!(&mut fourth).is_pending());
    assert_eq!(sent(), 32, "there is no place anywhere");
    for n in 0..34 {
        gateway.provider.signs_in(&n.to_string());
    }
    drop(held);
    for answer in futures::future::join_all(under_way).await {
        assert!(answer.redirect_param("code").is_some());
    }
    assert!(third.await.redirect_param("code").is_some());
    assert!(fourth.await.redirect_param("code").is_some());
    assert!(late.get(&gateway, &late_path).await.redirect_param("code").is_some(), "its code was not spent");
}

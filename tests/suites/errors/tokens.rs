//! 6 to 8: codes, tokens and how long they live.

use std::time::{Duration, Instant};

use e2e::{browser::Browser, oauth::OAuthClient};

use crate::Local;

#[tokio::test]
async fn e06_a_code_is_good_once_and_for_its_client_alone() {
    let local = Local::start("accessToken: 1h", 1).await;
    let (client, other) = (
        OAuthClient::register(&local.gateway.issuer).await,
        OAuthClient::register(&local.gateway.issuer).await,
    );
    let browser = Browser::of("alice");
    let code = client.code(&browser).await;
    let stolen = other.redeem(&code).await;
    assert_eq!((stolen.status, stolen.get("error").as_str()), (400, "invalid_grant"), "{}", stolen.text);
    let code = client.code(&browser).await;
    let first = client.redeem(&code).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let second = client.redeem(&code).await;
    assert_eq!((second.status, second.get("error").as_str()), (400, "invalid_grant"), "{}", second.text);
}

#[tokio::test]
async fn e07_a_refresh_without_grace_kills_the_old_tokens_at_once() {
    let local = Local::start("refreshGrace: 0s", 2).await;
    let client = OAuthClient::register(&local.gateway.issuer).await;
    let (access, refresh) = client.tokens(&Browser::of("alice")).await;
    // Both replicas remember it: the second look at each.
    for _ in 0..6 {
        assert_eq!(client.whoami(Some(&access)).await.status, 200);
    }
    let renewed = client.refresh(&refresh).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let since = Instant::now();
    let new_access = renewed.get("access_token");
    assert_eq!(client.whoami(Some(&new_access)).await.status, 200);
    // Every replica knows within a second, whoever refreshed; two requests reach both.
    e2e::net::eventually("the old access token to die", async || {
        let (one, two) =
            (client.whoami(Some(&access)).await.status, client.whoami(Some(&access)).await.status);
        (one == 401 && two == 401).then_some(())
    })
    .await;
    // A replica that is not told believes what it remembers for five.
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let reused = client.refresh(&refresh).await;
    assert_eq!((reused.status, reused.get("error").as_str()), (400, "invalid_grant"), "{}", reused.text);
    let after = client.refresh(&renewed.get("refresh_token")).await;
    assert_eq!(after.get("error"), "invalid_grant", "reuse revokes the family: {}", after.text);
}

#[tokio::test]
async fn parallel_refreshes_inside_the_grace_all_get_usable_tokens() {
    let local = Local::start("refreshGrace: 120s", 2).await;
    let client = OAuthClient::register(&local.gateway.issuer).await;
    let (_, refresh) = client.tokens(&Browser::of("alice")).await;
    let answers = futures::future::join_all((0..10).map(|_| client.refresh(&refresh))).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.get("access_token"), answers[0].get("access_token"));
    }
    assert_eq!(client.whoami(Some(&answers[0].get("access_token"))).await.status, 200);
}

#[tokio::test]
async fn e08_every_key_has_its_life() {
    let local = Local::start("accessToken: 1h", 1).await;
    let client = OAuthClient::register(&local.gateway.issuer).await;
    assert!(!local.redis.keys().await.iter().any(|k| k.contains(":oauth:")), "registering stores nothing");
    let code = client.code(&Browser::of("alice")).await;
    let named = async |part: &str| local.redis.all(part).await.into_iter().next();
    let life = async |part: &str| {
        let key = named(part).await.unwrap_or_else(|| panic!("no oauth:{part}"));
        local.redis.ttl(&key).await
    };
    let near = |found: i64, expected: i64| (expected - 60..=expected).contains(&found);
    assert!(near(life("code").await, 600));
    assert!(near(life("client").await, 365 * 86_400));
    let answer = client.redeem(&code).await;
    assert_eq!(answer.json()["expires_in"], 3600, "{}", answer.text);
    assert!(near(life("access").await, 3600));
    assert!(near(life("refresh").await, 30 * 86_400));
    assert_eq!(named("code").await, None, "a redeemed code is gone");
    for key in local.redis.keys().await {
        assert!(local.redis.ttl(&key).await > 0, "{key} has no expiry");
    }
}

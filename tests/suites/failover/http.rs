//! The whole way over HTTP, through two replicas of the gateway, while another node becomes the master.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use e2e::{
    backend::{Backend, Callers},
    browser::Browser,
    dev::Setup,
    manifests::{DEFAULT_LIFETIMES, LOCAL},
    net::{eventually, free_port},
    oauth::{Answer, OAuthClient},
    redis_fleet::RedisFleet,
};

/// How soon a client calls again.
const AGAIN: Duration = Duration::from_millis(50);

/// Calls until it is told to stop: each is answered, or unavailable. How many were answered.
async fn call(client: OAuthClient, access: String, stop: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    while !stop.load(SeqCst) {
        let answer = client.whoami(Some(&access)).await;
        assert!(matches!(answer.status, 200 | 503), "{}: {}", answer.status, answer.text);
        answered += usize::from(answer.status == 200);
        tokio::time::sleep(AGAIN).await;
    }
    answered
}

/// The first answer that is not 503.
async fn available(ask: impl AsyncFn() -> Answer) -> Answer {
    eventually("Redis to be found again", async || Some(ask().await).filter(|answer| answer.status != 503))
        .await
}

async fn goes_on(mut fleet: RedisFleet) {
    let backend = Backend::start(Callers::tokens(&[("token-of-alice", "alice")])).await;
    let setup = Setup::manifest(LOCAL).with("backend", &backend.url()).with("lifetimes", DEFAULT_LIFETIMES);
    let gateway = setup.redis_at(&fleet.seed_url()).replicas(2).start().await;
    let (client, browser) = (OAuthClient::register(&gateway.issuer).await, Browser::of("alice"));
    let (access, refresh) = client.tokens(&browser).await;
    let code = client.code(&browser).await;
    let ended = client.tokens(&browser).await;
    let revoked = client.revoke(&ended.1).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text);
    let stop = Arc::new(AtomicBool::new(false));
    let calls = tokio::spawn(call(client.clone(), access, stop.clone()));

    let key = fleet.key_with("{team-a/tools.").await;
    fleet.fail_over(&key, false).await;
    let first = available(async || client.redeem(&code).await).await;
    assert_eq!(first.status, 200, "{}", first.text);
    // The balancer gives it to the other replica.
    let second = available(async || client.redeem(&code).await).await;
    assert!(second.is_error(400, "invalid_grant"), "{}: {}", second.status, second.text);
    // Each twice: at one replica and the other.
    for _ in 0..2 {
        let called = available(async || client.whoami(Some(&ended.0)).await).await;
        assert_eq!(called.status, 401, "{}", called.text);
        let renewed = available(async || client.refresh(&ended.1).await).await;
        assert!(renewed.is_error(400, "invalid_grant"), "{}: {}", renewed.status, renewed.text);
    }
    let renewed = available(async || client.refresh(&refresh).await).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let access = renewed.get("access_token");
    let called = available(async || client.whoami(Some(&access)).await).await;
    assert_eq!(called.status, 200, "{}", called.text);
    stop.store(true, SeqCst);
    assert!(calls.await.expect("every call was answered, or unavailable") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_over_http_when_sentinels_fail_over() {
    goes_on(RedisFleet::sentinel(free_port).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_over_http_when_a_cluster_fails_over() {
    goes_on(RedisFleet::cluster(free_port).await).await;
}

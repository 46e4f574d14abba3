//! Attacks 94 and 129: Redis away, and floods.

use gatehouse_gateway::upload::Uploads;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    assertions::{self, claims_at, proven, signed},
    callback::{at_provider, return_path},
    chaos::{Chaos, Mode},
    clocks::time,
    documents::World,
    redis_server::RedisServer,
    static_clients::{listed, robot},
    support::{
        Answer, Browser, Gateway, NOW, authorization, authorize_path, config, provider_config, redeem,
        refresh, seconds,
    },
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
    assert_eq!(gateway.get("/.well-known/oauth-protected-resource/mcp").await.status, 200);
    // Nobody told it the time: it may be wrong by any length.
    let registration = json!({"redirect_uris": ["http://127.0.0.1/callback"]});
    let answer = gateway.post_json("/oauth/register", &registration).await;
    assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
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

/// Registering needs no Redis, once it has told the time.
#[tokio::test]
async fn clients_register_while_redis_is_away() {
    let Some(redis) = RedisServer::start().await else { return };
    let way = Chaos::before(redis.socket.clone()).await;
    let gateway = Gateway::on_redis(provider_config(), &way.url()).await;
    way.set(Mode::Cut);
    assert!(gateway.server.store.ping().await.is_err());
    let before = gateway.public_client().await;
    gateway.clock.advance(seconds(60));
    assert_ne!(gateway.public_client().await.id, before.id);
}

/// A token request is refused while Redis is away, which is left as it is, and taken when it is back.
async fn is_taken_once_redis_is_back(
    (redis, way, gateway): (&RedisServer, &Chaos, &Gateway),
    params: &[(&str, &str)],
) -> Value {
    let admin = redis.admin().await;
    let before = admin.keys("").await;
    way.set(Mode::Cut);
    for _ in 0..2 {
        let answer = gateway.token(params).await;
        assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(admin.keys("").await, before, "nothing is minted, and nothing spent");
    comes_back(way, gateway).await;
    let answer = gateway.token(params).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Redis is there again, and the gateway finds it by itself.
async fn comes_back(way: &Chaos, gateway: &Gateway) {
    way.set(Mode::Pass);
    while gateway.server.store.ping().await.is_err() {
        tokio::time::sleep(seconds(1) / 100).await;
    }
}

#[tokio::test]
async fn a_robot_gets_its_token_once_redis_is_back() {
    let Some(redis) = RedisServer::start().await else { return };
    let way = Chaos::before(redis.socket.clone()).await;
    let mut config = config();
    config["policy"] = json!({"clients": listed()});
    let gateway = Gateway::on_redis(config, &way.url()).await;
    let tokens = is_taken_once_redis_is_back((&redis, &way, &gateway), &robot("robot", "new-secret")).await;
    assert!(gateway.accepts(tokens["access_token"].as_str().unwrap()).await);
}

/// The assertion, too, is as good as new: the client need not sign another.
#[tokio::test]
async fn a_client_that_signs_redeems_its_code_once_redis_is_back() {
    let Some(redis) = RedisServer::start().await else { return };
    let way = Chaos::before(redis.socket.clone()).await;
    let gateway = World::inline().await.on_redis_at(&way.url(), NOW).await;
    let client = assertions::client();
    let code = gateway.code(&mut Browser::default(), &client).await;
    let assertion = signed(1, &claims_at(time(&redis).await));
    let params = proven(redeem(&client, &code), &assertion);
    let tokens = is_taken_once_redis_is_back((&redis, &way, &gateway), &params).await;
    assert!(gateway.accepts(tokens["access_token"].as_str().unwrap()).await);
    assert_eq!(redis.admin().await.keys(":jti:").await.len(), 1, "it is spent now");
}

/// Whichever of its steps meets the outage, the attempt is begun once Redis is back, and by the same link.
#[tokio::test]
async fn try_again_begins_an_attempt_once_redis_is_back() {
    let Some(redis) = RedisServer::start().await else { return };
    let way = Chaos::before(redis.socket.clone()).await;
    let gateway = Gateway::on_redis(provider_config(), &way.url()).await;
    let (client, admin, mut browser) =
        (gateway.public_client().await, redis.admin().await, Browser::default());
    let (first, path) = at_provider(&gateway, &mut browser, &client).await;
    let cancelled = path.split("&code=").next().unwrap().to_owned() + "&error=access_denied";
    let link = browser.get(&gateway, &cancelled).await.link("Try again");
    // It reads the flow, which is approved, and begins the next attempt.
    for answered in 0..2 {
        way.set(if answered == 0 { Mode::Cut } else { Mode::Answers(answered) });
        let page = browser.get(&gateway, &link).await;
        assert!(page.is_page(503) && !page.header("retry-after").is_empty(), "{answered}: {page:?}");
        let attempt: Option<String> = admin.run(&["HGET", &admin.key(":flow:").await, "attempt"]).await;
        assert_eq!(attempt.as_deref(), Some("1"), "{answered}");
        comes_back(&way, &gateway).await;
    }
    let state = |asked: &Answer| asked.redirect_param("state");
    let asked = browser.get(&gateway, &link).await;
    assert!(state(&asked).is_some() && state(&asked) != state(&first));
    assert_eq!(state(&browser.get(&gateway, &link).await), state(&asked), "it is begun once");
    gateway.provider.signs_in("42");
    let code = browser.get(&gateway, &return_path(&asked)).await.redirect_param("code").unwrap();
    assert_eq!(gateway.token(&redeem(&client, &code)).await.status, StatusCode::OK);
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

    let gateway = gateway.uploading(Uploads::new(4));
    let answer = gateway.token(&[("grant_type", "refresh_token")]).await;
    assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "2");
    let page = Browser::default().post(&gateway, "/oauth/signin", &[("flow", "x")]).await;
    assert!(page.is_page(503), "{page:?}");
    // What has no body needs no room.
    assert_eq!(gateway.get("/.well-known/oauth-authorization-server").await.status, StatusCode::OK);
}

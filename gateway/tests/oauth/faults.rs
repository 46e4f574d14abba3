//! Attacks 94 and 129: Redis away, and floods.

use gatehouse_gateway::upload::Uploads;
use http::StatusCode;
use serde_json::json;

use crate::{
    chaos::{Chaos, Mode},
    redis_server::RedisServer,
    support::{Browser, Gateway, authorization, authorize_path, provider_config, redeem, refresh, seconds},
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

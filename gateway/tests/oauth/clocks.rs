//! Attack 78: replicas whose clocks are five minutes apart extend no lifetime. Redis's time decides.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::{
    redis_server::RedisServer,
    support::{
        Browser, Gateway, authorization, authorize_path, config, provider_config, redeem, refresh, seconds,
    },
};

const SKEW: u64 = 300;

/// Two replicas on one Redis, the second of which is five minutes ahead.
async fn replicas(config: fn() -> serde_json::Value) -> Option<(RedisServer, [Gateway; 2])> {
    let redis = RedisServer::start().await?;
    let replica = || Gateway::on_redis(config(), &redis.url());
    let both = [replica(), replica()];
    both[1].clock.advance(seconds(SKEW));
    Some((redis, both))
}

async fn pass(redis: &RedisServer, replicas: &[Gateway; 2], time: Duration) {
    redis.admin().await.age("", time).await;
    for replica in replicas {
        replica.clock.advance(time);
    }
}

#[tokio::test]
async fn a_code_lives_ten_minutes_whoever_made_it_and_whoever_redeems_it() {
    let Some((redis, both)) = replicas(config).await else { return };
    for (maker, redeemer) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        let client = both[maker].public_client().await;
        let (early, late) = (
            both[maker].code(&mut Browser::default(), &client).await,
            both[maker].code(&mut Browser::default(), &client).await,
        );
        pass(&redis, &both, seconds(590)).await;
        let answer = both[redeemer].token(&redeem(&client, &early)).await;
        assert_eq!(answer.status, StatusCode::OK, "{maker} {redeemer}: {answer:?}");
        pass(&redis, &both, seconds(11)).await;
        let answer = both[redeemer].token(&redeem(&client, &late)).await;
        assert!(answer.is_error(400, "invalid_grant"), "{maker} {redeemer}: {answer:?}");
    }
}

#[tokio::test]
async fn tokens_and_the_grace_end_at_their_time() {
    let Some((redis, both)) = replicas(config).await else { return };
    for (maker, other) in [(0, 1), (1, 0)] {
        let client = both[maker].public_client().await;
        let first = both[maker].tokens(&client).await;
        assert_eq!(first["expires_in"], 3600);
        let old = first["refresh_token"].as_str().unwrap();
        let second = both[other].token(&refresh(&client, old)).await.json();
        assert_eq!(second["expires_in"], 3600);
        pass(&redis, &both, seconds(100)).await;
        let again = both[maker].token(&refresh(&client, old)).await.json();
        assert_eq!(again["refresh_token"], second["refresh_token"]);
        let left = again["expires_in"].as_u64().unwrap();
        assert!((3490..=3500).contains(&left), "{left}");
        // The grace is over on both, and with it the replaced access token.
        pass(&redis, &both, seconds(21)).await;
        assert!(!both[maker].accepts(first["access_token"].as_str().unwrap()).await);
        let access = second["access_token"].as_str().unwrap();
        assert!(both[maker].accepts(access).await && both[other].accepts(access).await);
        pass(&redis, &both, seconds(3480)).await;
        assert!(!both[maker].accepts(access).await && !both[other].accepts(access).await);
        let reused = both[maker].token(&refresh(&client, old)).await;
        assert!(reused.is_error(400, "invalid_grant"), "{reused:?}");
    }
}

#[tokio::test]
async fn a_flow_and_a_session_end_at_their_time() {
    let Some((redis, both)) = replicas(provider_config).await else { return };
    for (maker, other) in [(0, 1), (1, 0)] {
        let client = both[maker].public_client().await;
        let mut browser = Browser::default();
        let page = browser.get(&both[maker], &authorize_path(&authorization(&client))).await;
        pass(&redis, &both, seconds(601)).await;
        let late = browser.get(&both[other], &page.link("approve")).await;
        assert!(late.is_page(400), "{late:?}");
    }
    let Some((redis, both)) = replicas(config).await else { return };
    for (maker, other) in [(0, 1), (1, 0)] {
        let client = both[maker].public_client().await;
        let mut browser = Browser::default();
        both[maker].code(&mut browser, &client).await;
        let path = authorize_path(&authorization(&client));
        assert_eq!(browser.get(&both[other], &path).await.status, StatusCode::OK, "signed in");
        pass(&redis, &both, seconds(8 * 3600 + 1)).await;
        let asked = browser.get(&both[other], &path).await;
        assert!(asked.location().starts_with("/oauth/signin?"), "{asked:?}");
    }
}

#[tokio::test]
async fn a_registration_made_ahead_of_time_is_good_everywhere() {
    let Some((_redis, both)) = replicas(config).await else { return };
    let client = both[1].register(
        json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none"}),
    );
    let client = client.await;
    assert!(!both[0].code(&mut Browser::default(), &client).await.is_empty());
}

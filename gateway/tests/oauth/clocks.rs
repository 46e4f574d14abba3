//! Attack 78: replicas whose clocks are five minutes apart extend no lifetime. Redis's time decides.

use std::time::Duration;

use gatehouse_gateway::model::{
    AuthMethod, RedirectUri,
    registration::{ClientMetadata, Registration},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    assertions::{self, claims_at, proven, signed},
    callback::return_path,
    documents::World,
    floods::fill,
    redis_server::RedisServer,
    support::{
        Browser, Client, Gateway, authorization, authorize_path, config, provider_config, redeem, refresh,
        seconds,
    },
};

const SKEW: i64 = 300;

/// Redis's time, in seconds since 1970.
pub(crate) async fn time(redis: &RedisServer) -> i64 {
    let (now, _): (i64, i64) = redis.admin().await.run(&["TIME"]).await;
    now
}

/// Two replicas on one Redis, one five minutes behind it and one five minutes ahead.
async fn replicas(config: impl Fn(i64) -> Value) -> Option<(RedisServer, [Gateway; 2])> {
    let redis = RedisServer::start().await?;
    let now = time(&redis).await;
    let replica = async |skew| Gateway::on_redis_at(config(now), &redis.url(), now + skew).await;
    let both = [replica(-SKEW).await, replica(SKEW).await];
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
    let Some((redis, both)) = replicas(|_| config()).await else { return };
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
    let Some((redis, both)) = replicas(|_| config()).await else { return };
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
    let Some((redis, both)) = replicas(|_| provider_config()).await else { return };
    for (maker, other) in [(0, 1), (1, 0)] {
        let client = both[maker].public_client().await;
        let mut browser = Browser::default();
        let page = browser.get(&both[maker], &authorize_path(&authorization(&client))).await;
        pass(&redis, &both, seconds(601)).await;
        let late = browser.get(&both[other], &page.link("approve")).await;
        assert!(late.is_page(400), "{late:?}");
    }
    let Some((redis, both)) = replicas(|_| config()).await else { return };
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
async fn a_registration_is_dated_by_redis_and_good_everywhere() {
    let Some((redis, both)) = replicas(|_| config()).await else { return };
    for (maker, other) in [(0, 1), (1, 0)] {
        let metadata = json!({"redirect_uris": ["http://127.0.0.1/callback"]});
        let answer = both[maker].post_json("/oauth/register", metadata).await.json();
        let (issued, now) = (answer["client_id_issued_at"].as_i64().unwrap(), time(&redis).await);
        assert!(now.abs_diff(issued) < 10, "{maker}: {issued} at {now}");
        assert_eq!(answer["client_secret_expires_at"].as_i64().unwrap() - issued, 365 * 24 * 3600);
        let client = both[maker].public_client().await;
        assert!(!both[other].code(&mut Browser::default(), &client).await.is_empty());
    }
}

/// A client that registered so long ago.
async fn registered(gateway: &Gateway, redis: &RedisServer, ago: i64) -> Client {
    let metadata = ClientMetadata {
        issued_at: time(redis).await - ago,
        auth_method: AuthMethod::None,
        name: None,
        redirect_uris: vec![RedirectUri::parse("http://127.0.0.1/callback").unwrap()],
    };
    let server = &gateway.server;
    let client = Registration::register(&server.keys, server.entropy.as_ref(), metadata).unwrap();
    Client { id: client.id, secret: None }
}

async fn is_known(gateway: &Gateway, client: &Client) -> bool {
    let page = gateway.get(&authorize_path(&authorization(client))).await;
    assert!(page.status == StatusCode::SEE_OTHER || page.is_page(400), "{page:?}");
    page.status == StatusCode::SEE_OTHER
}

#[tokio::test]
async fn a_registration_ends_at_its_time() {
    let with_hour = |_| {
        let mut config = config();
        config["policy"] = json!({"registration": {"lifetime": "1h"}});
        config
    };
    let Some((redis, both)) = replicas(with_hour).await else { return };
    for gateway in &both {
        for (ago, good) in [(0, true), (3540, true), (3660, false)] {
            let client = registered(gateway, &redis, ago).await;
            assert_eq!(is_known(gateway, &client).await, good, "{ago}");
        }
    }
}

#[tokio::test]
async fn a_date_before_which_registrations_are_refused_is_redis_time() {
    let not_before = |by: i64| {
        move |now: i64| {
            let mut config = config();
            config["policy"] = json!({"registration": {"lifetime": "8760h", "notBefore": now + by}});
            config
        }
    };
    for (by, good) in [(-60, true), (60, false)] {
        let Some((redis, both)) = replicas(not_before(by)).await else { return };
        for (maker, other) in [(0, 1), (1, 0)] {
            let client = both[maker].public_client().await;
            assert_eq!(is_known(&both[other], &client).await, good, "{maker} {by}");
            let older = registered(&both[maker], &redis, 120).await;
            assert!(!is_known(&both[other], &older).await, "{maker} {by}");
        }
    }
}

#[tokio::test]
async fn refresh_tokens_and_sign_ins_end_at_their_time() {
    let short = |_| {
        let mut config = config();
        config["policy"] = json!({"lifetimes": {
            "authorizationCode": "10m", "accessToken": "1h", "refreshToken": "2h", "refreshGrace": "2m", "signIn": "5h",
        }});
        config
    };
    let Some((redis, both)) = replicas(short).await else { return };
    for (maker, other) in [(0, 1), (1, 0)] {
        let client = both[maker].public_client().await;
        let idle = both[maker].tokens(&client).await;
        let mut used = both[maker].tokens(&client).await;
        let refreshed = async |gateway: &Gateway, tokens: &Value| {
            gateway.token(&refresh(&client, tokens["refresh_token"].as_str().unwrap())).await
        };
        pass(&redis, &both, seconds(7100)).await;
        used = refreshed(&both[other], &used).await.json();
        pass(&redis, &both, seconds(200)).await;
        let late = refreshed(&both[other], &idle).await;
        assert!(late.is_error(400, "invalid_grant"), "{maker}: {late:?}");
        // The sign-in ends when it must, however fresh the tokens are.
        pass(&redis, &both, seconds(6000)).await;
        used = refreshed(&both[maker], &used).await.json();
        pass(&redis, &both, seconds(4600)).await;
        used = refreshed(&both[other], &used).await.json();
        let left = used["expires_in"].as_u64().unwrap();
        assert!((90..=100).contains(&left), "{maker}: {left}");
        pass(&redis, &both, seconds(101)).await;
        assert!(!both[maker].accepts(used["access_token"].as_str().unwrap()).await);
        for gateway in &both {
            let over = refreshed(gateway, &used).await;
            assert!(over.is_error(400, "invalid_grant"), "{maker}: {over:?}");
        }
    }
}

/// By its own clock the slow replica would take for five minutes what the fast one takes no more, and the fast one for as
/// long what is not yet good.
#[tokio::test]
async fn an_assertion_begins_and_ends_by_redis_time() {
    let Some(redis) = RedisServer::start().await else { return };
    let world = World::inline().await;
    let client = assertions::client();
    let now = time(&redis).await;
    let replica = async |skew| world.on_redis_at(&redis.url(), now + skew).await;
    for gateway in [replica(-SKEW).await, replica(SKEW).await] {
        for (claim, from_now, good) in [
            ("exp", -50, true),
            ("exp", -61, false),
            ("exp", 590, true),
            ("exp", 660, false),
            ("nbf", 50, true),
            ("nbf", 120, false),
            ("iat", 50, true),
            ("iat", 120, false),
        ] {
            let now = time(&redis).await;
            let mut claims = claims_at(now);
            claims[claim] = json!(now + from_now);
            let code = gateway.code(&mut Browser::default(), &client).await;
            let answer = gateway.token(&proven(redeem(&client, &code), &signed(1, &claims))).await;
            assert_eq!(answer.status == StatusCode::OK, good, "{claim} {from_now}: {answer:?}");
            assert!(good || answer.is_error(401, "invalid_client"), "{claim} {from_now}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_assertion_that_was_spent_at_one_replica_stays_spent_at_the_other() {
    let Some(redis) = RedisServer::start().await else { return };
    let world = World::inline().await;
    let client = assertions::client();
    let now = time(&redis).await;
    let replica = async |skew| world.on_redis_at(&redis.url(), now + skew).await;
    let both = [replica(-SKEW).await, replica(SKEW).await];
    for (spender, other) in [(1, 0), (0, 1)] {
        let mut claims = claims_at(time(&redis).await);
        claims["exp"] = json!(time(&redis).await + 590);
        let assertion = signed(1, &claims);
        let tokens = async |gateway: &Gateway| {
            let code = gateway.code(&mut Browser::default(), &client).await;
            let answer = gateway.token(&proven(redeem(&client, &code), &assertion)).await;
            (answer.status, answer.json()["error_description"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(tokens(&both[spender]).await.0, StatusCode::OK);
        for life in [0, 300, 340] {
            redis.admin().await.age("jti:", seconds(life)).await;
            for gateway in [&both[other], &both[spender]] {
                let (status, why) = tokens(gateway).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED);
                assert!(why.contains("was used before"), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn a_browser_is_known_for_half_a_year_of_redis_time() {
    const KNOWN_FOR: u64 = 180 * 24 * 3600;
    let Some((_redis, both)) = replicas(|_| provider_config()).await else { return };
    let client = both[0].public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut browsers = Vec::new();
    for maker in &both {
        let mut browser = Browser::default();
        let asked = browser.get(maker, &path).await.link("approve");
        let asked = browser.get(maker, &asked).await;
        maker.provider.signs_in("42");
        assert!(browser.get(maker, &return_path(&asked)).await.redirect_param("code").is_some());
        browsers.push(browser);
    }
    fill(&both[0]).await;
    assert!(Browser::default().get(&both[0], &path).await.is_page(429));
    for browser in &browsers {
        for gateway in &both {
            // What Redis says with the next answer holds again.
            for (by, status) in
                [(KNOWN_FOR - 60, StatusCode::OK), (KNOWN_FOR + 60, StatusCode::TOO_MANY_REQUESTS)]
            {
                gateway.server.store.ping().await.unwrap();
                gateway.clock.advance(seconds(by));
                assert_eq!(browser.clone().get(gateway, &path).await.status, status, "{by}");
            }
        }
    }
}

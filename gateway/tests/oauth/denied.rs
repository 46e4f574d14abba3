//! Who is denied while the server runs is refused at every step, and loses nothing by it.

use gatehouse_gateway::{identity::local::sweep, model::IdentityState, server::Identity};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    callback::at_provider,
    redis_server::{Admin, RedisServer},
    static_clients::{listed, robot},
    support::{
        Answer, Browser, Client, Gateway, authorization, authorize_path, config, provider_config, redeem,
        refresh, seconds, user_entry,
    },
};

const SIGN_IN_AGAIN: &str = "Your GitHub session expired, please sign in again.";

/// A server with a robot, whose refresh tokens have this grace.
fn server(mut config: Value, grace: &str) -> Value {
    config["policy"] = json!({"clients": listed(), "lifetimes": {
        "authorizationCode": "10m", "accessToken": "1h", "refreshToken": "720h", "refreshGrace": grace, "signIn": "8760h",
    }});
    config
}

/// The same test on each kind of state. Two replicas: what one hears, the other must hear by itself.
async fn on_each(config: Value, test: impl AsyncFn([&Gateway; 2], Option<&Admin>)) {
    let gateway = Gateway::new(config.clone());
    test([&gateway, &gateway], None).await;
    let Some(redis) = RedisServer::start().await else { return };
    let replica = async || Gateway::on_redis(config.clone(), &redis.url()).await;
    test([&replica().await, &replica().await], Some(&redis.admin().await)).await;
}

async fn refreshed(gateway: &Gateway, client: &Client, tokens: &Value) -> Answer {
    gateway.token(&refresh(client, tokens["refresh_token"].as_str().unwrap())).await
}

#[tokio::test]
async fn a_denied_users_refresh_is_refused_before_anything_is_replaced() {
    on_each(server(config(), "0s"), async |[one, two], redis| {
        let client = one.public_client().await;
        let mut tokens = one.tokens(&client).await;
        one.deny(redis, 2, &["uid-alice"]).await;
        one.trail.take();
        for gateway in [one, two, one] {
            let refused = refreshed(gateway, &client, &tokens).await;
            assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
            assert_eq!(refused.json()["error_description"], "the user may not use this server");
        }
        let told = one.trail.take();
        assert_eq!((&told[0]["outcome"], &told[0]["reason"]), (&json!("refused"), &json!("access_denied")));
        assert!(told[0]["user"].is_string() && told[0]["grant"].is_string());
        assert!(one.accepts(tokens["access_token"].as_str().unwrap()).await, "nothing was replaced");
        one.deny(redis, 3, &["uid-bob"]).await;
        for gateway in [two, one] {
            let answer = refreshed(gateway, &client, &tokens).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            tokens = answer.json();
        }
    })
    .await;
}

#[tokio::test]
async fn a_denied_user_gets_no_successor() {
    on_each(server(config(), "2m"), async |[one, two], redis| {
        let client = one.public_client().await;
        let tokens = one.tokens(&client).await;
        let next = refreshed(one, &client, &tokens).await.json();
        one.deny(redis, 2, &["uid-alice"]).await;
        assert!(refreshed(two, &client, &tokens).await.is_error(400, "invalid_grant"));
        one.deny(redis, 3, &[]).await;
        assert_eq!(refreshed(two, &client, &tokens).await.json()["refresh_token"], next["refresh_token"]);
    })
    .await;
}

#[tokio::test]
async fn a_denied_user_is_not_signed_in_nor_asked() {
    on_each(server(config(), "2m"), async |[one, two], redis| {
        let client = one.public_client().await;
        let path = authorize_path(&authorization(&client));
        let mut browser = Browser::default();
        let consent = browser.consent(one, &client, "alice").await;
        one.deny(redis, 2, &["uid-alice"]).await;
        for gateway in [one, two] {
            let approved = browser.get(gateway, &consent.link("approve")).await;
            assert!(approved.location().starts_with("/oauth/signin"), "{approved:?}");
            let asked = browser.get(gateway, &path).await;
            assert!(asked.location().starts_with("/oauth/signin"), "{asked:?}");
            let page = browser.get(gateway, asked.location()).await;
            let refused = browser.sign_in(gateway, &page, "alice", "alice").await;
            assert!(refused.is_page(403) && refused.body.contains("You may not use GitHub tools"));
        }
        one.deny(redis, 3, &[]).await;
        let approved = browser.get(two, &consent.link("approve")).await;
        assert!(approved.redirect_param("code").is_some(), "{approved:?}");
    })
    .await;
}

#[tokio::test]
async fn a_denied_user_gets_no_code_after_the_provider() {
    on_each(server(provider_config(), "2m"), async |[one, two], redis| {
        let client = one.public_client().await;
        one.deny(redis, 2, &["42"]).await;
        for gateway in [one, two] {
            let mut browser = Browser::default();
            let (_, path) = at_provider(gateway, &mut browser, &client).await;
            gateway.provider.signs_in("42");
            let refused = browser.get(gateway, &path).await;
            assert!(refused.is_page(403), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_denied_users_code_gives_nothing_while_they_are_denied() {
    on_each(server(config(), "2m"), async |[one, two], redis| {
        let client = one.public_client().await;
        let code = async || one.code(&mut Browser::default(), &client).await;
        let codes = [code().await, code().await];
        one.deny(redis, 2, &["uid-alice"]).await;
        for (gateway, code) in [two, one].into_iter().zip(&codes) {
            gateway.trail.take();
            let refused = gateway.token(&redeem(&client, code)).await;
            assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
            assert_eq!(refused.json()["error_description"], "the user may not use this server");
            let told = gateway.trail.take();
            assert_eq!(told.len(), 1, "nothing was ended: {told:?}");
            let event = &told[0];
            assert_eq!(
                [&event["event"], &event["outcome"], &event["reason"]],
                ["code", "refused", "access_denied"]
            );
            assert!(event["user"].is_string() && event["grant"].is_string(), "{event}");
        }
        one.deny(redis, 3, &[]).await;
        for (gateway, code) in [one, two].into_iter().zip(&codes) {
            assert_eq!(gateway.token(&redeem(&client, code)).await.status, StatusCode::OK);
        }
    })
    .await;
}

/// The configuration may be another, on a replica that was rolled out meanwhile.
#[tokio::test]
async fn a_code_is_redeemed_by_the_rules_of_now() {
    let scopes = json!([{"name": "read", "default": true}, {"name": "write", "default": true}]);
    let mut before = config();
    before["scopes"] = scopes.clone();
    let gateway = Gateway::new(before.clone());
    let client = gateway.public_client().await;
    let code = async || gateway.code(&mut Browser::default(), &client).await;
    let refused_by = async |config: Value, why: &str| {
        let (replica, code) = (gateway.reconfigured(config), code().await);
        let refused = replica.token(&redeem(&client, &code)).await;
        assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
        let why_not = refused.json()["error_description"].as_str().unwrap().to_owned();
        assert!(why_not.contains(why), "{why_not}");
        let told = replica.trail.decisions();
        assert!(told.len() == 1 && told[0].starts_with("code refused"), "{told:?}");
        // The rules of the replica that was asked first were the old ones.
        assert_eq!(gateway.token(&redeem(&client, &code)).await.status, StatusCode::OK);
    };
    let mut closed = before.clone();
    closed["access"] = json!({"allow": {"rules": [{"subjects": ["uid-bob"]}]}});
    refused_by(closed, "may not use this server").await;
    let mut narrower = before.clone();
    narrower["scopes"][1]["allow"] = json!([{"subjects": ["uid-bob"]}]);
    let given = gateway.reconfigured(narrower.clone()).token(&redeem(&client, &code().await)).await;
    assert_eq!((given.status, &given.json()["scope"]), (StatusCode::OK, &json!("read")));
    narrower["scopes"][0]["allow"] = json!([{"subjects": ["uid-bob"]}]);
    refused_by(narrower, "scope may not be granted").await;
}

/// The file of users reaches one replica after the other.
#[tokio::test]
async fn a_replica_with_the_file_of_before_asks_for_patience_and_ends_nothing() {
    let newer = Gateway::local();
    // Here alice has another password, and carol is not in the file.
    let older = newer.reconfigured(config());
    let Identity::Local(users) = &older.server.identity else { unreachable!() };
    newer.clock.advance(seconds(60));
    newer.users.write(&(user_entry("alice", "another") + &user_entry("carol", "carol")));
    let client = newer.public_client().await;
    for (name, password) in [("alice", "another"), ("carol", "carol")] {
        let mut browser = Browser::default();
        let begun = browser.get(&newer, &authorize_path(&authorization(&client))).await;
        let form = browser.get(&newer, begun.location()).await;
        let signed_in = browser.sign_in(&newer, &form, name, password).await;
        let consent = browser.get(&newer, signed_in.location()).await;
        let code = browser.get(&newer, &consent.link("approve")).await.redirect_param("code").unwrap();
        newer.clock.advance(seconds(1));
        let refused = older.token(&redeem(&client, &code)).await;
        assert!(refused.is_error(503, "temporarily_unavailable"), "{refused:?}");
        assert_eq!(refused.header("retry-after"), "5");
        assert_eq!(older.trail.decisions(), ["code refused temporarily_unavailable"], "{name}");
        let redeemed = newer.token(&redeem(&client, &code)).await;
        assert_eq!(redeemed.status, StatusCode::OK, "{name}: {redeemed:?}");

        let tokens = redeemed.json();
        let refused = refreshed(&older, &client, &tokens).await;
        assert!(refused.is_error(503, "temporarily_unavailable"), "{refused:?}");
        assert!(!sweep::sweep(&older.server, users).await.unwrap());
        // The old password, which may be somebody else's by now, in another browser.
        let mut browser = Browser::default();
        let begun = browser.get(&older, &authorize_path(&authorization(&client))).await;
        let form = browser.get(&older, begun.location()).await;
        let again = browser.sign_in(&older, &form, name, name).await;
        assert!(again.is_page(if name == "alice" { 503 } else { 403 }), "{name}: {again:?}");
        let ended = |told: &String| told.starts_with("identity") || told.starts_with("grant");
        assert!(!older.trail.decisions().iter().any(ended), "{name}");
        assert_eq!(refreshed(&newer, &client, &tokens).await.status, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn a_dead_identitys_code_waits_for_the_next_sign_in() {
    on_each(server(provider_config(), "2m"), async |[one, two], _| {
        let client = one.public_client().await;
        let code = async || {
            let mut browser = Browser::default();
            let (_, path) = at_provider(one, &mut browser, &client).await;
            one.provider.signs_in("42");
            browser.get(one, &path).await.redirect_param("code").unwrap()
        };
        let first = code().await;
        let user = one.server.store.users().await.unwrap()[0];
        let dead = IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
        one.server.store.set_identity_state(&user, &dead).await.unwrap();
        let refused = two.token(&redeem(&client, &first)).await;
        assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
        assert_eq!(refused.json()["error_description"], SIGN_IN_AGAIN);
        code().await;
        assert_eq!(two.token(&redeem(&client, &first)).await.status, StatusCode::OK);
    })
    .await;
}

/// Whoever is signed in must be able to see and end what acts for them.
#[tokio::test]
async fn a_denied_user_reads_so_on_their_own_page_and_disconnects() {
    on_each(server(config(), "2m"), async |[one, two], redis| {
        let client = one.public_client().await;
        let mut browser = Browser::default();
        let code = one.code(&mut browser, &client).await;
        let tokens = one.token(&redeem(&client, &code)).await.json();
        let page = browser.get(two, "/account").await;
        assert!(page.is_page(200) && !page.body.contains("You may not use"), "{}", page.body);
        one.deny(redis, 2, &["uid-alice"]).await;
        let page = browser.get(two, "/account").await;
        assert!(page.is_page(200) && page.body.contains("You may not use GitHub tools any more"));
        let (token, grant) = (page.field("token"), page.field("grant"));
        let form = [("token", token.as_str()), ("action", "disconnect"), ("grant", grant.as_str())];
        assert_eq!(browser.post(two, "/account", &form).await.location(), "/account?done=disconnected");
        assert!(!one.accepts(tokens["access_token"].as_str().unwrap()).await);
    })
    .await;
}

#[tokio::test]
async fn a_denied_robot_gets_no_token() {
    on_each(server(provider_config(), "2m"), async |[one, two], redis| {
        assert_eq!(two.token(&robot("robot", "new-secret")).await.status, StatusCode::OK);
        one.deny(redis, 2, &["robot"]).await;
        for gateway in [one, two, one] {
            let refused = gateway.token(&robot("robot", "new-secret")).await;
            assert!(refused.is_error(400, "unauthorized_client"), "{refused:?}");
        }
        one.deny(redis, 3, &["42"]).await;
        for gateway in [one, two] {
            assert_eq!(gateway.token(&robot("robot", "new-secret")).await.status, StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test]
async fn a_user_who_is_gone_from_the_file_loses_nothing_until_they_are_purged() {
    on_each(server(config(), "0s"), async |[one, two], _| {
        let client = one.public_client().await;
        let tokens = one.tokens(&client).await;
        for gateway in [one, two] {
            gateway.users.write(&user_entry("bob", "bob"));
            let refused = refreshed(gateway, &client, &tokens).await;
            assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
        }
        for gateway in [one, two] {
            gateway.users.write(&(user_entry("alice", "alice") + &user_entry("bob", "bob")));
        }
        let Identity::Local(users) = &one.server.identity else { unreachable!() };
        sweep::sweep(&one.server, users).await.unwrap();
        assert_eq!(refreshed(two, &client, &tokens).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_refresh_after_a_new_password_ends_the_sign_ins() {
    on_each(server(config(), "0s"), async |[one, two], _| {
        let client = one.public_client().await;
        let code = one.code(&mut Browser::default(), &client).await;
        let tokens = one.token(&redeem(&client, &code)).await.json();
        two.users.write(&(user_entry("alice", "another") + &user_entry("bob", "bob")));
        let refused = refreshed(two, &client, &tokens).await;
        assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
        assert_eq!(refused.json()["error_description"], SIGN_IN_AGAIN);
        assert!(!two.accepts(tokens["access_token"].as_str().unwrap()).await);
    })
    .await;
}

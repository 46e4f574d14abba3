//! The audit trail: exactly one event for every decision, and nothing secret in it.

use gatehouse_gateway::{
    credentials::Check,
    identity::{IdentityError, local::sweep},
    model::IdentityState,
    server::Identity,
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    redis_server::{Admin, RedisServer},
    support::{
        Answer, Browser, Client, Gateway, authorization, authorize_path, config, provider_config, redeem,
        refresh, request, seconds, user_entry, with,
    },
};

async fn at_provider(gateway: &Gateway, browser: &mut Browser, client: &Client) -> (Answer, String) {
    let page = browser.get(gateway, &authorize_path(&authorization(client))).await;
    let asked = browser.get(gateway, &page.link("approve")).await;
    let state = asked.redirect_param("state").unwrap();
    let challenge = asked.redirect_param("code_challenge").unwrap();
    (page, format!("/oauth/callback?state={state}&code=upstream-code.{challenge}"))
}

#[tokio::test]
async fn each_step_of_a_local_sign_in_is_told_once() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    assert_eq!(gateway.trail.decisions(), ["registration registered"]);
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    assert_eq!(gateway.trail.decisions(), ["sign_in signed_in"]);
    let answer = browser.get(&gateway, &page.link("approve")).await;
    let told = gateway.trail.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[0]["event"], &told[0]["outcome"]), (&json!("consent"), &json!("approved")));
    assert_eq!((&told[1]["event"], &told[1]["outcome"]), (&json!("code"), &json!("issued")));
    let user = gateway.server.store.users().await.unwrap()[0].to_string();
    for event in &told {
        assert_eq!((&event["user"], &event["client"]), (&json!(user), &json!("Claude Code")));
        assert_eq!((&event["client_id"], &event["server"]), (&json!(client.id), &json!("team-a/github")));
        assert_eq!(event["timestamp"], "2026-11-24T00:00:00.000Z");
    }
    // The same link again gives the same answer, and decides nothing.
    assert_eq!(browser.get(&gateway, &page.link("approve")).await.location(), answer.location());
    assert_eq!(gateway.trail.decisions(), [""; 0]);
    let code = answer.redirect_param("code").unwrap();
    gateway.token(&redeem(&client, &code)).await.json();
    let redeemed = gateway.trail.take();
    assert_eq!((redeemed.len(), &redeemed[0]["grant"]), (1, &told[1]["grant"]));
}

#[tokio::test]
async fn each_step_at_a_provider_is_told_once() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    gateway.trail.take();
    let (page, path) = at_provider(&gateway, &mut browser, &client).await;
    assert_eq!(gateway.trail.decisions(), ["consent approved"]);
    browser.get(&gateway, &page.link("approve")).await;
    assert_eq!(gateway.trail.decisions(), [""; 0]);
    gateway.provider.signs_in("42");
    browser.get(&gateway, &path).await;
    assert_eq!(gateway.trail.decisions(), ["sign_in signed_in", "code issued"]);
    browser.get(&gateway, &path).await;
    assert_eq!(gateway.trail.decisions(), [""; 0]);

    let mut browser = Browser::default();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    let cancelled = path.split("&code=").next().unwrap().to_owned() + "&error=access_denied";
    gateway.trail.take();
    browser.get(&gateway, &cancelled).await;
    browser.get(&gateway, &path).await;
    Browser::default().get(&gateway, &path).await;
    browser.get(&gateway, "/oauth/callback?state=forged&code=x").await;
    let failed = ["cancelled", "answer_used", "other_browser", "bad_link"];
    assert_eq!(gateway.trail.decisions(), failed.map(|reason| format!("sign_in failed {reason}")));
}

#[tokio::test]
async fn every_decision_of_a_sign_in_says_where_it_was_asked_for() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser { address: Some([198, 51, 100, 7].into()), ..Browser::default() };
    gateway.trail.take();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.fails(IdentityError::Refused("x".into()));
    browser.get(&gateway, &path).await;
    browser.get(&gateway, &path).await;
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.signs_in("42");
    browser.get(&gateway, &path).await;
    let told = gateway.trail.take();
    let words: Vec<_> =
        told.iter().map(|e| format!("{} {}", e["event"], e["outcome"]).replace('"', "")).collect();
    assert_eq!(
        words,
        [
            "consent approved",
            "sign_in failed",
            "sign_in failed",
            "consent approved",
            "sign_in signed_in",
            "code issued"
        ]
    );
    assert!(told.iter().all(|event| event["source"] == "198.51.100.7"), "{told:?}");
}

#[tokio::test]
async fn a_failing_provider_is_told_with_its_kind() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    for (error, reason) in [
        (IdentityError::Refused("x".into()), "provider_refused"),
        (IdentityError::Invalid("x".into()), "provider_untrusted"),
        (IdentityError::Foreign("x".into()), "foreign_answer"),
        (IdentityError::Unavailable("x".into()), "provider_unavailable"),
        (IdentityError::Misconfigured("x".into()), "misconfigured"),
    ] {
        let mut browser = Browser::default();
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        gateway.trail.take();
        gateway.provider.fails(error);
        browser.get(&gateway, &path).await;
        assert_eq!(gateway.trail.decisions(), [format!("sign_in failed {reason}")]);
    }
}

#[tokio::test]
async fn refusals_before_a_sign_in_are_told() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    gateway.trail.take();
    gateway.post_json("/oauth/register", json!({"redirect_uris": ["ftp://x/"]})).await;
    gateway.get("/oauth/authorize?client_id=gc_unknown").await;
    let wrong = with(authorization(&client), "redirect_uri", Some("https://evil.test/"));
    gateway.get(&authorize_path(&wrong)).await;
    let plain = with(authorization(&client), "code_challenge_method", Some("plain"));
    gateway.get(&authorize_path(&plain)).await;
    let told = gateway.trail.take();
    let words: Vec<_> =
        told.iter().map(|e| (e["event"].as_str().unwrap(), e["reason"].as_str().unwrap())).collect();
    assert_eq!(
        words,
        [
            ("registration", "invalid_redirect_uri"),
            ("authorization", "unknown_client"),
            ("authorization", "redirect_uri"),
            ("authorization", "invalid_request"),
        ]
    );
    assert!(told.iter().all(|event| event["outcome"] == "refused"));
    assert!(told[1].get("client").is_none() && told[2]["client_id"] == client.id);
}

#[tokio::test]
async fn failed_sign_ins_and_answers_to_consent_are_told() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    gateway.trail.take();
    Browser::default().get(&gateway, &page.link("approve")).await;
    browser.get_with(&gateway, &page.link("approve"), &[("sec-fetch-site", "cross-site")]).await;
    browser.get(&gateway, &page.link("deny")).await;
    browser.get(&gateway, &page.link("deny")).await;
    let told = ["consent refused other_browser", "consent refused not_by_user", "consent denied"];
    assert_eq!(gateway.trail.decisions(), told);

    let mut browser = Browser::default();
    let asked = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let page = browser.get(&gateway, asked.location()).await;
    browser.sign_in(&gateway, &page, "", "x").await;
    for _ in 0..10 {
        browser.sign_in(&gateway, &page, "alice", "hunter2").await;
    }
    browser.sign_in(&gateway, &page, "alice", "alice").await;
    let mut told = gateway.trail.decisions();
    assert_eq!(told.pop().as_deref(), Some("sign_in throttled too_many_requests"));
    assert_eq!(told.remove(0), "sign_in failed no_name");
    assert_eq!(told, vec!["sign_in failed wrong_password"; 10]);
}

#[tokio::test]
async fn who_may_not_use_the_server_is_told_with_their_id() {
    let denied = json!([{"subjects": ["uid-alice", "42"]}]);
    let gateway = Gateway::edited(config(), "access", json!({"allow": "everyone", "deny": denied}));
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let asked = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let page = browser.get(&gateway, asked.location()).await;
    gateway.trail.take();
    browser.sign_in(&gateway, &page, "alice", "alice").await;
    let told = gateway.trail.take();
    assert_eq!((told.len(), &told[0]["event"], &told[0]["outcome"]), (1, &json!("access"), &json!("denied")));
    assert!(told[0]["user"].is_string() && told[0]["client"] == "Claude Code");

    let access = json!({"allow": "everyone", "deny": denied});
    let gateway = Gateway::edited(provider_config(), "access", access);
    let client = gateway.public_client().await;
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.trail.take();
    gateway.provider.signs_in("42");
    browser.get(&gateway, &path).await;
    assert_eq!(gateway.trail.decisions(), ["access denied"]);
}

#[tokio::test]
async fn each_grant_step_is_told_once() {
    let gateway = Gateway::local();
    let (client, other) = (gateway.public_client().await, gateway.public_client().await);
    let code = gateway.code(&mut Browser::default(), &client).await;
    gateway.trail.take();
    let right = redeem(&client, &code);
    gateway.token(&with(right.clone(), "client_id", Some("gc_unknown"))).await;
    gateway.token(&with(right.clone(), "grant_type", Some("password"))).await;
    gateway.token(&with(right.clone(), "client_id", Some(&other.id))).await;
    let tokens = gateway.token(&right).await.json();
    gateway.token(&right).await;
    let told = gateway.trail.decisions();
    assert_eq!(
        told,
        [
            "token refused invalid_client",
            "token refused unsupported_grant_type",
            "code refused invalid_grant",
            "code redeemed",
            "code replayed parallel",
        ]
    );
    let token = tokens["refresh_token"].as_str().unwrap();
    let next = gateway.token(&refresh(&client, token)).await.json();
    gateway.token(&refresh(&client, token)).await;
    gateway.token(&refresh(&client, "x")).await;
    gateway.token(&refresh(&client, next["refresh_token"].as_str().unwrap())).await;
    gateway.token(&refresh(&client, token)).await;
    let told = gateway.trail.decisions();
    assert_eq!(
        told,
        [
            "refresh rotated",
            "refresh successor",
            "refresh refused invalid_grant",
            "refresh rotated",
            "refresh reused grant_revoked",
        ]
    );
    let code = gateway.code(&mut Browser::default(), &client).await;
    gateway.token(&redeem(&client, &code)).await;
    gateway.clock.advance(seconds(3));
    gateway.trail.take();
    gateway.token(&redeem(&client, &code)).await;
    gateway.token(&redeem(&client, &code)).await;
    let told = ["code replayed grant_revoked", "code replayed grant_ended_before"];
    assert_eq!(gateway.trail.decisions(), told);
}

#[tokio::test]
async fn a_refresh_for_a_dead_user_is_told() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let tokens = gateway.tokens(&client).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let user = gateway.server.store.users().await.unwrap()[0];
    gateway.clock.advance(seconds(7 * 3600));
    *gateway.checks.check.lock().unwrap() = Some(Check::Dead("sign in again".to_owned()));
    gateway.trail.take();
    gateway.token(&refresh(&client, token)).await;
    let dead = IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
    gateway.server.store.set_identity_state(&user, &dead).await.unwrap();
    gateway.token(&refresh(&client, token)).await;
    let told = gateway.trail.take();
    assert_eq!(told.len(), 2, "{told:?}");
    for event in told {
        assert_eq!((&event["event"], &event["outcome"]), (&json!("refresh"), &json!("dead")));
        assert_eq!(event["user"], user.to_string());
    }
}

#[tokio::test]
async fn the_source_is_told_and_no_secret_is() {
    let gateway = Gateway::local();
    let client = gateway
        .register(json!({"client_name": "a\nb", "redirect_uris": ["http://127.0.0.1/callback"]}))
        .await;
    let secret = client.secret.clone().unwrap();
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    let code = browser.get(&gateway, &page.link("approve")).await.redirect_param("code").unwrap();
    let params = with(redeem(&client, &code), "client_secret", Some(&secret));
    let tokens = gateway.token(&params).await.json();
    let mut http = request(http::Method::POST, "/oauth/register", &[], axum::body::Body::empty());
    let peer: std::net::SocketAddr = "10.1.1.1:80".parse().unwrap();
    http.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    http.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    assert_eq!(gateway.send(http).await.status, StatusCode::BAD_REQUEST);
    let told = gateway.trail.take();
    assert_eq!(told.last().unwrap()["source"], "203.0.113.9");
    let text = format!("{told:?}");
    let tokens = ["access_token", "refresh_token"].map(|name| tokens[name].as_str().unwrap());
    for secret in [code.as_str(), secret.as_str(), tokens[0], tokens[1], "uid-alice", "example.com"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn what_a_new_password_ends_is_told() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    gateway.tokens(&client).await;
    gateway.tokens(&client).await;
    let file = gateway.users.clone();
    file.write(&(user_entry("alice", "new") + &user_entry("bob", "bob")));
    let mut browser = Browser::default();
    let asked = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let page = browser.get(&gateway, asked.location()).await;
    gateway.trail.take();
    browser.sign_in(&gateway, &page, "alice", "new").await;
    let told = gateway.trail.take();
    let words = |event: &Value| format!("{} {}", event["event"].as_str().unwrap(), event["reason"]);
    let words: Vec<_> = told.iter().map(words).collect();
    let by = |what| format!("{what} \"password_changed\"");
    assert_eq!(words, [by("grant"), by("grant"), by("session"), "sign_in null".to_owned()]);
    assert!(told[0]["grant"] != told[1]["grant"] && told[0]["client"] == "Claude Code");
    assert!(told.iter().all(|event| event["user"] == told[0]["user"]));
    // The sweep tells it, where nobody signs in.
    file.write(&(user_entry("alice", "newer") + &user_entry("bob", "bob")));
    let Identity::Local(users) = &gateway.server.identity else { unreachable!() };
    for _ in 0..2 {
        sweep::sweep(&gateway.server, users).await.unwrap();
    }
    assert_eq!(gateway.trail.decisions(), ["session ended password_changed"]);
}

#[tokio::test]
async fn who_is_gone_from_the_file_is_told_and_who_is_back_and_who_is_purged() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    gateway.tokens(&client).await;
    let user = gateway.server.store.users().await.unwrap()[0].to_string();
    let Identity::Local(users) = &gateway.server.identity else { unreachable!() };
    let sweep = async || {
        // What was told is not told again.
        for _ in 0..2 {
            sweep::sweep(&gateway.server, users).await.unwrap();
        }
        let told = gateway.trail.take();
        assert!(told.len() == 1 && told[0]["user"] == user, "{told:?}");
        ["event", "outcome", "reason"].map(|name| told[0][name].as_str().unwrap_or_default().to_owned())
    };
    let (both, bob) = (user_entry("alice", "alice") + &user_entry("bob", "bob"), user_entry("bob", "bob"));
    gateway.trail.take();
    gateway.users.write(&bob);
    assert_eq!(sweep().await, ["identity", "dead", "user_removed"]);
    gateway.users.write(&both);
    assert_eq!(sweep().await, ["identity", "live", ""]);
    gateway.users.write(&bob);
    assert_eq!(sweep().await, ["identity", "dead", "user_removed"]);
    gateway.clock.advance(seconds(24 * 3600));
    assert_eq!(sweep().await, ["user", "purged", ""]);
}

#[tokio::test]
async fn refused_forms_of_the_account_page_are_told() {
    let gateway = Gateway::local();
    let mut browser = Browser::default();
    let begun = browser.get(&gateway, "/account/signin").await;
    let page = browser.get(&gateway, begun.location()).await;
    browser.sign_in(&gateway, &page, "alice", "alice").await;
    let token = browser.get(&gateway, "/account").await.field("token");
    gateway.trail.take();
    let right = [("token", token.as_str()), ("action", "disconnect-all")];
    browser.post_with(&gateway, "/account", &right, &[("sec-fetch-site", "cross-site")]).await;
    browser.post(&gateway, "/account", &with(right.to_vec(), "token", Some("AAAA"))).await;
    browser.post(&gateway, "/account", &with(right.to_vec(), "action", Some("x"))).await;
    let told = gateway.trail.take();
    let reasons: Vec<_> = told.iter().map(|event| event["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["not_by_user", "not_by_user", "bad_link"]);
    for event in &told {
        assert_eq!((&event["event"], &event["outcome"]), (&json!("account"), &json!("refused")));
    }
    // Who it was is told where it is proven.
    assert!(told[0].get("user").is_none() && told[2]["user"].is_string());
    // Whose session has ended is led to the page: nothing was decided.
    Browser::default().post(&gateway, "/account", &right).await;
    assert_eq!(gateway.trail.decisions(), [""; 0]);
}

/// As after a failed `WAIT`: the client is asked to come again, and nothing is left to end then.
#[tokio::test]
async fn an_end_that_is_not_acknowledged_is_told_once() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(config(), &redis.url()).await;
    let strict = Gateway::unacknowledged(config(), &redis.url()).await;
    let (client, admin) = (gateway.public_client().await, redis.admin().await);
    let code = async || gateway.code(&mut Browser::default(), &client).await;
    let forged = code().await;
    forge_grant(&admin).await;
    let replayed = code().await;
    let tokens = gateway.token(&redeem(&client, &replayed)).await.json();
    let reused = gateway.tokens(&client).await["refresh_token"].as_str().unwrap().to_owned();
    gateway.token(&refresh(&client, &reused)).await.json();
    admin.age("", seconds(200)).await;
    assert!(gateway.accepts(tokens["access_token"].as_str().unwrap()).await);

    let refused = ["code refused temporarily_unavailable"];
    for (params, first, again) in [
        (redeem(&client, &forged), &["grant revoked forged", refused[0]][..], &refused),
        (redeem(&client, &replayed), &["code replayed grant_revoked"], &refused),
        (
            refresh(&client, &reused),
            &["refresh reused grant_revoked"],
            &["refresh refused temporarily_unavailable"],
        ),
    ] {
        for told in [first, again] {
            let answer = strict.token(&params).await;
            assert!(answer.is_error(503, "temporarily_unavailable"), "{answer:?}");
            assert_eq!(strict.trail.decisions(), told);
        }
    }
    assert!(admin.keys(":grant:").await.is_empty(), "each has ended");
}

/// Another holder of the same Redis user changes whose the only grant is.
async fn forge_grant(admin: &Admin) -> String {
    let key = admin.key(":grant:").await;
    let content: String = admin.run(&["HGET", &key, "g"]).await;
    let _: i64 = admin.run(&["HSET", &key, "g", &content.replace("Claude Code", "Mallory")]).await;
    key.rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_grant_that_a_forged_record_ends_is_told() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(provider_config(), &redis.url()).await;
    let client = gateway.public_client().await;
    let sign_in = async || {
        let mut browser = Browser::default();
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        gateway.provider.signs_in("42");
        browser.get(&gateway, &path).await.redirect_param("code").unwrap()
    };
    let admin = redis.admin().await;
    let code = sign_in().await;
    let grant = forge_grant(&admin).await;
    gateway.trail.take();
    assert!(gateway.token(&redeem(&client, &code)).await.is_error(400, "invalid_grant"));
    let told = gateway.trail.take();
    assert_eq!((told.len(), &told[0]["grant"], &told[0]["client_id"]), (2, &json!(grant), &json!(client.id)));
    assert_eq!((&told[0]["event"], &told[0]["reason"]), (&json!("grant"), &json!("forged")));

    let code = sign_in().await;
    let tokens = gateway.token(&redeem(&client, &code)).await.json();
    let grant = forge_grant(&admin).await;
    gateway.trail.take();
    let answer = gateway.token(&refresh(&client, tokens["refresh_token"].as_str().unwrap())).await;
    assert!(answer.is_error(400, "invalid_grant"), "{answer:?}");
    let told = gateway.trail.take();
    assert_eq!((told.len(), &told[0]["grant"], &told[0]["reason"]), (2, &json!(grant), &json!("forged")));
    assert!(admin.keys(":grant:").await.is_empty());
}

#[test]
fn the_readme_names_every_event_and_field() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let tables = gatehouse_gateway::audit::tables();
    assert!(readme.contains(&tables), "put these tables into the README:\n\n{tables}");
}

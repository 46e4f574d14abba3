//! A user's own page.

use gatehouse_gateway::{
    credentials::standing,
    identity::IdentityError,
    model::{AuthorizationCode, IdentityState},
    store::{CodeStanding, StoreError, keys::BATCH},
};
use http::StatusCode;
use serde_json::json;

use crate::{
    callback::return_path,
    redis_server::RedisServer,
    support::{
        Answer, Browser, Gateway, authorization, authorize_path, config, provider_config, redeem, seconds,
        with,
    },
};

impl Browser {
    /// Signs in to the account page of a server with local users.
    pub(crate) async fn account(&mut self, gateway: &Gateway, name: &str) -> Answer {
        let out = self.get(gateway, "/account").await;
        let begun = self.get(gateway, &out.link("Sign in")).await;
        let form = self.get(gateway, begun.location()).await;
        assert!(form.body.contains("to see your account"), "{}", form.body);
        let answer = self.sign_in(gateway, &form, name, name).await;
        assert_eq!(answer.location(), "/account");
        self.get(gateway, "/account").await
    }

    async fn act(&mut self, gateway: &Gateway, page: &Answer, action: &[(&str, &str)]) -> Answer {
        let token = page.field("token");
        self.post(gateway, "/account", &[&[("token", token.as_str())], action].concat()).await
    }
}

/// Connects a client as a user; its access token.
async fn connect(gateway: &Gateway, name: &str) -> String {
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.consent(gateway, &client, name).await;
    let answer = browser.get(gateway, &page.link("approve")).await;
    let code = answer.redirect_param("code").unwrap();
    let tokens = gateway.token(&redeem(&client, &code)).await.json();
    tokens["access_token"].as_str().unwrap().to_owned()
}

fn grants(page: &Answer) -> Vec<String> {
    let marked = page.body.split("name=\"grant\" value=\"").skip(1);
    marked.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_user_sees_and_disconnects_clients() {
    let gateway = Gateway::local();
    let (first, bobs) = (connect(&gateway, "alice").await, connect(&gateway, "bob").await);
    gateway.clock.advance(seconds(1800));
    let second = connect(&gateway, "alice").await;
    let mut browser = Browser::default();
    let page = browser.account(&gateway, "alice").await;
    assert!(page.is_page(200), "{page:?}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for text in [
        "alice@example.com",
        "Claude Code",
        "A program on this computer",
        "<code>mcp</code>",
        "just now",
        "30 minutes ago",
        "24 November 2026",
        "This browser",
    ] {
        assert!(page.body.contains(text), "{text} is missing in {}", page.body);
    }
    let listed = grants(&page);
    assert_eq!(listed.len(), 2, "{}", page.body);
    gateway.trail.take();
    let done = browser.act(&gateway, &page, &[("action", "disconnect"), ("grant", &listed[0])]).await;
    assert_eq!(done.location(), "/account?done=disconnected");
    assert_eq!(gateway.trail.decisions(), ["grant revoked by_user"]);
    assert!(
        !gateway.accepts(&second).await && gateway.accepts(&first).await,
        "the one used last stood first"
    );
    let page = browser.get(&gateway, done.location()).await;
    assert!(page.body.contains("role=\"status\"") && grants(&page) == listed[1..], "{}", page.body);

    // Another user's grant is as absent.
    let mut bob = Browser::default();
    let bobs_page = bob.account(&gateway, "bob").await;
    bob.act(&gateway, &bobs_page, &[("action", "disconnect"), ("grant", &listed[1])]).await;
    assert!(gateway.accepts(&first).await);
    connect(&gateway, "alice").await;
    browser.act(&gateway, &page, &[("action", "disconnect-all")]).await;
    let page = browser.get(&gateway, "/account").await;
    assert!(page.body.contains("No application is connected") && page.body.contains("https://gw.test/mcp"));
    assert!(!gateway.accepts(&first).await && gateway.accepts(&bobs).await);
}

#[tokio::test]
async fn one_client_too_many_ends_the_one_used_longest_ago_and_is_told() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let first = gateway.tokens(&client).await["access_token"].as_str().unwrap().to_owned();
    let mut connect = async || {
        gateway.clock.advance(seconds(30));
        let code = gateway.code(&mut browser, &client).await;
        assert_eq!(gateway.token(&redeem(&client, &code)).await.status, StatusCode::OK);
    };
    for _ in 1..100 {
        connect().await;
    }
    gateway.trail.take();
    connect().await;
    let told = gateway.trail.take();
    let ended: Vec<_> = told.iter().filter(|event| event["event"] == "grant").collect();
    assert!(ended.len() == 1 && ended[0]["reason"] == "too_many", "{ended:?}");
    assert!(ended[0]["user"].is_string() && ended[0]["grant"].is_string() && ended[0]["client"].is_string());
    assert!(!gateway.accepts(&first).await);
}

#[tokio::test]
async fn a_user_sees_and_ends_sessions() {
    let gateway = Gateway::local();
    let (mut laptop, mut phone) = (Browser::default(), Browser::default());
    laptop.account(&gateway, "alice").await;
    phone.account(&gateway, "alice").await;
    let page = laptop.get(&gateway, "/account").await;
    assert_eq!(page.body.matches("This browser").count(), 1, "{}", page.body);
    let done = laptop.act(&gateway, &page, &[("action", "end-others")]).await;
    assert_eq!(done.location(), "/account?done=signed-out-there");
    let out = phone.get(&gateway, "/account").await;
    assert!(!out.body.contains("alice") && out.body.contains("Sign in"), "{}", out.body);
    let page = laptop.get(&gateway, "/account").await;
    let own = page.field("session");
    let done = laptop.act(&gateway, &page, &[("action", "end-session"), ("session", &own)]).await;
    assert!(!laptop.cookies.keys().any(|name| name.ends_with("-s")), "{:?}", laptop.cookies);
    let out = laptop.get(&gateway, done.location()).await;
    assert!(out.body.contains("You are signed out."), "{}", out.body);
    // Signed out here is signed out for consent, too.
    let client = gateway.public_client().await;
    let answer = laptop.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert!(answer.location().starts_with("/oauth/signin"), "{answer:?}");
}

#[tokio::test]
async fn only_the_users_own_page_acts() {
    let gateway = Gateway::local();
    let access = connect(&gateway, "alice").await;
    let mut browser = Browser::default();
    let page = browser.account(&gateway, "alice").await;
    let (token, grant) = (page.field("token"), grants(&page)[0].clone());
    let right = [("token", token.as_str()), ("action", "disconnect"), ("grant", grant.as_str())];
    for site in ["cross-site", "same-site", "none"] {
        let answer = browser.post_with(&gateway, "/account", &right, &[("sec-fetch-site", site)]).await;
        assert!(answer.is_page(403) && answer.body.contains("Nothing was changed"), "{site}: {answer:?}");
        assert_eq!(answer.link("Your account"), "/account");
    }
    let mut other = Browser::default();
    let others = other.account(&gateway, "alice").await.field("token");
    for forged in ["", "AAAA", others.as_str()] {
        let params = with(right.to_vec(), "token", Some(forged));
        assert!(browser.post(&gateway, "/account", &params).await.is_page(403), "{forged}");
    }
    assert_eq!(Browser::default().post(&gateway, "/account", &right).await.location(), "/account");
    for bad in [("action", "x"), ("grant", "x")] {
        let params = with(right.to_vec(), bad.0, Some(bad.1));
        assert!(browser.post(&gateway, "/account", &params).await.is_page(400), "{bad:?}");
    }
    let head = crate::support::request(http::Method::HEAD, "/account", &[], axum::body::Body::empty());
    assert_eq!(gateway.send(head).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let cross = browser.get_with(&gateway, "/account/signin", &[("sec-fetch-site", "cross-site")]).await;
    assert!(cross.is_page(403), "another site signs nobody in");
    assert!(gateway.accepts(&access).await, "none of these had an effect");
    browser.post(&gateway, "/account", &right).await;
    assert!(!gateway.accepts(&access).await);
}

/// Goes to the provider for the account page; the callback that it answers with.
async fn at_provider(gateway: &Gateway, browser: &mut Browser) -> String {
    let out = browser.get(gateway, "/account").await;
    let begun = browser.get(gateway, &out.link("Continue with GitHub")).await;
    return_path(&begun)
}

#[tokio::test]
async fn a_sign_in_at_the_provider_leads_to_the_page_and_to_no_client() {
    let gateway = Gateway::with_provider();
    let mut browser = Browser::default();
    let callback = at_provider(&gateway, &mut browser).await;
    assert!(Browser::default().get(&gateway, &callback).await.is_page(403), "another browser");
    gateway.provider.signs_in("7");
    let answer = browser.get(&gateway, &callback).await;
    assert_eq!(answer.location(), "/account");
    let page = browser.get(&gateway, "/account").await;
    assert!(page.body.contains("User 7") && page.body.contains("with GitHub"), "{}", page.body);
    assert!(browser.get(&gateway, &callback).await.is_page(400), "its answer is used once");
    assert_eq!(gateway.provider.exchanged.lock().unwrap().len(), 1);
    let decisions = gateway.trail.decisions();
    assert!(decisions.contains(&"sign_in signed_in".to_owned()), "{decisions:?}");

    let user = gateway.server.store.users().await.unwrap()[0];
    let dead = IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
    gateway.server.store.set_identity_state(&user, &dead).await.unwrap();
    let out = browser.get(&gateway, "/account").await;
    assert!(out.body.contains("session expired, please sign in again."), "{}", out.body);
    let begun = browser.get(&gateway, &out.link("Sign in again")).await;
    gateway.provider.signs_in("7");
    browser.get(&gateway, &return_path(&begun)).await;
    assert!(browser.get(&gateway, "/account").await.body.contains("User 7"));
}

#[tokio::test]
async fn a_failed_sign_in_to_the_page_offers_another_try() {
    let gateway = Gateway::with_provider();
    let mut browser = Browser::default();
    let callback = at_provider(&gateway, &mut browser).await;
    gateway.provider.fails(IdentityError::Refused("x".to_owned()));
    let failed = browser.get(&gateway, &callback).await;
    assert_eq!(failed.link("Try again"), "/account/signin");
    assert_eq!(failed.link("Give up and return to your account"), "/account");
    let mut config = provider_config();
    config["access"] = json!({"allow": {"rules": [{"subjects": ["8"]}]}});
    let gateway = Gateway::new(config);
    let callback = at_provider(&gateway, &mut browser).await;
    gateway.provider.signs_in("7");
    let denied = browser.get(&gateway, &callback).await;
    assert!(denied.is_page(403) && denied.link("Use another account") == "/account/signin?account=other");
    assert!(!browser.cookies.keys().any(|name| name.ends_with("-s")));
}

#[tokio::test]
async fn a_flow_of_the_page_gives_no_client_anything() {
    let gateway = Gateway::local();
    let mut browser = Browser::default();
    let begun = browser.get(&gateway, "/account/signin").await;
    let form = browser.get(&gateway, begun.location()).await;
    assert_eq!(form.link("deny"), "/account");
    browser.sign_in(&gateway, &form, "alice", "alice").await;
    let flow = form.field("flow");
    for path in [
        format!("/oauth/authorize?flow={flow}"),
        format!("/oauth/authorize/approve?flow={flow}&nonce=x"),
        format!("/oauth/authorize/approve?flow={flow}&nonce=x&decision=deny"),
    ] {
        assert!(browser.get(&gateway, &path).await.is_page(400), "{path}");
    }
}

#[tokio::test]
async fn the_page_stands_below_the_issuer() {
    let mut config = config();
    config["issuer"] = json!("https://gw.test/t");
    config["url"] = json!("https://gw.test/t/mcp");
    let gateway = Gateway::new(config);
    let mut browser = Browser::default();
    let out = browser.get(&gateway, "/t/account").await;
    assert_eq!(out.link("Sign in"), "/t/account/signin", "below the issuer");
}

/// More of alice's grants than end together; a browser in which she is signed in, and a code of the first batch.
async fn many(gateway: &Gateway) -> (Browser, String) {
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let first = gateway.code(&mut browser, &client).await;
    for _ in 0..BATCH {
        gateway.code(&mut browser, &client).await;
    }
    (browser, first)
}

/// As after a failed `WAIT` and its repetition: what has ended is found once, and must be told then.
#[tokio::test]
async fn what_ends_unacknowledged_is_told_with_every_batch_of_it() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(config(), &redis.url()).await;
    let strict = Gateway::unacknowledged(config(), &redis.url()).await;
    let (mut browser, _) = many(&gateway).await;
    let page = browser.get(&gateway, "/account").await;
    let refused = browser.act(&strict, &page, &[("action", "disconnect-all")]).await;
    assert!(refused.is_page(503), "{refused:?}");
    let mut told = strict.trail.decisions();
    assert_eq!(told.pop().as_deref(), Some("account refused temporarily_unavailable"));
    assert_eq!(told, vec!["grant revoked by_user"; BATCH + 1]);
    let again = browser.act(&gateway, &page, &[("action", "disconnect-all")]).await;
    assert_eq!(again.location(), "/account?done=disconnected");
    assert!(!gateway.trail.decisions().iter().any(|told| told.starts_with("grant")));

    many(&gateway).await;
    let user = gateway.server.store.users().await.unwrap()[0];
    let ended = standing::end_sign_ins(strict.server.standing(), &user).await;
    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    let mut told = strict.trail.decisions();
    assert_eq!(told.pop().as_deref(), Some("session ended password_changed"));
    assert_eq!(told, vec!["grant revoked password_changed"; BATCH + 1]);

    for gateway in [&strict, &strict, &gateway] {
        let _ = standing::refuse_identity(gateway.server.standing(), &user, 1, "refresh_refused").await;
    }
    assert_eq!(strict.trail.decisions(), ["identity dead refresh_refused"], "once");
    for gateway in [&strict, &strict, &gateway] {
        let _ = standing::remove(gateway.server.standing(), &user, "user_removed").await;
    }
    assert_eq!(strict.trail.decisions(), ["identity dead user_removed"], "once");
    assert!(!gateway.trail.decisions().iter().any(|told| told.starts_with("identity")));
}

#[tokio::test]
async fn who_hangs_up_stops_no_disconnection_halfway() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(config(), &redis.url()).await;
    // Between two batches it waits for a replica.
    let strict = Gateway::unacknowledged(config(), &redis.url()).await;
    let (mut browser, code) = many(&gateway).await;
    let code = AuthorizationCode::parse(&gateway.server.keys, &code).unwrap().hash();
    let page = browser.get(&gateway, "/account").await;
    let begun =
        async { while gateway.server.store.code_standing(&code).await.unwrap() == CodeStanding::Waits {} };
    tokio::select! {
        _ = browser.act(&strict, &page, &[("action", "disconnect-all")]) => {}
        () = begun => {}
    }
    // As when the process ends now.
    strict.server.finished().await;
    let told = strict.trail.decisions();
    assert_eq!(told.iter().filter(|told| *told == "grant revoked by_user").count(), BATCH + 1, "{told:?}");
}

//! The sign-in of `identity.local`.

use gatehouse_gateway::{identity::local::sweep, server::Identity};
use http::StatusCode;
use serde_json::json;

use crate::support::{Browser, Gateway, authorization, authorize_path, config, seconds, user_entry, with};

async fn sign_in_page(gateway: &Gateway, browser: &mut Browser) -> crate::support::Answer {
    let client = gateway.public_client().await;
    let answer = browser.get(gateway, &authorize_path(&authorization(&client))).await;
    browser.get(gateway, answer.location()).await
}

#[tokio::test]
async fn a_user_signs_in_before_consent_and_stays_signed_in() {
    let gateway = Gateway::local();
    let mut browser = Browser::default();
    let page = sign_in_page(&gateway, &mut browser).await;
    assert!(page.body.contains("Sign in to GitHub tools") && page.body.contains("to connect Claude Code"));
    let answer = browser.sign_in(&gateway, &page, "alice", "alice").await;
    assert!(answer.location().starts_with("/oauth/authorize?flow="));
    let consent = browser.get(&gateway, answer.location()).await;
    assert!(consent.body.contains("alice@example.com") && consent.body.contains("Use another account"));
    let client = gateway.public_client().await;
    let next = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert_eq!(next.status, StatusCode::OK);
    assert!(next.body.contains("alice@example.com"));
    let login = with(authorization(&client), "prompt", Some("login"));
    let anew = browser.get(&gateway, &authorize_path(&login)).await;
    assert!(anew.location().starts_with("/oauth/signin"), "{anew:?}");
    gateway.clock.advance(seconds(8 * 3600));
    let client = gateway.public_client().await;
    let later = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert_eq!(later.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn another_account_replaces_the_first() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let consent = browser.consent(&gateway, &client, "alice").await;
    let before = browser.clone();
    let page = browser.get(&gateway, &consent.link("Use another account")).await;
    let answer = browser.sign_in(&gateway, &page, "bob", "bob").await;
    let consent = browser.get(&gateway, answer.location()).await;
    assert!(consent.body.contains("bob@example.com") && !consent.body.contains("alice@example.com"));
    // Alice's session is over, and does not approve what bob was asked.
    let mut stale = before;
    assert!(stale.get(&gateway, &consent.link("approve")).await.location().starts_with("/oauth/signin"));
    assert!(browser.get(&gateway, &consent.link("approve")).await.redirect_param("code").is_some());
}

#[tokio::test]
async fn wrong_passwords_and_foreign_forms_sign_nobody_in() {
    let gateway = Gateway::local();
    let mut browser = Browser::default();
    let page = sign_in_page(&gateway, &mut browser).await;
    for (name, password) in [("alice", "bob"), ("nobody", "x"), ("alice", "")] {
        let answer = browser.sign_in(&gateway, &page, name, password).await;
        assert!(
            answer.is_page(403) && answer.body.contains("The user name or password is wrong."),
            "{answer:?}"
        );
    }
    assert!(browser.sign_in(&gateway, &page, "", "x").await.is_page(400));
    let echoed = browser.sign_in(&gateway, &page, "\"><b>x", "y").await;
    assert!(!echoed.body.contains("<b>x"), "{}", echoed.body);
    let (flow, token) = (page.field("flow"), page.field("token"));
    let right = [("flow", flow.as_str()), ("token", &token), ("username", "alice"), ("password", "alice")];
    let path = "/oauth/signin";
    assert!(
        browser.post_with(&gateway, path, &right, &[("sec-fetch-site", "cross-site")]).await.is_page(403)
    );
    let mut forged = right;
    forged[1].1 = "AAAA";
    assert!(browser.post(&gateway, path, &forged).await.is_page(403));
    assert!(Browser::default().post(&gateway, path, &right).await.is_page(403));
    assert!(!browser.cookies.keys().any(|name| name.ends_with("-s")));
    assert_eq!(browser.post(&gateway, path, &right).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn guessing_is_slow_and_locks_nobody_out_elsewhere() {
    let gateway = Gateway::local();
    let mut browser = Browser::default();
    let page = sign_in_page(&gateway, &mut browser).await;
    for _ in 0..10 {
        assert!(browser.sign_in(&gateway, &page, "alice", "wrong").await.is_page(403));
    }
    assert!(browser.sign_in(&gateway, &page, "alice", "alice").await.is_page(429));
    // Another user of this source, and the same user after the window.
    assert_eq!(browser.sign_in(&gateway, &page, "bob", "bob").await.status, StatusCode::SEE_OTHER);
    gateway.clock.advance(seconds(300));
    assert_eq!(browser.sign_in(&gateway, &page, "alice", "alice").await.status, StatusCode::SEE_OTHER);
}

/// Attempts are counted before their passwords are looked at.
#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_one_after_the_other() {
    let gateway = Gateway::local();
    let mut browser = Browser::default();
    let page = sign_in_page(&gateway, &mut browser).await;
    let guesses = (0..30).map(|_| {
        let (mut browser, gateway, page) = (browser.clone(), &gateway, &page);
        async move { browser.sign_in(gateway, page, "alice", "wrong").await.status.as_u16() }
    });
    let answers = futures::future::join_all(guesses).await;
    assert_eq!(answers.iter().filter(|status| **status == 403).count(), 10, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 20, "{answers:?}");
}

#[tokio::test]
async fn guesses_from_everywhere_are_slow_and_a_known_browser_is_not_locked_out() {
    let gateway = Gateway::local();
    let mut known = Browser::default();
    let page = sign_in_page(&gateway, &mut known).await;
    assert_eq!(known.sign_in(&gateway, &page, "alice", "alice").await.status, StatusCode::SEE_OTHER);
    let attempt = async |browser: &mut Browser, from: &str, name: &str, password: &str| {
        // Only the cookie by which the browser is known outlives a session.
        browser.cookies.retain(|name, _| name.ends_with("-b"));
        let page = sign_in_page(&gateway, browser).await;
        browser.address = Some(from.parse().unwrap());
        browser.sign_in(&gateway, &page, name, password).await.status.as_u16()
    };
    for n in 0..100 {
        let from = format!("203.0.113.{n}");
        assert_eq!(attempt(&mut Browser::default(), &from, "alice", "wrong").await, 403, "{n}");
    }
    // Neither a new source of their network helps, nor the cookie of another user or of nobody.
    assert_eq!(attempt(&mut Browser::default(), "198.51.100.1", "alice", "wrong").await, 403);
    assert_eq!(attempt(&mut Browser::default(), "198.51.100.2", "alice", "alice").await, 429);
    let mut others = Browser::default();
    assert_eq!(attempt(&mut others, "198.51.100.3", "bob", "bob").await, 303);
    assert_eq!(attempt(&mut others, "198.51.100.3", "alice", "alice").await, 429);
    let forge = |value: &String| format!("{}AAAA", &value[..value.len() - 4]);
    let cookies = known.cookies.iter().map(|(name, value)| (name.clone(), forge(value))).collect();
    let mut forged = Browser { cookies, ..Browser::default() };
    assert_eq!(attempt(&mut forged, "198.51.100.4", "alice", "alice").await, 429);
    assert_eq!(attempt(&mut known, "198.51.100.4", "alice", "alice").await, 303);
    // It may guess no more often than any one source.
    let mut stolen = Browser::default();
    for n in 0..10 {
        stolen.cookies = known.cookies.clone();
        assert_eq!(attempt(&mut stolen, &format!("192.0.2.{n}"), "alice", "wrong").await, 403, "{n}");
    }
    stolen.cookies = known.cookies.clone();
    assert_eq!(attempt(&mut stolen, "192.0.2.99", "alice", "alice").await, 429);
    gateway.clock.advance(seconds(3600));
    assert_eq!(attempt(&mut Browser::default(), "198.51.100.1", "alice", "alice").await, 303);
}

/// A hundred wrong guesses an hour are cheap for whoever wants to lock somebody out.
#[tokio::test]
async fn nobody_is_locked_out_from_elsewhere_in_a_new_browser() {
    let gateway = Gateway::local();
    let attempt = async |from: &str, password: &str| {
        let mut browser = Browser::default();
        let page = sign_in_page(&gateway, &mut browser).await;
        browser.address = Some(from.parse().unwrap());
        browser.sign_in(&gateway, &page, "alice", password).await.status.as_u16()
    };
    for n in 0..100 {
        assert_eq!(attempt(&format!("203.0.113.{n}"), "wrong").await, 403, "{n}");
    }
    // From each network one more, which the right password does not use up.
    for _ in 0..3 {
        assert_eq!(attempt("198.51.100.1", "alice").await, 303);
    }
    let each = [("198.51.100.1", "198.51.100.9"), ("2001:db8:1:1::1", "2001:db8:1:2::1")];
    for (first, neighbour) in each {
        assert_eq!(attempt(first, "wrong").await, 403, "{first}");
        assert_eq!(attempt(neighbour, "alice").await, 429, "{neighbour}");
    }
    assert_eq!(attempt("203.0.113.200", "wrong").await, 403, "the guessers' own network too");
    assert_eq!(attempt("203.0.113.201", "wrong").await, 429);
    assert_eq!(attempt("192.0.2.1", "alice").await, 303);
    // Many at once are one.
    let guesses = (0..10).map(|n| {
        let attempt = &attempt;
        async move { attempt(&format!("198.18.0.{n}"), "wrong").await }
    });
    let answers = futures::future::join_all(guesses).await;
    assert_eq!(answers.iter().filter(|status| **status == 403).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_user_who_is_not_allowed_reads_who_and_whom_to_ask() {
    let mut config = config();
    config["access"] = json!({"allow": {"rules": [{"emails": ["bob@example.com"]}]}});
    config["display"]["supportUrl"] = json!("https://help.example.com/");
    let gateway = Gateway::new(config);
    let mut browser = Browser::default();
    let page = sign_in_page(&gateway, &mut browser).await;
    let refused = browser.sign_in(&gateway, &page, "alice", "alice").await;
    assert!(refused.is_page(403), "{refused:?}");
    for text in [
        "You may not use GitHub tools",
        "alice (alice@example.com)",
        "uid-alice",
        "https://help.example.com/",
    ] {
        assert!(refused.body.contains(text), "{text} is missing in {}", refused.body);
    }
    assert!(refused.link("Return to Claude Code").contains("error=access_denied"));
    let page = browser.get(&gateway, &refused.link("Use another account")).await;
    assert_eq!(browser.sign_in(&gateway, &page, "bob", "bob").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_dead_identity_signs_in_again_and_reads_why() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    browser.consent(&gateway, &client, "alice").await;
    let user = gateway.server.store.users().await.unwrap()[0];
    let dead =
        gatehouse_gateway::model::IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
    gateway.server.store.set_identity_state(&user, &dead).await.unwrap();
    let answer = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let page = browser.get(&gateway, answer.location()).await;
    assert!(page.body.contains("session expired, please sign in again."), "{}", page.body);
    let answer = browser.sign_in(&gateway, &page, "alice", "alice").await;
    assert!(answer.location().starts_with("/oauth/authorize?flow="));
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_grant_of_the_old_one() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let tokens = gateway.tokens(&client).await;
    let old = tokens["access_token"].as_str().unwrap();
    let mut thief = Browser::default();
    let page = sign_in_page(&gateway, &mut thief).await;
    assert_eq!(thief.sign_in(&gateway, &page, "alice", "alice").await.status, StatusCode::SEE_OTHER);
    let file = gateway.users.clone();
    file.write(&(user_entry("alice", "new password") + &user_entry("bob", "bob")));

    // Before anything was swept: neither the session nor a refresh goes on.
    let answer = thief.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert!(answer.location().starts_with("/oauth/signin"), "{answer:?}");
    // A sign-in with the new password does not mend what was opened with the old one.
    let mut browser = Browser::default();
    let page = sign_in_page(&gateway, &mut browser).await;
    assert_eq!(browser.sign_in(&gateway, &page, "alice", "alice").await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.sign_in(&gateway, &page, "alice", "new password").await.status, StatusCode::SEE_OTHER);
    assert!(!gateway.accepts(old).await);
    let answer = thief.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert!(answer.location().starts_with("/oauth/signin"), "{answer:?}");

    // Without a sign-in, the sweep ends them.
    file.write(&(user_entry("alice", "newer") + &user_entry("bob", "bob")));
    let Identity::Local(users) = &gateway.server.identity else { unreachable!() };
    sweep::sweep(&gateway.server, users).await.unwrap();
    let answer = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert!(answer.location().starts_with("/oauth/signin"), "{answer:?}");
}

/// Its Secret reaches the replicas one after the other: a session that another replica has opened is no reason to ask for a
/// password that this one does not know yet.
#[tokio::test]
async fn a_replica_with_the_file_of_before_asks_a_signed_in_user_for_patience() {
    let newer = Gateway::local();
    let client = newer.public_client().await;
    let path = authorize_path(&authorization(&client));
    let file = user_entry("alice", "another") + &user_entry("carol", "carol");
    for (name, password) in [("carol", "carol"), ("alice", "another")] {
        // Here alice has another password, and carol is not in the file.
        let late = newer.reconfigured(config());
        newer.clock.advance(seconds(60));
        newer.users.write(&file);
        let mut browser = Browser::default();
        let page = sign_in_page(&newer, &mut browser).await;
        let consent = browser.sign_in(&newer, &page, name, password).await.location().to_owned();
        let approve = browser.get(&newer, &consent).await.link("approve");
        let token = browser.get(&newer, "/account").await.field("token");
        let action = [("action", "end-others"), ("token", token.as_str())];
        for answer in [
            browser.get(&late, &path).await,
            browser.get(&late, &consent).await,
            browser.get(&late, &approve).await,
            browser.get(&late, "/account").await,
            browser.post(&late, "/account", &action).await,
        ] {
            assert!(answer.is_page(503) && !answer.header("retry-after").is_empty(), "{name}: {answer:?}");
        }
        assert!(
            browser.get(&newer, &approve).await.redirect_param("code").is_some(),
            "{name}: nothing has ended"
        );
        late.users.write(&file);
        assert!(browser.get(&late, &path).await.is_page(200), "{name}");
        // Where none comes, this one is right.
        late.users.write(&user_entry("alice", "alice"));
        assert!(browser.get(&late, &path).await.location().starts_with("/oauth/signin?"), "{name}");
    }
}

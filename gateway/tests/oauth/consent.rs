//! Attacks 42 to 57: the consent page and the approval.

use axum::body::Body;
use gatehouse_gateway::model::IdentityState;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    callback::return_path,
    support::{
        Answer, Browser, Client, Gateway, authorization, authorize_path, config, provider_config, redeem,
        request, seconds, with,
    },
};

#[tokio::test]
async fn pages_are_guarded() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let page = gateway.get(&authorize_path(&authorization(&client))).await;
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'none'",
        "style-src 'sha256-",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !page.body.contains("<script"));
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), value);
    }
    let cookie = page.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-gh-") && cookie.ends_with("HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    assert!(!cookie.to_lowercase().contains("domain"));
}

#[tokio::test]
async fn the_page_says_who_what_and_where() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let page = gateway.get(&authorize_path(&authorization(&client))).await;
    for text in [
        "Connect Claude Code to GitHub tools?",
        "http://127.0.0.1:61000/callback",
        "A program on this computer",
        "repo, read:user",
        "Act with your GitHub account",
        "Continue with GitHub",
        "If somebody sent you a link to this page, cancel.",
    ] {
        assert!(page.body.contains(text), "{text} is missing in {}", page.body);
    }
}

#[tokio::test]
async fn approval_needs_nonce_and_cookie() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let link = browser.get(&gateway, &authorize_path(&authorization(&client))).await.link("approve");
    let (before, nonce) = link.split_once("nonce=").unwrap();
    let cut = format!("{before}nonce={}", &nonce[..20]);
    let wrong = format!("{before}nonce=AAAA");
    for bad in [
        before.trim_end_matches('&'),
        &cut,
        &wrong,
        "/oauth/authorize/approve",
        "/oauth/authorize/approve?flow=x&nonce=y",
    ] {
        assert!(browser.get(&gateway, bad).await.is_page(400), "{bad}");
    }
    assert!(gateway.get(&link).await.is_page(403));
    let mut other = Browser::default();
    other.get(&gateway, &authorize_path(&authorization(&client))).await;
    assert!(other.get(&gateway, &link).await.is_page(403));
    // None of these had an effect.
    assert!(browser.get(&gateway, &link).await.location().starts_with("https://idp.test/"));
}

#[tokio::test]
async fn a_flow_ends_after_ten_minutes() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let link = browser.get(&gateway, &authorize_path(&authorization(&client))).await.link("approve");
    gateway.clock.advance(seconds(600));
    assert!(browser.get(&gateway, &link).await.is_page(400));
}

#[tokio::test]
async fn only_the_user_approves() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let link = browser.get(&gateway, &authorize_path(&authorization(&client))).await.link("approve");
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-dest", "iframe")],
        [("sec-fetch-dest", "image")],
        [("sec-purpose", "prefetch")],
    ] {
        assert!(browser.get_with(&gateway, &link, &headers).await.is_page(403), "{headers:?}");
    }
    let navigation = [("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "document")];
    assert_eq!(browser.get_with(&gateway, &link, &navigation).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn repeating_an_approval_changes_nothing() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let link = browser.get(&gateway, &authorize_path(&authorization(&client))).await.link("approve");
    let first = browser.get(&gateway, &link).await.location().to_owned();
    assert_eq!(browser.get(&gateway, &link).await.location(), first);
    let altered = format!("{link}&client_id=x&redirect_uri=https://evil.test/&scope=admin&resource=x");
    assert_eq!(browser.get(&gateway, &altered).await.location(), first);
}

#[tokio::test]
async fn fifty_approvals_at_once_give_one_code() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let link = browser.consent(&gateway, &client, "alice").await.link("approve");
    let clicks = (0..50).map(|_| {
        let (mut browser, gateway, link) = (browser.clone(), &gateway, &link);
        async move { browser.get(gateway, link).await.location().to_owned() }
    });
    let mut locations = futures::future::join_all(clicks).await;
    locations.dedup();
    assert_eq!(locations.len(), 1, "{locations:?}");
}

#[tokio::test]
async fn a_finished_sign_in_is_repeated_until_its_code_is_used() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let link = browser.consent(&gateway, &client, "alice").await.link("approve");
    let first = browser.get(&gateway, &link).await;
    assert_eq!(browser.get(&gateway, &link).await.location(), first.location());
    let code = first.redirect_param("code").unwrap();
    let tokens = gateway.token(&redeem(&client, &code)).await.json();
    let again = browser.get(&gateway, &link).await;
    assert!(again.is_page(200) && again.body.contains("You are signed in"), "{again:?}");
    assert!(gateway.accepts(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn denying_tells_the_client_once() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let answer = browser.get(&gateway, &page.link("deny")).await;
    assert_eq!(answer.redirect_param("error").as_deref(), Some("access_denied"));
    assert_eq!(answer.redirect_param("state").as_deref(), Some("xyz"));
    assert_eq!(answer.redirect_param("iss").as_deref(), Some("https://gw.test"));
    for link in ["deny", "approve"] {
        let again = browser.get(&gateway, &page.link(link)).await;
        assert!(again.is_page(200) && again.body.contains("You cancelled"), "{again:?}");
    }
    assert!(gateway.provider.exchanged.lock().unwrap().is_empty());
}

#[tokio::test]
async fn two_pages_of_one_request_both_work() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    // Some clients fetch the page themselves before they open the browser.
    assert_eq!(gateway.get(&path).await.status, StatusCode::OK);
    let mut browser = Browser::default();
    let first = browser.get(&gateway, &path).await;
    let second = browser.get(&gateway, &path).await;
    for page in [first, second] {
        assert_eq!(browser.get(&gateway, &page.link("approve")).await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn a_browser_keeps_eight_flows_and_the_newest_works() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut browser = Browser::default();
    let first = browser.get(&gateway, &path).await;
    let mut last = None;
    for _ in 0..60 {
        gateway.clock.advance(seconds(1));
        last = Some(browser.get(&gateway, &path).await);
    }
    assert_eq!(browser.cookies.len(), 8);
    assert!(browser.get(&gateway, &first.link("approve")).await.is_page(403));
    assert_eq!(browser.get(&gateway, &last.unwrap().link("approve")).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_remembered_consent_is_said_and_never_skipped() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    assert!(!page.body.contains("You approved this"));
    browser.get(&gateway, &page.link("approve")).await;
    let page = browser.consent(&gateway, &client, "alice").await;
    assert!(
        page.body.contains("You approved this on") && page.body.contains("24 November 2026"),
        "{}",
        page.body
    );
    assert!(page.body.contains("id=\"approve\""));
    let other = gateway.public_client().await;
    assert!(!browser.consent(&gateway, &other, "alice").await.body.contains("You approved this"));
    let mut bobs = Browser::default();
    assert!(!bobs.consent(&gateway, &client, "bob").await.body.contains("You approved this"));
}

/// Attack 53.
#[tokio::test]
async fn a_remembered_consent_is_for_what_was_approved_alone() {
    let mut config = config();
    config["scopes"] = json!([{"name": "read", "default": true}, {"name": "write"}]);
    let gateway = Gateway::new(config.clone());
    let metadata = json!({
        "redirect_uris": ["http://127.0.0.1/callback", "http://127.0.0.1/other"],
        "token_endpoint_auth_method": "none",
    });
    let client = gateway.register(metadata).await;
    let (mut alices, mut bobs) = (Browser::default(), Browser::default());
    let page = alices.consent(&gateway, &client, "alice").await;
    alices.get(&gateway, &page.link("approve")).await;
    // One more of the user's accounts is used.
    config["credentials"] = json!([
        {"name": "me", "kind": "fromIdentity"}, {"name": "again", "kind": "fromIdentity"},
    ]);
    let more = gateway.reconfigured(config);
    let mut said = Vec::new();
    for (what, gateway, name, value) in [
        ("the same", &gateway, "scope", "read"),
        ("another port", &gateway, "redirect_uri", "http://127.0.0.1:5000/callback"),
        ("another address", &gateway, "redirect_uri", "http://127.0.0.1:61000/other"),
        ("a wider scope", &gateway, "scope", "read write"),
        ("another account", &more, "scope", "read"),
    ] {
        let asked = with(authorization(&client), name, Some(value));
        let page = alices.consent_to(gateway, &asked, "alice").await;
        said.push((what, page.body.contains("You approved this on")));
    }
    let page = bobs.consent(&gateway, &client, "bob").await;
    said.push(("another user", page.body.contains("You approved this on")));
    assert_eq!(
        said,
        [
            ("the same", true),
            ("another port", true),
            ("another address", false),
            ("a wider scope", false),
            ("another account", false),
            ("another user", false),
        ]
    );
}

#[tokio::test]
async fn a_prefetched_consent_page_approves_nothing() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let head = gateway.send(request(Method::HEAD, &path, &[], Body::empty())).await;
    assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(head.headers.get("set-cookie").is_none());
}

#[tokio::test]
async fn a_logo_is_the_only_image_and_comes_by_https() {
    for (url, shown) in
        [("https://cdn.example.com/a;b,c/logo.svg?v=2", true), ("http://cdn.example.com/logo.svg", false)]
    {
        let gateway = Gateway::edited(provider_config(), "display.logoUrl", serde_json::json!(url));
        let client = gateway.public_client().await;
        let page = gateway.get(&authorize_path(&authorization(&client))).await;
        let policy = page.header("content-security-policy");
        let source = "; img-src https://cdn.example.com/a%3Bb%2Cc/logo.svg;";
        assert_eq!(policy.contains(source), shown, "{policy}");
        assert_eq!(policy.contains("img-src"), shown, "{policy}");
        assert_eq!(page.body.contains("<img src="), shown);
    }
}

/// Signs in at the provider as `subject` from this page; the answer that leads back to the client.
async fn continue_as(gateway: &Gateway, browser: &mut Browser, page: &Answer, subject: &str) -> Answer {
    let asked = browser.get(gateway, &page.link("approve")).await;
    gateway.provider.signs_in(subject);
    browser.get(gateway, &return_path(&asked)).await
}

#[tokio::test]
async fn at_a_provider_the_page_says_who_signed_in_last_and_the_provider_who_it_is() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut browser = Browser::default();
    let session = |browser: &Browser| {
        browser.cookies.iter().find(|(name, _)| name.ends_with("-s")).map(|(_, value)| value.clone())
    };
    let first = browser.get(&gateway, &path).await;
    assert!(!first.body.contains("Last signed in") && !first.body.contains("approved this"));
    assert!(session(&browser).is_none());
    continue_as(&gateway, &mut browser, &first, "42").await;
    let alices = session(&browser).unwrap();

    let page = browser.get(&gateway, &path).await;
    for text in ["Last signed in here as User 42", "User 42 approved this on", "24 November 2026"] {
        assert!(page.body.contains(text), "{text} is missing in {}", page.body);
    }
    assert!(!page.body.contains("Signed in as") && page.body.contains("Continue with GitHub"));
    // Another account is offered, and it is the provider that says which.
    let other = browser.get(&gateway, &page.link("Use a different GitHub account")).await;
    assert_eq!(other.redirect_param("prompt").as_deref(), Some("select_account"));
    gateway.provider.signs_in("43");
    let done = browser.get(&gateway, &return_path(&other)).await;
    let code = done.redirect_param("code").unwrap();
    gateway.trail.take();
    gateway.token(&redeem(&client, &code)).await.json();
    let users = gateway.server.store.users().await.unwrap();
    let told = gateway.trail.take()[0]["user"].as_str().unwrap().to_owned();
    let granted = users.iter().find(|user| user.to_string() == told).unwrap();
    assert_eq!(gateway.server.store.account(granted).await.unwrap().grants.len(), 1);
    assert!(browser.get(&gateway, "/account").await.body.contains("User 43"));
    let bobs = session(&browser).unwrap();
    assert_ne!(alices, bobs, "a new id at each sign-in");
    let mut stale = Browser { cookies: browser.cookies.clone(), ..Browser::default() };
    stale.cookies.iter_mut().filter(|(name, _)| name.ends_with("-s")).for_each(|(_, value)| {
        value.clone_from(&alices);
    });
    assert!(!stale.get(&gateway, "/account").await.body.contains("User 42"), "the one before has ended");
    let page = browser.get(&gateway, &path).await;
    assert!(page.body.contains("Last signed in here as User 43") && !page.body.contains("User 42"));

    gateway.clock.advance(seconds(8 * 3600));
    let later = browser.get(&gateway, &path).await;
    assert!(!later.body.contains("User 43"), "{}", later.body);
    assert!(continue_as(&gateway, &mut browser, &later, "43").await.redirect_param("code").is_some());
}

#[tokio::test]
async fn whose_identity_died_reads_why_they_sign_in_again() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    let mut browser = Browser::default();
    let page = browser.get(&gateway, &path).await;
    continue_as(&gateway, &mut browser, &page, "42").await;
    let user = gateway.server.store.users().await.unwrap()[0];
    let dead = IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
    gateway.server.store.set_identity_state(&user, &dead).await.unwrap();
    let page = browser.get(&gateway, &path).await;
    assert!(page.body.contains("Your GitHub session expired, please sign in again."), "{}", page.body);
    assert!(!page.body.contains("User 42"));
    assert!(continue_as(&gateway, &mut browser, &page, "42").await.redirect_param("code").is_some());
}

#[tokio::test]
async fn the_client_may_ask_for_a_new_sign_in_or_another_account() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    for (asked, sent) in [
        (None, ""),
        (Some("none"), ""),
        (Some("consent"), ""),
        (Some("login"), "login"),
        (Some("select_account"), "select_account"),
        (Some("select_account login"), "login"),
        (Some("loginx"), ""),
    ] {
        let mut browser = Browser::default();
        let path = authorize_path(&with(authorization(&client), "prompt", asked));
        let page = browser.get(&gateway, &path).await;
        let there = browser.get(&gateway, &page.link("approve")).await;
        assert_eq!(there.redirect_param("prompt").as_deref(), Some(sent), "{asked:?}");
    }
}

#[tokio::test]
async fn the_page_says_who_vouches_for_the_name() {
    let mut config = provider_config();
    config["policy"] = json!({"clients": [
        {"clientId": "cli", "name": "Our CLI", "redirectUris": ["http://127.0.0.1/callback", "https://cli.test/cb"]},
        {"clientId": "console", "redirectUris": ["http://127.0.0.1/callback"], "secrets": [{"name": "ci", "key": "old"}]},
    ]});
    let gateway = Gateway::new(config);
    let listed = |id: &str| Client { id: id.to_owned(), secret: None };
    let by_admin = "The administrator of GitHub tools registered it under this name.";
    let claim = "Any program on this computer can say that it is Our CLI.";
    let page = async |client: &Client, redirect_uri: &'static str| {
        let path = authorize_path(&with(authorization(client), "redirect_uri", Some(redirect_uri)));
        gateway.get(&path).await.body
    };
    let loopback = page(&listed("cli"), "http://127.0.0.1:5000/callback").await;
    assert!(loopback.contains(by_admin) && loopback.contains(claim), "{loopback}");
    assert!(!loopback.contains("Unverified"));
    // Where its own host gets the code, or a secret proves it, nobody else can use its name.
    let web = page(&listed("cli"), "https://cli.test/cb").await;
    assert!(web.contains(by_admin) && !web.contains("can say that it is"), "{web}");
    let proven = page(&listed("console"), "http://127.0.0.1:5000/callback").await;
    assert!(proven.contains(by_admin) && !proven.contains("can say that it is"), "{proven}");
    let own = page(&gateway.public_client().await, "http://127.0.0.1:5000/callback").await;
    assert!(own.contains("Unverified") && !own.contains(by_admin) && !own.contains("can say that it is"));
}

#[tokio::test]
async fn the_page_says_how_long_it_lasts() {
    for (lifetimes, says) in [
        (json!({}), "Stay connected until unused for 30 days, at most for 365 days"),
        (
            json!({"refreshToken": "1h", "signIn": "36h"}),
            "Stay connected until unused for 1 hour, at most for 1 day 12 hours",
        ),
        (json!({"refreshToken": "24h", "signIn": "24h"}), "Stay connected for 1 day"),
    ] {
        let gateway = Gateway::edited(config(), "policy", json!({"lifetimes": lifetimes}));
        let client = gateway.public_client().await;
        let page = Browser::default().consent(&gateway, &client, "alice").await;
        assert!(page.body.contains(&format!(">{says}</span>")), "{says}: {}", page.body);
    }
}

/// A server that shows all that it can of itself.
fn displayed(mut config: Value) -> Gateway {
    config["display"] = json!({
        "name": "Tools of A & B", "logoUrl": "https://cdn.example.com/logo.svg", "supportUrl": "https://help.example.com/?a&b",
    });
    Gateway::new(config)
}

#[tokio::test]
async fn every_page_shows_the_servers_name_logo_and_help() {
    let gateway = displayed(provider_config());
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let consent = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let approve = consent.link("approve");
    browser.get(&gateway, &consent.link("deny")).await;
    let (bad, warn) = (gateway.get("/oauth/callback").await, browser.get(&gateway, &approve).await);
    assert!(bad.body.contains("badge bad") && warn.body.contains("badge warn"));
    let mut pages = vec![consent, bad, warn, gateway.get("/account").await];

    let gateway = displayed(config());
    let begun = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let form = browser.get(&gateway, begun.location()).await;
    let again = browser.sign_in(&gateway, &form, "alice", "wrong").await;
    let signed_in = browser.sign_in(&gateway, &form, "alice", "alice").await;
    let consent = browser.get(&gateway, signed_in.location()).await;
    let account = browser.get(&gateway, "/account").await;
    assert!(form.body.contains("id=\"signin\"") && again.body.contains("id=\"problem\""));
    assert!(consent.body.contains("id=\"approve\"") && account.body.contains("id=\"sign-out\""));
    pages.extend([form, again, consent, account]);
    for page in pages {
        for shown in [
            " · Tools of A &#38; B</title>",
            "<img src=\"https://cdn.example.com/logo.svg\"",
            "Tools of A &#38; B at gw.test · <a href=\"/account\">",
            "<a href=\"https://help.example.com/?a&#38;b\" rel=\"noreferrer\">Help</a>",
        ] {
            assert!(page.body.contains(shown), "{shown}: {}", page.body);
        }
        let policy = page.header("content-security-policy");
        assert!(policy.contains("; img-src https://cdn.example.com/logo.svg;"), "{policy}");
    }
}

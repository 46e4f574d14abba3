//! Attacks 42 to 57: the consent page and the approval.

use axum::body::Body;
use http::{Method, StatusCode};

use crate::support::{
    Browser, Gateway, authorization, authorize_path, provider_config, redeem, request, seconds,
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
async fn a_logo_is_shown_from_its_own_origin_only() {
    for (url, shown) in
        [("https://cdn.example.com/a;b,c/logo.svg", true), ("http://cdn.example.com/logo.svg", false)]
    {
        let gateway = Gateway::edited(provider_config(), "display.logoUrl", serde_json::json!(url));
        let client = gateway.public_client().await;
        let page = gateway.get(&authorize_path(&authorization(&client))).await;
        let policy = page.header("content-security-policy");
        assert_eq!(policy.contains("; img-src https://cdn.example.com;"), shown, "{policy}");
        assert_eq!(page.body.contains("<img src="), shown);
    }
}

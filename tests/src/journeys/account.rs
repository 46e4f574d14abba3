//! The account page at work, and consent with the browser's own buttons.

use super::{APPROVE, SIGN_OUT, TO_SIGN_IN, sign_in};
use crate::{
    dev::{Gateway, Setup},
    landing::{Landing, Place},
    net::eventually,
    oauth::{Answer, OAuthClient},
    webdriver::{ENTER, Kind, TAB, WebDriver},
};

/// A client that the signed-in user connects in this browser, and its tokens.
pub(super) async fn connect(gateway: &Gateway, browser: &WebDriver) -> (OAuthClient, Answer) {
    let mut landing = Landing::start(Place::Loopback).await;
    let client = OAuthClient::register_with(&gateway.issuer, "none", &landing.redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    browser.click(APPROVE).await;
    let tokens = client.redeem(&landing.code(browser).await).await;
    (client, tokens)
}

/// A user ends a client and then the browser's session on the account page.
pub async fn disconnect_and_sign_out(kind: Kind) {
    let gateway = Setup::demo().start().await;
    let browser = WebDriver::start(kind).await;
    browser.open(&format!("{}/account", gateway.issuer)).await;
    browser.click(TO_SIGN_IN).await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for(SIGN_OUT).await;
    let (client, tokens) = connect(&gateway, &browser).await;
    let access = tokens.get("access_token");
    assert_eq!(client.whoami(Some(&access)).await.status, 200);
    browser.open(&format!("{}/account", gateway.issuer)).await;
    let text = browser.text().await;
    let name = match kind {
        Kind::Chromium => "Chrome on Linux",
        Kind::Firefox => "Firefox on Linux",
    };
    for part in ["alice", "test", "A program on this computer", "This browser", name] {
        assert!(text.contains(part), "{part} is not on the account page:\n{text}");
    }
    browser.click("button[value=disconnect]").await;
    browser.wait_for("[role=status]").await;
    assert!(browser.text().await.contains("No application is connected"));
    eventually("the call to be refused", async || {
        (client.whoami(Some(&access)).await.status == 401).then_some(())
    })
    .await;
    // Reloading asks for no form to be sent again, and going back ends nothing.
    browser.reload().await;
    browser.wait_for(SIGN_OUT).await;
    browser.click(SIGN_OUT).await;
    browser.wait_for(TO_SIGN_IN).await;
    assert!(browser.text().await.contains("You are signed out."));
    browser.back().await;
    browser.reload().await;
    assert!(!browser.text().await.contains("alice"), "nothing of the user is left");
    assert_eq!(browser.forbidden().await, Vec::<String>::new());
}

/// Presses Tab until the focus is on what `selector` (CSS) names.
async fn tab_to(browser: &WebDriver, selector: &str) {
    let there = format!("return document.activeElement.matches({selector:?})");
    for _ in 0..20 {
        if browser.run(&there).await == true {
            return;
        }
        browser.press(TAB).await;
    }
    panic!("Tab does not lead to {selector}");
}

/// A user without a mouse: sign-in and consent, each step by Tab and Enter.
pub async fn by_keyboard_alone(kind: Kind) {
    let gateway = Setup::demo().start().await;
    let mut landing = Landing::start(Place::Loopback).await;
    let browser = WebDriver::start(kind).await;
    let client = OAuthClient::register_with(&gateway.issuer, "none", &landing.redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for("#signin").await;
    for (field, text) in [("#username", "alice"), ("#password", "alice")] {
        tab_to(&browser, field).await;
        for key in text.chars() {
            browser.press(key).await;
        }
    }
    browser.press(ENTER).await;
    browser.wait_for(APPROVE).await;
    tab_to(&browser, APPROVE).await;
    browser.press(ENTER).await;
    let tokens = client.redeem(&landing.code(&browser).await).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
}

/// The browser's own buttons, before and after the user approved.
pub async fn reload_back_and_a_second_tab(kind: Kind) {
    let gateway = Setup::demo().start().await;
    let mut landing = Landing::start(Place::Loopback).await;
    let browser = WebDriver::start(kind).await;
    let client = OAuthClient::register_with(&gateway.issuer, "none", &landing.redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for(APPROVE).await;
    let first = browser.url().await;
    browser.reload().await;
    browser.wait_for(APPROVE).await;
    // What a second tab does: another flow of the same client in the same browser.
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    browser.back().await;
    browser.wait_for(APPROVE).await;
    assert_eq!(browser.url().await, first);
    browser.click(APPROVE).await;
    let code = landing.code(&browser).await;
    // Once more before the code is redeemed: the same answer.
    browser.open(&first).await;
    assert_eq!(landing.code(&browser).await, code);
    assert_eq!(client.redeem(&code).await.status, 200);
    browser.open(&first).await;
    assert!(browser.text().await.contains("You are signed in"), "afterwards it says that it is done");
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    let text = browser.text().await;
    for part in ["You approved this on", "Unverified", "alice", &landing.redirect_uri] {
        assert!(text.contains(part), "{part} is not on the consent page:\n{text}");
    }
}

//! Chromium through sign-in and consent. Pictures of the pages are kept in `target/tests/pictures`.

#![expect(clippy::expect_used, reason = "what a suite cannot prepare fails it")]

use e2e::{
    clients::{ClaudeCode, Home, Sdk, Session},
    dev::Setup,
    journeys::{APPROVE, sign_in},
    landing::{Landing, Place},
    net::eventually,
    oauth::OAuthClient,
    opened::Opened,
    webdriver::{Kind, WebDriver},
};
use url::Url;

const PASSWORD: &str = "input[type=password]";

e2e::journeys!(Kind::Chromium);

#[tokio::test]
async fn a_user_signs_in_approves_and_lands_at_the_clients_loopback_callback() {
    let gateway = Setup::demo().start().await;
    let mut landing = Landing::start(Place::Loopback).await;
    let client = OAuthClient::register_with(&gateway.issuer, "none", &landing.redirect_uri).await;
    let browser = WebDriver::start(Kind::Chromium).await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(PASSWORD).await;
    browser.picture("1-sign-in").await;
    sign_in(&browser, "alice", "wrong").await;
    browser.wait_for("#problem").await;
    browser.picture("2-wrong-password").await;
    let text = browser.text().await;
    assert!(text.contains("password"), "{text}");
    browser.open(&client.authorize_url()).await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for(APPROVE).await;
    browser.picture("3-consent").await;
    let text = browser.text().await;
    for part in ["alice", "test", "127.0.0.1"] {
        assert!(text.contains(part), "{part} is not on the consent page:\n{text}");
    }
    browser.screen(390, false).await;
    browser.picture("4-consent-phone").await;
    browser.click(APPROVE).await;
    let tokens = client.redeem(&landing.code(&browser).await).await;
    let answer = client.whoami(Some(&tokens.get("access_token"))).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "alice", "{}", answer.text);
    assert_eq!(browser.forbidden().await, Vec::<String>::new());
}

/// Alice signs in and approves at the address that a client opened, and reads the client's own page at the end: what its
/// callback server is sent, and how, is the browser's doing alone.
async fn approves(opened: &Opened, says: &str) {
    let browser = WebDriver::start(Kind::Chromium).await;
    let address = Url::parse(&opened.first().await).expect("a client opens a URL");
    let callback =
        address.query_pairs().find(|(name, _)| name == "redirect_uri").expect("it says where to").1;
    browser.open(address.as_str()).await;
    sign_in(&browser, "alice", "alice").await;
    browser.click(APPROVE).await;
    eventually(&format!("{says:?} at {callback}"), async || {
        let here = browser.url().await.starts_with(&format!("{callback}?"));
        (here && browser.text().await.contains(says)).then_some(())
    })
    .await;
    assert_eq!(browser.forbidden().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_user_of_mcp_remote_lands_on_its_own_page() {
    let gateway = Setup::demo().start().await;
    let (home, opened) = Home::without_browser();
    let client = Session::connect_at(Sdk::McpRemote, &gateway.url, home);
    let (mut client, ()) = tokio::join!(client, approves(&opened, "Authorization successful!"));
    assert_eq!(client.whoami().await, "alice");
    client.close().await;
}

/// Claude Code calls tools only with an account: what it does with its tokens is connect.
#[tokio::test]
async fn the_user_of_claude_code_lands_on_its_own_page() {
    let gateway = Setup::demo().start().await;
    let (home, opened) = Home::without_browser();
    let claude = ClaudeCode::at(&gateway.url, home).await;
    tokio::join!(claude.login(), approves(&opened, "Authentication successful"));
    let after = claude.list().await;
    assert!(after.contains("Connected"), "{after}\n{}", gateway.output());
}

#[tokio::test]
async fn a_client_that_is_not_known_gets_a_page_that_helps() {
    let gateway = Setup::demo().start().await;
    let browser = WebDriver::start(Kind::Chromium).await;
    let url = format!("{}/oauth/authorize?client_id=gone&redirect_uri=https://evil.example/", gateway.issuer);
    browser.open(&url).await;
    browser.picture("5-unknown-client").await;
    assert!(browser.url().await.starts_with(&gateway.issuer), "no redirect");
    let text = browser.text().await;
    assert!(text.contains("again"), "{text}");
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}

//! A real browser through sign-in and consent. Pictures of the pages are kept in `target/tests/pictures`.

#![expect(clippy::expect_used, reason = "a test's own helper")]

use axum::{Router, extract::RawQuery, routing::get};
use e2e::{
    chromium::Chromium,
    dev::Setup,
    github::{App, GitHub},
    manifests::GITHUB,
    net::{Server, eventually},
    oauth::{OAuthClient, REDIRECT_URI},
};
use tokio::sync::mpsc;
use url::form_urlencoded;

/// The link that approves; the other link refuses.
const APPROVE: &str = "a[href*='/oauth/authorize/approve']:not([href*='deny'])";
const PASSWORD: &str = "input[type=password]";
const NAME: &str = "input:not([type=hidden]):not([type=password])";
const SUBMIT: &str = "form button, form input[type=submit]";

/// A client's own callback server, as native clients run it.
struct Callback {
    server: Server,
    arrived: mpsc::UnboundedReceiver<String>,
}

impl Callback {
    async fn start() -> Self {
        let (sender, arrived) = mpsc::unbounded_channel();
        let answer = async move |RawQuery(query): RawQuery| {
            // The receiver lives as long as the server.
            let _ = sender.send(query.unwrap_or_default());
            "Signed in"
        };
        Self { server: Server::start(Router::new().route("/callback", get(answer))).await, arrived }
    }

    async fn parameter(&mut self, name: &str) -> String {
        let query = tokio::time::timeout(e2e::net::PATIENCE, self.arrived.recv()).await;
        let query = query.expect("the browser comes to the callback").expect("the server lives");
        let found =
            form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        found.unwrap_or_else(|| panic!("no {name} in {query}"))
    }
}

async fn sign_in(browser: &Chromium, user: &str) {
    browser.fill(NAME, user).await;
    browser.fill(PASSWORD, user).await;
    browser.click(SUBMIT).await;
}

#[tokio::test]
async fn a_user_signs_in_approves_and_lands_at_the_clients_loopback_callback() {
    let gateway = Setup::demo().start().await;
    let mut callback = Callback::start().await;
    let redirect_uri = format!("{}/callback", callback.server.origin());
    let client = OAuthClient::register_with(&gateway.issuer, "none", &redirect_uri).await;
    let browser = Chromium::start().await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(PASSWORD).await;
    browser.picture("1-sign-in").await;
    browser.fill(NAME, "alice").await;
    browser.fill(PASSWORD, "wrong").await;
    browser.click(SUBMIT).await;
    browser.wait_for(PASSWORD).await;
    browser.picture("2-wrong-password").await;
    let text = browser.text().await;
    assert!(text.contains("password"), "{text}");
    browser.open(&client.authorize_url()).await;
    sign_in(&browser, "alice").await;
    browser.wait_for(APPROVE).await;
    browser.picture("3-consent").await;
    let text = browser.text().await;
    for part in ["alice", "test", "127.0.0.1"] {
        assert!(text.contains(part), "{part} is not on the consent page:\n{text}");
    }
    browser.resize(390, 844).await;
    browser.picture("4-consent-phone").await;
    browser.click(APPROVE).await;
    let code = callback.parameter("code").await;
    let tokens = client.redeem(&code).await;
    let answer = client.whoami(Some(&tokens.get("access_token"))).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "alice", "{}", answer.text);
    let complaints = browser.complaints().await;
    // The wrong password's 403 is in there too; what matters is that no policy of ours blocked our own page.
    let blocked: Vec<_> =
        complaints.iter().filter(|c| c.contains("Security Policy") || c.contains("blocked")).collect();
    assert!(blocked.is_empty(), "{blocked:?}");
}

#[tokio::test]
async fn approval_leads_to_an_applications_own_scheme() {
    let gateway = Setup::demo().start().await;
    let client = OAuthClient::register(&gateway.issuer).await;
    let browser = Chromium::start().await;
    browser.open(&client.authorize_url()).await;
    sign_in(&browser, "bob").await;
    browser.wait_for(APPROVE).await;
    browser.picture("5-consent-custom-scheme").await;
    browser.click(APPROVE).await;
    let location = eventually("the redirect to the application", async || {
        browser.redirects().await.into_iter().find(|l| l.starts_with(REDIRECT_URI))
    })
    .await;
    let code =
        url::Url::parse(&location).unwrap().query_pairs().find(|(n, _)| n == "code").unwrap().1.into_owned();
    let tokens = client.redeem(&code).await;
    let answer = client.whoami(Some(&tokens.get("access_token"))).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "bob", "{}", answer.text);
}

#[tokio::test]
async fn a_sign_in_at_github_comes_back_and_lands_at_the_client() {
    let setup = Setup::manifest(GITHUB);
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let gateway =
        setup.with("provider", &github.url()).with("backend", "http://127.0.0.1:9/mcp").start().await;
    let mut callback = Callback::start().await;
    let redirect_uri = format!("{}/callback", callback.server.origin());
    let client = OAuthClient::register_with(&gateway.issuer, "none", &redirect_uri).await;
    let browser = Chromium::start().await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    browser.picture("6-consent-github").await;
    browser.click(APPROVE).await;
    browser.fill("input[name=login]", "alice").await;
    browser.click("form button").await;
    let code = callback.parameter("code").await;
    assert_eq!(client.redeem(&code).await.status, 200);
    // The callback once more, as Back and Reload open it: a page, and no second use of the provider's code.
    let ours = format!("{}/oauth/callback?", gateway.issuer);
    let seen =
        browser.redirects().await.into_iter().find(|l| l.starts_with(&ours)).expect("GitHub sent us back");
    browser.open(&seen).await;
    browser.picture("7-finished").await;
    let text = browser.text().await;
    assert!(text.contains("You are signed in"), "{text}");
    let exchanges =
        github.requests().into_iter().filter(|r| r.uri.path() == "/login/oauth/access_token").count();
    assert_eq!(exchanges, 1, "the code went to GitHub once");
}

#[tokio::test]
async fn a_client_that_is_not_known_gets_a_page_that_helps() {
    let gateway = Setup::demo().start().await;
    let browser = Chromium::start().await;
    let url = format!("{}/oauth/authorize?client_id=gone&redirect_uri=https://evil.example/", gateway.issuer);
    browser.open(&url).await;
    browser.picture("8-unknown-client").await;
    assert!(browser.url().await.starts_with(&gateway.issuer), "no redirect");
    let text = browser.text().await;
    assert!(text.contains("again"), "{text}");
}

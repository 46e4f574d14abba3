//! What people see: each page readable on a small and a large screen, light and dark.

use gatehouse_gateway_config::AccessRule;

use super::{APPROVE, DENY, LOGIN, SIGN_OUT, TO_SIGN_IN, account::connect, sign_in};
use crate::{
    dev::Setup,
    github::{App, GitHub},
    landing::{Landing, Place},
    manifests::GITHUB,
    net::{eventually, free_port},
    oauth::OAuthClient,
    redis::Redis,
    webdriver::{Kind, WebDriver},
};

const PASSWORD: &str = "input[type=password]";

/// What is wrong with the page for somebody who reads it on this screen, by keyboard or by ear: a list of sentences.
/// Contrast is that of WCAG 2.2, 1.4.3 (4.5 to 1, large text 3 to 1).
const PROBLEMS: &str = r#"
const found = [];
const check = (ok, what) => { if (!ok) found.push(what); };
check(document.documentElement.lang === "en", "no language");
check(document.title.length > 3, "no title");
check(document.querySelectorAll("main").length === 1, "not one main landmark");
check(document.querySelectorAll("h1").length === 1, "not one heading");
check(document.querySelectorAll("script").length === 0, "a script");
check(document.documentElement.scrollWidth <= innerWidth, "wider than the screen: " + document.documentElement.scrollWidth);
const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
check(new Set(ids).size === ids.length, "an id twice");
for (const field of document.querySelectorAll("input:not([type=hidden])")) check(field.labels.length === 1, "no label: " + field.name);
for (const control of document.querySelectorAll("a, button, summary")) {
  if (!control.checkVisibility()) continue;
  check(control.innerText.trim() !== "", "no name: " + control.outerHTML);
  const box = control.getBoundingClientRect();
  if (control.matches(".button")) check(box.height >= 24 && box.width >= 24, "too small to hit: " + control.innerText);
  control.focus();
  check(getComputedStyle(control).outlineStyle !== "none" || !control.matches(":focus-visible"), "focus is not seen: " + control.innerText);
}
const rgba = text => (text.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const ground = element => {
  for (let e = element; e; e = e.parentElement) {
    const c = rgba(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
  const style = getComputedStyle(element), [a, b] = [light(rgba(style.color)), light(ground(element))];
  const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && parseInt(style.fontWeight) >= 600;
  check(contrast >= (large ? 3 : 4.5), "contrast " + contrast.toFixed(2) + ": " + texts.currentNode.data.trim());
}
return found;
"#;

/// Looks at the page on each screen.
pub(super) async fn look(browser: &WebDriver, name: &str) {
    for (width, dark) in [(360, false), (360, true), (900, false), (900, true)] {
        browser.screen(width, dark).await;
        browser.picture(&format!("page-{name}-{width}-{}", if dark { "dark" } else { "light" })).await;
        let problems = browser.run(PROBLEMS).await;
        assert_eq!(problems, serde_json::json!([]), "{name}, {width} pixels, dark: {dark}");
    }
}

/// Looks at every page.
pub async fn every_page(kind: Kind) {
    let gateway = Setup::demo().start().await;
    let browser = WebDriver::start(kind).await;
    let account = format!("{}/account", gateway.issuer);
    browser.open(&account).await;
    look(&browser, "account-signed-out").await;
    // The check itself: a pale heading, and an unlabelled field beside the page.
    let broken = "const field = document.createElement('input'); field.style.width = '999px'; \
                  document.body.append(field); document.querySelector('h1').style.color = '#ddd';";
    browser.screen(900, false).await;
    browser.run(broken).await;
    assert_eq!(browser.run(PROBLEMS).await.as_array().map(Vec::len), Some(3), "pale, unlabelled, too wide");
    browser.reload().await;
    browser.click(TO_SIGN_IN).await;
    browser.wait_for(PASSWORD).await;
    look(&browser, "sign-in").await;
    sign_in(&browser, "alice", "wrong").await;
    browser.wait_for("#problem").await;
    look(&browser, "sign-in-failed").await;
    sign_in(&browser, "", "alice").await;
    browser.wait_for(SIGN_OUT).await;
    look(&browser, "account-empty").await;
    let client = OAuthClient::register(&gateway.issuer).await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    look(&browser, "consent").await;
    connect(&gateway, &browser).await;
    connect(&gateway, &browser).await;
    browser.open(&account).await;
    browser.wait_for("#disconnect-all").await;
    look(&browser, "account").await;
    browser.open(&format!("{}/oauth/authorize?client_id=gone", gateway.issuer)).await;
    look(&browser, "unknown-client").await;
    browser.open(&format!("{}/oauth/callback?code=x&state=y", gateway.issuer)).await;
    look(&browser, "bad-link").await;
    assert_eq!(browser.forbidden().await, Vec::<String>::new());
}

/// Looks at the page, which says this.
async fn look_at(browser: &WebDriver, name: &str, says: &str) {
    browser.reads(says).await;
    look(browser, name).await;
}

/// Looks at the pages of sign-ins that are over, or do not come to their end.
pub async fn every_page_of_trouble(kind: Kind) {
    let redis = Redis::start().await;
    let gateway = Setup::demo().redis(&redis).start().await;
    let (browser, other) = (WebDriver::start(kind).await, WebDriver::start(kind).await);
    let mut landing = Landing::start(Place::Loopback).await;
    let client = OAuthClient::register_with(&gateway.issuer, "none", &landing.redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for(APPROVE).await;
    let flow = browser.url().await;
    other.open(&flow).await;
    look_at(&other, "other-browser", "begun in another browser").await;
    browser.click(APPROVE).await;
    assert_eq!(client.redeem(&landing.code(&browser).await).await.status, 200);
    browser.open(&flow).await;
    look_at(&browser, "finished", "You are signed in").await;
    other.open(&client.authorize_url()).await;
    sign_in(&other, "bob", "wrong").await;
    for _ in 0..10 {
        other.wait_for("#problem").await;
        sign_in(&other, "", "wrong").await;
    }
    look_at(&other, "too-many-attempts", "Too many attempts").await;
    drop(redis);
    browser.open(&client.authorize_url()).await;
    look_at(&browser, "unavailable", "briefly unavailable").await;

    // Somebody whom the rules do not let in.
    let denied = GITHUB.replace("  access: {", "  access: { deny: [{ groups: [acme/platform] }],");
    let setup = Setup::manifest(&denied);
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let setup = setup.with("provider", &github.url()).with("backend", "http://127.0.0.1:9/mcp");
    let gateway = setup.start().await;
    let browser = WebDriver::start(kind).await;
    let client = OAuthClient::register(&gateway.issuer).await;
    browser.open(&client.authorize_url()).await;
    browser.click(APPROVE).await;
    browser.fill(LOGIN, "alice").await;
    browser.click("form button").await;
    look_at(&browser, "not-allowed", "You may not use").await;
}

/// Looks at the account page of a user who was let in, and is denied by now: it says so, and ends what acts for them.
pub async fn whoever_is_denied(kind: Kind) {
    let redis = Redis::start().await;
    let setup = Setup::manifest(GITHUB);
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let setup = setup.with("provider", &github.url()).with("backend", "http://127.0.0.1:9/mcp");
    let gateway = setup.redis(&redis).start().await;
    let browser = WebDriver::start(kind).await;
    browser.open(&format!("{}/account", gateway.issuer)).await;
    browser.click(TO_SIGN_IN).await;
    browser.fill(LOGIN, "alice").await;
    browser.click("form button").await;
    browser.wait_for(SIGN_OUT).await;
    connect(&gateway, &browser).await;
    let account = format!("{}/account", gateway.issuer);
    browser.open(&account).await;
    browser.wait_for("button[value=disconnect]").await;
    let platform = AccessRule { groups: vec!["acme/platform".to_owned()], ..AccessRule::default() };
    gateway.deny(&redis, "team-a.github", vec![platform]).await;
    eventually("the user to be denied", async || {
        browser.reload().await;
        browser.text().await.contains("You may not use").then_some(())
    })
    .await;
    look_at(&browser, "account-denied", "You can still disconnect them").await;
    browser.click("button[value=disconnect]").await;
    look_at(&browser, "account-denied-empty", "No application is connected").await;
    let text = browser.text().await;
    assert!(
        text.contains("any more.") && !text.contains("To connect one"),
        "nothing is to be connected:\n{text}"
    );
}

/// A client that the administrator listed.
const LISTED: &str = "
---
apiVersion: gatehouse.dev/v1alpha1
kind: OAuthClientPolicy
metadata: { name: default, namespace: team-a }
spec:
  targetRefs: [{ selector: {} }]
  clients: [{ clientId: our-cli, name: Our CLI, redirectUris: [\"http://127.0.0.1/callback\"] }]
  lifetimes: { refreshToken: 1h, signIn: 36h }
";

/// Looks at the pages that differ where a provider knows the users.
pub async fn every_page_of_a_provider(kind: Kind) {
    let setup = Setup::manifest(&format!("{GITHUB}{LISTED}"));
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let setup = setup.with("provider", &github.url()).with("backend", "http://127.0.0.1:9/mcp");
    let gateway = setup.start().await;
    let browser = WebDriver::start(kind).await;
    let redirect_uri = format!("http://127.0.0.1:{}/callback", free_port());
    let client = OAuthClient::register_with(&gateway.issuer, "none", &redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    look(&browser, "consent-provider").await;
    browser.click(APPROVE).await;
    browser.fill(LOGIN, "alice").await;
    browser.click("form button").await;
    eventually("the browser to be at the callback", async || {
        browser.url().await.starts_with(&redirect_uri).then_some(())
    })
    .await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    look(&browser, "consent-provider-again").await;
    let text = browser.text().await;
    for part in ["Last signed in here as", "approved this on", "Use a different GitHub account", "1 hour"] {
        assert!(text.contains(part), "{part} is not on the consent page:\n{text}");
    }
    let listed = client.authorize_url_with(&[("client_id", Some("our-cli"))]);
    browser.open(&listed).await;
    browser.wait_for(APPROVE).await;
    look(&browser, "consent-listed").await;
    browser.click(DENY).await;
    // Somebody who is not signed in at the provider, and says no there.
    let stranger = WebDriver::start(kind).await;
    stranger.open(&listed).await;
    stranger.click(APPROVE).await;
    stranger.wait_for(LOGIN).await;
    let state = url::Url::parse(&stranger.url().await).expect("a browser is at a URL");
    let state = state.query_pairs().find(|(name, _)| name == "state").expect("the gateway sends a state").1;
    stranger.open(&format!("{}/oauth/callback?state={state}&error=access_denied", gateway.issuer)).await;
    look(&stranger, "cancelled").await;
}

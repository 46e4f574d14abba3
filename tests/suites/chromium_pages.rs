//! What people see: each page readable on a small and a large screen, light and dark, and the account page at work.
//! Pictures are kept in `target/tests/pictures`.

#![expect(clippy::unwrap_used, reason = "a test's own helper")]

use e2e::{
    chromium::Chromium,
    dev::{Gateway, Setup},
    github::{App, GitHub},
    manifests::GITHUB,
    net::{eventually, free_port},
    oauth::{Answer, OAuthClient},
};

const APPROVE: &str = "#approve";
const PASSWORD: &str = "input[type=password]";
const SIGN_IN: &str = "#signin";

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
async fn look(browser: &Chromium, name: &str) {
    for (width, dark) in [(360, false), (360, true), (900, false), (900, true)] {
        browser.screen(width, dark).await;
        browser.picture(&format!("page-{name}-{width}-{}", if dark { "dark" } else { "light" })).await;
        let problems = browser.run(PROBLEMS).await;
        assert_eq!(problems, serde_json::json!([]), "{name}, {width} pixels, dark: {dark}");
    }
}

async fn sign_in(browser: &Chromium, user: &str, password: &str) {
    browser.fill("#username", user).await;
    browser.fill(PASSWORD, password).await;
    browser.click(SIGN_IN).await;
}

/// A client that alice connected in this browser, and its tokens. Nobody answers at its callback: the address is enough.
async fn connect(gateway: &Gateway, browser: &Chromium) -> (OAuthClient, Answer) {
    let redirect_uri = format!("http://127.0.0.1:{}/callback", free_port());
    let client = OAuthClient::register_with(&gateway.issuer, "none", &redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    browser.click(APPROVE).await;
    let arrived = eventually("the browser to be at the callback", async || {
        Some(browser.url().await).filter(|url| url.starts_with(&redirect_uri))
    })
    .await;
    let url = url::Url::parse(&arrived).unwrap();
    let code = url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let tokens = client.redeem(&code).await;
    (client, tokens)
}

#[tokio::test]
async fn every_page_is_readable_on_every_screen() {
    let gateway = Setup::demo().start().await;
    let browser = Chromium::start().await;
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
    browser.click("a.button.main").await;
    browser.wait_for(PASSWORD).await;
    look(&browser, "sign-in").await;
    sign_in(&browser, "alice", "wrong").await;
    browser.wait_for("#problem").await;
    look(&browser, "sign-in-failed").await;
    sign_in(&browser, "", "alice").await;
    browser.wait_for("#sign-out").await;
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
    let complaints = browser.complaints().await;
    let blocked: Vec<_> = complaints.iter().filter(|c| c.contains("Security Policy")).collect();
    assert!(blocked.is_empty(), "{blocked:?}");
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

#[tokio::test]
async fn the_pages_of_a_provider_are_readable_on_every_screen() {
    let setup = Setup::manifest(&format!("{GITHUB}{LISTED}"));
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let gateway =
        setup.with("provider", &github.url()).with("backend", "http://127.0.0.1:9/mcp").start().await;
    let browser = Chromium::start().await;
    let redirect_uri = format!("http://127.0.0.1:{}/callback", free_port());
    let client = OAuthClient::register_with(&gateway.issuer, "none", &redirect_uri).await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    look(&browser, "consent-provider").await;
    browser.click(APPROVE).await;
    browser.fill("input[name=login]", "alice").await;
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
    browser.click("#deny").await;
    browser.open(&listed).await;
    browser.wait_for(APPROVE).await;
    browser.click(APPROVE).await;
    browser.wait_for("input[name=login]").await;
    let state = url::Url::parse(&browser.url().await).unwrap();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    browser.open(&format!("{}/oauth/callback?state={state}&error=access_denied", gateway.issuer)).await;
    look(&browser, "cancelled").await;
}

#[tokio::test]
async fn a_user_disconnects_a_client_and_signs_out() {
    let gateway = Setup::demo().start().await;
    let browser = Chromium::start().await;
    browser.open(&format!("{}/account", gateway.issuer)).await;
    browser.click("a.button.main").await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for("#sign-out").await;
    let (client, tokens) = connect(&gateway, &browser).await;
    let access = tokens.get("access_token");
    assert_eq!(client.whoami(Some(&access)).await.status, 200);
    browser.open(&format!("{}/account", gateway.issuer)).await;
    let text = browser.text().await;
    for part in ["alice", "test", "A program on this computer", "This browser", "Chrome on Linux"] {
        assert!(text.contains(part), "{part} is not on the account page:\n{text}");
    }
    browser.click("button[value=disconnect]").await;
    browser.wait_for("[role=status]").await;
    assert!(browser.text().await.contains("No application acts for you"));
    eventually("the call to be refused", async || {
        (client.whoami(Some(&access)).await.status == 401).then_some(())
    })
    .await;
    // Reloading asks for no form to be sent again, and going back ends nothing.
    browser.reload().await;
    browser.wait_for("#sign-out").await;
    browser.click("#sign-out").await;
    browser.wait_for("a.button.main").await;
    assert!(browser.text().await.contains("You are signed out."));
    browser.back().await;
    browser.reload().await;
    assert!(!browser.text().await.contains("alice"), "nothing of the user is left");
}

#[tokio::test]
async fn reload_back_and_a_second_tab_leave_consent_working() {
    let gateway = Setup::demo().start().await;
    let browser = Chromium::start().await;
    let client = OAuthClient::register(&gateway.issuer).await;
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
    let code = async || browser.redirects().await.into_iter().find(|l| l.starts_with(&client.redirect_uri));
    let location = eventually("the redirect to the application", code).await;
    // Once more before the code is redeemed: the same answer.
    browser.open(&first).await;
    let again = eventually("the same redirect again", code).await;
    assert_eq!(again, location);
    let url = url::Url::parse(&location).unwrap();
    let code = url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    assert_eq!(client.redeem(&code).await.status, 200);
    browser.open(&first).await;
    assert!(browser.text().await.contains("You are signed in"), "afterwards it says that it is done");
    browser.open(&client.authorize_url()).await;
    browser.wait_for(APPROVE).await;
    let text = browser.text().await;
    for part in
        ["You approved this on", "Unverified", "alice", "cursor://anysphere.cursor-mcp/oauth/callback"]
    {
        assert!(text.contains(part), "{part} is not on the consent page:\n{text}");
    }
}

//! What people see of a server that has a logo.

use axum::http::header::CONTENT_TYPE;
use serde_json::json;

use super::{APPROVE, SIGN_OUT, pages::look, sign_in};
use crate::{
    dev::Setup,
    manifests::{DEFAULT_LIFETIMES, LOCAL},
    net::eventually,
    oauth::OAuthClient,
    web,
    webdriver::{Kind, WebDriver},
};

/// What a policy's own syntax would take apart is in the path.
const LOGO: &str = "https://client.test/brand;v=1,2/logo.svg?size=56";
/// What else is on its host, and on another.
const OTHERS: [&str; 2] = ["https://client.test/other.svg", "https://documents.test/brand;v=1,2/logo.svg"];
/// A square mark, and a word that is wide and has no ground.
const MARK: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64" fill="#7b2ff7"/>
    <circle cx="32" cy="32" r="18" fill="#ffd166"/></svg>"##;
const WORD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="340" height="80" viewBox="0 0 340 80">
    <text x="4" y="60" font-family="sans-serif" font-size="64" font-weight="bold" fill="#1b1f3b">Acme Inc</text></svg>"##;

/// What became of the page's image: how wide it is, or nothing.
const WIDTH: &str =
    "const image = document.querySelector('.tile img'); return image.complete && image.naturalWidth";
/// Puts an image into the page, as whoever could write into it would.
const INJECT: &str = "const image = document.createElement('img');
    image.onload = () => document.title = 'loaded'; image.onerror = () => document.title = 'refused';
    document.title = ''; image.src = $url; document.body.append(image);";

/// Looks at the pages of a server with a logo, whose policy lets a page load that image and no other; and at the same where
/// the image is not there.
pub async fn every_page_with_a_logo(kind: Kind) {
    let display = format!("  display: {{ name: Acme tools, logoUrl: \"{LOGO}\" }}\n  access:");
    let setup = Setup::manifest(&LOCAL.replace("  access:", &display));
    let setup = setup.with("backend", "http://127.0.0.1:9/mcp").with("lifetimes", DEFAULT_LIFETIMES);
    let gateway = setup.start().await;
    let client = OAuthClient::register(&gateway.issuer).await;
    let svg = |text: &'static str| web::Answer::of(text).header(CONTENT_TYPE, "image/svg+xml");
    web::serve(LOGO, svg(MARK));
    let browser = WebDriver::start(kind).await;
    browser.open(&client.authorize_url()).await;
    browser.wait_for("#signin").await;
    look_with_logo(&browser, "logo-sign-in").await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for(APPROVE).await;
    look_with_logo(&browser, "logo-consent").await;
    browser.open(&format!("{}/account", gateway.issuer)).await;
    browser.wait_for(SIGN_OUT).await;
    look_with_logo(&browser, "logo-account").await;
    assert_eq!(browser.forbidden().await, Vec::<String>::new());
    for url in OTHERS {
        web::serve(url, svg(MARK));
        browser.run(&INJECT.replace("$url", &json!(url).to_string())).await;
        eventually(&format!("{url} to be refused"), async || {
            let title = browser.run("return document.title").await;
            assert_ne!(title, "loaded", "{url}");
            (title == "refused").then_some(())
        })
        .await;
        assert_eq!(web::asked(url), 0, "{url}");
        browser.reload().await;
    }
    assert_eq!(browser.forbidden().await.len(), OTHERS.len());
    // One of another shape, in a browser that kept nothing; and none at all.
    web::serve(LOGO, svg(WORD));
    let browser = WebDriver::start(kind).await;
    browser.open(&client.authorize_url()).await;
    sign_in(&browser, "alice", "alice").await;
    browser.wait_for(APPROVE).await;
    look_with_logo(&browser, "logo-wide").await;
    web::serve(LOGO, web::Answer::of("").status(404));
    let browser = WebDriver::start(kind).await;
    browser.open(&format!("{}/oauth/authorize?client_id=gone", gateway.issuer)).await;
    look(&browser, "logo-missing").await;
}

/// Looks at the page once its image is there.
async fn look_with_logo(browser: &WebDriver, name: &str) {
    eventually("the logo to be there", async || browser.run(WIDTH).await.as_u64().filter(|width| *width > 0))
        .await;
    look(browser, name).await;
}

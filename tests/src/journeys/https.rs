//! A browser at an https issuer, behind the TLS of something else: what it keeps of our cookies, and that everything works
//! with them as they are there.

use super::{APPROVE, Identity, SIGN_OUT, TO_SIGN_IN, world::World};
use crate::{
    landing::{Landing, Place},
    oauth::OAuthClient,
    webdriver::{Kind, WebDriver},
};

/// Its host.
pub(super) const HOST: &str = "tools.test";

/// Signs in on the way to a client and on the account page, whoever knows the users, and ends it there.
pub async fn at_an_https_issuer(kind: Kind) {
    for identity in [Identity::Local, Identity::GitHub] {
        let landing = Landing::start(Place::Web).await;
        let world = World::at(Some(HOST), identity, &landing.redirect_uri).await;
        let client = OAuthClient::register_with(&world.gateway.issuer, "none", &landing.redirect_uri).await;
        let mut visit = Visit { browser: WebDriver::start(kind).await, world, client, landing };
        visit.comes_by_a_client().await;
        // Another user's machine, on which nobody is signed in.
        visit.browser = WebDriver::start(kind).await;
        visit.comes_by_the_account_page().await;
    }
}

struct Visit {
    browser: WebDriver,
    world: World,
    client: OAuthClient,
    landing: Landing,
}

impl Visit {
    async fn comes_by_a_client(&mut self) {
        let (world, browser) = (&self.world, &self.browser);
        browser.open(&self.client.authorize_url()).await;
        if !world.has_provider() {
            browser.wait_for("#signin").await;
            cookies_are_the_hosts_own(browser).await;
            world.fill_form(browser).await;
        }
        browser.wait_for(APPROVE).await;
        cookies_are_the_hosts_own(browser).await;
        browser.click(APPROVE).await;
        if world.has_provider() {
            world.fill_form(browser).await;
        }
        self.arrives().await;
        let steps = ["GET /oauth/authorize/approve", "GET /oauth/callback", "POST /oauth/signin"];
        let heard: Vec<_> = steps.iter().flat_map(|step| self.world.tap.heard(step)).collect();
        assert_eq!(heard.len(), 2, "an approval, and a form or a callback");
        for step in heard {
            let cookies = step.asked.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(cookies.contains("__Host-"), "{}: {cookies}", step.what);
        }
    }

    async fn comes_by_the_account_page(&mut self) {
        let (world, browser) = (&self.world, &self.browser);
        let account = format!("{}/account", world.gateway.issuer);
        browser.open(&account).await;
        browser.click(TO_SIGN_IN).await;
        world.fill_form(browser).await;
        browser.wait_for(SIGN_OUT).await;
        cookies_are_the_hosts_own(browser).await;
        // Signed in already: nothing but the consent page stands between the link and the client.
        browser.open(&self.client.authorize_url()).await;
        browser.click(APPROVE).await;
        self.arrives().await;
        let browser = &self.browser;
        browser.open(&account).await;
        browser.click("button[value=disconnect]").await;
        browser.wait_for("[role=status]").await;
        browser.click(SIGN_OUT).await;
        browser.wait_for(TO_SIGN_IN).await;
        browser.reload().await;
        assert!(!browser.text().await.contains("alice"), "nothing of the user is left");
        assert_eq!(browser.forbidden().await, Vec::<String>::new());
    }

    /// The browser comes to the client with a code that is good.
    async fn arrives(&mut self) {
        let tokens = self.client.redeem(&self.landing.code(&self.browser).await).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text);
    }
}

/// Every cookie of the page is one that no other host can set or read, no script sees, and no other site's form sends along
/// (RFC 6265bis sections 4.1.2 and 4.1.3). What a browser keeps of a host alone has no dot before its domain.
async fn cookies_are_the_hosts_own(browser: &WebDriver) {
    let cookies = browser.cookies().await;
    assert!(!cookies.is_empty(), "{} keeps no cookie", browser.kind());
    for cookie in cookies {
        let guarded = cookie["secure"] == true && cookie["httpOnly"] == true && cookie["sameSite"] == "Lax";
        let bound = cookie["path"] == "/" && cookie["domain"] == HOST;
        let named = cookie["name"].as_str().is_some_and(|name| name.starts_with("__Host-"));
        assert!(guarded && bound && named, "{cookie}");
    }
}

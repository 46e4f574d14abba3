//! The pages that users open: another site's page that loads them itself gets nothing and uses nothing up, and whoever
//! opens them from there, in whichever way a browser has, arrives.

use gatehouse_gateway::oauth::limits::{ANSWERS, AUTHORIZE, Limit, PAGES};

use url::Url;

use super::{
    APPROVE, FINISHED, Identity, SIGN_OUT,
    elsewhere::{Site, link, rules},
    world::World,
};
use crate::{
    landing::{Landing, Place},
    net::eventually,
    oauth::OAuthClient,
    webdriver::{Kind, WebDriver},
};

/// So many images load pages at once.
const AT_ONCE: usize = 300;
/// So many show that a browser says what an image is.
const FEW: usize = 20;

/// Somebody who never was here reads a page elsewhere that loads ours more often than their address may open them. Then they
/// sign in, by the links, windows and buttons that a browser has.
pub async fn pages_are_opened_and_not_loaded(kind: Kind) {
    for identity in [Identity::Local, Identity::GitHub] {
        let landing = Landing::start(Place::Web).await;
        let world = World::start(identity, &landing.redirect_uri).await;
        let client = OAuthClient::register_with(&world.gateway.issuer, "none", &landing.redirect_uri).await;
        let (browser, site) = (WebDriver::start(kind).await, Site::start().await);
        let mut visit = Visit { world, browser, site, client, landing };
        visit.is_loaded(identity).await;
        visit.is_fetched_ahead().await;
        visit.opens_a_link().await;
        visit.goes_back_and_forward().await;
        visit.opens_a_window().await;
        visit.opens_pages_of_their_own(identity).await;
        assert_eq!(visit.browser.forbidden().await, Vec::<String>::new());
    }
}

struct Visit {
    world: World,
    browser: WebDriver,
    site: Site,
    client: OAuthClient,
    landing: Landing,
}

impl Visit {
    /// Images of each page, one more than an address may open of its kind; in Firefox a few.
    async fn is_loaded(&self, identity: Identity) {
        let issuer = &self.world.gateway.issuer;
        let own = |path: &str| format!("{issuer}{path}");
        let callback = own("/oauth/callback?code=x&state=y");
        let mut pages: Vec<(String, Limit)> = match identity {
            Identity::Local => vec![(own("/oauth/signin?flow=x"), PAGES)],
            _ => vec![(callback, ANSWERS), (own("/account?done=x"), PAGES)],
        };
        pages.push((self.client.authorize_url(), AUTHORIZE));
        for (url, limit) in pages {
            let what = format!("GET {}", Url::parse(&url).expect("it is a URL").path());
            let before = self.world.tap.heard(&what).len();
            let count = match self.browser.kind() {
                Kind::Chromium => usize::try_from(limit.count).expect("a small number") + 1,
                Kind::Firefox => FEW,
            };
            let images = format!(
                "<script>
                 let next = 0, left = {count};
                 const load = () => {{
                   if (next === {count}) return;
                   const image = new Image();
                   image.onload = image.onerror = () => {{ if (--left === 0) document.title = \"All\"; load(); }};
                   image.src = {url:?} + \"&n=\" + next++;
                 }};
                 for (let n = 0; n < {AT_ONCE}; n++) load();
                 </script>"
            );
            self.site.open(&self.browser, &images).await;
            eventually(&format!("{count} images of {url}"), async || {
                (self.browser.run("return document.title").await == "All").then_some(())
            })
            .await;
            let heard = &self.world.tap.heard(&what)[before..];
            assert_eq!(heard.len(), count, "images of {url}");
            let bad =
                heard.iter().find(|heard| heard.status != 403 || heard.headers.contains_key("set-cookie"));
            assert!(bad.is_none(), "{bad:?}");
        }
    }

    /// What Chromium fetches of a site that it has no cookies of, for a link that may be clicked.
    async fn is_fetched_ahead(&self) {
        let before = self.world.tap.heard("GET /oauth/authorize").len();
        let url = self.client.authorize_url();
        self.site
            .open(&self.browser, &format!("{}{}", link(&url), rules("prefetch", std::slice::from_ref(&url))))
            .await;
        if self.browser.kind() == Kind::Chromium {
            let ahead = eventually("the page to be fetched ahead", async || {
                self.world.tap.heard("GET /oauth/authorize").get(before).cloned()
            })
            .await;
            assert!(ahead.asked.contains_key("sec-purpose"), "{:?}", ahead.asked);
            assert!(ahead.status == 403 && !ahead.headers.contains_key("set-cookie"), "{}", ahead.status);
        }
    }

    /// The link of the page that it is at.
    async fn opens_a_link(&mut self) {
        self.browser.click("#go").await;
        if !self.world.has_provider() {
            self.world.fill_form(&self.browser).await;
        }
        self.browser.click(APPROVE).await;
        if self.world.has_provider() {
            self.world.fill_form(&self.browser).await;
        }
        self.arrives().await;
    }

    /// Signed in already.
    async fn goes_back_and_forward(&mut self) {
        let browser = &self.browser;
        self.site.open(browser, &link(&self.client.authorize_url())).await;
        browser.click("#go").await;
        browser.wait_for(APPROVE).await;
        browser.reload().await;
        browser.wait_for(APPROVE).await;
        browser.back().await;
        browser.wait_for("#go").await;
        browser.forward().await;
        browser.click(APPROVE).await;
        self.arrives().await;
    }

    async fn opens_a_window(&mut self) {
        let browser = &self.browser;
        let open = format!(
            "<button id=\"go\">Go</button><script>go.onclick = () => open({:?}, \"\", \"popup\")</script>",
            self.client.authorize_url()
        );
        self.site.open(browser, &open).await;
        browser.click("#go").await;
        browser.to_other_window().await;
        browser.click(APPROVE).await;
        self.arrives().await;
        self.browser.to_other_window().await;
    }

    /// What has no client: the account page, a form that is open in another tab, and a return from the provider that is over.
    async fn opens_pages_of_their_own(&self, identity: Identity) {
        let (browser, issuer) = (&self.browser, &self.world.gateway.issuer);
        self.site.open(browser, &link(&format!("{issuer}/account"))).await;
        browser.click("#go").await;
        browser.wait_for(SIGN_OUT).await;
        if identity == Identity::Local {
            browser.open(&self.client.authorize_url_with(&[("prompt", Some("login"))])).await;
            browser.wait_for("#signin").await;
            let form = browser.url().await;
            self.site.open(browser, &link(&form)).await;
            browser.click("#go").await;
            browser.wait_for("#signin").await;
        } else {
            let callbacks = self.world.tap.heard("GET /oauth/callback");
            let last = callbacks.last().expect("the provider sent the browser back");
            self.site.open(browser, &link(&format!("{issuer}{}", last.target))).await;
            browser.click("#go").await;
            browser.reads(FINISHED).await;
        }
    }

    /// The browser comes to the client with a code that is good.
    async fn arrives(&mut self) {
        let tokens = self.client.redeem(&self.landing.code(&self.browser).await).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text);
    }
}

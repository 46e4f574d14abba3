//! From a client's link to the client, whoever knows the users, whether or not they are signed in there, and wherever
//! the client is.

use url::Url;

use super::{APPROVE, DENY, FINISHED, Identity, LOGIN, world::World};
use crate::{
    landing::{Landing, Place},
    oauth::OAuthClient,
    webdriver::{Kind, WebDriver},
};

/// What the consent page says.
const CONSENT: &str = "Connect test to";

/// A browser and the client that sent it.
struct Journey<'a> {
    world: &'a World,
    browser: &'a WebDriver,
    client: OAuthClient,
}

/// Goes to every kind of client.
pub async fn every_landing(kind: Kind, identity: Identity) {
    let mut web = Landing::start(Place::Web).await;
    let mut loopback = Landing::start(Place::Loopback).await;
    let mut application = Landing::start(Place::Application).await;
    let world = World::start(identity, &web.redirect_uri).await;
    let origins = world.origins();
    let origins: Vec<&str> = origins.iter().map(String::as_str).collect();
    for landing in [&mut web, &mut loopback, &mut application] {
        let browser = WebDriver::trusting(kind, &origins).await;
        let client = OAuthClient::register_with(&world.gateway.issuer, "none", &landing.redirect_uri).await;
        let journey = Journey { world: &world, browser: &browser, client };
        journey.to_and_fro(landing, &format!("{identity:?}-{:?}", landing.place).to_lowercase()).await;
        assert_eq!(browser.forbidden().await, Vec::<String>::new(), "{identity:?}, {:?}", landing.place);
    }
    headers_are_as_the_gateway_expects(&world);
}

impl Journey<'_> {
    async fn to_and_fro(&self, landing: &mut Landing, name: &str) {
        let (world, browser) = (self.world, self.browser);
        // Nobody is signed in anywhere.
        let before = (world.forms(), world.visits());
        browser.open(&self.client.authorize_url()).await;
        if !world.has_provider() {
            world.fill_form(browser).await;
        }
        browser.wait_for(APPROVE).await;
        browser.picture(&format!("consent-{name}")).await;
        browser.click(APPROVE).await;
        if world.has_provider() {
            world.fill_form(browser).await;
        }
        let refresh = self.redeem(&landing.next(browser).await).await;
        let visits = usize::from(world.has_provider());
        assert_eq!((world.forms(), world.visits()), (before.0 + 1, before.1 + visits));
        // A provider's form, loaded again, sends who is signed in by now straight back, with another code.
        let behind = if world.has_provider() { LOGIN } else { APPROVE };
        self.back_and_reload(landing.place, behind, FINISHED).await;
        // Signed in already: nothing but the consent page stands between the link and the client.
        let before = (world.forms(), world.visits());
        browser.open(&self.client.authorize_url()).await;
        browser.click(APPROVE).await;
        let again = self.redeem(&landing.next(browser).await).await;
        assert_eq!((world.forms(), world.visits()), (before.0, before.1 + visits));
        self.back_and_reload(landing.place, APPROVE, CONSENT).await;
        if world.has_provider() {
            self.callback_again().await;
        }
        self.deny(landing).await;
        // Nothing of that spent a code twice, which would have ended what it had given.
        for token in [refresh, again] {
            assert_eq!(self.client.refresh(&token).await.status, 200, "the sign-in holds");
        }
    }

    /// Takes the code out of an answer, and makes tokens of it; the refresh token.
    async fn redeem(&self, answer: &Url) -> String {
        let code = parameter(answer, "code");
        self.is_ours(answer);
        let tokens = self.client.redeem(&code.unwrap_or_else(|| panic!("no code: {answer}"))).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text);
        tokens.get("refresh_token")
    }

    async fn deny(&self, landing: &mut Landing) {
        let before = (self.world.forms(), self.world.visits());
        self.browser.open(&self.client.authorize_url()).await;
        self.browser.wait_for(APPROVE).await;
        self.browser.click(DENY).await;
        let answer = landing.next(self.browser).await;
        assert_eq!(parameter(&answer, "error").as_deref(), Some("access_denied"), "{answer}");
        assert_eq!(parameter(&answer, "code"), None, "{answer}");
        self.is_ours(&answer);
        assert_eq!((self.world.forms(), self.world.visits()), before, "nobody is asked who is there");
        self.back_and_reload(landing.place, APPROVE, CONSENT).await;
    }

    /// What the client checks of every answer (RFC 6749 section 4.1.2, RFC 9207).
    fn is_ours(&self, answer: &Url) {
        assert_eq!(parameter(answer, "state").as_deref(), Some("the-state"), "{answer}");
        assert_eq!(parameter(answer, "iss").as_deref(), Some(self.client.issuer.as_str()), "{answer}");
    }

    /// Back after the end leads to the page before, which had `behind`, and Reload to one that says `text`: by themselves
    /// they fill no form and spend no code. Chromium restores the page before, Firefox asks for it anew.
    async fn back_and_reload(&self, place: Place, behind: &str, text: &str) {
        let before = (self.world.forms(), self.world.exchanges());
        // The application left the browser where it was.
        if place != Place::Application {
            self.browser.back().await;
        }
        if self.browser.kind() == Kind::Chromium || place == Place::Application {
            self.browser.wait_for(behind).await;
        } else {
            self.browser.reads(text).await;
        }
        self.browser.reload().await;
        self.browser.reads(text).await;
        assert_eq!((self.world.forms(), self.world.exchanges()), before);
    }

    /// The provider's answer once more, as a restored tab opens it: a page, and no second use of the provider's code.
    async fn callback_again(&self) {
        let exchanges = self.world.exchanges();
        let callbacks = self.world.tap.heard("GET /oauth/callback");
        let last = callbacks.last().expect("the provider sent the browser back");
        self.browser.open(&format!("{}{}", self.world.gateway.issuer, last.target)).await;
        let text = self.browser.text().await;
        assert!(text.contains(FINISHED), "{text}");
        assert_eq!(self.world.exchanges(), exchanges, "the code went to the provider once");
    }
}

/// What the gateway's own checks rest on: what browsers send along, on http of loopback.
fn headers_are_as_the_gateway_expects(world: &World) {
    let value = |headers: &http::HeaderMap, name: &str| {
        headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    for form in world.tap.heard("POST /oauth/signin") {
        assert_eq!(value(&form.asked, "origin"), "null", "the page lets no address out");
        assert_eq!(value(&form.asked, "sec-fetch-site"), "same-origin");
    }
    // Of the callback nothing can be asked: Firefox says `none` there where a provider sent the browser back at once.
    for approval in world.tap.heard("GET /oauth/authorize/approve") {
        assert_eq!(value(&approval.asked, "sec-fetch-site"), "same-origin");
    }
    let steps = ["GET /oauth/authorize/approve", "GET /oauth/callback", "POST /oauth/signin"];
    for step in steps.iter().flat_map(|step| world.tap.heard(step)) {
        let cookies = value(&step.asked, "cookie");
        let names: Vec<&str> =
            cookies.split("; ").filter_map(|c| c.split_once('=')).map(|(n, _)| n).collect();
        let ours = names.iter().filter(|name| name.starts_with("gh-")).count();
        assert!(ours > 0 && !cookies.contains("__Host-"), "{}: {names:?}", step.what);
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}

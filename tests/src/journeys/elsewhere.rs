//! What another site's page makes of somebody who is signed in here and reads a consent page. It knows more than such a
//! page can: the links of the page and the fields of the user's forms, so that all that stands in its way is what a browser
//! sends along and what it says of a request by itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, response::Html, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{APPROVE, Identity, SIGN_OUT, https::HOST, world::World};
use crate::{
    landing::{Landing, Place},
    net::{Server, eventually, free_port},
    oauth::OAuthClient,
    tls::Terminator,
    webdriver::{Kind, WebDriver},
};

/// What the refusals say.
const NOT_BY_USER: &str = "Another site opened this page";
const NOTHING_CHANGED: &str = "Nothing was changed";
/// What users decide, as the audit trail has it.
const DECISIONS: [&str; 6] = [
    "event=consent outcome=approved",
    "event=consent outcome=denied",
    "event=code outcome=issued",
    "event=grant outcome=revoked",
    "event=session outcome=ended",
    "event=sign_in outcome=signed_in",
];
/// The ways in which [`loading`] has a page load something at once, in every browser.
const WAYS: [&str; 6] = ["image", "frame", "object", "script", "style", "fetch"];
/// A link for it, which Firefox takes when it has nothing else to do, if at all.
const AHEAD: &str = "prefetch";
/// Rules for it, of which only Chromium knows, and which it only follows where no other site's cookies are at stake.
const RULES: [&str; 2] = ["rule", "prerender"];

/// A site that is not the gateway's, whose one page is the test's.
pub(super) struct Site {
    pub(super) origin: String,
    page: Arc<Mutex<String>>,
    server: Server,
    _tls: Option<Terminator>,
}

impl Site {
    /// On a host of its own.
    pub(super) async fn start() -> Self {
        let page = Arc::<Mutex<String>>::default();
        let shown = page.clone();
        let show = async move || Html(shown.lock().unwrap().clone());
        let server = Server::start(Router::new().route("/", get(show))).await;
        Self { origin: server.origin(), page, server, _tls: None }
    }

    /// On the gateway's host, at another port: for a browser the same site, which gets its cookies.
    async fn beside(host: Option<&'static str>) -> Self {
        let this = Self::start().await;
        let Some(host) = host else {
            return Self { origin: format!("http://localhost:{}", this.server.address.port()), ..this };
        };
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let tls = Terminator::before(listener, host, this.server.address);
        Self { origin: format!("https://{host}:{port}"), _tls: Some(tls), ..this }
    }

    /// Opens a page of this body.
    pub(super) async fn open(&self, browser: &WebDriver, body: &str) {
        *self.page.lock().unwrap() = format!("<!doctype html><title>Elsewhere</title>{body}");
        browser.open(&self.origin).await;
    }
}

/// A text as an attribute has it.
pub(super) fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;")
}

/// A link to an address.
pub(super) fn link(url: &str) -> String {
    format!("<a id=\"go\" href=\"{}\">Go</a>", attribute(url))
}

/// Has a browser that knows them fetch pages ahead of time (Speculation Rules).
pub(super) fn rules(what: &str, urls: &[String]) -> String {
    let rules = json!({ what: [{ "source": "list", "urls": urls, "eagerness": "immediate" }] });
    format!("<script type=\"speculationrules\">{rules}</script>")
}

/// An address that says which way it is loaded.
fn by(way: &str, url: &str) -> String {
    format!("{url}{}way={way}", if url.contains('?') { '&' } else { '?' })
}

/// Loads an address in each of the [`WAYS`], and [`AHEAD`], and by [`RULES`].
fn loading(url: &str) -> String {
    let of = |way| attribute(&by(way, url));
    let rules =
        RULES.map(|way| rules(if way == "rule" { "prefetch" } else { way }, &[by(way, url)])).concat();
    format!(
        "<link rel=\"prefetch\" href=\"{}\"><link rel=\"stylesheet\" href=\"{}\"><img src=\"{}\"><iframe src=\"{}\"></iframe>\
         <object data=\"{}\"></object><script src=\"{}\"></script>\
         <script>fetch({}, {{ mode: \"no-cors\", credentials: \"include\" }}).catch(() => {{}})</script>{rules}",
        of(AHEAD),
        of("style"),
        of("image"),
        of("frame"),
        of("object"),
        of("script"),
        Value::from(by("fetch", url)),
    )
}

/// Sends a form by itself.
fn sending(action: &str, fields: &BTreeMap<String, String>) -> String {
    let input = |(name, value): (&String, &String)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", attribute(value))
    };
    let inputs = fields.iter().map(input).collect::<Vec<_>>().concat();
    // A field may be called as a method of forms is.
    let send = "HTMLFormElement.prototype.submit.call(document.forms[0])";
    format!("<form method=\"post\" action=\"{}\">{inputs}</form><script>{send}</script>", attribute(action))
}

/// Whatever another site's page loads, submits or leads to, of a user who is signed in: nothing is approved, denied or
/// ended, nobody else is signed in, and the user's own click works after it.
pub async fn another_site_decides_nothing(kind: Kind) {
    for host in [None, Some(HOST)] {
        let mut victim = Victim::start(kind, host).await;
        let (elsewhere, beside) = (Site::start().await, Site::beside(host).await);
        let (ahead, rules) =
            if kind == Kind::Chromium { (&[AHEAD][..], &RULES[..]) } else { (&[][..], &[][..]) };
        victim.is_loaded_by(&elsewhere, &[&WAYS, ahead].concat()).await;
        victim.is_loaded_by(&beside, &[&WAYS, ahead, rules].concat()).await;
        for site in [elsewhere, beside] {
            victim.is_led_by(&site).await;
            victim.is_made_to_send_by(&site).await;
            victim.is_as_before().await;
        }
        victim.approves().await;
    }
}

/// Alice, who connected a client, stands before the consent page of it once more and has a sign-in form open.
struct Victim {
    world: World,
    browser: WebDriver,
    landing: Landing,
    client: OAuthClient,
    /// What the connected client refreshes with next.
    refresh: String,
    /// The links of the consent page.
    approve: String,
    deny: String,
    /// The fields of the sign-in form as somebody else would fill it.
    sign_in: BTreeMap<String, String>,
    /// Those of two forms of the account page.
    disconnect: BTreeMap<String, String>,
    sign_out: BTreeMap<String, String>,
    /// How often each of the [`DECISIONS`] fell.
    decided: [usize; 6],
}

impl Victim {
    async fn start(kind: Kind, host: Option<&'static str>) -> Self {
        let mut landing = Landing::start(Place::Web).await;
        let world = World::at(host, Identity::Local, &landing.redirect_uri).await;
        let client = OAuthClient::register_with(&world.gateway.issuer, "none", &landing.redirect_uri).await;
        let browser = WebDriver::start(kind).await;
        browser.open(&client.authorize_url()).await;
        world.fill_form(&browser).await;
        browser.click(APPROVE).await;
        let tokens = client.redeem(&landing.code(&browser).await).await;
        browser.open(&format!("{}/account", world.gateway.issuer)).await;
        browser.wait_for(SIGN_OUT).await;
        let (disconnect, sign_out) =
            (fields(&browser, "[value=disconnect]").await, fields(&browser, SIGN_OUT).await);
        browser.open(&client.authorize_url_with(&[("prompt", Some("login"))])).await;
        browser.wait_for("#signin").await;
        let mut sign_in = fields(&browser, "#signin").await;
        sign_in.extend(["username", "password"].map(|field| (field.to_owned(), "bob".to_owned())));
        browser.open(&client.authorize_url()).await;
        browser.wait_for(APPROVE).await;
        let (approve, deny) = (href(&browser, APPROVE).await, href(&browser, super::DENY).await);
        let refresh = tokens.get("refresh_token");
        let decided = [0; 6];
        let mut this = Self {
            world,
            browser,
            landing,
            client,
            refresh,
            approve,
            deny,
            sign_in,
            disconnect,
            sign_out,
            decided,
        };
        this.decided = eventually("the decisions of the user", async || {
            Some(this.decisions()).filter(|decided| decided[..3] == [1, 0, 1])
        })
        .await;
        this
    }

    fn decisions(&self) -> [usize; 6] {
        let trail = self.world.gateway.output();
        DECISIONS.map(|decision| trail.lines().filter(|line| line.contains(decision)).count())
    }

    /// Each page of ours is loaded by another page, in each of these ways at least.
    async fn is_loaded_by(&self, site: &Site, ways: &[&str]) {
        let issuer = &self.world.gateway.issuer;
        let account = format!("{issuer}/account");
        let form = format!("{issuer}/oauth/signin?flow={}", self.sign_in["flow"]);
        let targets = [&self.approve, &self.deny, &self.client.authorize_url(), &account, &form];
        let before = self.world.tap.heard("GET ").len();
        site.open(&self.browser, &targets.map(|target| loading(target)).concat()).await;
        for target in targets {
            for way in ways {
                let asked = by(way, target);
                let path = asked.strip_prefix(issuer.as_str()).expect("it is ours");
                eventually(&format!("{} to load {path}", site.origin), async || {
                    let heard = self.world.tap.heard("GET ").split_off(before);
                    for heard in &heard {
                        let nothing = heard.status == 403 && !heard.headers.contains_key("set-cookie");
                        let fine = nothing || heard.target == "/favicon.ico";
                        assert!(fine, "{}: {} {:?}", heard.target, heard.status, heard.asked);
                    }
                    heard.iter().any(|heard| heard.target == path).then_some(())
                })
                .await;
            }
        }
    }

    /// The browser goes from another site's page to the links, by itself or by a click there. It may go to where consent
    /// is asked for.
    async fn is_led_by(&self, site: &Site) {
        let refresh =
            |url: &str| format!("<meta http-equiv=\"refresh\" content=\"0;url={}\">", attribute(url));
        let browser = &self.browser;
        site.open(browser, &refresh(&self.client.authorize_url())).await;
        browser.wait_for(APPROVE).await;
        for url in [&self.approve, &self.deny] {
            site.open(browser, &refresh(url)).await;
            browser.reads(NOT_BY_USER).await;
            site.open(browser, &link(url)).await;
            browser.click("#go").await;
            browser.reads(NOT_BY_USER).await;
        }
    }

    async fn is_made_to_send_by(&self, site: &Site) {
        let (browser, issuer) = (&self.browser, &self.world.gateway.issuer);
        site.open(browser, &sending(&format!("{issuer}/oauth/signin"), &self.sign_in)).await;
        browser.reads(NOT_BY_USER).await;
        for form in [&self.disconnect, &self.sign_out] {
            site.open(browser, &sending(&format!("{issuer}/account"), form)).await;
            browser.reads(NOTHING_CHANGED).await;
        }
    }

    /// Nothing is decided, no code came to the client, and what was connected is.
    async fn is_as_before(&mut self) {
        let browser = &self.browser;
        browser.open(&format!("{}/account", self.world.gateway.issuer)).await;
        browser.wait_for("[value=disconnect]").await;
        let text = browser.text().await;
        assert!(text.contains("alice") && !text.contains("bob"), "{text}");
        let renewed = self.client.refresh(&self.refresh).await;
        assert_eq!(renewed.status, 200, "{}", renewed.text);
        self.refresh = renewed.get("refresh_token");
        assert_eq!(self.decisions(), self.decided, "{DECISIONS:?}");
        assert!(self.landing.is_untouched(), "a code came to the client");
    }

    /// The links are as good as they were.
    async fn approves(&mut self) {
        let browser = &self.browser;
        let flow =
            self.approve.split(['?', '&']).find(|part| part.starts_with("flow=")).expect("it names one");
        browser.open(&format!("{}/oauth/authorize?{flow}", self.world.gateway.issuer)).await;
        browser.wait_for(APPROVE).await;
        assert_eq!(href(browser, APPROVE).await, self.approve);
        browser.click(APPROVE).await;
        let tokens = self.client.redeem(&self.landing.code(browser).await).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text);
        let [approved, denied, issued, rest @ ..] = self.decided;
        let [revoked, ended, signed_in] = rest;
        eventually("the approval in the audit trail", async || {
            (self.decisions() == [approved + 1, denied, issued + 1, revoked, ended, signed_in]).then_some(())
        })
        .await;
    }
}

/// What the form of this button (CSS) sends.
async fn fields(browser: &WebDriver, button: &str) -> BTreeMap<String, String> {
    let script = format!(
        "const button = document.querySelector({button:?});
         return Object.fromEntries(new FormData(button.form, button));"
    );
    serde_json::from_value(browser.run(&script).await).expect("fields with texts")
}

async fn href(browser: &WebDriver, link: &str) -> String {
    let href = browser.run(&format!("return document.querySelector({link:?}).href")).await;
    href.as_str().expect("it is a link").to_owned()
}

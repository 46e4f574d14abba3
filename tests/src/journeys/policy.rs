//! The rule that browsers differ in, and that no page of ours may rest on: whether `form-action` is held against the
//! redirects that follow a form. It also shows that a journey's checks see what a policy forbids.

use axum::{
    Router,
    extract::Query,
    http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY},
    response::{Html, Redirect},
    routing::{get, post},
};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::{
    browser::Browser,
    dev::Setup,
    landing::{Landing, Place},
    net::{Server, eventually},
    oauth::OAuthClient,
    webdriver::{Kind, WebDriver},
};

#[derive(Deserialize)]
struct Target {
    to: String,
}

/// A form with the policy of our own forms, whose answer redirects to each kind of client: Chromium blocks it,
/// Firefox does not.
pub async fn form_action(kind: Kind) {
    let policy = policy_of_a_form().await;
    let form = async move |Query(target): Query<Target>| {
        let to: String = form_urlencoded::byte_serialize(target.to.as_bytes()).collect();
        let page = format!("<form method=\"post\" action=\"/go?to={to}\"><button>Go</button></form>");
        ([(CONTENT_SECURITY_POLICY, policy), (REFERRER_POLICY, "no-referrer".to_owned())], Html(page))
    };
    let go = async |Query(target): Query<Target>| Redirect::to(&target.to);
    let server = Server::start(Router::new().route("/", get(form)).route("/go", post(go))).await;
    let browser = WebDriver::trusting(kind, &[&server.origin()]).await;
    for place in [Place::Web, Place::Loopback, Place::Application] {
        let mut landing = Landing::start(place).await;
        let mut page = Url::parse(&server.origin()).expect("an origin is a URL");
        page.query_pairs_mut().append_pair("to", &format!("{}?code=1", landing.redirect_uri));
        browser.open(page.as_str()).await;
        browser.click("button").await;
        if kind == Kind::Firefox {
            landing.next(&browser).await;
            assert_eq!(browser.forbidden().await, Vec::<String>::new());
            continue;
        }
        let forbidden = eventually("the console to complain", async || {
            Some(browser.forbidden().await).filter(|complaints| !complaints.is_empty())
        });
        let forbidden = forbidden.await;
        assert!(forbidden[0].contains("form-action"), "{forbidden:?}");
        assert_eq!(browser.url().await, page.as_str());
    }
}

async fn policy_of_a_form() -> String {
    let gateway = Setup::demo().start().await;
    let client = OAuthClient::register(&gateway.issuer).await;
    let page = Browser::of("alice").open(&client.authorize_url()).await;
    let policy = page.headers.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
    policy.unwrap_or_else(|| panic!("no policy: {}", page.headers)).to_owned()
}

//! `/account`: what a user ends there is their own, by their own click.

use std::collections::HashMap;

use e2e::{
    balancer::REPLICA,
    browser::{Browser, Page},
    dev::Gateway,
    github::GitHub,
    oauth::{Answer, OAuthClient},
};
use reqwest::Method;

use crate::{
    load::REPLICAS,
    world::{Attack, code, consent, dies, works},
};

/// Opens a browser's account page, signing its user in.
pub(crate) async fn open(gateway: &Gateway, browser: &Browser) -> Page {
    let mut page = browser.open(&format!("{}/account/signin", gateway.issuer)).await;
    while let Some(next) = browser.next(&page).await {
        page = next;
    }
    assert!(
        page.url.path() == "/account" && page.status == 200,
        "{} {}\n{}",
        page.status,
        page.url,
        page.body
    );
    page
}

/// The hidden fields of the form whose button does this.
fn fields(page: &Page, action: &str) -> HashMap<String, String> {
    page.form(action).unwrap_or_else(|| panic!("no form for {action}:\n{}", page.body))
}

/// Somebody who is signed in at a tenant's account page, with one client that acts for them.
pub(crate) struct User {
    pub(crate) browser: Browser,
    pub(crate) client: OAuthClient,
    pub(crate) access: String,
    /// What disconnects the client.
    pub(crate) form: HashMap<String, String>,
}

impl User {
    pub(crate) async fn at(attack: &Attack, gateway: &Gateway) -> Self {
        let (browser, client) = (attack.user_of(gateway), attack.client(gateway).await);
        let (access, _) = client.tokens(&browser).await;
        let form = fields(&open(gateway, &browser).await, "disconnect");
        Self { browser, client, access, form }
    }

    async fn lives(&self, gateway: &Gateway) {
        assert!(works(&self.client, &self.access, self.browser.user()).await, "the client was disconnected");
        let page = self.browser.open(&format!("{}/account", gateway.issuer)).await;
        assert!(page.form("disconnect").is_some(), "the session was ended:\n{}", page.body);
    }

    /// Posts this form with the browser's cookies and these headers.
    pub(crate) async fn post(
        &self,
        attack: &Attack,
        gateway: &Gateway,
        form: &HashMap<String, String>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = url::Url::parse(&format!("{}/account", gateway.issuer)).unwrap();
        let mut request =
            attack.http.post(url.clone()).header("cookie", self.browser.cookies_for(&url).await);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        attack.send(request.form(form)).await
    }
}

pub(crate) const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

fn with(form: &HashMap<String, String>, name: &str, value: Option<&str>) -> HashMap<String, String> {
    let mut form = form.clone();
    match value {
        Some(value) => form.insert(name.to_owned(), value.to_owned()),
        None => form.remove(name),
    };
    form
}

pub(crate) async fn account_forms_are_the_users_own(attack: &Attack) {
    for gateway in [attack.a(), attack.b(), attack.c(), attack.e()] {
        let (user, thief) = (User::at(attack, gateway).await, User::at(attack, gateway).await);
        // Another site's page, which has the browser send its cookies.
        for site in ["cross-site", "same-site", "none", "", "Same-Origin"] {
            let answer = user.post(attack, gateway, &user.form, &[("sec-fetch-site", site)]).await;
            assert_eq!(answer.status, 403, "{site}: {}", answer.header("location"));
        }
        // A page of a browser that says nothing of itself: the token is what it cannot know.
        let foreign = thief.form["token"].clone();
        let cut = &user.form["token"][1..];
        for token in [None, Some(""), Some("x"), Some(foreign.as_str()), Some(cut)] {
            for headers in [&[OWN][..], &[]] {
                let answer = user.post(attack, gateway, &with(&user.form, "token", token), headers).await;
                assert_eq!(answer.status, 403, "{token:?}: {}", answer.header("location"));
            }
        }
        // The thief's own session and token, and the user's client or session.
        let own = user.form["grant"].clone();
        let page = user.browser.open(&format!("{}/account", gateway.issuer)).await;
        let sessions = fields(&page, "end-session");
        for (action, name, value) in
            [("disconnect", "grant", own.as_str()), ("end-session", "session", &sessions["session"])]
        {
            let form = with(&with(&thief.form, "action", Some(action)), name, Some(value));
            let answer = thief.post(attack, gateway, &form, &[OWN]).await;
            assert!(matches!(answer.status, 303 | 400), "{action}: {}", answer.status);
        }
        for (name, value) in [("grant", "x"), ("grant", "../x"), ("action", "delete"), ("action", "")] {
            let answer = thief.post(attack, gateway, &with(&thief.form, name, Some(value)), &[OWN]).await;
            assert_eq!(answer.status, 400, "{name}={value}");
        }
        user.lives(gateway).await;
        thief.lives(gateway).await;
        // Their own click does what it says, at once and on both replicas, whoever else is signed in.
        let answers =
            REPLICAS.into_iter().cycle().take(10).map(async |replica| {
                user.post(attack, gateway, &user.form, &[OWN, (REPLICA, replica)]).await
            });
        for answer in futures::future::join_all(answers).await {
            assert_eq!((answer.status, answer.header("location")), (303, "/account?done=disconnected"));
        }
        dies(&user.client, &user.access).await;
        thief.lives(gateway).await;
    }
}

pub(crate) async fn account_forms_come_by_post_alone(attack: &Attack) {
    let gateway = attack.b();
    let user = User::at(attack, gateway).await;
    let url = url::Url::parse(&format!("{}/account", gateway.issuer)).unwrap();
    let cookies = user.browser.cookies_for(&url).await;
    let mut in_query = url.clone();
    in_query.query_pairs_mut().extend_pairs(&user.form);
    let page = attack.send(attack.http.get(in_query.clone()).header("cookie", &cookies)).await;
    assert_eq!(page.status, 200, "a query is no form");
    for method in ["HEAD", "PUT", "PATCH", "DELETE", "TRACE", "FOO"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = attack.http.request(method.clone(), in_query.clone()).header("cookie", &cookies);
        let answer = attack.send(request.header(OWN.0, OWN.1).form(&user.form)).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let post = |url: &url::Url| attack.http.post(url.clone()).header("cookie", &cookies).header(OWN.0, OWN.1);
    assert_eq!(attack.send(post(&in_query)).await.status, 400, "the query is not read");
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&user.form).finish();
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json", ""] {
        let answer = attack.send(post(&url).header("content-type", kind).body(body.clone())).await;
        assert_eq!(answer.status, 400, "{kind}");
    }
    for extra in ["&action=disconnect", "&token=x", "&grant=x", "&x=%ff"] {
        let request = post(&url).header("content-type", "application/x-www-form-urlencoded");
        let answer = attack.send(request.body(format!("{body}{extra}"))).await;
        assert_eq!(answer.status, 400, "{extra}");
    }
    let preflight = attack
        .http
        .request(Method::OPTIONS, url.clone())
        .header("origin", "https://x.test")
        .header("access-control-request-method", "POST");
    let preflight = attack.send(preflight).await;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    user.lives(gateway).await;
}

pub(crate) async fn account_sessions_stay_with_their_tenant_and_browser(attack: &Attack) {
    let (user, stranger) = (User::at(attack, attack.b()).await, attack.local().0);
    let home = url::Url::parse(&format!("{}/account", attack.b().issuer)).unwrap();
    let cookies = user.browser.cookies_for(&home).await;
    // Tenant A is on the same host, so browsers send it B's cookies; C is sent them here under its own name, too.
    for gateway in [attack.a(), attack.c()] {
        let there = User::at(attack, gateway).await;
        let url = url::Url::parse(&format!("{}/account", gateway.issuer)).unwrap();
        let name = there.browser.cookies_for(&url).await;
        let name =
            name.split("; ").find_map(|pair| pair.split_once('=').filter(|(name, _)| name.ends_with("-s")));
        let value = cookies
            .split("; ")
            .find_map(|pair| pair.split_once('=').filter(|(name, _)| name.ends_with("-s")));
        let renamed = format!("{}={}", name.expect("a session").0, value.expect("a session").1);
        for sent in [cookies.clone(), renamed] {
            let page = attack.send(attack.http.get(url.clone()).header("cookie", &sent)).await;
            assert!(page.status == 200 && !page.text.contains(user.browser.user()), "{}", page.text);
            let request = attack.http.post(url.clone()).header("cookie", &sent).header(OWN.0, OWN.1);
            let answer = attack.send(request.form(&user.form)).await;
            assert!(matches!(answer.status, 303 | 403), "{}", answer.status);
            assert!(!answer.header("location").contains("done"), "{}", answer.header("location"));
        }
        there.lives(gateway).await;
    }
    // A session that somebody plants before a sign-in is not the one that the sign-in opens.
    let planted = cookies.split("; ").find(|pair| pair.contains("-s=")).unwrap().to_owned();
    open(attack.b(), &stranger).await;
    assert!(!stranger.cookies_for(&home).await.contains(&planted));
    let before = stranger.cookies_for(&home).await;
    open(attack.b(), &stranger).await;
    assert_ne!(before, stranger.cookies_for(&home).await, "each sign-in opens a new one");
    let old = attack.send(attack.http.get(home.clone()).header("cookie", before)).await;
    assert!(!old.text.contains(stranger.user()), "and ends the one before");
    user.lives(attack.b()).await;
}

pub(crate) async fn account_sign_ins_are_bound_to_their_browser(attack: &Attack) {
    for hub in attack.hubs() {
        a_sign_in_is_its_browsers_alone(attack, hub).await;
    }
}

async fn a_sign_in_is_its_browsers_alone(attack: &Attack, (gateway, github): (&Gateway, &GitHub)) {
    let (attacker, login) = attack.visitor_of(github);
    let (victim, _) = attack.visitor_of(github);
    let begin = format!("{}/account/signin", gateway.issuer);
    // Login CSRF: the attacker's own callback in the victim's browser.
    let page = attacker.open(&begin).await;
    let answer = attack.get(&format!("{}&login={login}", page.url)).await;
    let callback = answer.header("location").to_owned();
    assert!(callback.contains("/oauth/callback?code="), "{callback}");
    victim.open(&begin).await;
    assert_eq!(victim.open(&callback).await.status, 403);
    for other in [attack.b(), attack.c()] {
        let there = attacker.open(&callback.replace(&gateway.issuer, &other.issuer)).await;
        assert_eq!(there.status, 400, "{}", there.url);
    }
    let own = victim.open(&format!("{}/account", gateway.issuer)).await;
    assert!(!own.body.contains(&login), "the victim is signed in as the attacker");
    // Another site cannot begin one, nor can an image or a prefetch.
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "iframe"),
        ("sec-purpose", "prefetch"),
    ] {
        let answer = attack.send(attack.http.get(&begin).header(name, value)).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
    }
    // A sign-in to the page makes no code, and its flow cannot be approved as a client's.
    let flow = attacker.cookie_names().await.pop().unwrap();
    let flow = flow.rsplit('-').next().unwrap().to_owned();
    for path in ["approve?nonce=x&", "approve?decision=deny&nonce=x&"] {
        let answer = attacker.open(&format!("{}/oauth/authorize/{path}flow={flow}", gateway.issuer)).await;
        assert_eq!(answer.status, 400, "{path}");
    }
    let landed = attacker.open(&callback).await;
    assert!(
        landed.url.path() == "/account" && landed.body.contains(&login),
        "{} {}",
        landed.status,
        landed.url
    );
    // And no client's consent is skipped for whoever is signed in there.
    let client = attack.client(gateway).await;
    let page = consent(&client, &attacker).await;
    assert!(code(&page).is_none());
    // Where the browser is sent after it is nobody's to choose.
    for name in ["next", "return_to", "redirect_uri", "done", "url"] {
        let begin = format!("{begin}?{name}=https%3A%2F%2Fevil.test%2F");
        let page = attacker.open(&begin).await;
        assert!(
            page.url.host_str() != Some("evil.test") && page.link("evil.test").is_none(),
            "{name}: {}",
            page.url
        );
    }
}

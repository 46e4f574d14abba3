//! 58 to 68: the browser returns from the identity provider.

use std::time::Duration;

use axum::{Router, routing::any};
use e2e::{
    backend::{Backend, Callers},
    browser::{Browser, Page},
    dev::{Gateway, Setup},
    github::{GitHub, Quirk},
    idp::{Client, Idp, Spoil},
    manifests::OIDC,
    net::Server,
    oauth::OAuthClient,
};
use url::Url;

use crate::world::{Attack, TEN_MINUTES, code, consent};

/// A flow whose user stands at the provider's sign-in form.
async fn at_provider(client: &OAuthClient, browser: &Browser) -> Page {
    let page = consent(client, browser).await;
    browser.next(&page).await.expect("the approval link")
}

/// How often the provider's token endpoint was asked for this code.
fn exchanges(github: &GitHub, code: &str) -> usize {
    let requests = github.requests();
    requests.iter().filter(|r| r.uri.path().ends_with("access_token") && r.body.contains(code)).count()
}

fn refused(page: &Page, statuses: &[u16]) {
    assert!(statuses.contains(&page.status), "{} {}\n{}", page.status, page.url, page.body);
    assert!(code(page).is_none());
}

pub(crate) async fn r058_states_that_are_not_ours(attack: &Attack) {
    for (gateway, github) in attack.hubs() {
        states_that_are_not_its_own(attack, gateway, github).await;
        a_state_whose_time_is_over(attack, gateway, github).await;
    }
}

async fn states_that_are_not_its_own(attack: &Attack, gateway: &Gateway, github: &GitHub) {
    let client = attack.client(gateway).await;
    let (browser, _) = attack.visitor_of(github);
    let login = at_provider(&client, &browser).await;
    let state = login.parameter("state").expect("we send a state");
    let (cut, longer) = (&state[..state.len() - 1], format!("{state}A"));
    let mut flipped = state.clone().into_bytes();
    flipped[30] = if flipped[30] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for bad in
        ["", "x", cut, &longer, &flipped, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "..", "%00"]
    {
        let page = browser
            .open(&format!("{}/oauth/callback?code=code_of_the_attacker&state={bad}", gateway.issuer))
            .await;
        refused(&page, &[400]);
    }
    refused(
        &browser.open(&format!("{}/oauth/callback?code=code_of_the_attacker", gateway.issuer)).await,
        &[400],
    );
    let twice =
        format!("{}/oauth/callback?code=code_of_the_attacker&state={state}&state={state}", gateway.issuer);
    refused(&browser.open(&twice).await, &[400]);
    // A flow that was never approved has no attempt to come back from.
    assert_eq!(exchanges(github, "code_of_the_attacker"), 0);
    let landed = browser.next(&login).await.expect("the provider's form");
    assert!(code(&landed).is_some(), "the right one still works: {}", landed.url);
}

/// It is none either, though the provider's code is good.
async fn a_state_whose_time_is_over(attack: &Attack, gateway: &Gateway, github: &GitHub) {
    let client = attack.client(gateway).await;
    let (browser, login) = attack.visitor_of(github);
    let page = consent(&client, &browser).await;
    let approval = page.url.join(&page.approve_link().unwrap()).unwrap();
    let flow = approval.query_pairs().find(|(n, _)| n == "flow").unwrap().1.into_owned();
    let page = browser.next(&page).await.expect("the approval link");
    let callback = answer_of(attack, &page, &login).await;
    attack.expire(&format!(":flow:{flow}"), TEN_MINUTES).await;
    refused(&browser.open(&callback).await, &[400]);
    assert_eq!(exchanges(github, &code_in(&callback)), 0);
    assert!(github.tokens_of(&login).is_empty());
}

/// The provider's code in the address of a callback.
fn code_in(callback: &str) -> String {
    let callback = Url::parse(callback).expect("it is a URL");
    let code = callback.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned());
    code.expect("the provider sends a code")
}

/// The provider's answer for `browser`'s user, not yet delivered.
async fn answer_of(attack: &Attack, login: &Page, user: &str) -> String {
    let answer = attack.get(&format!("{}&login={user}", login.url)).await;
    let location = answer.header("location").to_owned();
    assert!(location.contains("/oauth/callback?code="), "{location}");
    location
}

pub(crate) async fn r059_a_callback_in_another_browser(attack: &Attack) {
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let (attacker, login) = attack.visitor_of(github);
        let (victim, _) = attack.visitor_of(github);
        let page = at_provider(&client, &attacker).await;
        let callback = answer_of(attack, &page, &login).await;
        refused(&victim.open(&callback).await, &[403]);
        // With a flow of the victim's own open, too.
        let own = at_provider(&client, &victim).await;
        refused(&victim.open(&callback).await, &[403]);
        // Nor with the attacker's cookie by a name that a neighbour of our host can plant in the victim's browser.
        let url = Url::parse(&callback).unwrap();
        let cookie = attacker.cookies_for(&url).await;
        if let Some(bare) = cookie.strip_prefix("__Host-") {
            for planted in [bare.to_owned(), format!("__Secure-{bare}"), format!("__host-{bare}")] {
                let answer = attack.send(attack.http.get(url.clone()).header("cookie", &planted)).await;
                let refused = answer.status == 403 && answer.header("location").is_empty();
                assert!(refused, "{}: {}", answer.status, answer.header("location"));
            }
        }
        let provider_code = code_in(&callback);
        assert_eq!(exchanges(github, &provider_code), 0, "the code went to the provider");
        // The attacker's code in the victim's own flow: PKCE at the provider refuses it.
        let state = own.parameter("state").unwrap();
        let mixed = format!("{}/oauth/callback?code={provider_code}&state={state}", gateway.issuer);
        refused(&victim.open(&mixed).await, &[400]);
    }
}

pub(crate) async fn r060_an_approval_that_is_finished_in_another_browser(attack: &Attack) {
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let (attacker, _) = attack.visitor_of(github);
        let (victim, login) = attack.visitor_of(github);
        let page = at_provider(&client, &attacker).await;
        // The victim, who is signed in at the provider, follows the attacker's link.
        let landed = victim.open(&format!("{}&login={login}", page.url)).await;
        refused(&landed, &[403]);
        assert!(github.tokens_of(&login).is_empty(), "the victim's token was fetched");
    }
}

pub(crate) async fn r062_an_answer_of_another_issuer(attack: &Attack) {
    let sso = Sso::start(attack).await;
    let client = attack.client(&sso.gateway).await;
    for iss in ["https://another.example", "", "HTTP://127.0.0.1"] {
        let browser = attack.browser("alice");
        let page = at_provider(&client, &browser).await;
        let answer = attack.get(&format!("{}&login=alice", page.url)).await;
        let mut callback = Url::parse(answer.header("location")).unwrap();
        let pairs: Vec<(String, String)> =
            callback.query_pairs().into_owned().filter(|(n, _)| n != "iss").collect();
        callback.query_pairs_mut().clear().extend_pairs(pairs);
        if !iss.is_empty() {
            callback.query_pairs_mut().append_pair("iss", iss);
        }
        let before = sso.exchanges();
        refused(&browser.open(callback.as_str()).await, &[400]);
        assert_eq!(sso.exchanges(), before, "a code was sent to a provider that may not have given it");
    }
    attack.inspect(&sso.gateway, &attack.world.redis).await;
}

pub(crate) async fn r063_a_state_of_the_other_tenant(attack: &Attack) {
    let sso = Sso::start(attack).await;
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let (browser, login) = attack.visitor_of(github);
        let page = at_provider(&client, &browser).await;
        let callback = answer_of(attack, &page, &login).await;
        let others = [&sso.gateway, attack.a(), attack.b(), attack.c(), attack.e()];
        for other in others.into_iter().filter(|other| other.issuer != gateway.issuer) {
            refused(&browser.open(&callback.replace(&gateway.issuer, &other.issuer)).await, &[400]);
        }
        let sent = attack.hubs().map(|(_, github)| exchanges(github, &code_in(&callback)));
        assert_eq!((sso.exchanges(), sent), (0, [0, 0]));
        assert!(code(&browser.open(&callback).await).is_some(), "its own tenant still takes it");
    }
    // Nor the other way round, with a state that its own tenant would take.
    let client = attack.client(&sso.gateway).await;
    let browser = attack.browser("alice");
    let page = at_provider(&client, &browser).await;
    let answer = attack.get(&format!("{}&login=alice", page.url)).await;
    let callback = answer.header("location").to_owned();
    for other in [attack.a(), attack.b(), attack.c(), attack.e()] {
        refused(&browser.open(&callback.replace(&sso.gateway.issuer, &other.issuer)).await, &[400]);
    }
    assert_eq!(sso.exchanges(), 0);
    assert!(code(&browser.open(&callback).await).is_some(), "its own tenant still takes it");
    attack.inspect(&sso.gateway, &attack.world.redis).await;
}

pub(crate) async fn r065_the_providers_words_are_not_repeated(attack: &Attack) {
    for (gateway, github) in attack.hubs() {
        let client = attack.client(gateway).await;
        let (browser, _) = attack.visitor_of(github);
        for error in [
            "access_denied",
            "server_error",
            "made_up",
            "<b>x</b>",
            "temporarily_unavailable",
            "login_required",
        ] {
            let page = at_provider(&client, &browser).await;
            let mut callback = Url::parse(&format!("{}/oauth/callback", gateway.issuer)).unwrap();
            callback
                .query_pairs_mut()
                .append_pair("error", error)
                .append_pair("error_description", "<b>Call +1-800-EVIL</b> \" onload=x")
                .append_pair("error_uri", "https://evil.test/")
                .append_pair("state", &page.parameter("state").unwrap());
            let told = browser.open(callback.as_str()).await;
            refused(&told, &[400]);
            for foreign in ["EVIL", "evil.test", "<b>", "made_up"] {
                assert!(!told.body.contains(foreign), "{error}: {foreign}");
            }
            // Whoever gives up tells the client one of the RFC's codes.
            let give_up = told.link("cursor:").expect("a link back to the application");
            let told = Url::parse(&give_up).unwrap();
            let code = told.query_pairs().find(|(n, _)| n == "error").unwrap().1.into_owned();
            assert!(["access_denied", "server_error"].contains(&code.as_str()), "{error}: {code}");
            assert!(!give_up.contains("EVIL"));
        }
    }
}

pub(crate) async fn r066_id_tokens_that_are_not_good(attack: &Attack) {
    let sso = Sso::start(attack).await;
    attack.expect(&[502]);
    let client = attack.client(&sso.gateway).await;
    for spoil in [
        Spoil::Nonce,
        Spoil::Audience,
        Spoil::Issuer,
        Spoil::Expired,
        Spoil::Signature,
        Spoil::Unsigned,
        Spoil::Symmetric,
    ] {
        sso.idp.spoil(Some(spoil));
        let page = client.sign_in(&attack.browser("alice")).await;
        assert!(code(&page).is_none() && page.status >= 400, "{spoil:?}: {} {}", page.status, page.url);
    }
    sso.idp.spoil(None);
    assert!(code(&client.sign_in(&attack.browser("alice")).await).is_some());
    attack.inspect(&sso.gateway, &attack.world.redis).await;
}

pub(crate) async fn r067_a_token_endpoint_that_misbehaves(attack: &Attack) {
    attack.expect(&[502]);
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let record = async move || {
        // The receiver lives as long as the server.
        let _ = sender.send(());
        "{\"access_token\":\"of-the-sink\",\"token_type\":\"bearer\"}"
    };
    let sink = Server::start(Router::new().fallback(any(record))).await;
    let client = attack.client(attack.a()).await;
    let quirks = [
        Quirk::Status(500),
        Quirk::Status(403),
        Quirk::Html,
        Quirk::Huge(10 << 20),
        Quirk::Redirect(sink.origin()),
        Quirk::Hang,
    ];
    let deep = format!("{{\"access_token\":\"x\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies = [
        "",
        "null",
        "[]",
        "{}",
        "{\"access_token\":1,\"token_type\":\"bearer\"}",
        "{\"access_token\":\"\",\"token_type\":\"bearer\"}",
        "{\"access_token\":\"xxxx\",\"token_type\":\"mac\"}",
        "{\"access_token\":\"xxxx\\r\\nX-Injected: yes\",\"token_type\":\"bearer\"}",
        "{\"access_token\":\"xxxx\\u0000\",\"token_type\":\"bearer\"}",
        "{\"access_token\":\"\u{e9}\",\"token_type\":\"bearer\"}",
        "{\"access_token\":\"xxxx\",\"access_token\":\"yyyy\",\"token_type\":\"bearer\"}",
        "{\"error\":\"<b>Please sign in to the proxy</b>\",\"error_description\":\"xxxx\"}",
        &deep,
    ];
    let quirks = quirks.into_iter().chain(bodies.map(|body| Quirk::Json(body.to_owned())));
    let attempt = async |quirk: Quirk| {
        let (browser, login) = attack.visitor_of(&attack.world.github);
        attack.world.github.set_quirk(&login, Some(quirk.clone()));
        let page = tokio::time::timeout(Duration::from_secs(40), client.sign_in(&browser)).await;
        let page = page.unwrap_or_else(|_| panic!("{quirk:?}: no answer in time"));
        refused(&page, &[400, 502]);
        assert!(
            !page.body.contains("Please sign in to the proxy") && !page.body.contains("xxxx"),
            "{quirk:?}"
        );
        // Whoever gives up tells the client whose fault it was, whatever the provider said of itself.
        let give_up = page.link("cursor:");
        let give_up = give_up.unwrap_or_else(|| panic!("no way back to the application:\n{}", page.body));
        let told = Url::parse(&give_up).unwrap();
        let code = told.query_pairs().find(|(name, _)| name == "error").unwrap().1.into_owned();
        assert_eq!(code, "server_error", "{quirk:?}: {give_up}");
    };
    futures::future::join_all(quirks.map(attempt)).await;
    assert!(arrived.try_recv().is_err(), "a redirect was followed with the code");
}

pub(crate) async fn r068_a_renewed_consent_without_a_refresh_token(attack: &Attack) {
    let github = &attack.world.github;
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(github);
    client.tokens(&browser).await;
    github.set_quirk(&login, Some(Quirk::NoRefreshToken));
    let (access, _) = client.tokens(&browser).await;
    github.set_quirk(&login, None);
    assert_eq!(client.whoami(Some(&access)).await.status, 200);
    // The access token dies; what was kept from the first consent renews it.
    github.expire_tokens(&login);
    e2e::net::eventually("the call to work again", async || {
        let answer = client.whoami(Some(&access)).await;
        (answer.json()["result"]["content"][0]["text"] == login.as_str()).then_some(())
    })
    .await;
    assert_eq!(github.renewals_of(&login), 1);
}

/// A tenant whose users are an OpenID Connect provider's, beside the others in their Redis, with two replicas.
struct Sso {
    gateway: Gateway,
    idp: Idp,
    _backend: Backend,
}

impl Sso {
    async fn start(attack: &Attack) -> Self {
        let setup = Setup::manifest(OIDC);
        let watch = &attack.world.watch;
        let idp = Idp::start(Client::at(&setup.issuer())).await;
        watch.provider(&setup.issuer(), &idp.issuer());
        let backend = Backend::start(Callers::tokens(&[])).await;
        let setup = setup.with("provider", &idp.issuer()).with("backend", &backend.url());
        let gateway = setup.redis(&attack.world.redis).watched(watch).replicas(2).start().await;
        Self { gateway, idp, _backend: backend }
    }

    fn exchanges(&self) -> usize {
        self.idp.requests().iter().filter(|r| r.uri.path() == "/token").count()
    }
}

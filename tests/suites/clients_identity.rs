//! Users of real kinds of identity provider: OpenID Connect and GitHub, with what goes wrong there.

#![expect(clippy::expect_used, reason = "what a suite cannot prepare fails it")]

mod identity {
    mod end;
    mod recheck;
}

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use e2e::{
    backend::{Backend, Callers},
    browser::{Browser, Page},
    clients::{Sdk, Session},
    dev::{Gateway, Setup},
    github::{App, GitHub},
    idp::{Client, Idp, Spoil},
    manifests::{EXPLICIT, GITHUB, OIDC},
    net::{eventually, free_port},
    oauth::OAuthClient,
    redis::Redis,
};
use tokio::net::TcpListener;

/// A gateway whose users are the provider's, before a backend that is asked by nobody but the gateway.
struct Sso {
    gateway: Gateway,
    idp: Idp,
    backend: Backend,
    redis: Redis,
}

impl Sso {
    async fn start() -> Self {
        Self::of(OIDC).await
    }

    async fn of(manifest: &str) -> Self {
        Self::at(manifest, true).await
    }

    /// Before a provider with or without a user-info endpoint.
    async fn at(manifest: &str, user_info: bool) -> Self {
        let setup = Setup::manifest(manifest);
        // Long enough that nothing is renewed: what is asked about a user is the user-info.
        let token_life = Duration::from_secs(3600);
        let client = Client { token_life, user_info, ..Client::at(&setup.issuer()) };
        let idp = Idp::start(client).await;
        let backend = Backend::start(Callers::tokens(&[])).await;
        let redis = Redis::start().await;
        let setup = setup.with("provider", &idp.issuer()).with("backend", &backend.url());
        let gateway = setup.redis(&redis).replicas(2).start().await;
        Self { gateway, idp, backend, redis }
    }

    async fn sign_in(&self, user: &str) -> Page {
        OAuthClient::register(&self.gateway.issuer).await.sign_in(&Browser::of(user)).await
    }
}

/// The code that reached the client; the provider's own code in the address of a failed callback is none.
fn code(page: &Page) -> Option<String> {
    page.parameter("code").filter(|_| page.status == 0)
}

/// The backend answers calls of tokens that it does not know with an error; here only what arrived counts.
async fn token_that_arrives(sso: &Sso, user: &str) -> String {
    let client = OAuthClient::register(&sso.gateway.issuer).await;
    let (access, _) = client.tokens(&Browser::of(user)).await;
    sso.backend.clear();
    client.whoami(Some(&access)).await;
    let calls = sso.backend.calls();
    let Some(call) = calls.first() else { panic!("the call did not reach the backend") };
    call.header("authorization").trim_start_matches("Bearer ").to_owned()
}

#[tokio::test]
async fn openid_connect_users_carry_their_own_tokens() {
    let sso = Sso::start().await;
    for user in ["alice", "bob"] {
        let token = token_that_arrives(&sso, user).await;
        assert_eq!(sso.idp.user_of(&token).as_deref(), Some(user));
    }
}

#[tokio::test]
async fn a_real_client_signs_in_through_openid_connect() {
    let sso = Sso::start().await;
    let session = Session::connect(Sdk::TypeScript2, &sso.gateway.url, "alice").await;
    assert!(session.tools.contains(&"whoami".to_owned()), "{:?}", session.tools);
    session.close().await;
}

#[tokio::test]
async fn users_of_explicit_endpoints_carry_their_own_tokens_beside_the_shared_key() {
    let sso = Sso::of(EXPLICIT).await;
    // alice is let in for her group, bob for his verified address.
    for user in ["alice", "bob"] {
        let token = token_that_arrives(&sso, user).await;
        assert_eq!(sso.idp.user_of(&token).as_deref(), Some(user));
        assert_eq!(sso.backend.calls()[0].header("x-api-key"), "key-of-all");
    }
    let asked = sso.idp.requests().into_iter().find(|r| r.uri.path() == "/authorize").unwrap();
    assert!(asked.uri.query().is_some_and(|query| query.contains("prompt=login")), "{}", asked.uri);
    assert_refused(&sso.sign_in("mallory").await);
    let session = Session::connect(Sdk::TypeScript2, &sso.gateway.url, "alice").await;
    assert!(session.tools.contains(&"whoami".to_owned()), "{:?}", session.tools);
    session.close().await;
}

#[tokio::test]
async fn who_is_not_allowed_is_told_so() {
    let sso = Sso::start().await;
    assert_refused(&sso.sign_in("mallory").await);
}

fn assert_refused(page: &Page) {
    let error = page.parameter("error");
    assert!(code(page).is_none(), "{}", page.url);
    assert!(
        error.as_deref() == Some("access_denied") || page.status == 403,
        "{} {}\n{}",
        page.status,
        page.url,
        page.body
    );
}

#[tokio::test]
async fn the_right_one_of_two_keys_is_taken_and_a_spoiled_id_token_is_refused() {
    let sso = Sso::start().await;
    sso.idp.rotate_keys().await;
    let page = sso.sign_in("alice").await;
    assert!(code(&page).is_some(), "{} {}\n{}", page.status, page.url, page.body);
    for spoil in
        [Spoil::Nonce, Spoil::Audience, Spoil::Issuer, Spoil::Expired, Spoil::Signature, Spoil::Unsigned]
    {
        sso.idp.spoil(Some(spoil));
        let page = sso.sign_in("alice").await;
        assert!(code(&page).is_none(), "{spoil:?}: {}", page.url);
        assert!(
            page.status >= 400 || page.parameter("error").is_some(),
            "{spoil:?}: {} {}",
            page.status,
            page.body
        );
    }
    sso.idp.spoil(None);
    assert!(code(&sso.sign_in("alice").await).is_some());
}

/// The gateway does not learn of this one: the browser is with the provider already.
#[tokio::test]
async fn a_provider_that_fails_on_its_own_page_leaves_the_sign_in_open() {
    let sso = Sso::start().await;
    let client = OAuthClient::register(&sso.gateway.issuer).await;
    let browser = Browser::of("alice");
    let consent = browser.open(&client.authorize_url()).await;
    let login = browser.next(&consent).await.expect("the approval link");
    sso.idp.set_outage(true);
    let failed = browser.open(&format!("{}&login=alice", login.url)).await;
    assert_eq!(failed.status, 503, "the provider itself: {}", failed.body);
    sso.idp.set_outage(false);
    let landed = browser.next(&login).await.expect("the provider's form");
    assert!(code(&landed).is_some(), "{} {}\n{}", landed.status, landed.url, landed.body);
}

#[tokio::test]
async fn a_provider_that_answers_503_before_the_first_approval_is_said() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (gateway, client, _redis) = before(listener.local_addr().unwrap()).await;
    let idp = Idp::on(listener, client).await;
    idp.set_outage(true);
    is_said_and_the_sign_in_goes_on(&gateway, "answered 503", async || idp.set_outage(false)).await;
}

#[tokio::test]
async fn a_provider_at_whose_address_nothing_listens_is_said() {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let (gateway, client, _redis) = before(at).await;
    let comes = async || {
        let listener = TcpListener::bind(at).await.expect("the port is ours");
        Idp::on(listener, client).await
    };
    is_said_and_the_sign_in_goes_on(&gateway, "Connection refused", comes).await;
}

#[tokio::test]
async fn a_provider_that_takes_the_connection_and_never_answers_is_said() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (gateway, client, _redis) = before(silent.local_addr().unwrap()).await;
    let answers = async || Idp::on(silent, client).await;
    is_said_and_the_sign_in_goes_on(&gateway, "no complete answer within", answers).await;
}

/// A gateway whose provider will be at this address, and its client there. It is one replica: each holds a failure of its
/// own against the provider for some seconds, also at the callback.
async fn before(at: SocketAddr) -> (Gateway, Client, Redis) {
    let setup = Setup::manifest(OIDC);
    let client = Client::at(&setup.issuer());
    let redis = Redis::start().await;
    // Nobody calls it: no tool is called here.
    let setup = setup.with("provider", &format!("http://{at}")).with("backend", "http://127.0.0.1:1/mcp");
    (setup.redis(&redis).start().await, client, redis)
}

/// The gateway cannot learn where to send the browser. The user reads so on a page of ours that leads on and back, whoever
/// runs the gateway reads `why` in its log, and the same sign-in ends well once the provider is there.
async fn is_said_and_the_sign_in_goes_on<T>(gateway: &Gateway, why: &str, comes: impl AsyncFnOnce() -> T) {
    let client = OAuthClient::register(&gateway.issuer).await;
    let browser = Browser::of("alice");
    let consent = browser.open(&client.authorize_url()).await;
    let mut page = browser.next(&consent).await.expect("the approval link");
    assert_eq!(page.status, 502, "{} {}", page.url, page.body);
    assert!(page.url.as_str().starts_with(&gateway.issuer), "{}", page.url);
    for part in ["cannot be reached at this moment", "Try again", "Give up and return to test"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let back = page.link("error=server_error").expect("giving up tells the client");
    assert!(back.starts_with(&client.redirect_uri) && back.contains("state=the-state"), "{back}");
    eventually("the log to say why", async || {
        let output = gateway.output();
        let mut warnings = output.lines().filter(|line| line.contains("WARN") && line.contains(why));
        warnings.any(|l| l.contains("a sign-in at the identity provider failed")).then_some(())
    })
    .await;
    let _provider = comes().await;
    eventually("another try to reach the provider's form", async || {
        page = browser.next(&page).await.unwrap_or_else(|| panic!("no other try: {}", page.body));
        (page.status == 200).then_some(())
    })
    .await;
    let landed = browser.next(&page).await.expect("the provider's form");
    assert!(code(&landed).is_some(), "{} {}\n{}", landed.status, landed.url, landed.body);
}

/// GitHub with `access` by team or verified e-mail domain.
#[tokio::test]
async fn github_users_are_let_in_by_team_or_verified_address_alone() {
    let setup = Setup::manifest(GITHUB);
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let backend = Backend::start(Callers::GitHub(github.url())).await;
    let gateway = setup.with("provider", &github.url()).with("backend", &backend.url()).start().await;
    let client = OAuthClient::register(&gateway.issuer).await;
    for (user, allowed) in [("alice", true), ("bob", true), ("mallory", false)] {
        let page = client.sign_in(&Browser::of(user)).await;
        assert_eq!(code(&page).is_some(), allowed, "{user}: {} {}\n{}", page.status, page.url, page.body);
    }
    // A secret never leaves for anything but the token endpoint, and no token for anything but the API.
    for request in github.requests() {
        let secret =
            request.body.contains("test-client-secret") || request.uri.to_string().contains("client_secret");
        assert_eq!(secret, request.uri.path() == "/login/oauth/access_token", "{}", request.uri);
    }
}

#[tokio::test]
async fn a_real_client_signs_in_through_github() {
    let setup = Setup::manifest(GITHUB);
    let github = GitHub::start(App::at(&setup.issuer())).await;
    let backend = Backend::start(Callers::GitHub(github.url())).await;
    let gateway = setup.with("provider", &github.url()).with("backend", &backend.url()).start().await;
    let (mut alice, mut bob) = tokio::join!(
        Session::connect(Sdk::Python, &gateway.url, "alice"),
        Session::connect(Sdk::TypeScript1, &gateway.url, "bob"),
    );
    let (first, second) = tokio::join!(alice.whoami(), bob.whoami());
    assert_eq!((first.as_str(), second.as_str()), ("alice", "bob"));
    tokio::join!(alice.close(), bob.close());
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}

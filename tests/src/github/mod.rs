//! A stand-in for GitHub at one base URL, as a GitHub Enterprise Server: `identity.oauth2.baseUrl` points at it.
//!
//! It is as strict as GitHub is where that matters: unknown clients, foreign redirect URIs, spent codes, wrong PKCE
//! verifiers and missing scopes are refused in GitHub's own words; renewal kills the old token at once.

mod api;
mod oauth;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    net::Server,
    record::{Log, Recorded, record},
};

/// What its access tokens have after GitHub's own prefix. Four letters alone turn up in random text sooner or later.
pub const ACCESS: &str = "github-access-";
/// What its refresh tokens have after GitHub's own prefix.
pub const REFRESH: &str = "github-refresh-";

/// The fake GitHub. Clones are the same one.
#[derive(Debug, Clone)]
pub struct GitHub {
    state: Shared,
    server: Arc<Server>,
}

type Shared = Arc<Hub>;

/// The state that the handlers share.
#[derive(Debug)]
pub(crate) struct Hub {
    app: App,
    log: Log,
    inner: Mutex<Inner>,
}

/// The OAuth App that is registered.
#[derive(Debug, Clone)]
pub struct App {
    /// Its client id.
    pub client_id: String,
    /// Its client secret.
    pub client_secret: String,
    /// Its callback URL; GitHub accepts paths below it too.
    pub callback: String,
    /// How long user tokens live; absent: they do not expire and there are no refresh tokens.
    pub token_life: Option<Duration>,
}

impl App {
    /// An app with expiring tokens whose callback is at this issuer.
    pub fn at(issuer: &str) -> Self {
        Self {
            client_id: "Ov23liTestClient".to_owned(),
            client_secret: "test-client-secret".to_owned(),
            callback: format!("{issuer}/oauth/callback"),
            token_life: Some(Duration::from_secs(8 * 3600)),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    users: HashMap<String, User>,
    /// Who is signed in, by the browser's cookie.
    sessions: HashMap<String, String>,
    /// The scopes that each user gave the app.
    given: HashMap<String, HashSet<String>>,
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Token>,
    refreshes: HashMap<String, Refresh>,
    minted: u64,
    outage: bool,
    /// How the token endpoint treats a user, by login.
    quirks: HashMap<String, Quirk>,
    /// How often each user's token was renewed.
    renewals: HashMap<String, usize>,
}

/// What the token endpoint does for one user, instead of its duty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quirk {
    /// No answer ever.
    Hang,
    /// This status, with a page.
    Status(u16),
    /// 200 with a page.
    Html,
    /// 200 with JSON of so many bytes.
    Huge(usize),
    /// 200 with this as JSON.
    Json(String),
    /// A redirect to this address, which keeps the method and the body.
    Redirect(String),
    /// No refresh token beside the access token.
    NoRefreshToken,
    /// An access token that is said to live for a second, once. It lives until [`GitHub::expire_tokens`]: a sign-in that
    /// takes longer on a slow machine still needs it.
    Brief,
}

/// A person.
#[derive(Debug, Clone)]
struct User {
    id: u64,
    login: String,
    /// Addresses, and whether each is verified; the first is the primary one.
    emails: Vec<(String, bool)>,
    /// `org/team`.
    teams: Vec<String>,
}

#[derive(Debug)]
struct Code {
    login: String,
    scope: String,
    redirect_uri: String,
    challenge: Option<String>,
}

#[derive(Debug, Clone)]
struct Token {
    login: String,
    scope: String,
    ends: Option<Instant>,
}

/// A refresh token and the access token that its use kills.
#[derive(Debug)]
struct Refresh {
    login: String,
    scope: String,
    access: String,
}

impl GitHub {
    /// Starts one with the users alice (1001, in `acme/platform`), bob (1002) and mallory (1003, unverified e-mail).
    pub async fn start(app: App) -> Self {
        let people = [
            ("alice", 1001, true, vec!["acme/platform"]),
            ("bob", 1002, true, vec![]),
            ("mallory", 1003, false, vec![]),
        ];
        let users = people.into_iter().map(|(login, id, verified, teams)| {
            let emails = vec![(format!("{login}@example.com"), verified)];
            let teams = teams.into_iter().map(str::to_owned).collect();
            (login.to_owned(), User { id, login: login.to_owned(), emails, teams })
        });
        let inner = Inner { users: users.collect(), ..Inner::default() };
        let state = Arc::new(Hub { app, log: Log::default(), inner: Mutex::new(inner) });
        let router = Router::new()
            .route("/login/oauth/authorize", get(oauth::authorize).post(oauth::authorize))
            .route("/login/oauth/access_token", post(oauth::access_token))
            .route("/api/v3/user", get(api::user))
            .route("/api/v3/user/emails", get(api::emails))
            .route("/api/v3/user/teams", get(api::teams))
            .with_state(state.clone())
            .layer(middleware::from_fn_with_state(state.log.clone(), record));
        Self { server: Arc::new(Server::start(router).await), state }
    }

    /// Adds a person with a verified address at `example.com`.
    pub fn add(&self, login: &str) {
        let mut inner = self.state.lock();
        let id = 2000 + u64::try_from(inner.users.len()).expect("fewer users than that");
        let emails = vec![(format!("{login}@example.com"), true)];
        let user = User { id, login: login.to_owned(), emails, teams: Vec::new() };
        inner.users.insert(login.to_owned(), user);
    }

    /// From now on the token endpoint treats a user like this, or as it should.
    pub fn set_quirk(&self, login: &str, quirk: Option<Quirk>) {
        let mut inner = self.state.lock();
        match quirk {
            Some(quirk) => inner.quirks.insert(login.to_owned(), quirk),
            None => inner.quirks.remove(login),
        };
    }

    /// How often a user's token was renewed.
    pub fn renewals_of(&self, login: &str) -> usize {
        self.state.lock().renewals.get(login).copied().unwrap_or_default()
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.origin()
    }

    /// Everything it was asked, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.all()
    }

    /// Forgets what it was asked.
    pub fn clear_requests(&self) {
        self.state.log.clear();
    }

    /// Whose live token this is.
    pub fn login_of(&self, token: &str) -> Option<String> {
        self.state.lock().live(token).map(|t| t.login)
    }

    /// The live access tokens of a user.
    pub fn tokens_of(&self, login: &str) -> Vec<String> {
        let inner = self.state.lock();
        let live = inner.tokens.iter().filter(|(t, s)| s.login == login && inner.live(t).is_some());
        live.map(|(token, _)| token.clone()).collect()
    }

    /// The user revokes the app: every token and refresh token dies.
    pub fn revoke(&self, login: &str) {
        let mut inner = self.state.lock();
        inner.tokens.retain(|_, t| t.login != login);
        inner.refreshes.retain(|_, r| r.login != login);
        inner.given.remove(login);
    }

    /// The access tokens of a user run out; refresh tokens stay.
    pub fn expire_tokens(&self, login: &str) {
        self.state.lock().tokens.retain(|_, t| t.login != login);
    }

    /// While true, everything is answered with 503.
    pub fn set_outage(&self, outage: bool) {
        self.state.lock().outage = outage;
    }

    /// Puts a user into these teams (`org/team`) alone.
    pub fn set_teams(&self, login: &str, teams: &[&str]) {
        let mut inner = self.state.lock();
        let user = inner.users.get_mut(login).expect("a known user");
        user.teams = teams.iter().map(|&t| t.to_owned()).collect();
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    /// A new secret; never the same twice, and not to be guessed from the one before.
    fn mint(&mut self, prefix: &str) -> String {
        self.minted += 1;
        let digest = Sha256::digest(format!("{prefix}{}{:?}", self.minted, Instant::now()));
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(digest))
    }

    /// Whether a user gave the app all of these scopes.
    fn gave(&self, login: &str, scope: &str) -> bool {
        self.given.get(login).is_some_and(|given| scope.split(' ').all(|s| given.contains(s)))
    }

    fn live(&self, token: &str) -> Option<Token> {
        self.tokens.get(token).filter(|t| t.ends.is_none_or(|end| Instant::now() < end)).cloned()
    }
}

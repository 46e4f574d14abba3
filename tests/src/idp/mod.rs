//! A stand-in for an OpenID Connect provider: discovery, authorization with PKCE and nonce, rotating keys, user-info.

mod endpoints;
pub mod signing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::signing::SigningKey;
use crate::{
    net::Server,
    record::{Log, Recorded, record},
};

/// How its access tokens begin.
pub const ACCESS: &str = "idp-access-";
/// How its refresh tokens begin.
pub const REFRESH: &str = "idp-refresh-";
/// How its ID tokens begin: the part of the header that is the same in all.
pub const ID_TOKEN: &str = "eyJhbGciOiJSUzI1NiIs";

/// The provider. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Idp {
    state: Shared,
    server: Arc<Server>,
}

type Shared = Arc<Provider>;

#[derive(Debug)]
pub(crate) struct Provider {
    client: Client,
    log: Log,
    inner: Mutex<Inner>,
}

/// The client that is registered.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret; absent: a public client.
    pub secret: Option<String>,
    /// Its redirect URI, compared exactly.
    pub redirect_uri: String,
    /// How long access tokens live.
    pub token_life: Duration,
    /// Whether the provider has a user-info endpoint, which is optional (OpenID Connect Discovery, section 3).
    pub user_info: bool,
}

impl Client {
    /// A confidential client whose callback is at this issuer.
    pub fn at(issuer: &str) -> Self {
        Self {
            id: "gatehouse".to_owned(),
            secret: Some("test-client-secret".to_owned()),
            redirect_uri: format!("{issuer}/oauth/callback"),
            token_life: Duration::from_secs(300),
            user_info: true,
        }
    }
}

#[derive(Debug)]
struct Inner {
    issuer: String,
    keys: Vec<SigningKey>,
    users: HashMap<String, Value>,
    /// Who is signed in, by the browser's cookie.
    sessions: HashMap<String, String>,
    codes: HashMap<String, Code>,
    tokens: HashMap<String, String>,
    refreshes: HashMap<String, String>,
    minted: u64,
    outage: bool,
    spoil: Option<Spoil>,
}

#[derive(Debug)]
struct Code {
    user: String,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
}

/// One thing that is wrong with every ID token from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// `nonce` of another request.
    Nonce,
    /// `aud` of another client.
    Audience,
    /// `iss` of another provider.
    Issuer,
    /// `exp` in the past.
    Expired,
    /// A signature by a key that is not published.
    Signature,
    /// `alg: none` and no signature.
    Unsigned,
    /// `alg: HS256` with the published key as the secret (RFC 8725 section 2.1).
    Symmetric,
}

impl Idp {
    /// Starts one with the users alice (in `platform`), bob, and mallory whose e-mail is not verified.
    pub async fn start(client: Client) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
        Self::on(listener, client).await
    }

    /// [`Idp::start`], on a listener whose address was told before.
    pub async fn on(listener: TcpListener, client: Client) -> Self {
        let users =
            [("alice", true, json!(["platform"])), ("bob", true, json!([])), ("mallory", false, json!([]))];
        let users = users.into_iter().map(|(name, verified, groups)| {
            let claims = json!({
                "sub": format!("idp-{name}"), "name": name, "email": format!("{name}@example.com"),
                "email_verified": verified, "groups": groups,
            });
            (name.to_owned(), claims)
        });
        let inner = Inner {
            issuer: String::new(),
            keys: vec![SigningKey::generate("k1").await],
            users: users.collect(),
            sessions: HashMap::new(),
            codes: HashMap::new(),
            tokens: HashMap::new(),
            refreshes: HashMap::new(),
            minted: 0,
            outage: false,
            spoil: None,
        };
        let state = Arc::new(Provider { client, log: Log::default(), inner: Mutex::new(inner) });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(endpoints::discovery))
            .route("/jwks", get(endpoints::jwks))
            .route("/authorize", get(endpoints::authorize).post(endpoints::authorize))
            .route("/token", post(endpoints::token))
            .route("/userinfo", get(endpoints::userinfo))
            .with_state(state.clone())
            .layer(middleware::from_fn_with_state(state.log.clone(), record));
        let server = Arc::new(Server::on(listener, router));
        state.lock().issuer = server.origin();
        Self { state, server }
    }

    /// Its issuer.
    pub fn issuer(&self) -> String {
        self.server.origin()
    }

    /// Everything it was asked, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.all()
    }

    /// Signs with a new key from now on; the old ones stay published.
    pub async fn rotate_keys(&self) {
        let id = format!("k{}", self.state.lock().keys.len() + 1);
        let key = SigningKey::generate(&id).await;
        self.state.lock().keys.push(key);
    }

    /// Whose live access token this is.
    pub fn user_of(&self, token: &str) -> Option<String> {
        self.state.lock().tokens.get(token).cloned()
    }

    /// Ends a user's sessions: every token and refresh token dies, and every browser is asked who is there.
    pub fn revoke(&self, user: &str) {
        let mut inner = self.state.lock();
        inner.tokens.retain(|_, u| u != user);
        inner.refreshes.retain(|_, u| u != user);
        inner.sessions.retain(|_, u| u != user);
    }

    /// While true, everything is answered with 503.
    pub fn set_outage(&self, outage: bool) {
        self.state.lock().outage = outage;
    }

    /// Spoils every ID token from now on, or none.
    pub fn spoil(&self, what: Option<Spoil>) {
        self.state.lock().spoil = what;
    }
}

impl Provider {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "ID tokens are dated by the machine's clock")]
/// The seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

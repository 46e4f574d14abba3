//! The provider's metadata and keys, fetched when they are needed and kept.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use gatehouse_gateway_config::OidcConfig;
use http::Request;
use openidconnect::core::CoreJsonWebKeySet;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use url::Url;

use crate::{
    clock::Clock,
    egress::HttpClient,
    identity::{
        IdentityError,
        connect::{USER_AGENT, url},
    },
};

/// How long metadata and keys are believed.
const FRESH: Duration = Duration::from_secs(3600);
/// Keys are fetched for an unknown key id at most this often: anybody can send a token that names one.
const COOLDOWN: Duration = Duration::from_secs(60);
/// After a failure, sign-ins fail fast for this long.
const PAUSE: Duration = Duration::from_secs(5);

/// How an asker takes the failure of a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnRecentFailure {
    /// As the answer: who begins now may begin again.
    FailFast,
    /// As the provider's past: the user comes from there right now, and their code is good once. They try at once, those
    /// who come together by one request.
    TryAgain,
}

/// What we use of a provider's metadata (OpenID Connect Discovery section 3).
#[derive(Debug)]
pub(super) struct Metadata {
    /// For the browser: never rewritten.
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    jwks_uri: Url,
    /// `client_secret_basic` is the default and preferred.
    pub(super) basic_auth: bool,
    /// RFC 9207 section 3.
    pub(super) sends_iss: bool,
    pub(super) select_account: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    userinfo_endpoint: Option<Url>,
    jwks_uri: Url,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    prompt_values_supported: Vec<String>,
}

/// A provider's documents.
pub(super) struct Discovery {
    issuer: Url,
    issuer_text: String,
    backchannel: Option<Url>,
    http: HttpClient,
    clock: Arc<dyn Clock>,
    metadata: Cached<Metadata>,
    keys: Cached<CoreJsonWebKeySet>,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("issuer", &self.issuer_text).finish_non_exhaustive()
    }
}

/// A value with the time of its fetch, and the last failure.
struct Cached<T> {
    state: RwLock<State<T>>,
    /// One fetch at a time.
    fetching: Mutex<()>,
}

struct State<T> {
    value: Option<(Arc<T>, Duration)>,
    failed: Option<(IdentityError, Duration)>,
    /// How many fetches have failed.
    failures: u64,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        let state = State { value: None, failed: None, failures: 0 };
        Self { state: RwLock::new(state), fetching: Mutex::default() }
    }
}

impl<T> Cached<T> {
    /// The value, if it is younger than `age`, or what comes of one fetch, unless there was a failure a moment ago.
    async fn get(
        &self,
        clock: &dyn Clock,
        age: Duration,
        after: OnRecentFailure,
        fetch: impl Future<Output = Result<T, IdentityError>>,
    ) -> Result<Arc<T>, IdentityError> {
        // A failure that somebody else's fetch meets meanwhile is this asker's, too.
        let passed = match after {
            OnRecentFailure::FailFast => None,
            OnRecentFailure::TryAgain => Some(self.failures()),
        };
        if let Some(known) = self.known(clock.monotonic(), age, passed) {
            return known;
        }
        let _turn = self.fetching.lock().await;
        if let Some(known) = self.known(clock.monotonic(), age, passed) {
            return known;
        }
        let fetched = fetch.await;
        self.settle(clock.monotonic(), fetched)
    }

    fn failures(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).failures
    }

    /// The value, if it is younger than `age`; else the failure of a moment ago, unless it is the one that `passed`.
    fn known(
        &self,
        now: Duration,
        age: Duration,
        passed: Option<u64>,
    ) -> Option<Result<Arc<T>, IdentityError>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let value = state.value.as_ref();
        if let Some((value, at)) = value.filter(|(_, at)| now.saturating_sub(*at) < age) {
            let _ = at;
            return Some(Ok(Arc::clone(value)));
        }
        let recent =
            |(_, at): &&(_, Duration)| now.saturating_sub(*at) < PAUSE && passed != Some(state.failures);
        let (error, _) = state.failed.as_ref().filter(recent)?;
        // A value that is past its time is better than none while the provider is away.
        Some(value.map_or_else(|| Err(error.clone()), |(value, _)| Ok(Arc::clone(value))))
    }

    fn settle(&self, now: Duration, fetched: Result<T, IdentityError>) -> Result<Arc<T>, IdentityError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(value) => {
                let value = Arc::new(value);
                (state.value, state.failed) = (Some((Arc::clone(&value), now)), None);
                Ok(value)
            }
            Err(error) => {
                tracing::warn!(%error, "the identity provider's documents cannot be fetched");
                state.failed = Some((error.clone(), now));
                state.failures += 1;
                state.value.as_ref().map_or(Err(error), |(value, _)| Ok(Arc::clone(value)))
            }
        }
    }
}

impl Discovery {
    pub(super) fn new(
        config: &OidcConfig,
        http: HttpClient,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            issuer: url("issuer", &config.issuer)?,
            issuer_text: config.issuer.clone(),
            backchannel: config.backchannel_url.as_deref().map(|b| url("backchannelUrl", b)).transpose()?,
            http,
            clock,
            metadata: Cached::default(),
            keys: Cached::default(),
        })
    }

    pub(super) fn http(&self) -> &HttpClient {
        &self.http
    }

    /// The provider's metadata.
    pub(super) async fn metadata(&self, after: OnRecentFailure) -> Result<Arc<Metadata>, IdentityError> {
        self.metadata.get(self.clock.as_ref(), FRESH, after, self.fetch_metadata()).await
    }

    /// The provider's keys. `unknown`: a token named one that is not among them.
    pub(super) async fn keys(
        &self,
        unknown: bool,
        after: OnRecentFailure,
    ) -> Result<Arc<CoreJsonWebKeySet>, IdentityError> {
        let age = if unknown { COOLDOWN } else { FRESH };
        let fetch = async {
            let metadata = self.metadata(after).await?;
            self.json(&metadata.jwks_uri).await
        };
        self.keys.get(self.clock.as_ref(), age, after, fetch).await
    }

    async fn fetch_metadata(&self) -> Result<Metadata, IdentityError> {
        let mut location = self.issuer.clone();
        location.set_path(&format!(
            "{}/.well-known/openid-configuration",
            self.issuer.path().trim_end_matches('/')
        ));
        let document: Document = self.json(&self.reach(&location)).await?;
        if document.issuer != self.issuer_text {
            return Err(IdentityError::Misconfigured(format!(
                "the discovery document's issuer is {:?}, spec.identity.oidc.issuer is {:?}: they must be equal",
                document.issuer.chars().take(200).collect::<String>(),
                self.issuer_text,
            )));
        }
        let methods = document.token_endpoint_auth_methods_supported;
        Ok(Metadata {
            authorization_endpoint: self.secure(document.authorization_endpoint)?,
            token_endpoint: self.reach(&self.secure(document.token_endpoint)?),
            userinfo_endpoint: match document.userinfo_endpoint {
                Some(endpoint) => Some(self.reach(&self.secure(endpoint)?)),
                None => None,
            },
            jwks_uri: self.reach(&self.secure(document.jwks_uri)?),
            basic_auth: methods.is_none_or(|m| m.iter().any(|m| m == "client_secret_basic")),
            sends_iss: document.authorization_response_iss_parameter_supported,
            select_account: document.prompt_values_supported.iter().any(|v| v == "select_account"),
        })
    }

    async fn json<T: DeserializeOwned>(&self, at: &Url) -> Result<T, IdentityError> {
        let request = Request::get(at.as_str())
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, USER_AGENT)
            .body(Vec::new())
            .map_err(|_| IdentityError::Misconfigured(format!("{at} cannot be requested")))?;
        let answer = self.http.send(request).await?;
        if !answer.status().is_success() {
            return Err(IdentityError::Unavailable(format!("{at} answered {}", answer.status().as_u16())));
        }
        serde_json::from_slice(answer.body()).map_err(|_| {
            IdentityError::Unavailable(format!("{at} is not the JSON document that it should be"))
        })
    }

    /// Where we ourselves reach a URL of the provider: below the public issuer, or on its origin, that is the
    /// backchannel.
    fn reach(&self, at: &Url) -> Url {
        let Some(backchannel) = self.backchannel.as_ref().filter(|_| at.origin() == self.issuer.origin())
        else {
            return at.clone();
        };
        let mut reached = backchannel.clone();
        let below = at.path().strip_prefix(self.issuer.path().trim_end_matches('/'));
        match below.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some(rest) => {
                reached.set_path(&format!("{}{rest}", backchannel.path().trim_end_matches('/')));
            }
            None => reached.set_path(at.path()),
        }
        reached.set_query(at.query());
        reached
    }

    /// A provider with https may not send us to http, except where the backchannel is configured so.
    fn secure(&self, at: Url) -> Result<Url, IdentityError> {
        let inside = self.backchannel.as_ref().is_some_and(|b| b.origin() == at.origin());
        match at.scheme() {
            "https" => Ok(at),
            "http" if inside || self.issuer.scheme() == "http" => Ok(at),
            _ => Err(IdentityError::Invalid("an endpoint of the discovery document is not https".to_owned())),
        }
    }
}

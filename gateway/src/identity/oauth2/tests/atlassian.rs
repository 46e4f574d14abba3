//! The preset Atlassian, against a stand-in that refuses what Atlassian refuses.

use std::sync::{Mutex, MutexGuard};

use axum::{
    Form, Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde_json::json;

use super::*;
use crate::{clock::Clock, identity::fake::SECRET, refs::FixedRefs};

/// For how many seconds after its use a refresh token is taken again: an answer may have been lost. A later reuse ends all
/// refresh tokens of that sign-in. Source: Atlassian's "Deprecating persistent refresh tokens" (31 January 2022).
const LEEWAY: i64 = 600;

type Shared = State<Arc<Cloud>>;

struct Cloud {
    clock: Arc<ManualClock>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The scope and redirect URI of the code that was given.
    code: Option<(String, String)>,
    scope: String,
    generation: u32,
    /// Refresh tokens, and when each was used: the one in force has no time.
    refreshes: HashMap<String, Option<i64>>,
    /// The forms of all requests to the token endpoint.
    forms: Vec<HashMap<String, String>>,
}

impl Cloud {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// What the authorization endpoint does with a browser whose user consents.
    fn consent(&self, url: &Url) -> String {
        assert_eq!(url.as_str().split('?').next(), Some("https://auth.atlassian.com/authorize"));
        let asked = asked(url);
        for (name, value) in [
            ("audience", "api.atlassian.com"),
            ("prompt", "consent"),
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
        ] {
            assert_eq!(asked[name], value, "{url}");
        }
        assert!(!asked["state"].is_empty());
        self.inner().code = Some((asked["scope"].clone(), asked["redirect_uri"].clone()));
        "code-1".to_owned()
    }
}

impl Inner {
    fn issue(&mut self) -> Response {
        self.generation += 1;
        // No token_type, as Atlassian documents it.
        let mut answer = json!({
            "access_token": format!("access-{}", self.generation), "expires_in": 3600, "scope": self.scope,
        });
        if self.scope.split(' ').any(|scope| scope == "offline_access") {
            let refresh = format!("refresh-{}", self.generation);
            answer["refresh_token"] = json!(refresh);
            self.refreshes.insert(refresh, None);
        }
        Json(answer).into_response()
    }

    fn refresh(&mut self, token: &str, now: i64) -> Response {
        let used = self.refreshes.get(token).copied();
        match used {
            Some(used) if used.is_none_or(|at| now <= at + LEEWAY) => {
                self.refreshes.insert(token.to_owned(), used.or(Some(now)));
                self.issue()
            }
            // Reuse outside the leeway ends all of them.
            _ => {
                self.refreshes.clear();
                refused("Unknown or invalid refresh token.")
            }
        }
    }
}

fn refused(why: &str) -> Response {
    let body = json!({"error": "invalid_grant", "error_description": why});
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

async fn token(
    State(cloud): Shared,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let now = cloud.clock.unix();
    let mut inner = cloud.inner();
    inner.forms.push(form.clone());
    let has = |name: &str, value: &str| form.get(name).is_some_and(|found| found == value);
    if headers.contains_key("authorization") || !has("client_id", CLIENT_ID) || !has("client_secret", SECRET)
    {
        let body = json!({"error": "access_denied", "error_description": "Unauthorized"});
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    }
    if has("grant_type", "refresh_token") {
        return inner.refresh(&form["refresh_token"], now);
    }
    match inner.code.take() {
        Some((scope, uri))
            if has("grant_type", "authorization_code")
                && has("code", "code-1")
                && has("redirect_uri", &uri) =>
        {
            inner.scope = scope;
            inner.issue()
        }
        _ => refused("Invalid authorization code"),
    }
}

async fn me(State(cloud): Shared, headers: HeaderMap) -> Response {
    let inner = cloud.inner();
    if authorization(&headers, "Bearer ") != Some(&format!("access-{}", inner.generation)) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"code": 401, "message": "Unauthorized"})))
            .into_response();
    }
    if !inner.scope.split(' ').any(|scope| scope == "read:me") {
        return (StatusCode::FORBIDDEN, Json(json!({"code": 403, "message": "Forbidden"}))).into_response();
    }
    Json(json!({
        "account_type": "atlassian", "account_id": "112233aa-bb11-cc22-33dd-445566abcabc",
        "email": "mia@example.com", "name": "Mia Krystof", "account_status": "active", "nickname": "mkrystof",
    }))
    .into_response()
}

/// A sign-in with these scopes, and the prompt that is asked for.
async fn sign_in(
    scopes: &[&str],
    prompt: Option<Prompt>,
) -> (Result<SignedIn, IdentityError>, OAuth2, Arc<Cloud>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let cloud = Arc::new(Cloud { clock: Arc::clone(&clock), inner: Mutex::default() });
    let app =
        Router::new().route("/oauth/token", post(token)).route("/me", get(me)).with_state(Arc::clone(&cloud));
    let mut config = preset_at(Preset::Atlassian, serve(app).await);
    config.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let provider = OAuth2::new(config, setup(clock)).unwrap();
    let request = UpstreamRequest { state: "s", challenge: "c", nonce: "n", prompt };
    let code = cloud.consent(&provider.authorization_url(request).await.unwrap());
    (provider.exchange(answer(&code, "verifier")).await, provider, cloud)
}

#[tokio::test]
async fn a_sign_in_tells_an_account_and_no_proven_address() {
    // Its page of consent comes in any case, and no other prompt is documented.
    for prompt in [None, Some(Prompt::Login), Some(Prompt::SelectAccount)] {
        let (signed_in, _, cloud) = sign_in(&["read:me", "offline_access"], prompt).await;
        let SignedIn { profile, tokens } = signed_in.unwrap();
        assert_eq!(
            profile,
            Profile {
                subject: "112233aa-bb11-cc22-33dd-445566abcabc".into(),
                name: Some("Mia Krystof".into()),
                unknown: Unknown { email: true, groups: true },
                ..Profile::default()
            }
        );
        let tokens = tokens.unwrap();
        assert_eq!((tokens.access.as_str(), tokens.refresh.as_deref()), ("access-1", Some("refresh-1")));
        assert_eq!(tokens.expires_at, Some((NOW + 3600) * 1000));
        assert_eq!(cloud.inner().forms[0]["code_verifier"], "verifier");
    }
}

#[tokio::test]
async fn a_scope_that_is_missing_shows() {
    let (signed_in, _, _) = sign_in(&["read:jira-work", "offline_access"], None).await;
    assert!(matches!(signed_in, Err(IdentityError::Refused(_))), "{signed_in:?}");
    let (signed_in, provider, _) = sign_in(&["read:me"], None).await;
    let tokens = signed_in.unwrap().tokens.unwrap();
    assert_eq!(tokens.refresh, None);
    assert!(matches!(provider.refresh(&tokens, &known("x")).await, Err(RenewError::Refused(_))));
}

/// An answer that was lost is asked for again with the old token, which Atlassian takes for ten minutes.
#[tokio::test]
async fn refresh_tokens_rotate_with_a_leeway() {
    let (signed_in, provider, cloud) = sign_in(&["read:me", "offline_access"], None).await;
    let first = signed_in.unwrap().tokens.unwrap();
    let refresh = async |tokens: &UpstreamTokens| {
        provider.refresh(tokens, &known("x")).await.map(|renewed| renewed.tokens)
    };
    assert_eq!(refresh(&first).await.unwrap().refresh.as_deref(), Some("refresh-2"));
    cloud.clock.advance(Duration::from_secs(LEEWAY.unsigned_abs()));
    let current = refresh(&first).await.unwrap();
    assert_eq!((current.access.as_str(), current.refresh.as_deref()), ("access-3", Some("refresh-3")));
    cloud.clock.advance(Duration::from_secs(1));
    for tokens in [&first, &current] {
        let error = refresh(tokens).await.unwrap_err();
        assert_eq!(error, RenewError::Refused("invalid_grant".into()));
    }
}

#[tokio::test]
async fn a_dead_token_is_refused() {
    let (signed_in, provider, _) = sign_in(&["read:me"], None).await;
    let SignedIn { profile, tokens } = signed_in.unwrap();
    let mut tokens = tokens.unwrap();
    assert_eq!(provider.profile(&tokens, &profile).await.unwrap(), profile);
    tokens.access = "gone".into();
    assert!(matches!(provider.profile(&tokens, &profile).await, Err(IdentityError::Refused(_))));
}

/// A secret that was mistyped, or replaced there first, must not end anybody's sign-in.
#[tokio::test]
async fn a_secret_that_is_refused_is_no_refused_user() {
    let (signed_in, mut provider, _) = sign_in(&["read:me", "offline_access"], None).await;
    let tokens = signed_in.unwrap().tokens.unwrap();
    let mut refs = FixedRefs::default();
    refs.insert(KeyRef::secret("github", "secret"), b"another".to_vec());
    provider.setup.refs = Arc::new(refs);
    let error = provider.refresh(&tokens, &known("x")).await.unwrap_err();
    assert!(matches!(error, RenewError::Misconfigured(_)), "{error:?}");
    let error = provider.exchange(answer("code-1", "verifier")).await.unwrap_err();
    assert!(matches!(error, IdentityError::Misconfigured(_)), "{error:?}");
}

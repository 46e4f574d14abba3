//! The preset Bitbucket, against a stand-in that refuses what Bitbucket refuses.

use std::sync::{Mutex, MutexGuard};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::json;

use super::*;
use crate::identity::fake::SECRET;

type Shared = State<Arc<Forge>>;
type Parameters = HashMap<String, String>;

struct Forge {
    inner: Mutex<Inner>,
}

struct Inner {
    code: Option<&'static str>,
    /// The scopes of the consumer, whatever a request names.
    scopes: Vec<&'static str>,
    workspaces: usize,
    generation: u32,
    /// Paths and queries of all reads.
    reads: Vec<String>,
}

impl Forge {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// What the authorization endpoint does with a browser whose user consents.
    fn consent(&self, url: &Url) -> &'static str {
        assert_eq!(url.as_str().split('?').next(), Some("https://bitbucket.org/site/oauth2/authorize"));
        let asked = asked(url);
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", CLIENT_ID));
        assert_eq!(asked["redirect_uri"], REDIRECT_URI);
        assert_eq!(asked.get("prompt"), None, "it documents none");
        self.inner().code = Some("code-1");
        "code-1"
    }
}

async fn token(State(forge): Shared, headers: HeaderMap, Form(form): Form<Parameters>) -> Response {
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{SECRET}"));
    if authorization(&headers, "Basic ") != Some(&basic) {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "unauthorized_client"}))).into_response();
    }
    assert!(!form.contains_key("client_secret"), "RFC 6749 section 2.3: one method");
    let mut inner = forge.inner();
    let good = match form["grant_type"].as_str() {
        "authorization_code" => inner.code.take() == form.get("code").map(String::as_str),
        "refresh_token" => form["refresh_token"] == "refresh-0",
        _ => false,
    };
    if !good {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    }
    inner.generation += 1;
    Json(json!({
        "access_token": format!("access-{}", inner.generation), "refresh_token": "refresh-0",
        "expires_in": 7200, "scopes": inner.scopes.join(" "), "token_type": "bearer",
    }))
    .into_response()
}

/// `Some`: the request is refused.
fn guard(forge: &Forge, headers: &HeaderMap, read: String, scope: &str) -> Option<Response> {
    let mut inner = forge.inner();
    inner.reads.push(read);
    let error = |status: StatusCode, error| {
        Some((status, Json(json!({"type": "error", "error": error}))).into_response())
    };
    if authorization(headers, "Bearer ") != Some(&format!("access-{}", inner.generation)) {
        let message = "Access token expired. Use your refresh token to obtain a new access token.";
        return error(StatusCode::UNAUTHORIZED, json!({"message": message}));
    }
    if inner.scopes.contains(&scope) {
        return None;
    }
    let message = "Your credentials lack one or more required privilege scopes.";
    let detail = json!({"required": [scope], "granted": inner.scopes});
    error(StatusCode::FORBIDDEN, json!({"message": message, "detail": detail}))
}

async fn user(State(forge): Shared, headers: HeaderMap) -> Response {
    guard(&forge, &headers, "/user".into(), "account").unwrap_or_else(|| {
        Json(json!({
            "type": "user", "uuid": "{c788b2da-b7a2-404c-9e26-d3f077557007}", "account_id": "557058:ec25fab6",
            "display_name": "Octavia", "nickname": "octavia",
        }))
        .into_response()
    })
}

async fn emails(State(forge): Shared, headers: HeaderMap) -> Response {
    guard(&forge, &headers, "/emails".into(), "email").unwrap_or_else(|| {
        let entry = |email: &str, primary: bool, confirmed: bool| {
            json!({"type": "email", "email": email, "is_primary": primary, "is_confirmed": confirmed})
        };
        Json(json!({"page": 1, "pagelen": 100, "size": 3, "values": [
            entry("old@example.com", false, true),
            entry("octavia@example.com", true, true),
            entry("another@example.com", false, false),
        ]}))
        .into_response()
    })
}

async fn workspaces(State(forge): Shared, headers: HeaderMap, Query(query): Query<Parameters>) -> Response {
    let number = |name: &str, default| query.get(name).map_or(default, |v| v.parse::<usize>().unwrap());
    let (page, size) = (number("page", 1), number("pagelen", 10));
    assert!(size <= 100, "more than Bitbucket allows");
    if let Some(refused) = guard(&forge, &headers, format!("/workspaces {page}"), "account") {
        return refused;
    }
    let all = forge.inner().workspaces;
    let entries: Vec<Value> = ((page - 1) * size..(page * size).min(all))
        .map(|n| json!({"type": "workspace_access", "workspace": {"type": "workspace_base", "slug": format!("team-{n}")}}))
        .collect();
    let mut answer = json!({"page": page, "pagelen": size, "values": entries});
    if page * size < all {
        let host = headers["host"].to_str().unwrap();
        answer["next"] = json!(format!("http://{host}/2.0/user/workspaces?pagelen={size}&page={}", page + 1));
    }
    Json(answer).into_response()
}

async fn provider(scopes: &[&'static str], workspaces_of_user: usize) -> (OAuth2, Arc<Forge>) {
    let inner = Inner {
        code: None,
        scopes: scopes.to_vec(),
        workspaces: workspaces_of_user,
        generation: 0,
        reads: Vec::new(),
    };
    let forge = Arc::new(Forge { inner: Mutex::new(inner) });
    let app = Router::new()
        .route("/site/oauth2/access_token", post(token))
        .route("/2.0/user", get(user))
        .route("/2.0/user/emails", get(emails))
        .route("/2.0/user/workspaces", get(workspaces))
        .with_state(Arc::clone(&forge));
    let config = preset_at(Preset::Bitbucket, serve(app).await);
    (OAuth2::new(config, setup(Arc::new(ManualClock::at(NOW)))).unwrap(), forge)
}

async fn sign_in(provider: &OAuth2, forge: &Forge) -> Result<SignedIn, IdentityError> {
    let prompt = Some(Prompt::SelectAccount);
    let request = UpstreamRequest { state: "s", challenge: "c", nonce: "n", prompt };
    let code = forge.consent(&provider.authorization_url(request).await.unwrap());
    provider.exchange(answer(code, "verifier")).await
}

#[tokio::test]
async fn a_sign_in_tells_confirmed_addresses_and_workspaces() {
    let (provider, forge) = provider(&["account", "email"], 2).await;
    let SignedIn { profile, tokens } = sign_in(&provider, &forge).await.unwrap();
    assert_eq!(
        profile,
        Profile {
            subject: "{c788b2da-b7a2-404c-9e26-d3f077557007}".into(),
            name: Some("Octavia".into()),
            verified_email: Some("octavia@example.com".into()),
            other_emails: vec!["old@example.com".into()],
            groups: vec!["team-0".into(), "team-1".into()],
            ..Profile::default()
        }
    );
    let tokens = tokens.unwrap();
    assert_eq!((tokens.access.as_str(), tokens.expires_at), ("access-1", Some((NOW + 7200) * 1000)));
    let renewed = provider.refresh(&tokens, &profile).await.unwrap().tokens;
    assert_eq!((renewed.access.as_str(), renewed.refresh.as_deref()), ("access-2", Some("refresh-0")));
    assert_eq!(provider.profile(&renewed, &profile).await.unwrap(), profile);
    let dead = provider.profile(&tokens, &profile).await;
    assert!(matches!(dead, Err(IdentityError::Refused(_))), "{dead:?}");
    let stale = super::tokens(Some("stale"));
    let error = provider.refresh(&stale, &profile).await.unwrap_err();
    assert_eq!(error, RenewError::Refused("invalid_grant".into()));
}

#[tokio::test]
async fn workspaces_are_read_over_their_pages_on_the_same_host() {
    let (provider, forge) = provider(&["account", "email"], 120).await;
    let profile = sign_in(&provider, &forge).await.unwrap().profile;
    assert_eq!((profile.groups.len(), profile.unknown.groups), (120, false));
    assert_eq!(forge.inner().reads, ["/user", "/emails", "/workspaces 1", "/workspaces 2"]);
}

#[tokio::test]
async fn what_the_consumer_lacks_is_not_known() {
    let (provider, forge) = provider(&["account"], 1).await;
    let profile = sign_in(&provider, &forge).await.unwrap().profile;
    assert_eq!(profile.unknown, Unknown { email: true, groups: false });
    assert_eq!((profile.verified_email, profile.groups.len()), (None, 1));
    forge.inner().scopes = vec!["email"];
    assert!(matches!(sign_in(&provider, &forge).await, Err(IdentityError::Refused(_))));
}

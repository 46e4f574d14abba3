//! The provider's endpoints: OpenID Connect Core 1.0 section 3.1, with RFC 7636 demanded.

use std::collections::HashMap;

use axum::{
    Form, Json,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse, Redirect, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::{ACCESS, Code, Inner, Provider, REFRESH, Shared, Spoil, now, signing::unsigned};
use crate::net::{cookie, session_cookie};

type Parameters = HashMap<String, String>;

/// The provider's session in a browser.
const SESSION: &str = "idp_session";
/// The page that asks who is there.
const SIGN_IN: &str = "<!doctype html><html lang=\"en\"><title>Sign in</title><form method=\"post\">\
    <input name=\"login\" aria-label=\"Username\"><button>Sign in</button></form>";

pub(super) async fn discovery(State(idp): State<Shared>) -> Response {
    let inner = idp.lock();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let at = |path: &str| format!("{}{path}", inner.issuer);
    let mut metadata = json!({
        "issuer": inner.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/jwks"),
        "userinfo_endpoint": at("/userinfo"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": ["openid", "profile", "email", "groups", "offline_access"],
    });
    if !idp.client.user_info {
        metadata.as_object_mut().expect("it is an object").remove("userinfo_endpoint");
    }
    Json(metadata).into_response()
}

pub(super) async fn jwks(State(idp): State<Shared>) -> Response {
    let inner = idp.lock();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let keys: Vec<Value> = inner.keys.iter().map(super::SigningKey::public).collect();
    Json(json!({ "keys": keys })).into_response()
}

/// Asks who is there, unless the browser has a session and the request does not ask for more (section 3.1.2.1, `prompt`),
/// and sends it back with a code. A `login` in the address does what the form does.
pub(super) async fn authorize(
    State(idp): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<Parameters>,
    Form(form): Form<Parameters>,
) -> Response {
    let mut inner = idp.lock();
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    let refuse = |text: &str| (StatusCode::BAD_REQUEST, text.to_owned()).into_response();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if get("client_id") != idp.client.id || get("redirect_uri") != idp.client.redirect_uri {
        return refuse("unknown client or redirect URI");
    }
    if get("response_type") != "code" || !get("scope").split(' ').any(|s| s == "openid") {
        return refuse("response_type must be code, scope must contain openid");
    }
    if get("code_challenge_method") != "S256" || get("code_challenge").is_empty() || get("state").is_empty() {
        return refuse("PKCE with S256 and a state are required");
    }
    let user = match form.get("login") {
        Some(typed) => Some(typed).filter(|l| inner.users.contains_key(*l)).cloned(),
        None if !get("prompt").is_empty() => None,
        None => cookie(&headers, SESSION).and_then(|session| inner.sessions.get(session).cloned()),
    };
    let Some(user) = user else {
        return Html(SIGN_IN).into_response();
    };
    let session = inner.mint("session-");
    inner.sessions.insert(session.clone(), user.clone());
    let code = inner.mint("code-");
    let mut back = Url::parse(get("redirect_uri")).expect("the registered one is a URL");
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", get("state"))
        .append_pair("iss", &inner.issuer);
    let entry = Code {
        user,
        redirect_uri: get("redirect_uri").to_owned(),
        challenge: get("code_challenge").to_owned(),
        nonce: query.get("nonce").cloned(),
    };
    inner.codes.insert(code, entry);
    (session_cookie(SESSION, &session), Redirect::to(back.as_str())).into_response()
}

pub(super) async fn token(
    State(idp): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<Parameters>,
) -> Response {
    let mut inner = idp.lock();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if !client_is_known(&idp, &headers, &form) {
        return error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let granted = match form.get("grant_type").map(String::as_str) {
        Some("authorization_code") => redeem(&mut inner, &form),
        Some("refresh_token") => {
            form.get("refresh_token").and_then(|r| inner.refreshes.remove(r)).map(|user| (user, None))
        }
        _ => return error(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    let Some((user, nonce)) = granted else {
        return error(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let access = inner.mint(&format!("{ACCESS}{user}-"));
    let refresh = inner.mint(REFRESH);
    inner.tokens.insert(access.clone(), user.clone());
    inner.refreshes.insert(refresh.clone(), user.clone());
    let id_token = id_token(&idp, &inner, &user, nonce);
    Json(json!({
        "access_token": access, "token_type": "Bearer", "expires_in": idp.client.token_life.as_secs(),
        "refresh_token": refresh, "id_token": id_token,
    }))
    .into_response()
}

fn client_is_known(idp: &Provider, headers: &HeaderMap, form: &Parameters) -> bool {
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let basic =
        headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Basic "));
    let basic = basic.and_then(|b| String::from_utf8(STANDARD.decode(b).ok()?).ok());
    let (id, secret) = match basic.as_deref().and_then(|b| b.split_once(':')) {
        // RFC 6749 section 2.3.1: both halves are form-urlencoded.
        Some((id, secret)) => (decode(id), decode(secret)),
        None => (get("client_id"), get("client_secret")),
    };
    id == idp.client.id && idp.client.secret.as_ref().is_none_or(|s| *s == secret)
}

fn decode(text: &str) -> String {
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn redeem(inner: &mut Inner, form: &Parameters) -> Option<(String, Option<String>)> {
    let code = inner.codes.remove(form.get("code")?)?;
    let verifier = form.get("code_verifier")?;
    let fits = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == code.challenge;
    (fits && form.get("redirect_uri") == Some(&code.redirect_uri)).then_some((code.user, code.nonce))
}

fn id_token(idp: &Provider, inner: &Inner, user: &str, nonce: Option<String>) -> String {
    let mut claims = inner.users[user].clone();
    claims["iss"] = inner.issuer.clone().into();
    claims["aud"] = idp.client.id.clone().into();
    claims["iat"] = now().into();
    claims["exp"] = (now() + 300).into();
    if let Some(nonce) = nonce {
        claims["nonce"] = nonce.into();
    }
    match inner.spoil {
        Some(Spoil::Nonce) => claims["nonce"] = "of-another-request".into(),
        Some(Spoil::Audience) => claims["aud"] = "another-client".into(),
        Some(Spoil::Issuer) => claims["iss"] = "https://another.example".into(),
        Some(Spoil::Expired) => claims["exp"] = (now() - 3600).into(),
        Some(Spoil::Unsigned) => return format!("{}.", unsigned(&json!({ "alg": "none" }), &claims)),
        Some(Spoil::Symmetric) => {
            return inner.keys.last().expect("there is a key").sign_symmetric(&claims);
        }
        Some(Spoil::Signature) | None => {}
    }
    let token = inner.keys.last().expect("there is a key").sign(&claims);
    if inner.spoil == Some(Spoil::Signature) {
        let (text, _) = token.rsplit_once('.').expect("a JWT has dots");
        return format!("{text}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    }
    token
}

pub(super) async fn userinfo(State(idp): State<Shared>, headers: HeaderMap) -> Response {
    let inner = idp.lock();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if !idp.client.user_info {
        return StatusCode::NOT_FOUND.into_response();
    }
    let token =
        headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    match token.and_then(|t| inner.tokens.get(t)) {
        Some(user) => Json(inner.users[user].clone()).into_response(),
        None => (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer error=\"invalid_token\"")])
            .into_response(),
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": code }))).into_response()
}

impl Inner {
    fn mint(&mut self, prefix: &str) -> String {
        self.minted += 1;
        let digest = Sha256::digest(format!("{prefix}{}{:?}", self.minted, std::time::Instant::now()));
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(digest))
    }
}

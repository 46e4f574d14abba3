//! GitHub's web application flow ("Authorizing OAuth apps", "Refreshing user access tokens").

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::ACCEPT},
    response::{Html, IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::{ACCESS, App, Code, Hub, Inner, Quirk, REFRESH, Refresh, Shared, Token};
use crate::net::{cookie, session_cookie};

type Parameters = HashMap<String, String>;

/// GitHub's own name for its session.
const SESSION: &str = "user_session";
/// The page that asks who is there and, by its button, whether the app may.
const SIGN_IN: &str = "<!doctype html><html lang=\"en\"><title>Sign in to GitHub</title><form method=\"post\">\
    <input name=\"login\" aria-label=\"Username\"><button>Authorize</button></form>";

/// Asks who is there, and sends the browser back with a code. Who is signed in and gave the app these scopes before is
/// not asked again. A `login` in the address does what the form does.
pub(super) async fn authorize(
    State(hub): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<Parameters>,
    Form(form): Form<Parameters>,
) -> Response {
    let mut inner = hub.lock();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    if get("client_id") != hub.app.client_id {
        return (StatusCode::NOT_FOUND, "404: no such application").into_response();
    }
    let redirect_uri = get("redirect_uri");
    let below = redirect_uri.strip_prefix(&hub.app.callback);
    let Some(mut back) =
        Url::parse(redirect_uri).ok().filter(|_| below.is_some_and(|r| r.is_empty() || r.starts_with('/')))
    else {
        let text = "The redirect_uri is not associated with this application.";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let challenge = query.get("code_challenge").cloned();
    if challenge.is_some() && get("code_challenge_method") != "S256" {
        return (StatusCode::BAD_REQUEST, "code_challenge_method must be S256").into_response();
    }
    let login = match form.get("login") {
        Some(typed) => Some(typed).filter(|l| inner.users.contains_key(*l)).cloned(),
        None if get("prompt") == "select_account" => None,
        None => cookie(&headers, SESSION)
            .and_then(|session| inner.sessions.get(session).cloned())
            .filter(|login| inner.gave(login, get("scope"))),
    };
    let Some(login) = login else {
        return Html(SIGN_IN).into_response();
    };
    inner.given.entry(login.clone()).or_default().extend(get("scope").split(' ').map(str::to_owned));
    let session = inner.mint("session_");
    inner.sessions.insert(session.clone(), login.clone());
    let code = inner.mint("code_");
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", get("state"));
    let entry =
        Code { login, scope: get("scope").to_owned(), redirect_uri: redirect_uri.to_owned(), challenge };
    inner.codes.insert(code, entry);
    (session_cookie(SESSION, &session), Redirect::to(back.as_str())).into_response()
}

/// The token endpoint. GitHub answers errors with 200.
pub(super) async fn access_token(
    State(hub): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<Parameters>,
) -> Response {
    if let Some(response) = instead(&hub, &form).await {
        return response;
    }
    let mut inner = hub.lock();
    if inner.outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (id, secret) = credentials(&headers, &form);
    let answer = if id != hub.app.client_id || secret != hub.app.client_secret {
        error("incorrect_client_credentials")
    } else if form.get("grant_type").is_some_and(|g| g == "refresh_token") {
        refresh(&hub, &mut inner, &form)
    } else {
        redeem(&hub, &mut inner, &form)
    };
    drop(inner);
    if headers.get(ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"application/json")) {
        return axum::Json(answer).into_response();
    }
    // What GitHub does for those who forget to ask for JSON.
    let mut body = form_urlencoded::Serializer::new(String::new());
    for (name, value) in answer.as_object().expect("an object") {
        body.append_pair(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    ([("content-type", "application/x-www-form-urlencoded; charset=utf-8")], body.finish()).into_response()
}

/// What the token endpoint answers instead of doing its duty.
async fn instead(hub: &Hub, form: &Parameters) -> Option<Response> {
    let quirk = {
        let inner = hub.lock();
        let code = form.get("code").and_then(|c| Some(&inner.codes.get(c)?.login));
        let refresh = form.get("refresh_token").and_then(|r| Some(&inner.refreshes.get(r)?.login));
        inner.quirks.get(code.or(refresh)?).cloned()?
    };
    let page = Html("<h1>Please sign in to the proxy</h1>");
    Some(match quirk {
        Quirk::Hang => std::future::pending().await,
        Quirk::Status(status) => {
            (StatusCode::from_u16(status).expect("a status"), [("retry-after", "7")], page).into_response()
        }
        Quirk::Html => page.into_response(),
        Quirk::Huge(length) => {
            let body = format!("{{\"access_token\":\"{}\"}}", "x".repeat(length));
            ([("content-type", "application/json")], body).into_response()
        }
        Quirk::Json(body) => ([("content-type", "application/json")], body).into_response(),
        Quirk::Redirect(to) => Redirect::temporary(&to).into_response(),
        Quirk::NoRefreshToken | Quirk::Brief => return None,
    })
}

fn credentials(headers: &HeaderMap, form: &Parameters) -> (String, String) {
    let basic =
        headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Basic "));
    let basic = basic.and_then(|b| base64::engine::general_purpose::STANDARD.decode(b).ok());
    if let Some((id, secret)) = basic
        .and_then(|b| String::from_utf8(b).ok()?.split_once(':').map(|(i, s)| (i.to_owned(), s.to_owned())))
    {
        return (id, secret);
    }
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    (get("client_id"), get("client_secret"))
}

fn redeem(hub: &Hub, inner: &mut Inner, form: &Parameters) -> Value {
    let Some(code) = form.get("code").and_then(|c| inner.codes.remove(c)) else {
        return error("bad_verification_code");
    };
    if form.get("redirect_uri").is_some_and(|r| *r != code.redirect_uri) {
        return error("redirect_uri_mismatch");
    }
    if let Some(challenge) = &code.challenge {
        let verifier = form.get("code_verifier").map_or("", String::as_str);
        if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != *challenge {
            return error("bad_verification_code");
        }
    }
    issue(&hub.app, inner, &code.login, &code.scope)
}

fn refresh(hub: &Hub, inner: &mut Inner, form: &Parameters) -> Value {
    let Some(spent) = form.get("refresh_token").and_then(|r| inner.refreshes.remove(r)) else {
        return error("bad_refresh_token");
    };
    // Renewal kills the old token, also in flight.
    inner.tokens.remove(&spent.access);
    *inner.renewals.entry(spent.login.clone()).or_default() += 1;
    issue(&hub.app, inner, &spent.login, &spent.scope)
}

fn issue(app: &App, inner: &mut Inner, login: &str, scope: &str) -> Value {
    let prefix = if app.token_life.is_some() { "ghu_" } else { "gho_" };
    let access = inner.mint(&format!("{prefix}{ACCESS}{login}_"));
    let brief = inner.quirks.get(login) == Some(&Quirk::Brief);
    if brief {
        inner.quirks.remove(login);
    }
    let life = if brief { Some(Duration::from_secs(1)) } else { app.token_life };
    let ends = life.filter(|_| !brief).map(|life| Instant::now() + life);
    inner.tokens.insert(access.clone(), Token { login: login.to_owned(), scope: scope.to_owned(), ends });
    let mut answer = json!({
        "access_token": access,
        "token_type": "bearer",
        "scope": scope.replace(' ', ","),
    });
    if let Some(life) = life.filter(|_| inner.quirks.get(login) != Some(&Quirk::NoRefreshToken)) {
        let refresh = inner.mint(&format!("ghr_{REFRESH}"));
        let spent = Refresh { login: login.to_owned(), scope: scope.to_owned(), access };
        inner.refreshes.insert(refresh.clone(), spent);
        answer["expires_in"] = life.as_secs().into();
        answer["refresh_token"] = refresh.into();
        answer["refresh_token_expires_in"] = 15_897_600.into();
    }
    answer
}

fn error(code: &str) -> Value {
    json!({ "error": code, "error_description": format!("The request failed: {code}."), "error_uri": "https://docs.github.com" })
}

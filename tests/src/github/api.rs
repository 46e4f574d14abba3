//! The three calls of GitHub's REST API that tell who somebody is.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Shared, User};

/// `GET /user`.
pub(super) async fn user(State(hub): State<Shared>, headers: HeaderMap) -> Response {
    answer(
        &hub,
        &headers,
        &[],
        |user| json!({ "login": user.login, "id": user.id, "name": user.login, "email": null, "type": "User" }),
    )
}

/// `GET /user/emails`.
pub(super) async fn emails(State(hub): State<Shared>, headers: HeaderMap) -> Response {
    answer(&hub, &headers, &["user:email", "user"], |user| {
        let emails = user.emails.iter().enumerate().map(|(index, (email, verified))| {
            json!({ "email": email, "verified": verified, "primary": index == 0, "visibility": null })
        });
        emails.collect()
    })
}

/// `GET /user/teams`.
pub(super) async fn teams(State(hub): State<Shared>, headers: HeaderMap) -> Response {
    answer(&hub, &headers, &["read:org", "repo", "user"], |user| {
        let teams = user.teams.iter().filter_map(|team| team.split_once('/'));
        teams
            .map(|(org, team)| json!({ "slug": team, "name": team, "organization": { "login": org } }))
            .collect()
    })
}

fn answer(hub: &Shared, headers: &HeaderMap, any_scope: &[&str], body: impl Fn(&User) -> Value) -> Response {
    let inner = hub.lock();
    if inner.outage {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "message": "Unavailable" }))).into_response();
    }
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    if header("user-agent").is_empty() {
        // GitHub refuses requests without one.
        return (StatusCode::FORBIDDEN, "Request forbidden by administrative rules.").into_response();
    }
    let token = header("authorization");
    let token = token.strip_prefix("Bearer ").or_else(|| token.strip_prefix("token ")).unwrap_or("");
    let Some(token) = inner.live(token) else {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "message": "Bad credentials", "status": "401" })))
            .into_response();
    };
    let granted = token.scope.split([' ', ',']);
    let scopes = [("x-oauth-scopes", token.scope.replace(' ', ", "))];
    if !any_scope.is_empty() && !granted.clone().any(|s| any_scope.contains(&s)) {
        let message = json!({ "message": "Resource not accessible by this token" });
        return (StatusCode::NOT_FOUND, scopes, Json(message)).into_response();
    }
    (scopes, Json(body(&inner.users[&token.login]))).into_response()
}

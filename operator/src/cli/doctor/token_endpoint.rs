//! The token endpoint, with a code and a client that nobody knows.

use http::{StatusCode, header};
use serde_json::Value;
use url::Url;

use super::{
    Visit,
    document::{Instead, is_html, other_than_success, short},
    finding::{Check, Client},
    issuer::Issuer,
    registration::Registered,
};
use crate::cli::http::Answer;

const WHAT: &str = "the token endpoint";
/// 43 characters: the least that a verifier may have.
const VERIFIER: &str = "gatehouse-doctor-has-no-code-and-no-verifier";

/// Sends a code that was never issued, then the same from a client that was never registered.
pub(super) async fn check(visit: &mut Visit, issuer: &Issuer, client: Option<&Registered>, resource: &str) {
    let Some(endpoint) = &issuer.token_endpoint else { return };
    if let Some(client) = client {
        let answer = redeem(visit, endpoint, &client.client_id, client.secret.as_deref(), resource).await;
        judge(
            visit,
            endpoint,
            answer,
            "invalid_grant",
            "a code that was never issued: clients then sign in again",
        );
    }
    let answer = redeem(visit, endpoint, "gatehouse-doctor-unregistered", None, resource).await;
    judge(
        visit,
        endpoint,
        answer,
        "invalid_client",
        "a client that it does not know: clients then register anew",
    );
    if !visit.report.blames(Check::Token) {
        visit.report.good(Check::Token, format!("{endpoint} answers mistakes as clients expect"));
    }
}

async fn redeem(
    visit: &Visit,
    endpoint: &Url,
    client: &str,
    secret: Option<&str>,
    resource: &str,
) -> Result<Answer, String> {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", "gatehouse-doctor"),
        ("redirect_uri", "http://localhost:3118/callback"),
        ("client_id", client),
        ("code_verifier", VERIFIER),
        ("resource", resource),
    ];
    form.extend(secret.map(|s| ("client_secret", s)));
    visit.http.post_form(endpoint, &form).await
}

fn judge(visit: &mut Visit, endpoint: &Url, answer: Result<Answer, String>, expected: &str, to: &str) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return Instead::Silence(why).report(visit, Check::Token, Client::ALL, WHAT, endpoint),
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default();
    match other_than_success(&answer) {
        None if is_html(&answer.headers) => {
            let page = Instead::page(&answer);
            page.report(visit, Check::Token, Client::ALL, WHAT, endpoint);
        }
        None => visit.report.fault(
            Check::Token,
            &[],
            format!("{WHAT} answers {} to {to}.", answer.status),
            "It must refuse that. If it answers everything with 200, something in front answers instead.",
        ),
        Some(instead @ (Instead::Redirect(_) | Instead::Page(..))) => {
            instead.report(visit, Check::Token, Client::ALL, WHAT, endpoint);
        }
        Some(instead)
            if error.is_empty()
                || !matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) =>
        {
            instead.report(visit, Check::Token, Client::ALL, WHAT, endpoint);
        }
        Some(_) if error != expected => visit.report.fault(
            Check::Token,
            &[Client::ClaudeCode, Client::ClaudeAi, Client::TypescriptSdk, Client::McpRemote],
            format!("{WHAT} answers {:?} to {to}, not {expected:?}.", short(error)),
            format!("Answer {expected}: clients mend themselves on that word alone."),
        ),
        Some(_) => {
            let kept = answer
                .headers
                .get(header::CACHE_CONTROL)
                .is_none_or(|v| !v.as_bytes().windows(8).any(|w| w == b"no-store"));
            if kept && !visit.report.blames(Check::Token) {
                visit.report.warn(
                    Check::Token,
                    "its answers are not marked Cache-Control: no-store.",
                    "Mark them (RFC 6749 section 5.1).",
                );
            }
        }
    }
}

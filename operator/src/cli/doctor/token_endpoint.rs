//! The token endpoint, with a code and a client that nobody knows.

use http::{StatusCode, header};
use serde_json::Value;
use url::Url;

use super::{
    document::{compressed, short, values},
    finding::{Check, Client},
    html::is_html,
    instead::Instead,
    issuer::Issuer,
    registration::Registered,
    visit::Visit,
};
use crate::cli::http::{Answer, Content};

const WHAT: &str = "the token endpoint";
/// Clients that begin anew by the error that they are told.
const BY_ERROR: &[Client] = &[Client::ClaudeCode, Client::ClaudeAi, Client::TypescriptSdk, Client::McpRemote];
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
    visit: &mut Visit,
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
    visit.post(endpoint, Content::form(&form), None).await
}

fn judge(visit: &mut Visit, endpoint: &Url, answer: Result<Answer, String>, expected: &str, to: &str) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return Instead::Silence(why).report(visit, Check::Token, Client::ALL, WHAT, endpoint),
    };
    if let Some(how) = compressed(&answer) {
        return Instead::Compressed(how).report(visit, Check::Token, &[], WHAT, endpoint);
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default();
    match Instead::of(&answer) {
        None if is_html(&answer.headers) => {
            let page = Instead::page(&answer);
            page.report(visit, Check::Token, Client::ALL, WHAT, endpoint);
        }
        None if body["access_token"].is_string() => visit.report.danger(
            Check::Token,
            format!("{WHAT} gives a token for a code that was never issued."),
            "Refuse every code that was not issued to that very client, and close the server until it does.",
        ),
        None if !error.is_empty() => visit.report.warn(
            Check::Token,
            format!("{WHAT} answers {} to an error ({}).", answer.status, short(error)),
            "Answer 400, or 401 to a client that is not known (RFC 6749 section 5.2): not every client looks into a success for an error.",
        ),
        None => visit.report.fault(
            Check::Token,
            Client::ALL,
            format!("{WHAT} answers {} to a code that was never issued, with neither an error nor a token.", answer.status),
            "Something in front answers instead of the token endpoint: route it to the server.",
        ),
        Some(instead @ (Instead::Redirect(..) | Instead::Page(..))) => {
            instead.report(visit, Check::Token, Client::ALL, WHAT, endpoint);
        }
        Some(instead)
            if !matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) =>
        {
            instead.report(visit, Check::Token, Client::ALL, WHAT, endpoint);
        }
        Some(_) if error.is_empty() => visit.report.fault(
            Check::Token,
            BY_ERROR,
            format!("{WHAT} answers {} to mistakes, without an OAuth error.", answer.status),
            "Answer JSON with \"error\": \"invalid_grant\" or \"invalid_client\" (RFC 6749 section 5.2): clients mend themselves on those words alone.",
        ),
        Some(_) if error != expected => visit.report.fault(
            Check::Token,
            BY_ERROR,
            format!("{WHAT} answers {:?} to {to}, not {expected:?}.", short(error)),
            format!("Answer {expected}: clients mend themselves on that word alone."),
        ),
        Some(_) => {
            let kept = !values(&answer.headers, &header::CACHE_CONTROL).contains("no-store");
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

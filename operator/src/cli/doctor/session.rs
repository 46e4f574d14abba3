//! A signed-in client's first requests, where a token is given.

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    document::{oauth_error, short},
    finding::{Check, Client},
    instead::Instead,
    reach::INITIALIZE,
    visit::Visit,
};
use crate::cli::http::Answer;

const WHAT: &str = "the MCP endpoint";

/// Begins a session with `token` as both eras of the protocol do.
pub(super) async fn check(visit: &mut Visit, token: &SecretString) {
    let bearer = format!("Bearer {}", token.expose_secret());
    let answer = post(visit, &bearer, "2025-11-25", &[], INITIALIZE.into()).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            return Instead::Silence(why).report(
                visit,
                Check::Session,
                Client::ALL,
                WHAT,
                &visit.url.clone(),
            );
        }
    };
    if !judge(visit, &answer) {
        return;
    }
    visit.report.good(Check::Session, "a signed-in client is let in");
    probe(visit, &bearer).await;
}

/// Says what stopped a signed-in client, and whether anything did not.
fn judge(visit: &mut Visit, answer: &Answer) -> bool {
    let why = why(answer);
    match answer.status {
        StatusCode::UNAUTHORIZED => visit.report.fault(
            Check::Session,
            Client::ALL,
            format!("the token is refused{why}."),
            "Sign in once more in the client. \"Your … session expired\" heals every client of that user; if it comes daily, ask the provider for a refresh token (offline_access; GitHub keeps ten tokens for a user and app). After a local user's password changed they sign in again everywhere. A token of another server is refused here too.",
        ),
        StatusCode::FORBIDDEN => visit.report.fault(
            Check::Session,
            Client::ALL,
            format!("the user is signed in and may not{why}."),
            "For a scope: sign in again with it. Else the server's `access` does not let this account in: put its id into access.allow[].subjects, and check that the provider sends its groups.",
        ),
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => visit.report.fault(
            Check::Session,
            Client::ALL,
            format!("the tools behind the gateway cannot be reached: {}{why}.", answer.status),
            "Look into the gateway's log, which names the cause; where the answer has an incident id, look for that. \"… is refused: 10.0.0.1 is private\" there: add the line that it prints to the chart's egress.allow.",
        ),
        _ => match Instead::of(answer) {
            Some(instead) => instead.report(visit, Check::Session, Client::ALL, WHAT, &visit.url.clone()),
            None if json(answer)["error"].is_object() => visit.report.fault(
                Check::Session,
                Client::ALL,
                format!("the tools answer `initialize` with an error{why}."),
                "Look into the log of the MCP server behind the gateway.",
            ),
            None => return true,
        },
    }
    false
}

/// The question by which new clients learn the era: a 5xx to it stops them.
async fn probe(visit: &mut Visit, bearer: &str) {
    let discover = json!({ "jsonrpc": "2.0", "id": 2, "method": "server/discover", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "gatehouse-doctor", "version": env!("CARGO_PKG_VERSION") },
        "io.modelcontextprotocol/clientCapabilities": {},
    } } });
    let method = [(HeaderName::from_static("mcp-method"), "server/discover")];
    let Ok(answer) = post(visit, bearer, "2026-07-28", &method, discover.to_string().into()).await else {
        return;
    };
    if answer.status.is_server_error() {
        visit.report.fault(
            Check::Session,
            &[Client::TypescriptSdk],
            format!(
                "`server/discover` is answered {}: these clients take a 5xx to it for the end.",
                answer.status
            ),
            "Answer a method that is not known with a JSON-RPC error and 200 or 404.",
        );
    }
}

async fn post(
    visit: &mut Visit,
    bearer: &str,
    version: &str,
    more: &[(HeaderName, &str)],
    body: Bytes,
) -> Result<Answer, String> {
    let mut headers = vec![
        (header::AUTHORIZATION, bearer),
        (header::CONTENT_TYPE, "application/json"),
        (HeaderName::from_static("mcp-protocol-version"), version),
    ];
    headers.extend(more.iter().cloned());
    visit.ask(Method::POST, &visit.url.clone(), &headers, body).await
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// ` (the reason that the answer gives)`, if it gives one.
fn why(answer: &Answer) -> String {
    let message = json(answer)["error"]["message"].as_str().map(short);
    message.map_or_else(|| oauth_error(&answer.body), |m| format!(" ({m})"))
}

//! Registering as each client does: RFC 7591.

use http::{StatusCode, header};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    document::{nulls_and_blanks, object, report_mark, values},
    finding::{Check, Client},
    instead::Instead,
    issuer::Issuer,
    visit::Visit,
};
use crate::cli::http::{Answer, Content};

const WHAT: &str = "the registration";

/// A client that the server knows now.
#[derive(Debug)]
pub(super) struct Registered {
    /// Its id.
    pub(super) client_id: String,
    /// Where its codes go: a port of this machine that nothing listens on.
    pub(super) redirect_uri: &'static str,
    /// Its secret, if the server gave one all the same.
    pub(super) secret: Option<String>,
}

/// How a client registers.
struct Profile {
    clients: &'static [Client],
    redirect_uris: &'static [&'static str],
    auth_method: Option<&'static str>,
    native: bool,
}

/// The redirect URI of the client that goes on.
const LOOPBACK: &str = "http://localhost:3118/callback";

/// Who registers how. The first is the one that goes on.
const PROFILES: &[Profile] = &[
    Profile {
        clients: &[
            Client::ClaudeCode,
            Client::Codex,
            Client::McpRemote,
            Client::TypescriptSdk,
            Client::RustSdk,
            Client::Browser,
        ],
        redirect_uris: &[LOOPBACK],
        auth_method: Some("none"),
        native: true,
    },
    // No method: RFC 7591 says that this means client_secret_basic.
    Profile {
        clients: &[Client::PythonSdk],
        redirect_uris: &["http://localhost:3030/callback"],
        auth_method: None,
        native: true,
    },
    Profile {
        clients: &[Client::ClaudeAi],
        redirect_uris: &["https://claude.ai/api/mcp/auth_callback"],
        auth_method: Some("client_secret_post"),
        native: false,
    },
    Profile {
        clients: &[Client::ChatGpt],
        redirect_uris: &["https://chatgpt.com/connector/oauth/gatehouse-doctor"],
        auth_method: Some("client_secret_post"),
        native: false,
    },
    Profile {
        clients: &[Client::Cursor],
        redirect_uris: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        auth_method: Some("none"),
        native: true,
    },
    Profile {
        clients: &[Client::VsCode],
        redirect_uris: &["https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"],
        auth_method: Some("none"),
        native: true,
    },
];

/// Registers as each client does, and judges the answers.
pub(super) async fn check(visit: &mut Visit, issuer: &Issuer) -> Option<Registered> {
    let endpoint = issuer.registration_endpoint.as_ref()?;
    let mut going_on = None;
    for (at, profile) in PROFILES.iter().enumerate() {
        let answer = visit.post(endpoint, Content::json(&metadata(profile)), None).await;
        let refused = matches!(&answer, Ok(a) if matches!(a.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN));
        match (object(answer), refused) {
            (Ok((document, answer)), _) => {
                report_mark(visit, Check::Registration, WHAT, &answer);
                if !values(&answer.headers, &header::CACHE_CONTROL).contains("no-store") {
                    visit.report.warn(
                        Check::Registration,
                        "the answer to a registration is not marked Cache-Control: no-store.",
                        "Mark it: it may carry a secret.",
                    );
                }
                let registered = judge(visit, profile, &document);
                going_on = going_on.or(registered.filter(|_| profile.redirect_uris == [LOOPBACK]));
            }
            (Err(Instead::Status(status, why)), true) => visit.report.fault(
                Check::Registration,
                profile.clients,
                format!("{WHAT} at {endpoint} is refused: {status}{why}."),
                "Allow its redirect URIs and its way to authenticate: in Gatehouse the policy's redirectUris (loopback, knownClients, allow). If an initial access token is asked for, clients have none.",
            ),
            (Err(silence @ Instead::Silence(_)), _) => {
                // The others would wait as long.
                let rest: Vec<_> = PROFILES[at..].iter().flat_map(|p| p.clients).copied().collect();
                silence.report(visit, Check::Registration, &rest, WHAT, endpoint);
                return going_on;
            }
            (Err(instead), _) => instead.report(visit, Check::Registration, profile.clients, WHAT, endpoint),
        }
    }
    if !visit.report.blames(Check::Registration) && going_on.is_some() {
        visit.report.good(
            Check::Registration,
            format!("{} takes every kind of client", issuer.place.origin().ascii_serialization()),
        );
    }
    going_on
}

/// What a client that is a page of `origin` gets.
///
/// # Errors
/// When no answer comes: what happened.
pub(super) async fn from_page(visit: &mut Visit, endpoint: &Url, origin: &str) -> Result<Answer, String> {
    visit.post(endpoint, Content::json(&metadata(&PROFILES[0])), Some(origin)).await
}

fn metadata(profile: &Profile) -> Value {
    let mut metadata = json!({
        "client_name": "gatehouse doctor",
        "redirect_uris": profile.redirect_uris,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "application_type": if profile.native { "native" } else { "web" },
    });
    if let Some(method) = profile.auth_method {
        metadata["token_endpoint_auth_method"] = method.into();
    }
    metadata
}

fn judge(visit: &mut Visit, profile: &Profile, document: &Map<String, Value>) -> Option<Registered> {
    let report = &mut visit.report;
    let (nulls, blanks) = nulls_and_blanks(document);
    let strict = profile.clients.iter().any(|c| Client::STRICT.contains(c));
    if strict && !(nulls.is_empty() && blanks.is_empty()) {
        report.fault(
            Check::Registration,
            Client::STRICT,
            format!("the answer to a registration has null or nothing for {}.", [nulls, blanks].concat().join(", ")),
            "Leave members out that have no value: the clients' schemas refuse null, and \"\" where a URL is wanted.",
        );
    }
    if document.get("redirect_uris").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        report.fault(
            Check::Registration,
            profile.clients,
            "the answer to a registration does not repeat redirect_uris.",
            "Repeat all the metadata that was registered (RFC 7591 section 3.2.1).",
        );
    }
    for name in ["client_id_issued_at", "client_secret_expires_at"] {
        if document.get(name).is_some_and(|v| !v.is_i64() && !v.is_null()) {
            report.fault(
                Check::Registration,
                &[Client::PythonSdk],
                format!("{name} in the answer to a registration is not a whole number."),
                "Send seconds since 1970 as an integer.",
            );
        }
    }
    let secret = document.get("client_secret").and_then(Value::as_str).map(ToOwned::to_owned);
    let method = document.get("token_endpoint_auth_method").and_then(Value::as_str);
    if secret.is_none() && method.is_none_or(|m| m.starts_with("client_secret")) {
        report.fault(
            Check::Registration,
            profile.clients,
            "the answer to a registration gives no client_secret, and does not say token_endpoint_auth_method: none.",
            "Give a secret, or say `none`: absent, it means client_secret_basic.",
        );
    }
    let Some(client_id) = document.get("client_id").and_then(Value::as_str).filter(|id| !id.is_empty())
    else {
        report.fault(
            Check::Registration,
            profile.clients,
            "the answer to a registration has no client_id.",
            "Send one.",
        );
        return None;
    };
    Some(Registered { client_id: client_id.to_owned(), redirect_uri: LOOPBACK, secret })
}

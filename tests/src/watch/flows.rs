//! Which client each step of a sign-in is for: its codes and errors may go to that client's redirect URIs alone, with the
//! state that it sent.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::Exchange;
use crate::html;

/// What we add to a redirect URI (RFC 6749 section 4.1.2, RFC 9207).
const OURS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

/// A tenant's host, and the id of a client of it.
type Client = (String, String);

/// Whose sign-in it is, and the state that its answers carry back.
#[derive(Debug, Clone)]
struct SignIn {
    client: Client,
    state: Option<String>,
}

/// What was seen of clients and their sign-ins.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// The redirect URIs of each client, by its tenant's host and its id, as [`bare`] writes them.
    registered: HashMap<Client, HashSet<String>>,
    /// What each flow is for.
    of_flow: HashMap<String, SignIn>,
    /// What each state that went to an identity provider is for.
    of_state: HashMap<String, SignIn>,
}

impl Flows {
    /// Notes who registered, and which flow and state belong to whom.
    pub(super) fn learn(&mut self, exchange: &Exchange<'_>) {
        if let Some((id, uris)) = registration(exchange) {
            self.registered.entry((host(exchange), id)).or_default().extend(uris);
        }
        let Some(sign_in) = self.sign_in(exchange) else { return };
        let location =
            exchange.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
        for link in html::links(exchange.answer).iter().map(String::as_str).chain([location]) {
            let query = link.split_once('?').map_or("", |(_, query)| query);
            if let Some(flow) = one(query, "flow") {
                self.of_flow.insert(flow, sign_in.clone());
            }
            // Only what goes to a provider has a challenge; a client's own state may be anything.
            if let Some(state) = one(query, "state").filter(|_| one(query, "code_challenge").is_some()) {
                self.of_state.insert(state, sign_in.clone());
            }
        }
    }

    /// Notes a client of a tenant that is not seen to register.
    pub(super) fn listed(&mut self, host: &str, id: &str, uri: &str) {
        let client = (host.to_owned(), id.to_owned());
        self.registered.entry(client).or_default().extend(bare(uri));
    }

    /// The sign-in that a request is for.
    fn sign_in(&self, exchange: &Exchange<'_>) -> Option<SignIn> {
        let (path, query) = (exchange.uri.path(), exchange.uri.query().unwrap_or_default());
        if path.ends_with("/oauth/authorize") {
            let client = (host(exchange), one(query, "client_id")?);
            let known = self.registered.contains_key(&client);
            return known.then(|| SignIn { client, state: one(query, "state") });
        }
        if path.contains("/oauth/callback") {
            return self.of_state.get(&one(query, "state")?).cloned();
        }
        let flow = one(query, "flow").or_else(|| one(exchange.question, "flow"))?;
        self.of_flow.get(&flow).cloned()
    }

    /// The state that the client of this request's sign-in sent, if it sent one.
    pub(super) fn state(&self, exchange: &Exchange<'_>) -> Option<String> {
        self.sign_in(exchange)?.state
    }

    /// Whether a sign-in of this request's client may end at `target`.
    pub(super) fn may_end_at(&self, exchange: &Exchange<'_>, target: &str) -> bool {
        let uris = self.sign_in(exchange).and_then(|sign_in| self.registered.get(&sign_in.client));
        bare(target).is_some_and(|target| uris.is_some_and(|uris| uris.contains(&target)))
    }
}

/// Whom a request is for.
pub(super) fn host(exchange: &Exchange<'_>) -> String {
    exchange.asked.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The host and port of an issuer.
pub(super) fn host_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or("", |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// What a registration was granted.
fn registration(exchange: &Exchange<'_>) -> Option<(String, Vec<String>)> {
    if exchange.status != StatusCode::CREATED || !exchange.uri.path().ends_with("/oauth/register") {
        return None;
    }
    let answer: Value = serde_json::from_str(exchange.answer).ok()?;
    let uris = answer["redirect_uris"].as_array()?.iter().filter_map(|uri| bare(uri.as_str()?));
    Some((answer["client_id"].as_str()?.to_owned(), uris.collect()))
}

/// The one parameter of this name.
fn one(encoded: &str, name: &str) -> Option<String> {
    let mut found = form_urlencoded::parse(encoded.as_bytes()).filter(|(n, _)| n == name);
    let first = found.next()?.1.into_owned();
    found.next().is_none().then_some(first)
}

/// A redirect URI without what we add to its query, and without the port of loopback.
fn bare(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    let rest: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(name, _)| !OURS.contains(&name.as_str())).collect();
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    if matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) && url.scheme() == "http" {
        // It has a host, so it can have a port.
        let _ = url.set_port(None);
    }
    Some(url.into())
}

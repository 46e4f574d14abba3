//! What must hold of every answer, whatever was asked: the standing invariants of the attack suite. A watched balancer
//! shows each exchange here, so that nothing a test sends gets past them.
//!
//! Findings and secrets are kept by the address that asked: a test asks from an address of its own.

mod rules;
mod secrets;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard},
};

use http::{HeaderMap, Method, StatusCode, Uri};
use url::Url;

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Who asked.
    pub peer: IpAddr,
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub uri: &'a Uri,
    /// The request's headers.
    pub asked: &'a HeaderMap,
    /// The request's body.
    pub question: &'a str,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: &'a HeaderMap,
    /// The answer's body; nothing for a stream.
    pub answer: &'a str,
}

/// Whoever a balancer shows its exchanges to.
pub trait Witness: std::fmt::Debug + Send + Sync {
    /// Looks at an exchange.
    fn see(&self, exchange: &Exchange<'_>);
}

/// Sees every exchange.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    findings: HashMap<IpAddr, Vec<String>>,
    secrets: HashMap<IpAddr, BTreeSet<String>>,
    /// Server errors that a test asks for.
    expected: HashMap<IpAddr, HashSet<u16>>,
    /// Redirect URIs that were registered, without query; loopback ones without their port.
    registered: HashSet<String>,
    /// Where the browser may be sent besides: our own origins and the providers'.
    origins: HashSet<String>,
    /// What no answer may hold: beginnings of upstream tokens.
    upstream: Vec<String>,
}

impl Watch {
    /// The browser may be sent to this origin: a gateway's own, or its identity provider's.
    pub fn trust_origin(&self, origin: &str) {
        self.lock().origins.insert(origin.to_owned());
    }

    /// No answer may hold this text: an upstream secret, or how upstream tokens begin.
    pub fn keep_upstream(&self, text: &str) {
        self.lock().upstream.push(text.to_owned());
    }

    /// This address will see these server errors, because its test breaks what the gateway needs.
    pub fn expect(&self, peer: IpAddr, statuses: &[u16]) {
        self.lock().expected.entry(peer).or_default().extend(statuses);
    }

    /// What was wrong with the answers to this address.
    pub fn findings(&self, peer: IpAddr) -> Vec<String> {
        self.lock().findings.get(&peer).cloned().unwrap_or_default()
    }

    /// The secrets that this address sent or was given.
    pub fn secrets(&self, peer: IpAddr) -> BTreeSet<String> {
        self.lock().secrets.get(&peer).cloned().unwrap_or_default()
    }

    /// Which of an address's secrets stand in `text`.
    pub fn leaks(&self, peer: IpAddr, text: &str) -> Vec<String> {
        self.secrets(peer).into_iter().filter(|secret| text.contains(secret.as_str())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }
}

impl Witness for Watch {
    fn see(&self, exchange: &Exchange<'_>) {
        let mut seen = self.lock();
        seen.registered.extend(registered(exchange));
        let found = rules::check(&seen, exchange);
        let secrets = secrets::of(exchange);
        seen.secrets.entry(exchange.peer).or_default().extend(secrets);
        let Exchange { method, uri, status, .. } = exchange;
        let path = uri.path();
        let found = found.into_iter().map(|what| format!("{method} {path}: {status}: {what}"));
        seen.findings.entry(exchange.peer).or_default().extend(found);
    }
}

/// What a registration was granted.
fn registered(exchange: &Exchange<'_>) -> Vec<String> {
    if exchange.status != StatusCode::CREATED || !exchange.uri.path().ends_with("/oauth/register") {
        return Vec::new();
    }
    let answer: serde_json::Value = serde_json::from_str(exchange.answer).unwrap_or_default();
    let uris = answer["redirect_uris"].as_array().into_iter().flatten();
    uris.filter_map(|uri| bare(uri.as_str()?)).collect()
}

/// A redirect URI without its query, and without the port of loopback.
fn bare(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    url.set_query(None);
    if matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) && url.scheme() == "http" {
        // It has a host, so it can have a port.
        let _ = url.set_port(None);
    }
    Some(url.into())
}

#[cfg(test)]
mod tests;

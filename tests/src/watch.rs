//! What must hold of every answer, whatever was asked: the standing invariants of the attack suite. A watched balancer
//! shows each exchange here, and so does [`crate::raw`] of what it sends past it. What a test sends past both (floods of one
//! replica, requests that never end) is judged by that test alone.
//!
//! Findings and secrets are kept by the address that asked: a test asks from an address of its own. What is looked at when
//! all is over is everybody's.

mod flows;
mod rules;
mod search;
mod secrets;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard},
};

use http::{HeaderMap, Method, StatusCode, Uri};

use self::{flows::Flows, search::Search};

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
    /// Which client each sign-in is for, and where its codes may go.
    flows: Flows,
    /// The tenants' issuers, and the origin of the identity provider of each that has one.
    tenants: HashMap<String, Option<String>>,
    /// What no answer, log or record may hold: beginnings of upstream tokens, and upstream secrets.
    upstream: Vec<String>,
}

impl Watch {
    /// There is a tenant with this issuer, alone at its origin.
    pub fn tenant(&self, issuer: &str) {
        self.lock().tenants.insert(issuer.to_owned(), None);
    }

    /// There is a client at this tenant that registers nowhere, and has its codes here.
    pub fn listed(&self, issuer: &str, id: &str, redirect_uri: &str) {
        self.lock().flows.listed(flows::host_of(issuer), id, redirect_uri);
    }

    /// The browser may be sent from this tenant to the origin of its identity provider.
    pub fn provider(&self, tenant: &str, origin: &str) {
        self.lock().tenants.insert(tenant.to_owned(), Some(origin.to_owned()));
    }

    /// Nothing may hold this text: an upstream secret, or how upstream tokens begin.
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

    /// Which of an address's secrets, and which upstream ones, stand in `text`.
    pub fn leaks(&self, peer: IpAddr, text: &str) -> Vec<String> {
        let upstream = self.lock().upstream.clone();
        self.secrets(peer)
            .into_iter()
            .chain(upstream)
            .filter(|secret| text.contains(secret.as_str()))
            .collect()
    }

    /// What was wrong with anybody's answers.
    pub fn all_findings(&self) -> Vec<String> {
        self.lock().findings.values().flatten().cloned().collect()
    }

    /// Which of anybody's secrets, and which upstream ones, stand in each of these texts: as they are, percent-encoded or in
    /// base64.
    pub fn all_leaks(&self, texts: &[&str]) -> Vec<BTreeSet<String>> {
        let (secrets, upstream) = {
            let seen = self.lock();
            let secrets: BTreeSet<String> = seen.secrets.values().flatten().cloned().collect();
            (secrets, seen.upstream.clone())
        };
        let search = Search::of(secrets);
        let leaks = texts.iter().map(|text| {
            let upstream = upstream.iter().filter(|secret| text.contains(secret.as_str())).cloned();
            search.found_in(text).into_iter().chain(upstream).collect()
        });
        leaks.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }
}

impl Witness for Watch {
    fn see(&self, exchange: &Exchange<'_>) {
        let mut seen = self.lock();
        seen.flows.learn(exchange);
        let found = rules::check(&seen, exchange);
        let secrets = secrets::of(exchange);
        seen.secrets.entry(exchange.peer).or_default().extend(secrets);
        let Exchange { method, uri, status, .. } = exchange;
        let path = uri.path();
        let found = found.into_iter().map(|what| format!("{method} {path}: {status}: {what}"));
        seen.findings.entry(exchange.peer).or_default().extend(found);
    }
}

#[cfg(test)]
mod tests;

//! What real clients and the gateway say to each other, kept word for word.

use std::sync::{Mutex, MutexGuard};

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

use crate::watch::{Exchange, Witness};

/// Keeps every exchange.
#[derive(Debug, Default)]
pub struct Tap(Mutex<Vec<Heard>>);

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Method and path, for example `POST /oauth/token`.
    pub what: String,
    /// Path and query.
    pub target: String,
    /// The request's headers.
    pub asked: HeaderMap,
    /// The request's body.
    pub question: String,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The answer's body; nothing for a stream.
    pub answer: String,
}

impl Heard {
    /// A parameter of the form that was sent.
    pub fn form(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.question.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
    }

    /// The answer as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.answer).unwrap_or_default()
    }
}

impl Tap {
    /// All exchanges whose method and path begin like this, oldest first.
    pub fn heard(&self, what: &str) -> Vec<Heard> {
        self.lock().iter().filter(|h| h.what.starts_with(what)).cloned().collect()
    }

    /// How many users have approved a client.
    pub fn approvals(&self) -> usize {
        self.heard("GET /oauth/authorize/approve").iter().filter(|h| h.status.is_redirection()).count()
    }

    /// How many sign-ins a client has completed: codes that it redeemed.
    pub fn redeemed(&self) -> usize {
        self.granted("authorization_code")
    }

    /// How often a client was given tokens for a grant of this type, below whichever path.
    pub fn granted(&self, grant_type: &str) -> usize {
        let of_type = |h: &&Heard| h.form("grant_type").as_deref() == Some(grant_type);
        let here = |h: &&Heard| h.what.starts_with("POST ") && h.what.ends_with("/oauth/token");
        self.lock().iter().filter(here).filter(of_type).filter(|h| h.status == 200).count()
    }

    /// What was asked and how it was answered, a line each.
    pub fn summary(&self) -> Vec<String> {
        let form = |h: &Heard| h.form("grant_type").unwrap_or_default();
        self.lock().iter().map(|h| format!("{} {} {}", h.what, form(h), h.status)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.0.lock().unwrap()
    }
}

impl Witness for Tap {
    fn see(&self, exchange: &Exchange<'_>) {
        self.lock().push(Heard {
            what: format!("{} {}", exchange.method, exchange.uri.path()),
            target: exchange.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            asked: exchange.asked.clone(),
            question: exchange.question.to_owned(),
            status: exchange.status,
            headers: exchange.headers.clone(),
            answer: exchange.answer.to_owned(),
        });
    }
}

//! The audit trail: one event a sign-in, and one a call, with who, by which client, what and how it ended; never arguments or results.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    metrics::{CallLabels, Metrics},
    model::{FlowRequest, Grant, GrantId, UserId},
};

/// The `target` of audit events, to filter them from other logs.
pub const TARGET: &str = "audit";

/// The longest tool name that is logged, in bytes.
const MAX_TOOL: usize = 128;

/// JSON-RPC methods that have a metric series of their own.
const METHODS: [&str; 14] = [
    "tools/call",
    "tools/list",
    "initialize",
    "server/discover",
    "ping",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "subscriptions/listen",
    "notifications/initialized",
    "notifications/cancelled",
];

/// One call, from its first byte to the end of its answer; the event is written when this is dropped.
#[derive(Debug)]
pub struct Call {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    started: Duration,
    user: UserId,
    client: Client,
    method: &'static str,
    tool: Option<String>,
    status: u16,
    outcome: &'static str,
}

/// Which OAuth client, as the audit event names it.
#[derive(Debug, Clone)]
pub struct Client {
    id: Arc<str>,
    name: Arc<str>,
}

impl Client {
    /// The client that holds `grant`.
    pub fn of(grant: &Grant) -> Self {
        Self { id: grant.client_id.as_str().into(), name: grant.client_name.as_str().into() }
    }
}

impl Call {
    /// A call of `user` by `client` that began at `started` (monotonic). Until told otherwise it ends as `aborted`.
    pub fn new(
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        started: Duration,
        user: UserId,
        client: Client,
    ) -> Self {
        Self {
            metrics,
            clock,
            started,
            user,
            client,
            method: "other",
            tool: None,
            status: 0,
            outcome: "aborted",
        }
    }

    /// What is called: the JSON-RPC method (or HTTP's, for GET and DELETE) and the tool's name.
    pub fn subject(&mut self, method: &str, tool: Option<&str>) {
        let http = ["GET", "DELETE"];
        self.method = METHODS.iter().chain(&http).find(|known| **known == method).copied().unwrap_or("other");
        self.tool = tool.map(|name| bounded(name).to_owned());
    }

    /// The status of the answer.
    pub fn status(&mut self, status: http::StatusCode) {
        self.status = status.as_u16();
    }

    /// How it ended.
    pub fn outcome(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

/// One sign-in and how it ended. `user` is absent while nobody is proven.
pub fn sign_in(user: Option<&UserId>, request: &FlowRequest, outcome: &'static str) {
    tracing::info!(
        target: TARGET,
        user = user.map(tracing::field::display),
        client = &*request.client_name,
        client_id = &*request.client_id,
        outcome,
        "sign-in"
    );
}

/// A credential that was presented again after it was used, and whether that ended its family.
pub fn reuse(grant: &GrantId, what: &'static str, revoked: bool) {
    tracing::warn!(target: TARGET, grant = %grant, what, revoked, "reuse");
}

fn bounded(name: &str) -> &str {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_TOOL).last();
    &name[..end.unwrap_or(0)]
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.clock.monotonic().saturating_sub(self.started);
        self.metrics.call_seconds.observe(took.as_secs_f64());
        self.metrics.calls.get_or_create(&CallLabels { method: self.method, outcome: self.outcome }).inc();
        tracing::info!(
            target: TARGET,
            user = %self.user,
            client = &*self.client.name,
            client_id = &*self.client.id,
            method = self.method,
            tool = self.tool.as_deref(),
            status = self.status,
            outcome = self.outcome,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "call"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_name_is_cut_between_characters() {
        assert_eq!(bounded("whoami"), "whoami");
        let long = "é".repeat(100);
        assert_eq!(bounded(&long).len(), 128);
        assert_eq!(bounded(&format!("a{long}")).len(), 127);
    }
}

//! What is told of each call when it is over: one audit event, and the metrics.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use super::{Mcp, caller::Caller, refusal::Refusal};
use crate::{audit::CallEvent, metrics::CallLabels, oauth::source::Source};

/// The longest tool name that is told, in bytes.
const MAX_TOOL: usize = 128;

/// Methods that are told by name; anything else is `other`, so that no request can add a metric series.
const METHODS: [&str; 16] = [
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
    "GET",
    "DELETE",
];

/// One call, from its first byte to the end of its answer; told when this is dropped.
pub(super) struct Trail {
    pub mcp: Arc<Mcp>,
    pub caller: Arc<Caller>,
    source: Source,
    started: Duration,
    method: &'static str,
    tool: Option<String>,
    status: u16,
    outcome: &'static str,
    reason: Option<&'static str>,
}

impl Trail {
    /// A call from `source` that began at `started` (monotonic). Until told otherwise it ends as `aborted`.
    pub(super) fn new(mcp: &Arc<Mcp>, caller: &Arc<Caller>, source: Source, started: Duration) -> Self {
        let (mcp, caller) = (mcp.clone(), caller.clone());
        Self {
            mcp,
            caller,
            source,
            started,
            method: "other",
            tool: None,
            status: 0,
            outcome: "aborted",
            reason: None,
        }
    }

    /// What is called: the JSON-RPC method (or HTTP's, for GET and DELETE) and the tool's name.
    pub(super) fn subject(&mut self, method: &str, tool: Option<&str>) {
        self.method = METHODS.iter().find(|known| **known == method).copied().unwrap_or("other");
        self.tool = tool.map(|name| name[..name.floor_char_boundary(MAX_TOOL)].to_owned());
    }

    /// The status of the answer.
    pub(super) fn status(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// How it ended.
    pub(super) fn outcome(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    /// It was not served, or its answer not passed on.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.outcome = refusal.outcome();
        self.reason = Some(refusal.reason());
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let took = self.mcp.now().saturating_sub(self.started);
        let metrics = &self.mcp.metrics;
        metrics.call_seconds.observe(took.as_secs_f64());
        metrics.calls.get_or_create(&CallLabels { method: self.method, outcome: self.outcome }).inc();
        let caller = &self.caller;
        self.mcp.server.audit.call(&CallEvent {
            user: &caller.record.user.id,
            client: &caller.client,
            grant: &caller.record.grant.id,
            source: self.source,
            method: self.method,
            tool: self.tool.as_deref(),
            status: self.status,
            outcome: self.outcome,
            reason: self.reason,
            took,
        });
    }
}

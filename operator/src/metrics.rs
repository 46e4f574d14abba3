//! The operator's metrics, under controller-runtime's names where the thing is the same, so that public dashboards and
//! alerts read them. No label is an object's name.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// How a pass over an object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be.
    Success,
    /// It will be looked at again soon, for something that it waits for.
    RequeueAfter,
    /// It failed and is retried with back-off.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    controller: &'static str,
    reason: &'static str,
}

/// One kind of call of the Kubernetes API, as RBAC sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct RequestLabels {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: String,
    /// `resource`, `resource.group` or `resource.group/subresource`.
    pub resource: String,
    /// The HTTP status, or `error`.
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabel {
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadyLabel {
    ready: &'static str,
}

/// Everything that `/metrics` shows. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    panics: Family<ControllerLabel, Counter>,
    seconds: Family<ControllerLabel, Histogram, fn() -> Histogram>,
    workers: Family<ControllerLabel, Gauge>,
    requests: Family<RequestLabels, Counter>,
    leading: Family<LeaseLabel, Gauge>,
    servers: Family<ReadyLabel, Gauge>,
    watch_errors: Family<ResourceLabel, Counter>,
    objects: Family<ResourceLabel, Gauge>,
    redis_up: Gauge,
    redis_users: Gauge,
    rollouts_stopped: Gauge,
    readiness: Arc<Mutex<HashMap<String, bool>>>,
    writes: Arc<AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut r = Registry::default();
        let seconds: Family<ControllerLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 14)));
        let this = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            errors: Family::default(),
            panics: Family::default(),
            seconds,
            workers: Family::default(),
            requests: Family::default(),
            leading: Family::default(),
            servers: Family::default(),
            watch_errors: Family::default(),
            objects: Family::default(),
            redis_up: Gauge::default(),
            redis_users: Gauge::default(),
            rollouts_stopped: Gauge::default(),
            readiness: Arc::default(),
            writes: Arc::default(),
        };
        r.register(
            "controller_runtime_reconcile",
            "Passes by controller and result",
            this.reconciles.clone(),
        );
        r.register("controller_runtime_reconcile_errors", "Failed passes by reason", this.errors.clone());
        r.register("controller_runtime_reconcile_panics", "Passes that panicked", this.panics.clone());
        r.register("controller_runtime_reconcile_time_seconds", "Length of passes", this.seconds.clone());
        r.register("controller_runtime_active_workers", "Passes in progress", this.workers.clone());
        r.register("rest_client_requests", "Calls of the Kubernetes API", this.requests.clone());
        r.register("leader_election_master_status", "1 while this process leads", this.leading.clone());
        r.register("gatehouse_servers", "McpServers by their condition Ready", this.servers.clone());
        r.register(
            "gatehouse_watch_errors",
            "Watches that failed and were resumed",
            this.watch_errors.clone(),
        );
        r.register("gatehouse_cache_objects", "Objects held in memory", this.objects.clone());
        r.register(
            "gatehouse_redis_up",
            "1 while the operator's own connection works",
            this.redis_up.clone(),
        );
        r.register("gatehouse_redis_users", "ACL users kept in Redis", this.redis_users.clone());
        r.register(
            "gatehouse_rollouts_stopped",
            "1 while the operator's image or defaults are rolled out no further, because they failed",
            this.rollouts_stopped.clone(),
        );
        Self { registry: Arc::new(r), ..this }
    }
}

impl Metrics {
    /// A pass begins; the value ends it.
    pub fn pass(&self, controller: &'static str) -> Pass {
        let workers = self.workers.get_or_create_owned(&ControllerLabel { controller });
        workers.inc();
        Pass { metrics: self.clone(), controller, workers }
    }

    /// A pass failed for `reason`, one of a fixed list.
    pub fn failed(&self, controller: &'static str, reason: &'static str) {
        self.errors.get_or_create(&ErrorLabels { controller, reason }).inc();
    }

    /// A pass panicked.
    pub fn panicked(&self, controller: &'static str) {
        self.panics.get_or_create(&ControllerLabel { controller }).inc();
    }

    /// A call of the Kubernetes API was answered.
    pub fn request(&self, labels: &RequestLabels) {
        let reads = matches!(labels.verb.as_str(), "get" | "list" | "watch");
        if !reads && !labels.resource.starts_with("leases.") {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.get_or_create(labels).inc();
    }

    /// How many writing calls of the Kubernetes API were answered so far, besides those that keep the lease.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Notes whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leading.get_or_create(&LeaseLabel { name: "gatehouse" }).set(i64::from(leads));
    }

    /// Whether this process leads.
    pub fn is_leading(&self) -> bool {
        self.leading.get_or_create(&LeaseLabel { name: "gatehouse" }).get() == 1
    }

    /// The condition Ready of a server; `None` when it is gone.
    pub fn server(&self, key: &str, ready: Option<bool>) {
        let mut readiness = self.readiness.lock().unwrap_or_else(PoisonError::into_inner);
        match ready {
            Some(ready) => readiness.insert(key.to_owned(), ready),
            None => readiness.remove(key),
        };
        let count = |wanted| {
            i64::try_from(readiness.values().filter(|&&ready| ready == wanted).count()).unwrap_or(i64::MAX)
        };
        self.servers.get_or_create(&ReadyLabel { ready: "true" }).set(count(true));
        self.servers.get_or_create(&ReadyLabel { ready: "false" }).set(count(false));
    }

    /// A watch failed and will be resumed.
    pub fn watch_failed(&self, resource: &'static str) {
        self.watch_errors.get_or_create(&ResourceLabel { resource }).inc();
    }

    /// How many objects of a kind are held in memory.
    pub fn cached(&self, resource: &'static str, objects: usize) {
        let gauge = self.objects.get_or_create_owned(&ResourceLabel { resource });
        gauge.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// Whether Redis answers, and how many users are kept there.
    pub fn redis(&self, up: bool, users: usize) {
        self.redis_up.set(i64::from(up));
        self.redis_users.set(i64::try_from(users).unwrap_or(i64::MAX));
    }

    /// Whether the operator's own roll-outs are stopped.
    pub fn rollouts_stopped(&self, stopped: bool) {
        self.rollouts_stopped.set(i64::from(stopped));
    }

    /// The text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A pass in progress.
#[derive(Debug)]
pub struct Pass {
    metrics: Metrics,
    controller: &'static str,
    workers: Gauge,
}

impl Pass {
    /// Counts the pass.
    pub fn end(self, outcome: Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Success => "success",
            Outcome::RequeueAfter => "requeue_after",
            Outcome::Error => "error",
        };
        let controller = self.controller;
        self.metrics.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
        self.metrics.seconds.get_or_create(&ControllerLabel { controller }).observe(took.as_secs_f64());
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.workers.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_controller_runtimes_names() {
        let metrics = Metrics::default();
        metrics.pass("mcpserver").end(Outcome::Success, Duration::from_millis(3));
        metrics.failed("mcpserver", "Timeout");
        metrics.server("a/b", Some(true));
        let text = metrics.render();
        for line in [
            "controller_runtime_reconcile_total{controller=\"mcpserver\",result=\"success\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"mcpserver\",reason=\"Timeout\"} 1",
            "controller_runtime_active_workers{controller=\"mcpserver\"} 0",
            "gatehouse_servers{ready=\"true\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_server_that_is_gone_is_not_counted() {
        let metrics = Metrics::default();
        metrics.server("a/b", Some(false));
        metrics.server("a/b", None);
        assert!(metrics.render().contains("gatehouse_servers{ready=\"false\"} 0"));
    }
}

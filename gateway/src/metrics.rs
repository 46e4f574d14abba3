//! What Prometheus sees of one gateway.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The gateway's metrics. Labels come from closed sets, so that no request can add a series.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// MCP requests by JSON-RPC method and outcome.
    pub calls: Family<CallLabels, Counter>,
    /// Seconds from a request's headers to its answer's end.
    pub call_seconds: Histogram,
    /// Requests without a good access token.
    pub unauthenticated: Counter,
    /// Look-ups of access tokens that needed no round trip to the store, and those that did.
    pub token_cache: Family<CacheLabels, Counter>,
    /// Event streams that are open now, and other answers that take longer than a second.
    pub open_streams: Gauge,
    /// Secrets and key rings that were read again because they changed.
    pub reloads: Counter,
}

/// One kind of call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// The JSON-RPC method, or `other`.
    pub method: &'static str,
    /// How it ended.
    pub outcome: &'static str,
}

/// Whether the cache knew a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CacheLabels {
    /// `hit` or `miss`.
    pub result: &'static str,
}

/// Bounds in seconds: from a tool that answers from memory to one that works for minutes.
const SECONDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 600.0];

impl Metrics {
    /// Metrics of the server `namespace`/`name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        let mut registry = Registry::with_prefix_and_labels(
            "gatehouse_gateway",
            [("namespace".into(), namespace.to_owned().into()), ("server".into(), name.to_owned().into())]
                .into_iter(),
        );
        let calls = Family::default();
        let call_seconds = Histogram::new(SECONDS);
        let unauthenticated = Counter::default();
        let token_cache = Family::default();
        let open_streams = Gauge::default();
        let reloads = Counter::default();
        registry.register("calls", "MCP requests by method and outcome", calls.clone());
        registry.register("call_seconds", "Seconds from request to the answer's end", call_seconds.clone());
        registry.register(
            "unauthenticated_requests",
            "MCP requests without a good access token",
            unauthenticated.clone(),
        );
        registry.register(
            "token_lookups",
            "Access tokens looked up, by whether the cache knew them",
            token_cache.clone(),
        );
        registry.register(
            "open_streams",
            "Event streams that are open, and other answers that take longer than a second",
            open_streams.clone(),
        );
        registry.register("reloads", "Changed Secrets and key rings that were taken in", reloads.clone());
        Self { registry, calls, call_seconds, unauthenticated, token_cache, open_streams, reloads }
    }

    /// The text exposition (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

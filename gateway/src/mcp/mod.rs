//! The MCP path: authenticate → access → inject → proxy.
//!
//! [`call`] is one request up to the decision, [`proxy`] and [`mod@answer`] the rest of it; [`authenticate`] and
//! [`cache`] say who calls, [`absent`] who does not any more, [`watch`] and [`confirm`] keep that true; [`envelope`]
//! and [`era`] read what is asked; [`session`] and [`pods`] find where it lives; [`backend`] sends it; [`relay`] carries the answer;
//! [`dead`] and [`refusal`] are every answer of our own.

mod absent;
mod answer;
mod authenticate;
mod backend;
mod cache;
mod call;
mod caller;
mod confirm;
mod dead;
pub mod dns;
mod envelope;
mod era;
mod headers;
mod load;
pub mod pods;
mod proxy;
mod refusal;
mod relay;
mod scan;
mod scope;
mod session;
mod sse;
mod stream;
mod tool_events;
mod tool_list;
mod tools;
mod trail;
mod watch;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{MethodRouter, any},
};
use http::{HeaderMap, HeaderValue};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use backend::BackendError;

use self::{
    absent::Absent, backend::Backend, cache::Cache, confirm::Confirmations, load::Load, pods::Directory,
    tools::Tools,
};
use crate::{
    capacity::Capacity,
    egress::Egress,
    metrics::Metrics,
    oauth::{limits::Limiter, source::Source},
    server::Server,
};

/// What the MCP path of one server needs.
#[derive(Debug)]
pub struct Mcp {
    server: Arc<Server>,
    backend: Backend,
    tools: Tools,
    metrics: Arc<Metrics>,
    cache: Cache,
    absent: Absent,
    confirmations: Confirmations,
    load: Arc<Load>,
    /// Counts tokens that were not good, by source.
    bearers: Limiter,
    /// The `WWW-Authenticate` of a request without a token.
    challenge: HeaderValue,
    /// Cancelled when the gateway begins to drain.
    draining: CancellationToken,
    /// What goes on beside the answers.
    tasks: TaskTracker,
    keep_alive: Duration,
}

/// Load balancers cut a connection that is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(25);

impl Mcp {
    /// The MCP path of `server`.
    ///
    /// # Errors
    /// When its backend's URL or headers are malformed.
    pub fn new(
        server: Arc<Server>,
        egress: &Egress,
        directory: Arc<dyn Directory>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BackendError> {
        let config = &server.config;
        // The configuration holds one backend, for now.
        let backend = Backend::new(config, &config.backends[0], egress, server.refs.clone(), directory)?;
        let challenge = refusal::bare_challenge(
            &server.urls.resource_metadata(),
            &server.scopes.text(server.scopes.basic()),
        );
        let tools = Tools::new(&config.backends[0].tools, &server.scopes)?;
        Ok(Self {
            backend,
            tools,
            metrics,
            cache: Cache::default(),
            absent: Absent::default(),
            confirmations: Confirmations::default(),
            load: Arc::new(Load::new(Capacity::detect())),
            bearers: Limiter::default(),
            challenge,
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            keep_alive: KEEP_ALIVE,
            server,
        })
    }

    /// The same with another pause after which a silent stream gets a comment.
    #[must_use]
    pub fn with_keep_alive(self, keep_alive: Duration) -> Self {
        Self { keep_alive, ..self }
    }

    /// Ends the streams that only listen, so that their clients come back to another replica.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Waits for what goes on beside the answers.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn now(&self) -> Duration {
        self.server.clock.monotonic()
    }
}

/// What answers on the MCP path.
pub fn service<S: Clone + Send + Sync + 'static>(mcp: &Arc<Mcp>) -> MethodRouter<S> {
    let mcp = mcp.clone();
    any(move |request: Request| {
        let mcp = mcp.clone();
        let source = request.extensions().get::<Source>().copied().unwrap_or(Source(None));
        async move { call::serve(&mcp, request, |_| source).await }
    })
}

/// Answers one request to the MCP path; `source` says where it came from.
pub async fn answer(mcp: &Arc<Mcp>, request: Request, source: impl FnOnce(&HeaderMap) -> Source) -> Response {
    call::serve(mcp, request, source).await
}

/// What answers where clients of HTTP+SSE look: below the MCP path and beside it.
pub fn old_transport(mcp: &Arc<Mcp>) -> Router {
    let path = mcp.server.urls.mcp_path.as_str();
    let beside = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let mut places = vec![format!("{path}/sse"), format!("{beside}/sse")];
    places.retain(|place| place != path);
    places.into_iter().fold(Router::new().without_v07_checks(), |router, place| {
        let mcp = mcp.clone();
        let refuse = move |request: Request| async move { refusal::old_transport(&mcp, request.method()) };
        router.route(&place, any(refuse))
    })
}

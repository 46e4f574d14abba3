//! The second port: `/livez` says that the process runs, `/readyz` that it can work, `/metrics` what it does.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{metrics::Metrics, store::Store};

/// How long the store may take to answer a probe; the kubelet's own limit is a second by default.
const PING: Duration = Duration::from_millis(900);

/// Whether the gateway can work.
#[derive(Debug)]
pub struct Health {
    store: Arc<dyn Store>,
    draining: AtomicBool,
    /// What was logged last, so that only changes are.
    logged: Mutex<Option<String>>,
}

impl Health {
    /// The health of a gateway on `store`. Its keys are there: it does not start without.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, draining: AtomicBool::new(false), logged: Mutex::default() }
    }

    /// From now on not ready: no new work shall come.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether work can be done now, or why not. Changes are logged.
    ///
    /// # Errors
    /// The reason, for a person.
    pub async fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("the gateway is shutting down".to_owned());
        }
        let state = match tokio::time::timeout(PING, self.store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the store did not answer within {PING:?}")),
        };
        let now = state.as_ref().err().cloned();
        let before = self
            .logged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(now.clone().unwrap_or_default());
        match (before, now) {
            (Some(before), None) if !before.is_empty() => tracing::info!("ready: the store answers again"),
            (before, Some(reason)) if before.as_ref() != Some(&reason) => tracing::warn!(reason, "not ready"),
            _ => {}
        }
        state
    }
}

/// The routes of the second port.
pub fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    let render = move || async move {
        (
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            metrics.render(),
        )
    };
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(health)
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    match health.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

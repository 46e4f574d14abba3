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

use crate::{clock::Clock, metrics::Metrics, store::Store};

/// How long the store may take to answer a probe; the kubelet's own limit is a second by default.
const PING: Duration = Duration::from_millis(900);

/// For how long a gateway that has worked stays ready without its store. The store is away for all replicas alike, and
/// with all of them out of their Service clients get a load balancer's page instead of our 503, on which some begin a new
/// sign-in. What lasts longer is more than a fail-over, and the status of the server has to show it.
const WITHOUT_STORE: Duration = Duration::from_secs(300);

/// Whether the gateway can work.
#[derive(Debug)]
pub struct Health {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    draining: AtomicBool,
    seen: Mutex<Seen>,
}

/// What was seen of the store.
#[derive(Debug, Default)]
struct Seen {
    /// When it last answered, by the monotonic clock.
    answered: Option<Duration>,
    /// What was logged last, so that only changes are; empty: that it answers.
    logged: Option<String>,
}

impl Health {
    /// The health of a gateway on `store`. Its keys are there: it does not start without.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, draining: AtomicBool::new(false), seen: Mutex::default() }
    }

    /// From now on not ready: no new work shall come.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether no new work shall come.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether work may come, or why not: without its store a gateway is not ready when it has just started, nor when the
    /// store has been away for five minutes. Changes of the store are logged.
    ///
    /// # Errors
    /// The reason, for a person.
    pub async fn ready(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err("the gateway is shutting down".to_owned());
        }
        let state = match tokio::time::timeout(PING, self.store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the store did not answer within {PING:?}")),
        };
        self.judge(state)
    }

    fn judge(&self, state: Result<(), String>) -> Result<(), String> {
        let now = self.clock.monotonic();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = state.err().unwrap_or_default();
        let before = seen.logged.replace(reason.clone());
        if reason.is_empty() {
            seen.answered = Some(now);
            if before.is_some_and(|before| !before.is_empty()) {
                tracing::info!("the store answers again");
            }
            return Ok(());
        }
        if before.as_ref() != Some(&reason) {
            tracing::warn!(reason, "without its store the gateway answers 503");
        }
        match seen.answered {
            Some(answered) if now.saturating_sub(answered) < WITHOUT_STORE => Ok(()),
            _ => Err(reason),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, store::memory::MemoryStore};

    #[test]
    fn a_gateway_that_has_worked_stays_ready_for_five_minutes_without_its_store() {
        let clock = ManualClock::at(0);
        let new = || {
            let clock: Arc<dyn Clock> = Arc::new(clock.clone());
            Health::new(Arc::new(MemoryStore::new(clock.clone())), clock)
        };
        let away = || Err("it is away".to_owned());
        let health = new();
        assert_eq!(health.judge(away()), away(), "it has not worked yet");
        assert_eq!(health.judge(Ok(())), Ok(()));
        clock.advance(Duration::from_secs(299));
        assert_eq!(health.judge(away()), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(health.judge(away()), away());
        assert_eq!(new().judge(away()), away(), "nor has one that starts then");
        assert_eq!(health.judge(Ok(())), Ok(()));
        assert_eq!(health.judge(away()), Ok(()), "it has come back");
    }
}
